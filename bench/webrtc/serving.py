"""A real server whose channel's frames are numbered, and the time at which each of them was due."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.stream.stand_ins import NumberedModels, numbered_avatar
from orchestrator.avatars.video import read_frames
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from orchestrator.settings import load_settings
from streaming.config import FPS
from streaming.packet import START_FRAMES, Packet, Track
from streaming.packet_stream import packets

_START_S = 60.0
_KEPT = 30_000


@dataclass
class PatternServer:
    """A running server; `due_s` has the wall time at which each numbered frame was due on the frame clock."""

    orchestrator: Orchestrator
    url: str
    size: tuple[int, int]
    due_s: dict[int, float] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Process id of the channel's process for WebRTC, which somebody must have watched."""
        audience = self.orchestrator.audiences.process("main")
        assert audience is not None, "nobody has watched yet"
        return audience.pid


@asynccontextmanager
async def pattern_server(folder: Path, checkpoint_dir: Path, ffmpeg: str) -> AsyncIterator[PatternServer]:
    """The server with the demo's clip as its avatar; everything that it writes is in `folder`."""
    settings = load_settings(
        data_dir=folder / "var",
        checkpoint_dir=checkpoint_dir,
        http_port=_free_port(),
        avatar="bench",
        ffmpeg=Path(ffmpeg),
        preview_viewers=64,
        webrtc_offers_per_minute=0,
    )
    clip = checkpoint_dir / "avatar" / "idle.mp4"
    first = next(iter(read_frames(clip, 10_000)))
    size = (first.shape[1], first.shape[0])
    await asyncio.to_thread(numbered_avatar, clip, settings.avatars_dir / "bench", size)
    models = NumberedModels(1, rate=25.0, late={})
    orchestrator = Orchestrator(settings, client=models, test_pattern=True)  # type: ignore[arg-type]  # stands in for it
    started = asyncio.Event()
    server = OrchestratorServer(orchestrator, started.set)
    serving = asyncio.create_task(server.serve())
    pattern = PatternServer(orchestrator, f"http://127.0.0.1:{settings.http_port}", size)
    noting = asyncio.create_task(note_due(orchestrator.channels["main"].packet_socket, pattern.due_s))
    try:
        await asyncio.wait_for(started.wait(), _START_S)
        async with asyncio.timeout(_START_S):
            while len(pattern.due_s) < FPS:  # noqa: ASYNC110  # a measurement may poll
                await asyncio.sleep(0.1)
        yield pattern
    finally:
        noting.cancel()
        await asyncio.wait({noting})
        server.stop()
        await serving
        if not noting.cancelled():
            noting.result()  # why no frame's time was known any more


async def note_due(path: Path, due_s: dict[int, float]) -> None:
    """Keeps the wall time at which each frame was due, by the number that is painted on it."""
    wall_s = time.time() - time.monotonic()
    while True:
        with contextlib.suppress(OSError):  # the channel starts
            async with contextlib.aclosing(packets(path)) as messages:
                async for message in messages:
                    if isinstance(message, Packet) and message.track is Track.H264:
                        due_s[round(message.time_s * FPS) - START_FRAMES] = message.captured_s + wall_s
                        if len(due_s) > _KEPT:
                            del due_s[next(iter(due_s))]
        await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
