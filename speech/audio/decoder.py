"""Decoding of uploads by an ffmpeg child process: any accepted container in, frames of PCM out."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from processes.confinement import Confinement
from speech.audio.child import Child
from speech.audio.errors import DecodeTimeout, EmptyAudio, SilentAudio, TooLong, TruncatedAudio
from speech.audio.ffmpeg_log import announced_duration_s, failure
from speech.audio.sample_bytes import SampleBytes
from speech.audio.wav_header import missing_share
from speech.log import SoundFrames

T = TypeVar("T")

SAMPLE_RATE_HZ = CONTRACT.sample_rate_hz

# Demuxers that read only the given file: no playlists, no concat scripts, no devices, no image sequences.
FORMATS = "wav,mp3,mov,ogg,flac,matroska,aac"
_PROTOCOLS = "file,pipe"
_ONE_SOUND = ("-map", "0:a:0", "-vn", "-sn", "-dn", "-ac", "1")
MEMORY_BYTES = 1 << 30
# A header may round up to the next packet; if more than this is missing, the file was cut off.
_MISSING_S = 0.5


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of an upload: seconds of audio, seconds of decoding, and the peak (of 1.0) below which it is silent."""

    max_duration_s: float = 600.0
    timeout_s: float = 30.0
    silence_peak: float = 1e-3


@cache
def ffmpeg_binary() -> str:
    """Path of the ffmpeg to use: the one on PATH, or the static build of imageio-ffmpeg.

    Raises `RuntimeError` from imageio-ffmpeg where neither exists.
    """
    on_path = shutil.which("ffmpeg")
    if on_path is not None:
        return on_path
    import imageio_ffmpeg  # imported only here: a machine with its own ffmpeg need not load it

    return str(imageio_ffmpeg.get_ffmpeg_exe())


async def decode(path: Path, limits: DecodeLimits | None = None) -> AsyncGenerator[SoundFrames, None]:
    """Decode an audio file to whole frames of mono PCM as they come, the last one filled up with zeros.

    Close it (`aclosing`): the child process has ended then, also when it was cancelled. It never runs further ahead
    than its pipes hold. Raises an `AudioError`: `NotAudio`, `EmptyAudio` and `DecodeTimeout` before or after the first
    frames, `TooLong` after at most `limits.max_duration_s`, `SilentAudio` and `TruncatedAudio` after the last one.
    """
    limits = limits or DecodeLimits()
    missing = await asyncio.to_thread(_missing_share, path)
    deadline = asyncio.get_running_loop().time() + limits.timeout_s
    heard, sound = SampleBytes(CONTRACT.samples_per_frame), SampleBytes(SOUND_FRAME_SAMPLES)
    confinement = Confinement(MEMORY_BYTES, math.ceil(limits.timeout_s))
    async with Child.started(partial(_command, path), confinement) as child:
        while await _until(deadline, child.read_into(heard.add, sound.add), limits):
            if heard.count > limits.max_duration_s * SAMPLE_RATE_HZ:
                raise TooLong(f"The audio is longer than {limits.max_duration_s:g} s. Send it in shorter parts.")
            if count := min(heard.whole_frames, sound.whole_frames):
                yield SoundFrames(heard.take(count), sound.take(count))
        log = await _until(deadline, child.log_of_the_whole(), limits)
    # Both resamplers end within a few samples of each other: what Whisper hears decides how long the speech is.
    if count := heard.fill_up():
        sound.fit(count)
        yield SoundFrames(heard.take(count), sound.take(count))
    _check(heard, log, missing, limits)


async def decode_heard(path: Path, limits: DecodeLimits | None = None) -> NDArray[np.float32]:
    """What Whisper hears of an audio file: float32 [samples] in [-1, 1) at 16 kHz, filled up to a whole frame.

    Raises what `decode` does.
    """
    async with aclosing(decode(path, limits)) as blocks:
        heard = [block.heard async for block in blocks]
    return np.concatenate(heard).reshape(-1).astype(np.float32) / np.float32(32768)


async def _until(deadline: float, work: Awaitable[T], limits: DecodeLimits) -> T:
    # Around each wait and not around the whole: a limit must not end what its caller does between two frames.
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise DecodeTimeout(
            f"Decoding took longer than {limits.timeout_s:g} s. Send the speech as a plain wav file."
        ) from None


def _missing_share(path: Path) -> float:
    if path.stat().st_size == 0:
        raise EmptyAudio("The uploaded file is empty. Send a file with speech in it.")
    return missing_share(path)


def outputs(heard: int, sound: int, *options: str) -> list[str]:
    """ffmpeg's arguments for writing both rates to these file descriptors."""
    return [
        word
        for rate_hz, file in ((SAMPLE_RATE_HZ, heard), (SOUND_RATE_HZ, sound))
        for word in (*_ONE_SOUND, "-ar", str(rate_hz), *options, "-f", "s16le", f"pipe:{file}")
    ]


def _command(path: Path, heard: int, sound: int) -> list[str]:
    """ffmpeg that writes what Whisper hears and what viewers hear to two file descriptors."""
    options = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "info", "-threads", "1"]
    allowed = ["-protocol_whitelist", _PROTOCOLS, "-format_whitelist", FORMATS]
    # With an explicit protocol, no file name can be taken for another one.
    return [ffmpeg_binary(), *options, *allowed, "-i", f"file:{path}", *outputs(heard, sound)]


def _check(heard: SampleBytes, log: str, missing: float, limits: DecodeLimits) -> None:
    announced_s = announced_duration_s(log)
    if not heard.count:
        if announced_s == 0 or "Output #0" in log:
            raise EmptyAudio("The audio lasts zero seconds. Send a file with speech in it.")
        raise failure(log)
    duration_s = heard.count / SAMPLE_RATE_HZ
    if missing > 0:
        announced_s = duration_s / (1 - missing)
    # A length beyond the limit is the placeholder of a streaming recorder.
    if announced_s is not None and duration_s + _MISSING_S < announced_s <= limits.max_duration_s:
        raise TruncatedAudio(
            f"The file announces {announced_s:.1f} s and holds {duration_s:.1f} s. Send it again, whole."
        )
    if heard.peak / 32768 < limits.silence_peak:
        raise SilentAudio("The audio is silent. Check the microphone, and send speech.")
