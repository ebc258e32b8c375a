"""The formats that OpenAI's `/v1/audio/speech` answers in, encoded while the speech is synthesised."""

from __future__ import annotations

import struct
from enum import StrEnum
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from latentsync.sound import SOUND_RATE_HZ

RATE_HZ = 24_000
"""The rate of OpenAI's speech; of `pcm` its clients know it beforehand."""
_UNKNOWN_SIZE = 0xFFFF_FFFF  # what programs that can't seek back write, and readers take for "to the end"


class SpeechFormat(StrEnum):
    """A value of `response_format`."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


MEDIA = {
    SpeechFormat.MP3: "audio/mpeg",
    SpeechFormat.OPUS: "audio/ogg",
    SpeechFormat.AAC: "audio/aac",
    SpeechFormat.FLAC: "audio/flac",
    SpeechFormat.WAV: "audio/wav",
    SpeechFormat.PCM: "audio/pcm",
}
_MUXED = {
    SpeechFormat.MP3: ("mp3", "libmp3lame"),
    SpeechFormat.OPUS: ("ogg", "libopus"),
    SpeechFormat.AAC: ("adts", "aac"),
    SpeechFormat.FLAC: ("flac", "flac"),
}


class _Encoder(Protocol):
    def push(self, samples: NDArray[np.int16]) -> bytes: ...

    def finish(self) -> bytes: ...


class EncodedSpeech:
    """Takes the sound of a speech's log, int16 at 48 kHz, and gives the bytes of a file at 24 kHz as they are ready."""

    def __init__(self, wanted: SpeechFormat) -> None:
        self._resampler = soxr.ResampleStream(SOUND_RATE_HZ, RATE_HZ, 1, dtype="int16")
        muxed = _MUXED.get(wanted)
        self._encoder: _Encoder = _Raw(wanted is SpeechFormat.WAV) if muxed is None else _Muxed(*muxed)

    def push(self, sound: NDArray[np.int16]) -> bytes:
        """What can be sent now; may be empty."""
        return self._encoder.push(self._resampler.resample_chunk(sound))

    def finish(self) -> bytes:
        """The rest of the file."""
        last = self._encoder.push(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True))
        return last + self._encoder.finish()


class _Raw:
    """Samples as they are, behind a header where it is a wav."""

    def __init__(self, wav: bool) -> None:
        self._header = b""
        if wav:
            sizes = (16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
            self._header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", _UNKNOWN_SIZE, b"WAVE", b"fmt ", *sizes)
            self._header += struct.pack("<4sI", b"data", _UNKNOWN_SIZE)

    def push(self, samples: NDArray[np.int16]) -> bytes:
        header, self._header = self._header, b""
        return header + samples.astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class _Muxed:
    def __init__(self, container: str, codec: str) -> None:
        self._file = _Pipe()
        self._output = av.open(self._file, "w", format=container)
        stream = self._output.add_stream(codec, rate=RATE_HZ, layout="mono")
        assert isinstance(stream, AudioStream)
        self._stream = stream
        self._sent = 0

    def push(self, samples: NDArray[np.int16]) -> bytes:
        if len(samples):
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._sent, Fraction(1, RATE_HZ)
            self._sent += len(samples)
            self._output.mux(self._stream.encode(frame))
        return self._file.taken()

    def finish(self) -> bytes:
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._file.taken()


class _Pipe:
    """A file that can't seek, as a response can't."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        data, self._written = bytes(self._written), bytearray()
        return data
