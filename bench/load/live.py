"""The server that is loaded: `latentsync-realtime demo` as a process, publishing to a real RTMP server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.rtmp_server import RtmpServer

_START_S = 600.0
_STOP_S = 60.0


class ServerNotReady(RuntimeError):
    """The server ended, or was not on the air in time; the message has the end of its log."""


@dataclass(frozen=True)
class LiveServer:
    """Its process, which has all others below it, and where it is called."""

    pid: int
    url: str


@asynccontextmanager
async def live_server(folder: Path, checkpoint_dir: Path) -> AsyncIterator[LiveServer]:
    """The whole product with its settings as shipped, on the air; everything that it writes is in `folder`.

    Raises NoRtmpServer and ServerNotReady.
    """
    rtmp = await asyncio.to_thread(RtmpServer, folder / "nginx")
    try:
        async with demo_server(folder, checkpoint_dir, folder / "var", rtmp.url("main")) as server:
            yield server
    finally:
        await asyncio.to_thread(rtmp.stop)


@asynccontextmanager
async def demo_server(
    folder: Path, checkpoint_dir: Path, data_dir: Path, rtmp_url: str, further: Mapping[str, str] | None = None
) -> AsyncIterator[LiveServer]:
    """`demo` on free ports, on the air at an address where somebody listens; raises ServerNotReady.

    Its log is in `folder`. What it prepares stays in `data_dir`, for the next time. `further` settings are by the
    names of their variables.
    """
    names = ("HTTP", "TRITON_GRPC", "TRITON_METRICS")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {
        **os.environ,
        **{f"LATENTSYNC_{name}_PORT": str(port) for name, port in ports.items()},
        "LATENTSYNC_DATA_DIR": str(data_dir),
        "LATENTSYNC_CHECKPOINT_DIR": str(checkpoint_dir),
        "LATENTSYNC_RTMP_URL": rtmp_url,
        **(further or {}),
    }
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orchestrator.cli", "demo"), env=environment, stdout=log, stderr=log
        )
    try:
        server = LiveServer(process.pid, f"http://127.0.0.1:{ports['HTTP']}")
        try:
            await asyncio.wait_for(_on_air(server, process), _START_S)
        except (TimeoutError, ServerNotReady):
            raise ServerNotReady(f"the server did not start:\n{log_path.read_text()[-2000:]}") from None
        yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _on_air(server: LiveServer, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        while True:
            if process.returncode is not None:
                raise ServerNotReady
            with contextlib.suppress(httpx.TransportError):
                ready = (await http.get("/health/ready")).status_code == 200
                stream = (await http.get("/v1/channels/main")).json()["stream"] or {}
                if ready and stream.get("publisher") == "on_air":
                    return
            await asyncio.sleep(0.5)


def free_ports(count: int) -> list[int]:
    """So many ports of this machine that nobody uses."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
