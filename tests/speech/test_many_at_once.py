"""Channels that begin to speak at the same moment share the GPUs, and none of them stalls once it has begun.

Speech makers, generation, urgency and mixer are the product's; the GPUs take a measured H200's times, in virtual time.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.virtual_loop import in_virtual_time
from inference.capacity import Capacity
from speech.log import LogEnd, SpeechLog
from speech.source import SpeechSource
from speech.urgency import UrgentFirst
from tests.support.mixed_channel import FPS, MixedChannel, QuickLog, SpokenLog, speech_maker
from tests.support.timed_gpus import BATCH, STEPS, Gpus

SPEECH_S, WATCHED_S = 5, 14


def speech(folder: Path, arrives_in_s: float) -> SpeechLog:
    path = folder / "speech"
    path.write_bytes(bytes(SPEECH_S * FPS * 2 * (640 + 1920)))
    if not arrives_in_s:
        return QuickLog(path, LogEnd())
    log = SpokenLog(path, LogEnd())
    log.speed = SPEECH_S / arrives_in_s
    return log


async def watched(
    folder: Path,
    gpus: int,
    channels: int,
    first_speeches_at: Iterable[float],
    source: SpeechSource = SpeechSource.UPLOAD,
    arrives_in_s: float = 0.0,
) -> list[MixedChannel]:
    """The channels after a while, each of which says one speech after another from its moment on."""
    models = Gpus(gpus)
    capacity = Capacity(gpus, BATCH)
    urgent = UrgentFirst(1)
    urgent.resize(2 * capacity.chunks + 1, capacity)  # as the orchestrator does
    everyone = [MixedChannel() for _ in range(channels)]

    async def speak(channel: Any, begins_at: float) -> None:
        maker = speech_maker(models, urgent)
        await asyncio.sleep(begins_at)
        for number in range(100):
            task: Any = SimpleNamespace(id=str(number), seed=1, steps=STEPS, guidance=1.0, source=source)
            await maker.say(task, speech(folder, arrives_in_s), channel)

    speakers = [asyncio.create_task(speak(*each)) for each in zip(everyone, first_speeches_at, strict=True)]
    await asyncio.gather(*(channel.play(WATCHED_S) for channel in everyone))
    for speaker in speakers:
        speaker.cancel()
        with suppress(asyncio.CancelledError):
            await speaker
    return everyone


@pytest.mark.parametrize(("gpus", "channels"), [(1, 1), (1, 2), (1, 4), (2, 9), (4, 18), (8, 36)])
@pytest.mark.parametrize("apart_s", [0.0, 0.01, 0.15])
def test_who_begins_at_once_begins_later_and_never_stalls(
    tmp_path: Path, gpus: int, channels: int, apart_s: float
) -> None:
    found = in_virtual_time(watched(tmp_path, gpus, channels, [apart_s * number for number in range(channels)]))
    assert sum(channel.mixer.counters.late_frames for channel in found) == 0
    spoken_s = [channel.spoken / FPS for channel in found]
    assert min(spoken_s) > WATCHED_S - 6 - apart_s * channels, "all of them have begun in good time"


def test_who_speaks_alone_begins_with_its_first_chunk(tmp_path: Path) -> None:
    (alone,) = in_virtual_time(watched(tmp_path, 1, 1, [0.0]))
    # Lead of 0.2 s, and not a frame more: the first chunk takes 0.14 s.
    assert alone.spoken >= FPS * (WATCHED_S - 0.2) - 3


def test_socket_whose_sound_is_there_at_once_begins_with_its_first_chunk_too(tmp_path: Path) -> None:
    # Its second chunk has 8 frames and those behind it 16: it shares no batch with them, and isn't waited for as if.
    (alone,) = in_virtual_time(watched(tmp_path, 1, 1, [0.0], SpeechSource.STREAM, arrives_in_s=0.045))
    assert alone.mixer.counters.late_frames == 0
    assert alone.heard[0][0] <= 0.2 + 2 / FPS, "the lead, and no more"
    assert alone.spoken >= FPS * (WATCHED_S - 0.2) - 5
