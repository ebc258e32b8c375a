"""A microphone on a GPU: what its speech spares for sound that doesn't come evenly.

Speech maker, generation, start rule and mixer are the product's; the GPU takes a measured H200's times, in virtual
time.
"""

import asyncio
import math
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.virtual_loop import in_virtual_time
from inference.capacity import Capacity
from speech.audio.lead_in import Rhythm
from speech.live import LiveSettings
from speech.log import LogEnd
from speech.pacing import Pace
from speech.source import SpeechSource
from speech.urgency import UrgentFirst
from tests.support.mixed_channel import FPS, MixedChannel, SpokenLog, speech_maker
from tests.support.timed_gpus import BATCH, STEPS, Gpus

SPOKEN_S = 10
RATE = 90.0
"""Frames a second, as a service knows them of such a GPU after its first speech, which may be an upload."""


class InBlocks(SpokenLog):
    """Spoken sound that comes in blocks of so many frames."""

    block = 1

    @property
    def frames(self) -> int:
        return self.whole if self.end is not None else super().frames // self.block * self.block

    @property
    def whole(self) -> int:
        return SPOKEN_S * FPS

    @property
    def end(self) -> LogEnd | None:
        return LogEnd() if super().frames == self.whole else None


def spoken(folder: Path, block: int) -> InBlocks:
    path = folder / "speech"
    with path.open("wb") as file:
        file.truncate(SPOKEN_S * FPS * 2 * (640 + 1920))
    log = InBlocks(path, LogEnd())
    log.block = block
    return log


async def listened(
    folder: Path,
    live: LiveSettings,
    block: int,
    on_gpu: bool,
    source: SpeechSource = SpeechSource.MICROPHONE,
    speed: float = 1.0,
) -> MixedChannel:
    urgent = UrgentFirst(1)
    urgent.resize(2 * BATCH + 1, Capacity(1, BATCH, on_gpu))
    channel = MixedChannel()
    maker = speech_maker(Gpus(1), urgent, Pace(RATE), live)

    async def speak() -> None:
        task: Any = SimpleNamespace(id="a", seed=1, steps=STEPS, guidance=1.0, source=source)
        log = spoken(folder, block)
        log.speed = speed
        await maker.say(task, log, channel)

    speaking = asyncio.create_task(speak())
    await channel.play(SPOKEN_S + 3)
    speaking.cancel()
    with suppress(asyncio.CancelledError):
        await speaking
    return channel


def lag_ms(folder: Path, live: LiveSettings, block: int = 1, on_gpu: bool = True) -> float:
    """From a frame's first sample to its showing, where no frame is late."""
    channel = in_virtual_time(listened(folder, live, block, on_gpu))
    assert channel.mixer.counters.late_frames == 0
    lags = {round(1000 * (at - number / FPS)) for number, (at, _) in enumerate(channel.heard)}
    assert len(lags) == 1, "and none is left out"
    return lags.pop()


async def spared_in_step(folder: Path, phase_s: float, block_s: float) -> float:
    """What a microphone that begins `phase_s` after a frame was shown waits for its frames, but for sound and work."""
    loop, urgent = asyncio.get_running_loop(), UrgentFirst(1)
    urgent.resize(2 * BATCH + 1, Capacity(1, BATCH, on_gpu=True))
    channel = MixedChannel()
    maker = speech_maker(Gpus(1), urgent, Pace(RATE))
    assert maker.microphone_takes_s(STEPS, 1.0) is None, "nothing is known yet"
    playing = asyncio.create_task(channel.play(3 * SPOKEN_S))
    order: Any = SimpleNamespace(id="before", seed=1, steps=STEPS, guidance=1.0, source=SpeechSource.STREAM)
    before = spoken(folder, 1)
    before.speed = 1000.0
    await maker.say(order, before, channel)
    begun_at = math.ceil(loop.time()) + SPOKEN_S + phase_s  # frames are shown at whole seconds too
    await asyncio.sleep(begun_at - loop.time())
    heard_before, takes_s = channel.spoken, maker.microphone_takes_s(STEPS, 1.0)
    assert takes_s is not None
    silence_s = Rhythm(takes_s, shown_at=0.0).silence_s(begun_at, block_s)
    log = spoken(folder, 1)
    log._begun_at = begun_at - silence_s
    await maker.say(SimpleNamespace(**{**vars(order), "id": "now", "source": SpeechSource.MICROPHONE}), log, channel)
    await playing
    assert channel.mixer.counters.late_frames == 0
    lag_s = channel.heard[heard_before][0] + silence_s - begun_at
    return 1000 * lag_s - 40 * (8 + 2 + LiveSettings().look_ahead_frames) - work_ms(8)


def work_ms(frames: int) -> float:
    return {4: 20 + 70, 8: 20 + 94}[frames]


@pytest.mark.parametrize(("live", "frames"), [(LiveSettings(), 8), (LiveSettings(2, 4), 4)])
def test_even_sound_is_said_about_a_frame_after_its_chunk_is_made(
    tmp_path: Path, live: LiveSettings, frames: int
) -> None:
    heard_ms = 40 * (frames + 2 + live.look_ahead_frames)
    spared_ms = lag_ms(tmp_path, live) - heard_ms - work_ms(frames)
    assert 2 <= spared_ms <= 8 + 40, "what is spared, and until the next frame is due"
    assert lag_ms(tmp_path, live, on_gpu=False) >= math.floor(heard_ms + work_ms(frames) + 60)


def test_microphone_in_step_with_the_stream_waits_for_no_frame(tmp_path: Path) -> None:
    phases_ms = range(0, 40, 3)
    spared = [in_virtual_time(spared_in_step(tmp_path, phase / 1000, block_s=0.01)) for phase in phases_ms]
    assert min(spared) >= 8 and max(spared) <= 8 + 2 + 3 + 10 + 1, "what is spared, the hand-over, and a block"
    alone = [in_virtual_time(spared_in_step(tmp_path, phase / 1000, block_s=0.015)) for phase in phases_ms]
    assert max(alone) > 40, "blocks that make no frame: nothing is put before, and some wait for the next frame"


@pytest.mark.parametrize("block", [3, 4])
def test_sound_in_large_blocks_is_spared_more_for(tmp_path: Path, block: int) -> None:
    live = LiveSettings()
    assert lag_ms(tmp_path, live, block) > lag_ms(tmp_path, live)


@pytest.mark.parametrize("block", [1, 3])
def test_sound_that_comes_faster_than_speech_is_not_uneven(tmp_path: Path, block: int) -> None:
    stream = listened(tmp_path, LiveSettings(), block, True, SpeechSource.STREAM, speed=1000.0)
    channel = in_virtual_time(stream)
    assert channel.mixer.counters.late_frames == 0
    assert channel.heard[0][0] <= 0.02 + 0.07 + 1 / FPS, "with its first chunk, and the second one in time"
