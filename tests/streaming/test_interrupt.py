"""An interrupt at the encoder's input, in frames: closed mouth and silence within 200 ms, whatever waits for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentsync.avatar import PreparedAvatar
from streaming import process
from streaming.config import FRAME_SAMPLES, ChannelConfig
from streaming.control import Request
from streaming.encoded import EncodedWatch
from streaming.events import ChannelEvent, EndReason, SpeechEnded
from streaming.frame_pool import FramePool
from streaming.pair import IdleInstead, Pair, TakenBack
from streaming.pairs import PairQueue
from streaming.ring import FrameRing
from tests.support.grey_avatar import RESOLUTION

LIMIT_FRAMES = 5  # 200 ms
LEVEL = 8000


class Port:
    """Where the parent's end of the control protocol is: takes replies and events."""

    def __init__(self) -> None:
        self.events: list[ChannelEvent] = []
        self.replies: list[dict[str, Any]] = []

    def next_request(self, within_s: float) -> None: ...

    def reply(self, request: Request, **values: Any) -> None:
        self.replies.append(values)

    def emit(self, event: ChannelEvent) -> None:
        self.events.append(event)


class StillPublisher:
    """Where the publisher is: the pairs wait in the real queue until the test lets the encoder take some."""

    step = None
    targets = ()

    def __init__(self, config: ChannelConfig, size: tuple[int, int]) -> None:
        self.pool = FramePool(size[1], size[0])
        self.encoded = EncodedWatch(lambda: 0.0)
        self.queue = PairQueue(config.queue_frames, self.pool, config.timeline_frames)
        self.run: int | None = None
        self.given: list[Pair] = []

    def submit(self, pair: Pair) -> None:
        self.queue.put(pair)

    def take_back(self, speeches: list[str], idle_instead: IdleInstead) -> TakenBack:
        return self.queue.take_back(speeches, idle_instead)

    def has_passed(self, tick: int) -> bool:
        return self.queue.has_passed(tick)

    def dropped_of(self, speech: str) -> int:
        return self.queue.dropped_of(speech)

    def listen(self, listener: object) -> None: ...

    def take(self, count: int) -> None:
        """The encoder takes so many pairs; each keeps its content, as a pipe would."""
        for _ in range(count):
            pair = None if self.run is None else self.queue.take(self.run)
            if pair is None:  # the first run, or the one behind a long row of dropped pairs
                begun = self.queue.begin_run(1)
                assert begun is not None
                self.run = begun[0]
                pair = self.queue.take(self.run)
                assert pair is not None
            self.given.append(Pair(pair.tick, pair.picture.copy(), pair.sound, False))

    def close(self) -> None: ...


class Stage:
    """A channel without its process and clock: the test makes each frame, and takes what the encoder would."""

    def __init__(self, channel: process.Channel, port: Port, ring: FrameRing) -> None:
        self.channel = channel
        self.port = port
        self.publisher: StillPublisher = channel._publisher  # type: ignore[assignment]
        self._ring = ring
        self._number = itertools.count(1)
        self.numbers: dict[str, int] = {}

    def ask(self, **values: Any) -> dict[str, Any]:
        return self.channel._perform(values)

    def open(self, speech: str, frames: int | None) -> None:
        self.numbers[speech] = next(self._number)
        self.ask(
            op="open", speech=speech, number=self.numbers[speech], expected_frames=frames, lead_s=0.0, start_after=1
        )

    def write(self, speech: str, first: int, count: int) -> None:
        face = np.full((RESOLUTION, RESOLUTION, 3), 250, np.uint8)
        for frame in range(first, first + count):
            assert self._ring.push(self.numbers[speech], frame, face, np.full(FRAME_SAMPLES, LEVEL, np.int16))

    def frames(self, count: int, taken: bool = True) -> None:
        for _ in range(count):
            self.channel.frame()
            if taken:
                self.publisher.take(1)

    def drain(self) -> None:
        """The encoder takes all that waits."""
        while len(self.publisher.queue):
            self.publisher.take(1)


@pytest.fixture
def stage(avatar: PreparedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    class Clock:
        """Every frame is due at once."""

        stalls = 0

        def __init__(self, *_: object) -> None:
            self._frames = itertools.count()

        def wait(self) -> int:
            return next(self._frames)

        def due_s(self, frame: int) -> float:
            return frame / 25

        def lateness_s(self) -> float:
            return 0.0

    monkeypatch.setattr(process, "Publisher", StillPublisher)
    monkeypatch.setattr(process, "FrameClock", Clock)
    monkeypatch.setattr(process.Channel, "_status", lambda self: None)
    config = ChannelConfig("c", str(avatar.directory), str(tmp_path / "preview.sock"))
    port, ring = Port(), FrameRing.create(250, RESOLUTION)
    channel = process.Channel(config, port, ring)  # type: ignore[arg-type]
    yield Stage(channel, port, ring)
    channel.close()
    ring.close()


def mouths(pairs: list[Pair]) -> list[int]:
    """Ticks of the pictures that show the white face."""
    return [
        p.tick for p in pairs if int(p.picture[130:140, 150:170].mean()) - int(p.picture[20:30, 150:170].mean()) > 8
    ]


def sounds(pairs: list[Pair]) -> list[int]:
    """Ticks of which more sounds than the 5 ms in which a sound that breaks off falls to nothing."""
    return [p.tick for p in pairs if np.abs(np.frombuffer(p.sound, np.int16)).mean() > LEVEL / 8]


def waiting(stage: Stage) -> None:
    stage.open("a", None)
    stage.frames(10)


def fading_in(stage: Stage) -> None:
    stage.open("a", None)
    stage.write("a", 0, 60)
    while not mouths(stage.publisher.given):
        stage.frames(1)


def speaking(stage: Stage) -> None:
    fading_in(stage)
    stage.frames(20)


def underrun_just_now(stage: Stage) -> None:
    stage.open("a", None)
    stage.write("a", 0, 12)
    stage.frames(14)


def long_underrun(stage: Stage) -> None:
    underrun_just_now(stage)
    stage.frames(30)


def fading_out(stage: Stage) -> None:
    stage.open("a", 12)
    stage.write("a", 0, 12)
    stage.ask(op="end", speech="a", frames=12)
    stage.frames(12)


def closing_after_a_late_end(stage: Stage) -> None:
    stage.open("a", None)
    stage.write("a", 0, 12)
    stage.frames(13)
    stage.ask(op="end", speech="a", frames=12)
    stage.frames(1)


STATES = [waiting, fading_in, speaking, underrun_just_now, long_underrun, fading_out, closing_after_a_late_end]


@pytest.mark.parametrize("backlog", [0, 1, 2, 3, 10, 40, 120])
@pytest.mark.parametrize("begin", STATES, ids=lambda begin: begin.__name__)
def test_nothing_of_the_speech_is_given_to_the_encoder_later_than_200_ms_after_the_request(
    stage: Stage, begin: Callable[[Stage], None], backlog: int
) -> None:
    begin(stage)
    stage.frames(backlog, taken=False)  # 120: the queue is full, and has dropped pairs
    given = stage.publisher.given[-1].tick
    heard = stage.ask(op="interrupt")["heard"]
    stage.frames(30, taken=False)
    stage.drain()
    stage.frames(3)
    pairs = stage.publisher.given
    ticks = [p.tick for p in pairs]
    assert ticks == sorted(set(ticks))
    assert ticks == list(range(len(ticks))) or backlog == 120, "no tick is lost"
    assert max(mouths(pairs), default=0) < given + LIMIT_FRAMES
    assert max(mouths(pairs), default=0) <= given + 1, "one frame of fade"
    assert set(sounds(pairs)) <= set(mouths(pairs)), "no sound without its lips"
    (ended,) = [event for event in stage.port.events if isinstance(event, SpeechEnded)]
    assert heard.get("a", ended.played_frames) == ended.played_frames
    if ended.dropped_frames == 0:
        assert len(sounds(pairs)) == ended.played_frames
    all_sound = np.concatenate([np.frombuffer(p.sound, np.int16) for p in pairs]).astype(int)
    assert np.abs(np.diff(all_sound)).max() < LEVEL // 20 or backlog == 120, "no click"


def test_a_speech_that_is_over_but_still_waits_for_the_encoder_is_interrupted_too(stage: Stage) -> None:
    fading_in(stage)
    stage.ask(op="end", speech="a", frames=60)
    stage.frames(70, taken=False)
    assert stage.channel._mixer.speeches == []
    heard = stage.ask(op="interrupt")["heard"]
    stage.drain()
    stage.frames(3)
    (ended,) = [event for event in stage.port.events if isinstance(event, SpeechEnded)]
    assert (ended.played_frames, ended.reason) == (heard["a"], EndReason.INTERRUPTED)
    assert 0 < heard["a"] <= 3
    assert len(mouths(stage.publisher.given)) == heard["a"]


def test_the_next_speech_begins_while_idle_of_the_interrupted_one_still_waits(stage: Stage) -> None:
    speaking(stage)
    stage.frames(20, taken=False)
    heard = stage.ask(op="interrupt")["heard"]["a"]
    stage.open("b", 10)
    stage.write("b", 0, 10)
    stage.ask(op="end", speech="b", frames=10)
    stage.frames(40, taken=False)
    stage.drain()
    shown = mouths(stage.publisher.given)
    assert len(shown) == heard + 10
    assert len(sounds(stage.publisher.given)) == heard + 10


def test_cancelling_one_speech_leaves_the_pairs_of_another_alone(stage: Stage) -> None:
    speaking(stage)
    stage.frames(10, taken=False)
    stage.ask(op="end", speech="a", frames=60)
    stage.open("b", 10)
    assert stage.ask(op="cancel", speech="b") == {"heard": 0}
    stage.frames(70, taken=False)
    stage.drain()
    assert len(sounds(stage.publisher.given)) == 60
