"""When a speech may start so that it plays without an underrun: one rule, for whole speeches and arriving ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentsync.contract import CONTRACT
from speech.audio.frames import FPS

# Frames of a generator much slower than real time can't all be held: the speech starts, and stalls on the stream.
_MOST_HELD_S = 30.0
# Where nobody knows how much is still to come, so much is held of a generator that is slower than real time.
_HELD_OF_UNKNOWN_S = 2.0
# Sound that arrives as it is spoken doesn't arrive evenly, and Whisper and a chunk don't always take the same time.
# Where all of the sound comes at once, more is done beside Whisper: it is decoded, and the first frames are encoded.
_JITTER_S = 0.06
# GPUs take the same time again and again: beside them only what the sound was uneven by is spared.
_JITTER_ON_GPU_S, _MOST_JITTER_ON_GPU_S = 0.008, 0.1


def spare_s(on_gpu: bool, uneven_s: float) -> float:
    """Seconds to spare for what doesn't come evenly, where the sound was `uneven_s` late at most until now."""
    return min(_MOST_JITTER_ON_GPU_S, _JITTER_ON_GPU_S + uneven_s) if on_gpu else _JITTER_S


@dataclass(frozen=True)
class Progress:
    """How far the generation of a speech is.

    `buffered` frames are generated, `remaining` are not, up to the end or to where the speech may pause; None while
    both are unknown. `rate` is that of generation, in frames/s. The next chunk has `next_frames`, whose features take
    `features_s`, and comes after `next_chunk_s` where that is later than these predict. `arriving_s` is the time until
    its sound has been spoken, None where it is there. Others' sound that is spoken too may cost `beside_s` before it.
    `spare_s` is kept for what doesn't come evenly. `chunk_s` is what a chunk of so many frames takes, where that is
    known better than by the rate, which is that of chunks of all lengths.
    """

    buffered: int
    remaining: int | None
    rate: float
    next_frames: int = CONTRACT.chunk_frames
    next_chunk_s: float = 0.0
    features_s: float = 0.0
    arriving_s: float | None = None
    beside_s: float = 0.0
    spare_s: float = _JITTER_S
    chunk_s: float | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0 or not math.isfinite(self.rate):
            raise ValueError(f"rate must be a positive number of frames/s, got {self.rate}")


def wait_before_start_s(progress: Progress) -> float:
    """Seconds from now until playback may start and never waits for a frame; 0 when it may start now.

    The next chunk is complete after n = max(next_chunk_s, arriving_s + features_s + next_frames / rate + beside_s);
    chunk_s stands for next_frames / rate if it is given. Chunk j after it, of 16 frames, comes at n + 16 j / rate, and
    its first frame is shown (buffered + next_frames + 16 (j - 1)) / fps after the start. Whichever of the two grows
    faster decides whether the first or the last chunk is the critical one. Without a known end it is the first where
    generation keeps up; where it doesn't, nobody can say, and a fixed time is held.
    """
    buffered, remaining, rate = progress.buffered, progress.remaining, progress.rate
    if (remaining is not None and remaining <= 0) or buffered >= _MOST_HELD_S * FPS:
        return 0.0
    chunk_s = progress.next_frames / rate if progress.chunk_s is None else progress.chunk_s
    work_s = (progress.arriving_s or 0.0) + progress.features_s + chunk_s + progress.beside_s
    next_s = max(progress.next_chunk_s, work_s)
    if progress.arriving_s is not None:
        next_s += progress.spare_s
    elif progress.features_s > 0:
        # With less, on a GPU too, frames were late in two of six such speeches.
        next_s += _JITTER_S + progress.features_s
    critical_s = [next_s - buffered / FPS]
    if remaining is None:
        if rate < FPS:
            critical_s.append(_HELD_OF_UNKNOWN_S - buffered / FPS)
    elif (later := remaining - progress.next_frames) > 0:
        chunk = CONTRACT.chunk_frames
        last = math.ceil(later / chunk)
        for j in (1, last):
            shown_s = (buffered + progress.next_frames + chunk * (j - 1)) / FPS
            critical_s.append(next_s + chunk * j / rate - shown_s)
    return max(0.0, *critical_s)
