"""A real server on a free loopback port, for as long as a test needs it."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from orchestrator.channels.view import ChannelState
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from orchestrator.settings import Settings
from tests.support.controlled_models import RESOLUTION, ControlledModels
from tests.support.synthetic_avatar import write_avatar
from tests.support.tiny_checkpoint import CONFIG


@dataclass
class RunningServer:
    """A server under test, and a client for it."""

    orchestrator: Orchestrator
    models: ControlledModels
    server: OrchestratorServer
    http: httpx.AsyncClient

    async def ready(self) -> None:
        """Speeches are accepted, and all channels run."""
        while True:
            health = await self.http.get("/health/ready")
            running = all(channel.view.state is ChannelState.RUNNING for channel in self.orchestrator.channels.values())
            if health.status_code == 200 and running:
                return
            await asyncio.sleep(0.05)

    async def task(self, task_id: str, *states: str) -> dict[str, Any]:
        """The task, once it is in one of the states."""
        while True:
            task: dict[str, Any] = (await self.http.get(f"/v1/tasks/{task_id}")).json()
            if task["state"] in states:
                return task
            assert task["state"] not in ("done", "failed", "cancelled"), task
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Settings of a server whose files all lie in `folder`."""
    checkpoint = folder / "checkpoints" / "tiny"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "config.json").write_text(json.dumps(CONFIG))
    defaults = {
        "data_dir": folder / "var",
        "checkpoint_dir": checkpoint,
        "http_port": free_port(),
        "cpu_threads": 1,
        "x264_preset": "ultrafast",
        "drain_limit_s": 5.0,
        "synthesiser": "none",  # a process more for each server: only for tests that say texts
    }
    return Settings(**{**defaults, **changes})


@asynccontextmanager
async def running(
    settings: Settings, real_client: bool = False, resolution: int = RESOLUTION
) -> AsyncIterator[RunningServer]:
    """Run a server with a drawn avatar, and controlled models or the client of a real Triton."""
    if not (settings.avatars_dir / settings.avatar).exists():
        write_avatar(settings.avatars_dir, settings.avatar, resolution)
    models = ControlledModels()
    orchestrator = Orchestrator(settings) if real_client else Orchestrator(settings, client=models)  # type: ignore[arg-type]
    started = asyncio.Event()
    server = OrchestratorServer(orchestrator, started.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        assert started.is_set(), "the server ended before it had started"
        scheme, trusted = "http", None
        if settings.https_certificate is not None:
            scheme, trusted = "https", ssl.create_default_context(cafile=settings.https_certificate)
        url = f"{scheme}://{settings.http_host}:{settings.http_port}"
        async with httpx.AsyncClient(base_url=url, timeout=30, verify=trusted or True) as http:
            yield RunningServer(orchestrator, models, server, http)
    finally:
        server.stop()
        waiting.cancel()
        await serving


async def metric(server: RunningServer, line: str) -> float:
    text = (await server.http.get("/metrics")).text
    return next((float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line + " ")), 0.0)
