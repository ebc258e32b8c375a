"""Live speech on a machine with two cores: how late a microphone is heard, how it catches up, and what is awaited.

Speech maker, generation, start rule and mixer are the product's; the networks take such a machine's times, in virtual
time.
"""

import asyncio
import math
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.virtual_loop import in_virtual_time
from inference.capacity import Capacity
from speech.log import LogEnd, SoundFrames, as_stored
from speech.source import SpeechSource
from speech.urgency import UrgentFirst
from tests.support.mixed_channel import FPS, MixedChannel, SpokenLog, speech_maker

SPOKEN_S = 30
WORDS, PAUSE = 60, 20  # frames that are said, and frames of silence behind them
CHUNK_S = {4: 0.045, 8: 0.07, 16: 0.13}
SLICE_S = 0.005
SILENT_FRAME = SoundFrames(np.zeros((1, 640), np.int16), np.zeros((1, 1920), np.int16))


class Cores:
    """Where TritonClient stands: a window takes `window_s`, and whatever runs at once shares the cores.

    The networks stand still from `held_from` on for `held_s` seconds, and again whenever `held_each_s` have passed.
    """

    def __init__(
        self, window_s: float, held_from: float = 0.0, held_s: float = 0.0, held_each_s: float = math.inf
    ) -> None:
        self._window_s = window_s
        self._held = (held_from, held_from + held_s)
        self._each_s = held_each_s
        self._running = 0
        self._faces = asyncio.Lock()

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        await self._work(self._window_s)
        return np.zeros((len(window) // 320, 5, 384), np.float16)

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        async with self._faces:  # one chunk at a time
            await self._work(CHUNK_S[len(audio)])
        return np.zeros((len(audio), 1, 1, 3), np.uint8)

    async def recover(self, error: object) -> bool:
        return False

    async def _work(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._running += 1
        while seconds > 1e-9:
            if self._held[0] <= loop.time() < self._held[1]:
                await asyncio.sleep(self._held[1] - loop.time())
                self._held = (self._held[0] + self._each_s, self._held[1] + self._each_s)
            each = min(SLICE_S, seconds)
            await asyncio.sleep(each * self._running)
            seconds -= each
        self._running -= 1


class WordsAndPauses(SpokenLog):
    """By turns; each frame's first sample is its number from 1 on, of 16 bits, which viewers hear."""

    pause = PAUSE

    def read_now(self, first: int, count: int) -> SoundFrames:
        frames = np.arange(first, min(first + count, self.frames))
        heard = np.full((len(frames), 640), 5000, np.int16)
        heard[frames % (WORDS + PAUSE) >= WORDS + PAUSE - self.pause] = 0
        sound = np.repeat(heard, 3, axis=1)
        sound[:, 0] = (frames + 1).astype(np.uint16).view(np.int16)
        return SoundFrames(heard, sound)


def spoken(folder: Path, name: str, pause: int, spoken_s: int) -> SpokenLog:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(spoken_s * FPS * len(as_stored(SILENT_FRAME)))
    log = WordsAndPauses(path, LogEnd())
    log.pause = pause
    return log


async def listened(
    folder: Path,
    cores: Cores,
    channels: int,
    pause: int = PAUSE,
    source: SpeechSource = SpeechSource.MICROPHONE,
    speed: float = 1.0,
    times: int = 1,
    spoken_s: int = SPOKEN_S,
) -> list[MixedChannel]:
    """Channels on which all of them begin to speak at once, and so many times one after another."""
    urgent = UrgentFirst(1)
    capacity = Capacity(1, 1)
    urgent.resize(2 * capacity.chunks + 1, capacity)  # as the orchestrator does
    everyone = [MixedChannel() for _ in range(channels)]

    async def speak(number: int, channel: MixedChannel) -> None:
        maker = speech_maker(cores, urgent)
        task: Any = SimpleNamespace(id="a", seed=1, steps=1, guidance=1.0, source=source)
        for _ in range(times):
            log = spoken(folder, f"{number}", pause, spoken_s)
            log.speed = speed
            await maker.say(task, log, channel)
            while channel.mixer.speeches:
                await asyncio.sleep(0.1)

    speakers = [asyncio.create_task(speak(*each)) for each in enumerate(everyone)]
    await asyncio.gather(*(channel.play((spoken_s + 5) * times) for channel in everyone))
    for speaker in speakers:
        speaker.cancel()
        with suppress(asyncio.CancelledError):
            await speaker
    return everyone


def heard(channel: MixedChannel) -> list[tuple[float, int]]:
    """When each frame of the microphone's was shown, and its number; without the silence behind the last one."""
    return [(at, number % 2**16 - 1) for at, number in channel.heard if number]


def lags(channel: MixedChannel) -> list[float]:
    """Seconds from a frame's first sample to its showing, for each frame that was shown."""
    return [at - number / FPS for at, number in heard(channel)]


def words(channel: MixedChannel) -> list[int]:
    """The frames that were said and not silent, in the order in which they were heard."""
    return [number for _, number in heard(channel) if number % (WORDS + PAUSE) < WORDS]


def all_words(spoken_s: int) -> list[int]:
    return [frame for frame in range(spoken_s * FPS) if frame % (WORDS + PAUSE) < WORDS]


ALL_WORDS = all_words(SPOKEN_S)


def test_speech_that_began_late_is_soon_as_early_as_one_that_did_not(tmp_path: Path) -> None:
    (early,) = in_virtual_time(listened(tmp_path, Cores(0.08), 1))
    (late,) = in_virtual_time(listened(tmp_path, Cores(0.08, held_s=2.0), 1))
    assert lags(early)[0] < 0.9 and lags(late)[0] > 1.8
    assert lags(late)[-1] < lags(early)[-1] + 0.1
    assert words(early) == words(late) == ALL_WORDS, "no word is shortened"
    assert late.mixer.counters.late_frames == early.mixer.counters.late_frames == 0


def test_speech_that_began_late_is_within_minutes_no_more_than_a_frame_later_than_another(tmp_path: Path) -> None:
    seconds = 4 * 60
    (early,) = in_virtual_time(listened(tmp_path, Cores(0.08), 1))
    (late,) = in_virtual_time(listened(tmp_path, Cores(0.08, held_s=2.0), 1, spoken_s=seconds))
    assert np.median(lags(late)[-10 * FPS :]) < np.median(lags(early)) + 1.01 / FPS
    assert words(late) == all_words(seconds)
    assert late.mixer.counters.late_frames == 0


def test_speech_that_the_models_held_up_catches_up_in_its_pauses(tmp_path: Path) -> None:
    (channel,) = in_virtual_time(listened(tmp_path, Cores(0.08, held_from=10.0, held_s=1.5), 1))
    at = [number for _, number in heard(channel)].index(13 * FPS)
    assert lags(channel)[at] > lags(channel)[100] + 1.0
    assert lags(channel)[-1] < lags(channel)[100] + 0.1
    assert words(channel) == ALL_WORDS


def test_speech_without_pauses_stays_as_late_as_it_is(tmp_path: Path) -> None:
    (channel,) = in_virtual_time(listened(tmp_path, Cores(0.08, held_s=2.0), 1, pause=0))
    assert [number for _, number in heard(channel)] == list(range(SPOKEN_S * FPS))
    assert lags(channel)[-1] == pytest.approx(lags(channel)[0])


@pytest.mark.parametrize("minutes", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_speech_of_minutes_is_at_its_end_as_late_as_at_its_beginning(tmp_path: Path, minutes: int) -> None:
    stalling = Cores(0.08, held_from=30.0, held_s=0.35, held_each_s=217.7)
    (channel,) = in_virtual_time(listened(tmp_path, stalling, 1, spoken_s=60 * minutes))
    assert channel.mixer.counters.late_waits > minutes // 4, "or nothing brought it out of step"
    first, last = lags(channel)[: 25 * FPS], lags(channel)[-10 * FPS :]
    assert np.median(last) == pytest.approx(np.median(first), abs=1e-3)
    assert words(channel) == all_words(60 * minutes)


def test_two_microphones_at_once_wait_for_no_frame(tmp_path: Path) -> None:
    for channel in in_virtual_time(listened(tmp_path, Cores(0.08), 2)):
        assert channel.mixer.counters.late_frames == 0
        assert words(channel) == ALL_WORDS


@pytest.mark.parametrize("speed", [20.0, 1000.0])
def test_stream_whose_sound_is_there_begins_early_and_waits_for_no_frame(tmp_path: Path, speed: float) -> None:
    times = 4  # idle learns when to be there
    cores = Cores(0.045)
    (channel,) = in_virtual_time(listened(tmp_path, cores, 1, 0, SpeechSource.STREAM, speed, times))
    assert channel.mixer.counters.late_frames == 0
    assert [number for _, number in heard(channel)] == [*range(SPOKEN_S * FPS)] * times
