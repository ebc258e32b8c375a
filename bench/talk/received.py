"""What a viewer heard: when the answer's sound came and ended, and which of its words were in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.stream.reading import Sound, read_sounds
from bench.stream.receiver import Part
from bench.talk.accounts import words_of
from streaming.config import SAMPLE_RATE_HZ

_STEP = SAMPLE_RATE_HZ // 100
_LOUD = 150.0  # of 32768, root mean square of 10 ms
_HEARD_HZ = 16_000
_LONGEST_S = 28.0  # of what is recognised at once


@dataclass(frozen=True)
class Received:
    """The stream's sound in steps of 10 ms: how loud each is, and when it arrived by the monotonic clock."""

    sounds: tuple[tuple[Sound, NDArray[np.float64]], ...]
    loud_s: NDArray[np.float64]
    """Arrivals of the steps that are loud."""

    @classmethod
    def of(cls, parts: Iterable[Part], ffmpeg: str) -> Received:
        """What is in the received parts."""
        sounds: list[tuple[Sound, NDArray[np.float64]]] = []
        loud: list[NDArray[np.float64]] = []
        for part in parts:
            shown_s, came_s = np.array(part.picture_ms) / 1000, np.array(part.arrived_s)
            # Of a picture that came late the sound did, too: by the stream's time, from the median.
            shift_s = float(np.median(came_s - shown_s))
            for sound in read_sounds(part, ffmpeg):
                steps = len(sound.samples) // _STEP
                arrived = shift_s + sound.start_s + np.arange(steps) * _STEP / SAMPLE_RATE_HZ
                sounds.append((sound, arrived))
                levels = [_level(sound.samples[n * _STEP : (n + 1) * _STEP]) for n in range(steps)]
                loud.append(arrived[np.array(levels, np.float64) > _LOUD])
        return cls(tuple(sounds), np.concatenate(loud) if loud else np.zeros(0))

    def first_loud_s(self, from_s: float, until_s: float) -> float | None:
        """When the first loud sound between two moments arrived."""
        within = self.loud_s[(self.loud_s >= from_s) & (self.loud_s < until_s)]
        return float(within[0]) if len(within) else None

    def last_loud_s(self, from_s: float, until_s: float) -> float | None:
        """When the last loud sound between two moments arrived."""
        within = self.loud_s[(self.loud_s >= from_s) & (self.loud_s < until_s)]
        return float(within[-1]) + _STEP / SAMPLE_RATE_HZ if len(within) else None

    def between(self, from_s: float, until_s: float) -> NDArray[np.int16]:
        """What arrived between two moments, at 16 kHz; at most 28 s."""
        for sound, arrived in self.sounds:
            if len(arrived) and arrived[0] <= from_s < arrived[-1]:
                first = round((from_s - arrived[0]) * SAMPLE_RATE_HZ)
                last = first + round(min(until_s - from_s, _LONGEST_S) * SAMPLE_RATE_HZ)
                piece = np.asarray(sound.samples[first:last], np.float32)
                return np.asarray(np.clip(soxr.resample(piece, SAMPLE_RATE_HZ, _HEARD_HZ), -32768, 32767), np.int16)
        return np.zeros(0, np.int16)


def words_heard(recognised: str, answer: str) -> int:
    """How many words of an answer lie before the last one of it that was recognised."""
    whole, found = words_of(answer).split(), words_of(recognised).split()
    blocks: Sequence[difflib.Match] = difflib.SequenceMatcher(None, whole, found, autojunk=False).get_matching_blocks()
    return max((block.a + block.size for block in blocks if block.size), default=0)


def _level(samples: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
