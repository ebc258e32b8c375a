"""When a speech starts, how much of it is held, and how urgent its chunks are."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import InferenceError, InferenceFailed
from speech.audio.frames import SilentFrames
from speech.events import FacesMade, SpeechEvent
from speech.generation import GenerationSettings
from speech.live import LiveSettings
from speech.log import SpeechLog
from speech.pacing import Pace
from speech.source import SpeechSource
from speech.speaking import SpeechMaker
from speech.urgency import UrgentFirst
from streaming.handle import ChannelError, Reservation
from tests.support.boards import task
from tests.support.controlled_models import RESOLUTION, ControlledModels
from tests.support.logs import noise, sealed_log, sound_frames
from tests.support.synthetic_avatar import write_avatar


class Time:
    """Seconds that pass when the models work."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowModels(ControlledModels):
    """Makes a chunk of 16 frames in `chunk_s` of the test's time."""

    def __init__(self, time: Time, chunk_s: float) -> None:
        super().__init__()
        self._time = time
        self._chunk_s = chunk_s

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        await asyncio.sleep(0)
        self._time.now += self._chunk_s
        return np.zeros((len(audio), RESOLUTION, RESOLUTION, 3), np.uint8)


class Channel:
    """Takes everything, and notes how much of the speech was made when its first frames came."""

    def __init__(self, place: Reservation) -> None:
        self.place = place
        self.written: list[int] = []
        self.sounds: list[NDArray[Any]] = []
        self.made_at_start: int | None = None
        self.generated = 0

    async def open(self, *_: object, **__: object) -> Reservation:
        return self.place

    async def write(
        self, speech_id: str, first: int, faces: NDArray[Any], sound: NDArray[Any], may_pause: bool = False
    ) -> None:
        if self.made_at_start is None:
            self.made_at_start = self.generated
        assert sound.shape == (len(faces), 1920), "the sound that viewers hear"
        self.written.append(first)
        self.sounds.extend(sound)

    def unplayed(self, speech_id: str) -> int:
        return 0

    def waited(self, speech_id: str) -> int:
        return 0

    async def end(self, speech_id: str) -> None:
        self.written.append(-1)


class Slots(UrgentFirst):
    """Notes when each chunk is due."""

    def __init__(self) -> None:
        super().__init__(100)
        self.dues: list[float] = []

    @asynccontextmanager
    async def slot(self, due: float) -> AsyncIterator[None]:
        self.dues.append(due)
        async with super().slot(due):  # counted, or a speech's own chunks would look like another's
            yield


async def said(
    folder: Path,
    seconds: float,
    chunk_s: float,
    place: Reservation,
    channel: Channel | None = None,
    models: SlowModels | None = None,
    silence: SilentFrames = SilentFrames(5, 5),  # noqa: B008
) -> tuple[Channel, Slots]:
    time, slots, channel = Time(), Slots(), channel or Channel(place)
    models = models or SlowModels(time, chunk_s)

    async def listener(speech_id: str, event: SpeechEvent) -> None:
        if isinstance(event, FacesMade):
            channel.generated = event.frames

    avatar = write_avatar(folder / "avatars")
    maker = SpeechMaker(models, avatar, listener, silence, time, GenerationSettings(), slots, Pace(), LiveSettings())
    log = await sealed_log(folder / "log", np.full(round(seconds * 16_000), 100, np.int16))
    await maker.say(task("a"), log, channel)
    return channel, slots


async def test_a_generator_that_can_never_keep_up_holds_thirty_seconds_and_then_starts(tmp_path: Path) -> None:
    channel, _ = await said(tmp_path, seconds=100.0, chunk_s=16.0, place=Reservation(10, 0))
    assert channel.made_at_start is not None
    assert 750 <= channel.made_at_start <= 750 + 16
    assert channel.written == [0, 4, *range(12, 2510, 16), -1], "nothing is skipped"


class Plodding(ControlledModels):
    """Slower than speech: ten frames a second."""

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        await asyncio.sleep(len(audio) / 10)
        return np.zeros((len(audio), RESOLUTION, RESOLUTION, 3), np.uint8)


async def test_what_came_is_said_where_a_slow_generator_waits_for_a_source_that_pauses(tmp_path: Path) -> None:
    channel, now = Channel(Reservation(10, 0)), asyncio.get_running_loop().time

    async def listener(speech_id: str, event: SpeechEvent) -> None: ...

    avatar = write_avatar(tmp_path / "avatars")
    maker = SpeechMaker(
        Plodding(),
        avatar,
        listener,
        SilentFrames(0, 2),
        now,
        GenerationSettings(),
        UrgentFirst(1),
        Pace(),
        LiveSettings(),
    )
    log = SpeechLog(tmp_path / "log")
    await log.append(sound_frames(noise(30)))
    saying = asyncio.create_task(maker.say(replace(task("a"), source=SpeechSource.STREAM), log, channel))
    async with asyncio.timeout(60):
        while not channel.written:  # though no more of it comes, and its end isn't known
            await asyncio.sleep(0.05)
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)
    log.close()


class Undecided(Channel):
    """Answers or fails when the features of the speech have come."""

    def __init__(self, place: Reservation, models: "Listening", fails: bool) -> None:
        super().__init__(place)
        self._models = models
        self._fails = fails

    async def open(self, *_: object, **__: object) -> Reservation:
        await asyncio.wait_for(self._models.heard.wait(), timeout=60)
        if self._fails:
            raise ChannelError("the channel is gone")
        return self.place


class Listening(SlowModels):
    """Tells that features were asked for."""

    def __init__(self) -> None:
        super().__init__(Time(), chunk_s=0.1)
        self.heard = asyncio.Event()

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        self.heard.set()
        return await super().features(window)


@pytest.mark.parametrize("fails", [False, True])
async def test_features_are_made_while_the_channel_makes_up_its_mind(tmp_path: Path, fails: bool) -> None:
    models = Listening()
    channel = Undecided(Reservation(10, 0), models, fails)
    with pytest.raises(ChannelError) if fails else nullcontext():
        await said(tmp_path, 2.0, 0.1, channel.place, channel, models)
    assert channel.written == ([] if fails else [0, 4, 12, 28, 44, -1])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_chunks_are_due_when_their_first_frame_can_be_on_the_screen(tmp_path: Path) -> None:
    _, slots = await said(tmp_path, seconds=2.0, chunk_s=0.1, place=Reservation(position=60, now=10))
    assert slots.dues == [100.0 + (49 + first) / 25 for first in (0, 4, 12, 28, 44)], "the one of now may be over"


class Failing(SlowModels):
    """Fails from the third chunk on, or from the first window on."""

    def __init__(self, window_fails: bool) -> None:
        super().__init__(Time(), chunk_s=0.1)
        self._window_fails = window_fails
        self._made = 0

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        if self._window_fails:
            raise InferenceFailed("out of memory")
        return await super().features(window)

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        self._made += 1
        if self._made > 2:
            raise InferenceFailed("out of memory")
        return await super().faces(noise, condition, audio)

    async def recover(self, error: InferenceError) -> bool:
        return False


@pytest.mark.parametrize("window_fails", [False, True], ids=["faces", "features"])
async def test_a_speech_that_fails_keeps_nothing_of_its_channel_nor_its_faces(
    tmp_path: Path, window_fails: bool
) -> None:
    channel = Channel(Reservation(10, 0))
    freed = weakref.ref(channel)
    gc.disable()  # a server collects such cycles after hours
    try:
        with suppress(InferenceFailed):
            await said(tmp_path, 4.0, 0.1, channel.place, channel, Failing(window_fails))
        del channel
        await asyncio.sleep(0)  # the event loop holds what it is just calling
        assert freed() is None
    finally:
        gc.enable()


class Hearing(SlowModels):
    """Keeps the windows of which features were asked for."""

    def __init__(self) -> None:
        super().__init__(Time(), chunk_s=0.1)
        self.windows: list[NDArray[Any]] = []

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        self.windows.append(window)
        return await super().features(window)


@pytest.mark.parametrize(("before", "behind"), [(0, 2), (5, 5), (9, 9)])
async def test_sound_begins_behind_the_silence_that_is_shown_and_whisper_hears_more(
    tmp_path: Path, before: int, behind: int
) -> None:
    models = Hearing()
    place = Reservation(10, 0)
    channel, _ = await said(tmp_path, 2.0, 0.1, place, None, models, SilentFrames(before, behind))
    sounding = [frame for frame, sound in enumerate(channel.sounds) if np.abs(sound).mean() > 10]
    assert (sounding[0], sounding[-1], len(channel.sounds)) == (before, before + 49, before + 50 + behind)
    heard = models.windows[0]
    assert int(np.flatnonzero(heard)[0]) == 640 * max(before, 5)
    assert int(np.isnan(heard).argmax()) == 640 * (max(before, 5) + 50 + max(behind, 5))


async def test_sentence_that_comes_late_is_held_as_the_first_one_is(tmp_path: Path) -> None:
    time, channel = Time(), Channel(Reservation(10, 0))

    async def listener(speech_id: str, event: SpeechEvent) -> None:
        if isinstance(event, FacesMade):
            channel.generated = event.frames

    avatar, silence = write_avatar(tmp_path / "avatars"), SilentFrames(0, 0)
    models = SlowModels(time, chunk_s=16 / 20)  # 20 frames a second, of the 25 that are played
    maker = SpeechMaker(models, avatar, listener, silence, time, GenerationSettings(), Slots(), Pace(), LiveSettings())
    log, order = SpeechLog(tmp_path / "said"), replace(task("a"), source=SpeechSource.TEXT)
    saying = asyncio.create_task(maker.say(order, log, channel))
    first, second = 28, 96
    for count in (first, second):
        channel.made_at_start = None
        written = len(channel.sounds)
        await log.append(replace(sound_frames(noise(count)), may_pause=True))
        while len(channel.sounds) < written + count:
            await asyncio.sleep(0.001)
        time.now += 10.0  # in which the stream is idle
    log.seal()
    await saying
    assert channel.made_at_start is not None
    made, missing = channel.made_at_start - first, second - (channel.made_at_start - first)
    assert (missing / 20) <= (made + missing) / 25, "the last of it comes before it is played"
    assert len(channel.sounds) == first + second


class Placing(Channel):
    """Gives each speech the place that it asks for, or one behind others, and notes the leads."""

    def __init__(self, others_s: float) -> None:
        super().__init__(Reservation(0, 0))
        self._others_s = others_s
        self.leads: list[float] = []

    async def open(self, *arguments: Any, **__: object) -> Reservation:
        lead_s = arguments[2]
        self.leads.append(lead_s)
        return Reservation(round((lead_s + self._others_s) * 25), 0)


class SlowToHear(SlowModels):
    """Takes 0.6 s for a window."""

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        self._time.now += 0.6
        return await super().features(window)


@pytest.mark.parametrize("others_s", [0.0, 20.0], ids=["on idle", "behind others"])
async def test_idle_learns_when_a_speech_will_be_there(tmp_path: Path, others_s: float) -> None:
    time, channel = Time(), Placing(others_s)

    async def listener(speech_id: str, event: SpeechEvent) -> None: ...

    avatar, silence = write_avatar(tmp_path / "avatars"), SilentFrames(0, 2)
    models = SlowToHear(time, chunk_s=0.05)
    maker = SpeechMaker(models, avatar, listener, silence, time, GenerationSettings(), Slots(), Pace(), LiveSettings())
    for number in range(8):
        log = await sealed_log(tmp_path / f"log{number}", np.full(32_000, 100, np.int16))
        await maker.say(task("a"), log, channel)
    if others_s:
        assert set(channel.leads) == {channel.leads[0]}, "nobody hurries there"
    else:
        assert channel.leads == sorted(channel.leads)
        assert 0.6 - 0.16 < channel.leads[-1] < 0.7


class HeardOnce(ControlledModels):
    """Takes 0.3 s for the first window, and never comes back with another."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = False

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        if self._heard:
            await asyncio.Event().wait()
        self._heard = True
        await asyncio.sleep(0.3)
        return await super().features(window)

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        return np.zeros((len(audio), RESOLUTION, RESOLUTION, 3), np.uint8)


async def test_speech_is_held_for_the_features_of_its_next_chunk_only_as_long_as_they_usually_take(
    tmp_path: Path,
) -> None:
    channel, now = Channel(Reservation(0, 0)), asyncio.get_running_loop().time

    async def listener(speech_id: str, event: SpeechEvent) -> None: ...

    avatar, silence, slots = write_avatar(tmp_path / "avatars"), SilentFrames(0, 2), UrgentFirst(1)
    models = HeardOnce()
    maker = SpeechMaker(models, avatar, listener, silence, now, GenerationSettings(), slots, Pace(), LiveSettings())
    log = SpeechLog(tmp_path / "log")
    saying = asyncio.create_task(maker.say(replace(task("a"), source=SpeechSource.STREAM), log, channel))
    for count in (8, 3, 30):
        await log.append(sound_frames(noise(count)))
        await asyncio.sleep(0.05)  # the window of the first chunk begins with all of it, and without the rest
    async with asyncio.timeout(60):
        while not channel.written:
            await asyncio.sleep(0.05)
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)
    log.close()
