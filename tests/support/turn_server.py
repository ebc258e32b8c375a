"""A real coturn on the loopback, which checks credentials by the secret that it shares with the server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COTURN = shutil.which("turnserver")
_READY_S = 20.0


@contextmanager
def turn_server(folder: Path, port: int, relay_ports: tuple[int, int], secret: str) -> Iterator[Path]:
    """Serves TURN over UDP and TCP at this port until the end; gives the path of its log."""
    assert COTURN is not None
    log = folder / "coturn.log"
    command = [
        COTURN, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}",
        f"--min-port={relay_ports[0]}", f"--max-port={relay_ports[1]}", "--realm=turn.example.com",
        "--use-auth-secret", f"--static-auth-secret={secret}", "--allow-loopback-peers", "--no-cli",
        "--no-tls", "--no-dtls", "--verbose", "--log-file=stdout", "--simple-log",
        f"--pidfile={folder / 'coturn.pid'}", f"--userdb={folder / 'coturn.db'}",
    ]  # fmt: skip
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=folder) as process:
        try:
            _wait(port, process, log)
            yield log
        finally:
            process.terminate()
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"coturn doesn't answer at port {port}: {log.read_text(errors='replace')[-2000:]}")
