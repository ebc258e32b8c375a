"""The Pipecat processor in a pipeline of the installed pipecat-ai: a fake model, the embedded voice, a real server."""

import asyncio
import importlib.util
import random
import re
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from conversation.synthesis.hibari import HibariSynthesiser
from tests.support.checkout import ROOT
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import tone

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pipecat's own imports
    pytest.importorskip("pipecat.services.tts_service")
    pytest.importorskip("pipecat.workers.runner")

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.workers.runner import WorkerRunner

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("default"),  # of pipecat's own
]


def avatar_class() -> Any:
    spec = importlib.util.spec_from_file_location("pipecat_avatar", ROOT / "examples/pipecat/avatar.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AvatarProcessor


class FakeModel(FrameProcessor):  # type: ignore[misc]
    """Answers each transcript, and each context, with two sentences, in pieces."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, TranscriptionFrame | LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for piece in ("Good mor", "ning. ", "I am ", "here."):
            await self.push_frame(LLMTextFrame(piece))
        await self.push_frame(LLMFullResponseEndFrame())


class HibariTts(TTSService):  # type: ignore[misc]
    """The server's embedded synthesiser as a TTS service of Pipecat."""

    def __init__(self, synthesiser: HibariSynthesiser) -> None:
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(settings=settings, push_start_frame=True, push_stop_frames=True)
        self._synthesiser = synthesiser

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        async for samples in self._synthesiser.synthesise(text, self._synthesiser.voices[0]):
            for part in np.array_split(samples, 5):
                yield TTSAudioRawFrame(
                    audio=part.tobytes(),
                    sample_rate=self._synthesiser.rate_hz,
                    num_channels=1,
                    context_id=context_id,
                )


class Nothing(FrameProcessor):  # type: ignore[misc]
    """Hands on what comes."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Seen(FrameProcessor):  # type: ignore[misc]
    """What comes out of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.changed = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self.changed.set()
        await self.push_frame(frame, direction)

    def count(self, kind: type[Frame]) -> int:
        return sum(isinstance(frame, kind) for frame in self.frames)

    async def until(self, kind: type[Frame], count: int = 1) -> None:
        while self.count(kind) < count:
            self.changed.clear()
            await self.changed.wait()


def worker_of(pipeline: Pipeline) -> PipelineWorker:
    return PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)


class Talk:
    """A running pipeline that ends in the avatar."""

    def __init__(self, server: RunningServer, *before: FrameProcessor) -> None:
        self.avatar = avatar_class()(str(server.http.base_url))
        self.heard: list[tuple[float, str]] = []
        self.seen = Seen()
        self.worker = worker_of(Pipeline([*before, self.avatar, self.seen]))

        @self.avatar.event_handler("on_heard")  # type: ignore[untyped-decorator]
        async def on_heard(processor: Any, seconds: float, reason: str) -> None:
            self.heard.append((seconds, reason))

    async def push(self, *frames: Frame) -> None:
        for frame in frames:
            await self.worker.queue_frame(frame)

    async def say(self, seconds: float, end: bool = True) -> None:
        sound = tone(seconds)
        await self.push(TTSStartedFrame())
        for first in range(0, len(sound), 4800):
            await self.push(TTSAudioRawFrame(audio=sound[first : first + 4800], sample_rate=24_000, num_channels=1))
        if end:
            await self.push(TTSStoppedFrame())

    async def reports(self, count: int) -> None:
        while len(self.heard) < count:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def talking(server: RunningServer, *before: FrameProcessor) -> AsyncIterator[Talk]:
    talk = Talk(server, *before)
    async with at_work(talk.worker):
        yield talk


@asynccontextmanager
async def at_work(worker: PipelineWorker) -> AsyncIterator[None]:
    """The pipeline runs inside the block, and to its end behind it."""
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_started(worker: Any, frame: Frame) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    work = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield
    finally:
        await worker.queue_frame(EndFrame())
        await work


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"), uploads_per_minute=0)) as started:
        await started.ready()
        yield started


async def test_an_answer_is_said_and_the_bot_speaks_for_as_long_as_it_is_heard(server: RunningServer) -> None:
    synthesiser = HibariSynthesiser()
    synthesising = asyncio.create_task(synthesiser.run())
    try:
        async with talking(server, FakeModel(), HibariTts(synthesiser)) as talk:
            await talk.push(TranscriptionFrame(text="Hello?", user_id="me", timestamp=""))
            await talk.seen.until(BotStartedSpeakingFrame)
            assert talk.avatar._running, "it is heard while it is said to speak"
            await talk.seen.until(BotStoppedSpeakingFrame)
    finally:
        synthesising.cancel()
    assert {reason for _, reason in talk.heard} == {"completed"}
    assert talk.seen.count(TTSAudioRawFrame) == 0, "viewers hear the avatar"
    tasks = (await server.http.get("/v1/tasks")).json()["tasks"]
    assert sum(task["duration_s"] for task in tasks) > 1.0
    assert sum(task["duration_s"] for task in tasks) == pytest.approx(sum(heard for heard, _ in talk.heard), abs=0.1)


async def test_the_documented_example_says_what_the_model_answers(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word but for the server's address, with the parts that it takes from the agent."""
    found = re.search(r"^## Pipecat\n.*?^```python\n(.*?)^```", (ROOT / "docs/agents.md").read_text(), re.M | re.S)
    assert found is not None
    monkeypatch.syspath_prepend(str(ROOT / "examples/pipecat"))
    synthesiser, seen = HibariSynthesiser(), Seen()
    names: dict[str, Any] = {
        "transport": SimpleNamespace(input=Nothing, output=lambda: seen),
        "stt": Nothing(),
        "context": LLMContextAggregatorPair(LLMContext()),
        "llm": FakeModel(),
        "tts": HibariTts(synthesiser),
    }
    exec(found[1].replace("http://127.0.0.1:11001", str(server.http.base_url)), names)
    worker = worker_of(names["pipeline"])
    synthesising = asyncio.create_task(synthesiser.run())
    try:
        async with at_work(worker):
            question = {"role": "user", "content": "Hello?"}
            await worker.queue_frame(LLMMessagesAppendFrame(messages=[question], run_llm=True))
            await seen.until(BotStoppedSpeakingFrame)
    finally:
        synthesising.cancel()
    assert re.fullmatch(r"(heard [\d.]+ s, completed\n)+", capsys.readouterr().out)


async def test_an_interruption_ends_the_speech_at_what_was_heard(server: RunningServer) -> None:
    async with talking(server) as talk:
        await talk.say(60.0, end=False)  # further ahead than the server reads
        await talk.seen.until(BotStartedSpeakingFrame)
        await asyncio.sleep(0.5)
        await talk.push(InterruptionFrame())
        await talk.seen.until(BotStoppedSpeakingFrame)
        ((seconds, reason),) = talk.heard
        assert reason == "interrupted" and seconds < 10
        await talk.say(0.3)
        await talk.reports(2)
    seconds, reason = talk.heard[1]
    assert reason == "completed" and seconds == pytest.approx(0.3, abs=0.05)


async def test_an_interruption_right_behind_the_sound_overtakes_it(server: RunningServer) -> None:
    async with talking(server) as talk:
        await talk.say(60.0, end=False)
        while not talk.avatar._starting:  # it was sent, and the server has not answered yet
            await asyncio.sleep(0)
        await talk.push(InterruptionFrame())
        await talk.reports(1)
        assert talk.heard[0][1] == "interrupted" and talk.heard[0][0] < 10
        await talk.say(0.3)
        await talk.reports(2)
    assert talk.heard[1][1] == "completed"


async def test_what_was_said_is_heard_before_the_pipeline_ends(server: RunningServer) -> None:
    async with talking(server) as talk:
        await talk.say(0.6)
    ((seconds, reason),) = talk.heard
    assert reason == "completed" and seconds == pytest.approx(0.6, abs=0.05)


async def test_a_lost_connection_ends_the_speech_and_the_next_one_is_said(server: RunningServer) -> None:
    async with talking(server) as talk:
        await talk.say(2.0, end=False)
        await talk.seen.until(BotStartedSpeakingFrame)
        talk.avatar._socket._response.connection.transport.abort()
        await talk.reports(1)
        await server.http.post("/v1/channels/main/interrupt?queue=true")
        await talk.say(0.3)
        await talk.reports(2)
    assert [reason for _, reason in talk.heard] == ["source_lost", "completed"]


async def test_a_server_that_is_away_is_told_and_the_pipeline_goes_on(server: RunningServer, tmp_path: Path) -> None:
    async with talking(server) as talk:
        talk.avatar._url = "http://127.0.0.1:9"
        errors: list[ErrorFrame] = []

        @talk.worker.event_handler("on_pipeline_error")  # type: ignore[untyped-decorator]
        async def on_error(worker: Any, error: ErrorFrame) -> None:
            errors.append(error)

        await talk.say(0.1)
        await talk.seen.until(TTSStoppedFrame)
        while not errors:
            await asyncio.sleep(0.01)
    assert "can't be reached" in errors[0].error


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_each_segment_is_reported_once_with_interruptions_at_any_moment(
    server: RunningServer, count: int
) -> None:
    drawn = random.Random(11)
    said = 0
    async with talking(server) as talk:
        while said < count:
            seconds, ends = drawn.choice([0.1, 0.3, 0.8]), drawn.random() < 0.7
            await talk.say(seconds, ends)
            said += 1
            await talk.reports(said - 1)
            if ends and drawn.random() < 0.5:
                await talk.reports(said)
                continue
            while not talk.avatar._running and not talk.avatar._starting:  # it was sent
                await asyncio.sleep(0.005)
            await asyncio.sleep(drawn.choice([0.0, 0.05, 0.3]))
            await talk.push(InterruptionFrame())
            await talk.reports(said)
            assert talk.heard[-1][0] <= seconds + 0.001
        assert len(talk.heard) == count
    assert len(talk.heard) == count
    assert {reason for _, reason in talk.heard} <= {"completed", "interrupted"}
    assert talk.seen.count(BotStartedSpeakingFrame) == talk.seen.count(BotStoppedSpeakingFrame)
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.02)
    while list(server.orchestrator.settings.tasks_dir.glob("*.speech")):  # deleted once the store has the task's end
        await asyncio.sleep(0.05)
