"""The example's Pipecat processor, in a pipeline of its own."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from bench.agents.doors.door import RATE_HZ, Line, Playback, SoundLine
from bench.agents.server import AgentsServer

_EXAMPLE = Path(__file__).parents[3] / "examples" / "pipecat" / "avatar.py"


logger.disable("pipecat")  # it tells of each processor


class PipecatDoor:
    """`examples/pipecat/avatar.py` on a channel."""

    name = "Pipecat"
    of_text = False
    overtakes = True

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A pipeline of the processor alone."""
        avatar = _processor_class()(server.url, channel=channel_id)
        line = _PipecatLine(channel_id, avatar)
        started = asyncio.Event()

        async def on_started(worker: Any, frame: Frame) -> None:
            started.set()

        line.worker.add_event_handler("on_pipeline_started", on_started)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(line.worker)
        work = asyncio.create_task(runner.run())
        await started.wait()
        try:
            yield line
        finally:
            await line.worker.queue_frame(EndFrame())
            await work


class _PipecatLine(SoundLine):
    outlives = True

    def __init__(self, channel_id: str, avatar: Any) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._avatar = avatar
        self._begun_before = 0
        pipeline = Pipeline([avatar, _BehindIt(self._note_started)])
        self.worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)
        avatar.add_event_handler("on_heard", self._heard)

    async def _heard(self, processor: Any, seconds: float, reason: str) -> None:
        # Of a connection that was lost nothing is known here.
        self._note(Playback(None if reason == "source_lost" else seconds, reason == "interrupted"))

    async def _open(self) -> None:
        self._begun_before = self._begun
        await self.worker.queue_frame(TTSStartedFrame())

    async def _put(self, block: bytes) -> None:
        await self.worker.queue_frame(TTSAudioRawFrame(audio=block, sample_rate=RATE_HZ, num_channels=1))
        # An interruption overtakes what waits in the pipeline, and of what never came to the avatar nothing is told.
        while self._begun == self._begun_before and not self._hushed.is_set():  # noqa: ASYNC110 - it runs elsewhere
            await asyncio.sleep(0.002)

    async def _close(self) -> None:
        await self.worker.queue_frame(TTSStoppedFrame())

    @property
    def _begun(self) -> int:
        return len(self._avatar._starting) + len(self._avatar._running) + len(self.playbacks)

    async def interrupt(self) -> None:
        await self.worker.queue_frame(InterruptionFrame())

    async def die(self) -> None:
        if (socket := self._avatar._socket) is not None and not socket.closed:
            socket._response.connection.transport.abort()


class _BehindIt(FrameProcessor):  # type: ignore[misc]
    """Tells when the bot begins to speak."""

    def __init__(self, started: Any) -> None:
        super().__init__()
        self._told = started

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, BotStartedSpeakingFrame):
            self._told()
        await self.push_frame(frame, direction)


def _processor_class() -> Any:
    spec = importlib.util.spec_from_file_location("pipecat_avatar", _EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AvatarProcessor
