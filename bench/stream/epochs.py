"""Parts of several lives of a channel's process on one line of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.stream.reading import PartReading, Sound
from streaming.config import FPS


def in_epochs(parts: Sequence[PartReading], begins: Sequence[bool]) -> list[PartReading]:
    """The parts in one count of frames; where `begins` is true, a new process began to count at zero.

    Its numbers and times are moved behind those before it, by as much time as went by, rounded up to whole seconds:
    flashes and beeps stay at multiples of one.
    """
    found: list[PartReading] = []
    epoch, moved = 0, 0
    for part, begins_anew in zip(parts, begins, strict=True):
        if begins_anew and found:
            before = found[-1]
            went_by = max(1, round(float(part.arrived_s[0] - before.arrived_s[-1]) * FPS))
            behind = int(before.tick[-1]) + went_by - int(part.tick[0])
            epoch, moved = epoch + 1, -(-behind // FPS) * FPS
        found.append(_moved(part, epoch, moved))
    return found


def _moved(part: PartReading, epoch: int, frames: int) -> PartReading:
    seconds = frames / FPS
    return replace(
        part,
        epoch=epoch,
        tick=part.tick + frames,
        time_s=part.time_s + seconds,
        sound_ms=part.sound_ms + round(1000 * seconds),
        beeps_s=part.beeps_s + seconds,
        sounds=tuple(Sound(sound.start_s + seconds, sound.samples) for sound in part.sounds),
    )
