"""Live PCM of any rate, turned into frames of both sounds while it arrives."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from speech.log import SoundFrames

LOWEST_RATE_HZ = 8_000
HIGHEST_RATE_HZ = 48_000
MOST_CHANNELS = 2
_HEARD = CONTRACT.samples_per_frame


class Framer:
    """Mixes to mono, resamples to 16 and 48 kHz, and cuts into frames of 40 ms; the size of its blocks changes nothing.

    Sample n of the source is at n / `rate_hz` in both sounds. They lag behind the source by 5 to 15 ms, by 30 ms at
    8 kHz. Raises ValueError for a rate outside 8000 … 48000, and for more than two channels.
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise ValueError(f"the rate is {rate_hz} Hz and must be from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}")
        if not 1 <= channels <= MOST_CHANNELS:
            raise ValueError(f"there are {channels} channels and must be 1 or {MOST_CHANNELS}")
        self.rate_hz = rate_hz
        self.channels = channels
        self._received = 0
        self._framed = 0
        self._heard = Track(rate_hz, CONTRACT.sample_rate_hz)
        self._sound = Track(rate_hz, SOUND_RATE_HZ)

    @property
    def received(self) -> int:
        """Samples of each channel that were pushed."""
        return self._received

    def push(self, samples: NDArray[np.int16]) -> SoundFrames:
        """The frames that are complete now; `samples` is int16 [n, channels], raises ValueError for another shape."""
        if samples.ndim != 2 or samples.shape[1] != self.channels:
            raise ValueError(f"expected samples of the shape [n, {self.channels}], got {samples.shape}")
        self._received += len(samples)
        mono = samples.astype(np.float32).mean(axis=1, dtype=np.float32)
        self._heard.push(mono)
        self._sound.push(mono)
        return self._frames(min(self._heard.waiting // _HEARD, self._sound.waiting // SOUND_FRAME_SAMPLES))

    def finish(self) -> SoundFrames:
        """The last frames, padded with silence; as many as the source's samples fill or begin. Nothing may follow."""
        self._heard.end()
        self._sound.end()
        return self._frames(-(-self._received * CONTRACT.frames_per_second // self.rate_hz) - self._framed)

    def _frames(self, count: int) -> SoundFrames:
        self._framed += count
        heard, sound = self._heard.take(count * _HEARD), self._sound.take(count * SOUND_FRAME_SAMPLES)
        return SoundFrames(heard.reshape(count, _HEARD), sound.reshape(count, SOUND_FRAME_SAMPLES))


class Track:
    """A mono source at one other rate, as far as it was resampled and not taken; `waiting` samples are."""

    def __init__(self, rate_hz: int, to_rate_hz: int) -> None:
        # soxr's filters for variable rates: flat to 0.9 of the band with -112 dB beyond it, as HQ's, and with 10 to
        # 15 ms of delay where those, which work on long blocks, add 37 to 175 ms. Their output is aligned to 0.12 ms.
        self._resampler = None if rate_hz == to_rate_hz else soxr.ResampleStream(rate_hz, to_rate_hz, 1, vr=True)
        self._blocks: list[NDArray[np.int16]] = []
        self.waiting = 0

    def push(self, mono: NDArray[np.float32]) -> None:
        """The source's next samples, in the range of int16."""
        self._append(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def end(self) -> None:
        """Nothing follows: what the resampler still holds comes out."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def take(self, count: int) -> NDArray[np.int16]:
        """The next `count` samples, with silence where there are fewer."""
        joined: NDArray[np.int16] = np.concatenate([*self._blocks, np.zeros(max(0, count - self.waiting), np.int16)])
        self._blocks = [joined[count:]]
        self.waiting = len(joined) - count
        return joined[:count]

    def _append(self, samples: NDArray[np.float32]) -> None:
        # Rounded here: soxr itself would add dither.
        self._blocks.append(np.clip(np.rint(samples), -32768, 32767).astype(np.int16))
        self.waiting += len(samples)
