"""Memory, files, threads and processor time of the server with everything below it."""

from __future__ import annotations

from pathlib import Path

from bench.stream.load import LoadMeter

_ROLES = (
    ("streaming.process", "channel"),
    ("streaming.encoder_process", "encoder"),
    ("s16le", "decoders"),
    ("rtmp://", "push"),
    ("triton_python_backend_stub", "models"),
    ("tritonserver", "tritonserver"),
)


class WholeServer(LoadMeter):
    """Also the models, and the decoders of uploads, which come and go."""

    def __init__(self, server_pid: int) -> None:
        super().__init__(server_pid)
        self._pid = server_pid

    def processes(self) -> list[tuple[str, int]]:
        """Every process below the server with its role."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended this moment
            parents.setdefault(parent, []).append(int(entry.name))
        found = [("orchestrator", self._pid)]
        waiting = list(parents.get(self._pid, ()))
        while waiting:
            pid = waiting.pop()
            waiting += parents.get(pid, ())
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            found.append((next((role for text, role in _ROLES if text in command), "others"), pid))
        return found
