"""What a microphone's speech leaves out: as much as brings it back to the delay that it began with."""

from pathlib import Path

import numpy as np
import pytest

from speech.catching_up import CatchingUp, WorstOfMinutes
from speech.log import SoundFrames, SpeechLog
from speech.request import FaceChunk, SpeechRequest
from speech.timeline import SpeechTimeline
from tests.support.mixed_channel import FPS, QuickLog

CHUNK = 8
BACKLOG = 21
FACES, SOUND = np.zeros((CHUNK, 1, 1, 3), np.uint8), np.zeros((CHUNK, 1920), np.int16)
IN_TIME = 2  # frames that still wait when a chunk comes
BEGAN_LATE = IN_TIME + 25  # the same where the beginning was held up for a second
TWENTY_CHUNKS_AND_A_PAUSE = 24
CHUNKS_OF_MINUTES = 576  # of three
THREE_MINUTES = CHUNKS_OF_MINUTES // TWENTY_CHUNKS_AND_A_PAUSE


class Microphone:
    """One whose sound is said chunk by chunk; `delay` is by how many frames more the speech is late than at first.

    `noise` is what its room adds to each sample, as a root mean square.
    """

    def __init__(self, folder: Path, noise: float = 0.0) -> None:
        self.noise, self._draw = noise, np.random.default_rng(0)
        self.log: SpeechLog = QuickLog(folder / "log")
        self.now = 0.0
        request = SpeechRequest(1, 1, 1.0, catch_up_frames=BACKLOG)
        self._catching_up = CatchingUp(SpeechTimeline(self.log, 0, 0), request, lambda: self.now)
        self._made = self._shown = self.waited = 0

    @property
    def delay(self) -> int:
        return self.waited - (self._made - self._shown)

    async def say(
        self, chunks: int, quiet: bool = False, in_time: int = IN_TIME, pace: float = 1.0, loud: int = 5000
    ) -> None:
        """Each chunk comes `in_time` frames before the last moment, and earlier by the delay, or later as its sound."""
        for _ in range(chunks * CHUNK):
            noise = self._draw.normal(0, self.noise, (1, 640))
            heard = np.rint(noise + (0 if quiet else loud)).astype(np.int16)
            self.now += pace / FPS
            await self.log.append(SoundFrames(heard, np.repeat(heard, 3, axis=1)))
            self._made += await self._catching_up.left_out(self._made)
            if self.log.frames - self._made >= 2 * CHUNK:  # the last frames are the look-ahead
                early = in_time + self.delay - round(self.now * FPS - self.log.frames)
                unplayed = max(0, early)
                self.waited += max(0, -early)
                chunk = FaceChunk(self._shown, self._made, FACES, SOUND)
                self._catching_up.written(chunk, unplayed, self.waited)
                self._made += CHUNK
                self._shown += CHUNK

    async def talk(self, turns: int, in_time: int) -> None:
        """Says twenty chunks and pauses, by turns."""
        for _ in range(turns):
            await self.say(20, in_time=in_time)
            await self.say(TWENTY_CHUNKS_AND_A_PAUSE - 20, quiet=True, in_time=in_time)


@pytest.fixture
async def microphone(tmp_path: Path) -> Microphone:
    microphone = Microphone(tmp_path)
    await microphone.say(40)
    await microphone.say(4, quiet=True)
    assert microphone.delay == 0, "what it began with stays"
    return microphone


async def test_speech_that_waited_is_after_its_next_pause_where_it_was(microphone: Microphone) -> None:
    microphone.waited += 3
    await microphone.say(20)
    assert microphone.delay == 3, "no word is shortened"
    await microphone.say(3, quiet=True)
    await microphone.say(20)
    assert microphone.delay == 0


async def test_speech_whose_chunks_come_later_again_and_again_stays_as_late(microphone: Microphone) -> None:
    await microphone.say(20, in_time=-1)
    assert microphone.delay > 0
    late = microphone.delay
    await microphone.say(4, quiet=True, in_time=-1)
    assert microphone.delay == late


async def test_speech_waits_no_longer_than_its_source_paused(microphone: Microphone) -> None:
    microphone.now += 3.0
    microphone.waited += 75
    await microphone.say(20)
    await microphone.say(4, quiet=True)
    assert microphone.delay == 75, "its sound comes three seconds later too"


async def test_sound_that_was_held_up_and_came_at_once_is_caught_up_with(microphone: Microphone) -> None:
    microphone.now += 4 * CHUNK / FPS
    await microphone.say(4, pace=0.0)
    await microphone.say(20)
    assert microphone.delay == 3 * CHUNK - IN_TIME
    for _ in range(4):
        await microphone.say(4, quiet=True)
        await microphone.say(20)
    assert microphone.delay == 0


async def test_microphone_whose_clock_is_fast_is_followed(microphone: Microphone) -> None:
    for _ in range(6):
        await microphone.say(20, pace=0.99)
        await microphone.say(4, quiet=True, pace=0.99)
    assert microphone.delay < 0


@pytest.fixture
async def noisy(tmp_path: Path) -> Microphone:
    """In a room with a noise of -42 dBFS, where a speech has waited for three frames."""
    microphone = Microphone(tmp_path, noise=260.0)
    for _ in range(3):
        await microphone.say(20)
        await microphone.say(4, quiet=True)
    microphone.waited += 3
    await microphone.say(20)
    assert microphone.delay == 3, "no word is shortened"
    return microphone


async def test_noisy_room_has_pauses_too(noisy: Microphone) -> None:
    await noisy.say(4, quiet=True)
    await noisy.say(20)
    assert noisy.delay == 0


async def test_soft_words_in_a_noisy_room_are_not_left_out(noisy: Microphone) -> None:
    await noisy.say(8, loud=260)
    assert noisy.delay == 3


async def test_noise_as_loud_as_speech_may_be_is_not_left_out(tmp_path: Path) -> None:
    microphone = Microphone(tmp_path, noise=1500.0)
    for _ in range(3):
        await microphone.say(20)
        await microphone.say(4, quiet=True)
    microphone.waited += 3
    await microphone.say(20)
    await microphone.say(4, quiet=True)
    await microphone.say(20)
    assert microphone.delay == 3


async def test_noise_that_rises_is_taken_for_a_pause_only_once_it_is_known(noisy: Microphone) -> None:
    noisy.noise = 400.0
    await noisy.say(4, quiet=True)
    assert noisy.delay == 3


@pytest.fixture
async def late(tmp_path: Path) -> Microphone:
    """A speech that began late and has caught up, as far as it may while only the worst of some seconds is known."""
    microphone = Microphone(tmp_path)
    await microphone.talk(4, BEGAN_LATE)
    assert microphone.delay == 5 - BEGAN_LATE
    return microphone


async def test_speech_that_began_late_comes_back_to_what_another_one_begins_with(late: Microphone) -> None:
    await late.talk(THREE_MINUTES, BEGAN_LATE)
    assert late.delay == 3 - BEGAN_LATE, "at most a frame later"
    await late.talk(2, BEGAN_LATE)
    assert late.delay == 3 - BEGAN_LATE and not late.waited


async def test_what_a_chunk_of_the_last_minutes_needed_is_not_taken_back(late: Microphone) -> None:
    await late.say(1, in_time=BEGAN_LATE - 3)
    await late.talk(THREE_MINUTES - 1, BEGAN_LATE)
    assert late.delay == 1 - (BEGAN_LATE - 3)


async def test_speech_that_was_late_having_come_back_waits_twice_as_long_before_it_tries_again(
    late: Microphone,
) -> None:
    for _ in range(2):
        await late.talk(THREE_MINUTES + 1, BEGAN_LATE)
        await late.say(1, in_time=BEGAN_LATE - 5)
        assert late.waited == 2, "late by what it had come back too far, and not again"
    await late.talk(2 * THREE_MINUTES - 1, BEGAN_LATE)
    assert late.delay == 5 - BEGAN_LATE
    await late.talk(2, BEGAN_LATE)
    assert late.delay == 3 - BEGAN_LATE


def test_what_was_late_for_several_chunks_in_a_row_counts_once() -> None:
    minutes = WorstOfMinutes()
    for _ in range(4 * CHUNKS_OF_MINUTES):
        minutes.add(0)
    for _ in range(2):
        minutes.add(3)
        minutes.was_late()
    for _ in range(2 * CHUNKS_OF_MINUTES - 1):
        minutes.add(0)
    assert minutes.worst is None
    minutes.add(0)
    assert minutes.worst == 0
