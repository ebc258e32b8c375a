"""The server that the doors are measured on, in this process: real channels, and models that answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.agents.tones import ToneSynthesiser
from bench.load.live import free_ports
from bench.stream.face_code import RESOLUTION
from bench.stream.stand_ins import NumberedModels, numbered_avatar
from latentsync.contract import CONTRACT
from orchestrator.avatars.video import read_frames
from orchestrator.channels.view import ChannelState
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from orchestrator.settings import load_settings

_START_S = 60.0
_ANSWER_S = 0.02
_AVATAR = "bench"


@dataclass(frozen=True)
class AgentsServer:
    """A running server, and where it is called."""

    orchestrator: Orchestrator
    url: str


class InstantModels(NumberedModels):
    """Every chunk takes 20 ms, and its faces are grey: nothing but the doors and the channel is measured."""

    def __init__(self) -> None:
        super().__init__(1, rate=25.0, late={})

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Zeros."""
        return np.zeros(CONTRACT.features_shape(len(window)), np.float16)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """Grey ones."""
        await asyncio.sleep(_ANSWER_S)
        return np.full((len(condition), RESOLUTION, RESOLUTION, 3), 128, np.uint8)


@asynccontextmanager
async def agents_server(folder: Path, checkpoint_dir: Path, ffmpeg: str) -> AsyncIterator[AgentsServer]:
    """Runs until the block ends; everything that it writes is in `folder`. Its texts are said as tones."""
    settings = load_settings(
        data_dir=folder / "var",
        checkpoint_dir=checkpoint_dir,
        http_port=free_ports(1)[0],
        avatar=_AVATAR,
        ffmpeg=Path(ffmpeg),
        synthesiser="none",
        responder="rules",
        uploads_per_minute=0,
        requests_per_minute=0,
    )
    clip = checkpoint_dir / "avatar" / "idle.mp4"
    first = next(iter(read_frames(clip, 10_000)))
    size = (first.shape[1] // 2, first.shape[0] // 2)  # several channels are encoded at once
    await asyncio.to_thread(numbered_avatar, clip, settings.avatars_dir / _AVATAR, size)
    orchestrator = Orchestrator(settings, client=InstantModels())  # type: ignore[arg-type]  # stands in for it
    orchestrator.synthesiser = ToneSynthesiser()
    started = asyncio.Event()
    server = OrchestratorServer(orchestrator, started.set)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(_START_S):
            await started.wait()
            while any(channel.view.state is not ChannelState.RUNNING for channel in orchestrator.channels.values()):  # noqa: ASYNC110 - it runs elsewhere
                await asyncio.sleep(0.1)
        yield AgentsServer(orchestrator, f"http://127.0.0.1:{settings.http_port}")
    finally:
        server.stop()
        await serving
