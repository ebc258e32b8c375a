"""Live PCM of any rate, turned into frames of both sounds while it arrives."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from speech.log import SoundFrames

LOWEST_RATE_HZ = 8_000
HIGHEST_RATE_HZ = 48_000
MOST_CHANNELS = 2
_HEARD = CONTRACT.samples_per_frame
# Whisper hears by so much later, as much as its filter looks ahead: so a frame is complete with its own last sample.
# Without it each frame would wait for the source's next block, 10 to 20 ms of a microphone.
HEARD_LATER = CONTRACT.sample_rate_hz // 1000
_LOOKS_AHEAD = 16


class Framer:
    """Mixes to mono, resamples to 16 and 48 kHz, and cuts into frames of 40 ms; the size of its blocks changes nothing.

    Sample n of the source is at n / `rate_hz` in both sounds, and 1 ms later in what Whisper hears where that is
    resampled. A frame comes with its last sample at 48 kHz, and within 2 ms at other rates, for which the filter of the
    viewers' sound looks ahead. Raises ValueError for a rate outside 8000 … 48000, and for more than two channels.
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
        self._heard = Track(rate_hz, CONTRACT.sample_rate_hz, HEARD_LATER)
        self._sound = Track(rate_hz, SOUND_RATE_HZ)

    @property
    def looks_ahead(self) -> int:
        """Samples of the source that come behind a frame's last one before the frame does."""
        return 0 if self.rate_hz == SOUND_RATE_HZ else _LOOKS_AHEAD

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

    def __init__(self, rate_hz: int, to_rate_hz: int, later: int = 0) -> None:
        """`later` samples of silence stand before it where it is resampled."""
        # ffmpeg's own filter, by which uploads are heard too. It looks ahead by 16 samples of the lower rate.
        self._resampler = None if rate_hz == to_rate_hz else AudioResampler("s16", "mono", to_rate_hz)
        self._rate_hz = rate_hz
        self._pushed = 0
        self.waiting = 0 if self._resampler is None else later
        self._blocks: list[NDArray[np.int16]] = [np.zeros(self.waiting, np.int16)]

    def push(self, mono: NDArray[np.float32]) -> None:
        """The source's next samples, in the range of int16."""
        if self._resampler is None:
            self._append(np.clip(np.rint(mono), -32768, 32767).astype(np.int16))
        elif len(mono):
            block = AudioFrame.from_ndarray(mono[None] / np.float32(32768), "flt", "mono")
            block.sample_rate, block.pts, block.time_base = self._rate_hz, self._pushed, Fraction(1, self._rate_hz)
            self._pushed += len(mono)
            self._take_in(self._resampler.resample(block))

    def end(self) -> None:
        """Nothing follows: what the resampler still holds comes out."""
        if self._resampler is not None and self._pushed:
            self._take_in(self._resampler.resample(None))

    def take(self, count: int) -> NDArray[np.int16]:
        """The next `count` samples, with silence where there are fewer."""
        joined: NDArray[np.int16] = np.concatenate([*self._blocks, np.zeros(max(0, count - self.waiting), np.int16)])
        self._blocks = [joined[count:]]
        self.waiting = len(joined) - count
        return joined[:count]

    def _take_in(self, resampled: list[AudioFrame]) -> None:
        for block in resampled:
            self._append(block.to_ndarray()[0])

    def _append(self, samples: NDArray[np.int16]) -> None:
        self._blocks.append(samples)
        self.waiting += len(samples)
