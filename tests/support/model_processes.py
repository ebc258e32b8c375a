"""The processes in which Triton runs models."""

import contextlib
from pathlib import Path

from inference.launcher import TritonOptions


def model_processes(options: TritonOptions, model: str) -> list[int]:
    """Process ids of the Python processes that serve a model."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if b"triton_python_backend_stub" in command and f"{options.model_repository}/{model}/".encode() in command:
                found.append(int(entry.name))
    return found
