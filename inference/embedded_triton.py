"""The tritonserver of the nvidia-pytriton wheel, set up for the Python interpreter that runs this process."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class TritonLaunchError(RuntimeError):
    """tritonserver could not be started; the message says why and what to do."""


@dataclass(frozen=True)
class EmbeddedTriton:
    """The binary, and the arguments and environment that it needs beyond those of any tritonserver."""

    binary: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]


def embedded_triton(run_dir: Path) -> EmbeddedTriton:
    """Prepare the embedded tritonserver; write a folder of links to its Python backend into `run_dir`.

    The wheel keeps the backend's stubs, one per Python version, apart from the backend, which looks for its stub in its
    own folder. Raises TritonLaunchError when the wheel, a stub for this Python or a shared libpython is missing.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise TritonLaunchError("there is no tritonserver on PATH and nvidia-pytriton is not installed")
    package = Path(spec.origin).parent
    server = package / "tritonserver"
    stub = server / "python_backend_stubs" / _VERSION / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonLaunchError(f"the embedded tritonserver has no stub for Python {_VERSION}: use Python 3.11 or 3.12")
    backends = run_dir / f"triton-backends-{_VERSION}"
    for source in (
        server / "backends" / "python" / "libtriton_python.so",
        server / "backends" / "python" / "triton_python_backend_utils.py",
        stub,
    ):
        _link(source, backends / "python" / source.name)
    libraries = [libpython_dir(), str(package.parent / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    # The stub finds its packages through the `python3` that is first on PATH, and through nothing else.
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return EmbeddedTriton(
        binary=server / "bin" / "tritonserver",
        arguments=(f"--backend-directory={backends.resolve()}", f"--cache-directory={server / 'caches'}"),
        environment={
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
            "PATH": os.pathsep.join(folders),
        },
    )


def libpython_dir() -> str:
    """The folder of this Python's shared library, or "" when the dynamic loader finds it without help.

    Raises TritonLaunchError when this Python was built without one: Triton's stub embeds Python.
    """
    name = f"libpython{_VERSION}.so.1.0"
    configured = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for folder in (configured, configured / multiarch, Path(sys.base_prefix) / "lib"):
        if (folder / name).is_file():
            return str(folder)
    try:
        ctypes.CDLL(name)
    except OSError:
        raise TritonLaunchError(
            f"{sys.executable} has no shared {name}, which the embedded tritonserver needs: use a Python built with "
            "--enable-shared (Debian's and python.org's container images' are), or a tritonserver on PATH"
        ) from None
    return ""


def _link(source: Path, target: Path) -> None:
    if target.is_symlink() and target.readlink() == source:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    fresh.symlink_to(source)
    fresh.replace(target)
