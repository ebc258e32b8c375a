"""NVIDIA's perf_analyzer: where it is, how it is called, and its run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

_NAME = "perf_analyzer"
# What the binary in tritonclient's wheel links against and brings none of; nvidia-pytriton's copies have other names.
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


class NoPerfAnalyzer(RuntimeError):
    """There is no perf_analyzer that runs here; the message says where one can be had."""


class PerfAnalyzerFailed(RuntimeError):
    """perf_analyzer ended with an error; the message is the end of what it said."""


@dataclass(frozen=True)
class PerfRun:
    """One call: the model, gRPC address, its requests' file, concurrency from:to, window in ms, shared memory.

    `face_bytes` is the size of the largest output, which perf_analyzer wants to know for shared memory.
    """

    model: str
    url: str
    data: Path
    csv: Path
    concurrency: str = "1:8"
    window_ms: int = 8000
    shared_memory: bool = True
    face_bytes: int = 0

    def arguments(self) -> list[str]:
        """Of the command line, without the binary."""
        arguments = ["-m", self.model, "-i", "grpc", "-u", self.url, "--input-data", str(self.data), "-b", "1"]
        arguments += ["--async", "--concurrency-range", self.concurrency, "--measurement-mode", "time_windows"]
        arguments += ["--measurement-interval", str(self.window_ms), "--percentile", "95"]
        # Three windows, stable or not: an unstable load would end the whole run without a figure.
        arguments += ["--stability-percentage", "999", "--verbose-csv", "-f", str(self.csv)]
        if self.shared_memory:
            arguments += ["--shared-memory", "system", "--output-shared-memory-size", str(self.face_bytes)]
        return arguments


def find_perf_analyzer(given: Path | None, run_dir: Path) -> Path:
    """The given binary, or the one inside a given wheel, or the one on PATH or beside this Python.

    Raises NoPerfAnalyzer.
    """
    if given is not None and given.suffix == ".whl":
        return _unpacked(given, run_dir)
    if given is not None:
        return given
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which(_NAME, path=folders)
    if found is None:
        raise NoPerfAnalyzer(
            f"there is no {_NAME} on PATH: `pip install perf-analyzer` brings one for glibc 2.38 and later, and "
            "`pip download --no-deps tritonclient==2.48.0` a wheel for older ones, which --binary takes as it is"
        )
    return Path(found)


def run_perf_analyzer(binary: Path, run: PerfRun, run_dir: Path, timeout_s: float) -> str:
    """Runs it and returns what it printed; its table is in `run.csv`. Raises NoPerfAnalyzer, PerfAnalyzerFailed."""
    run.csv.parent.mkdir(parents=True, exist_ok=True)
    command = [str(binary), *run.arguments()]
    libraries = [os.environ.get("LD_LIBRARY_PATH", ""), *_library_folders(run_dir)]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise NoPerfAnalyzer(f"{binary} does not run here: {error}") from None
    except subprocess.TimeoutExpired:
        raise PerfAnalyzerFailed(f"{_NAME} had not ended after {timeout_s:g} s: give it fewer loads") from None
    if done.returncode == 127 or "GLIBC_" in done.stdout:
        raise NoPerfAnalyzer(f"{binary} does not run here: {done.stdout.strip()[-500:]}")
    if done.returncode != 0 or not run.csv.is_file():
        raise PerfAnalyzerFailed(f"{_NAME} ended with status {done.returncode}: {done.stdout.strip()[-1500:]}")
    return done.stdout


def _unpacked(wheel: Path, run_dir: Path) -> Path:
    target = run_dir / _NAME / f"{wheel.stem}-{_NAME}"
    if not target.is_file():
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{_NAME}")]
            if not names:
                raise NoPerfAnalyzer(f"{wheel.name} holds no {_NAME}: tritonclient's up to 2.48.0 do")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(names[0]))
    target.chmod(0o755)
    return target


def _library_folders(run_dir: Path) -> list[str]:
    """Where the loader finds the libraries, after all places of its own; empty without nvidia-pytriton."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        return []
    bundled = Path(spec.origin).parent.parent / "nvidia_pytriton.libs"
    links = run_dir / _NAME / "lib"
    links.mkdir(parents=True, exist_ok=True)
    for name, pattern in _LIBRARIES.items():
        copies = sorted(bundled.glob(pattern))
        if copies:
            (links / name).unlink(missing_ok=True)
            (links / name).symlink_to(copies[0].resolve())
    return [str(links), str(bundled)]
