"""Decoding of uploads by an ffmpeg child process: any accepted container in, PCM out."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from processes.confinement import Confinement
from speech.audio.errors import DecodeTimeout, EmptyAudio, SilentAudio, TooLong, TruncatedAudio
from speech.audio.ffmpeg_log import announced_duration_s, failure
from speech.audio.wav_header import missing_share

SAMPLE_RATE_HZ = CONTRACT.sample_rate_hz

# Demuxers that read only the given file: no playlists, no concat scripts, no devices, no image sequences.
_FORMATS = "wav,mp3,mov,ogg,flac,matroska,aac"
_PROTOCOLS = "file,pipe"
_BYTES_PER_SAMPLE = 2
_MEMORY_BYTES = 1 << 30
_READ_BYTES = 1 << 16
_LOG_BYTES = 1 << 16
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


async def decode_upload(path: Path, limits: DecodeLimits | None = None) -> NDArray[np.float32]:
    """Decode an audio file to mono PCM at 16 kHz, float32 in [-1, 1), shape [samples].

    At most `limits.max_duration_s` are decoded or held. Cancellable; the child process has ended on return.
    Raises an `AudioError`: `NotAudio`, `EmptyAudio`, `SilentAudio`, `TruncatedAudio`, `TooLong`, `DecodeTimeout`.
    """
    limits = limits or DecodeLimits()
    missing = await asyncio.to_thread(_missing_share, path)
    process = await asyncio.create_subprocess_exec(*_command(path), stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    Confinement(_MEMORY_BYTES, math.ceil(limits.timeout_s)).apply(process.pid)
    try:
        raw, log = await asyncio.wait_for(_read(process, limits), limits.timeout_s)
    except TimeoutError:
        raise DecodeTimeout(
            f"Decoding took longer than {limits.timeout_s:g} s. Send the speech as a plain wav file."
        ) from None
    finally:
        await _end(process)
    return _checked(raw, log, missing, limits)


def _missing_share(path: Path) -> float:
    if path.stat().st_size == 0:
        raise EmptyAudio("The uploaded file is empty. Send a file with speech in it.")
    return missing_share(path)


def _command(path: Path) -> list[str]:
    options = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "info", "-threads", "1"]
    allowed = ["-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _FORMATS]
    output = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "s16le", "pipe:1"]
    # With an explicit protocol, no file name can be taken for another one.
    return [ffmpeg_binary(), *options, *allowed, "-i", f"file:{path}", *output]


async def _read(process: Process, limits: DecodeLimits) -> tuple[bytes, str]:
    assert process.stdout is not None and process.stderr is not None
    log = asyncio.create_task(_first_bytes(process.stderr))
    try:
        max_bytes = round(limits.max_duration_s * SAMPLE_RATE_HZ) * _BYTES_PER_SAMPLE
        pcm = bytearray()
        while block := await process.stdout.read(_READ_BYTES):
            pcm += block
            if len(pcm) > max_bytes:
                raise TooLong(f"The audio is longer than {limits.max_duration_s:g} s. Send it in shorter parts.")
        messages = (await log).decode(errors="replace")
        # Awaited, not killed: kill() polls the child, which would take the exit status from asyncio's watcher.
        await process.wait()
        return bytes(pcm), messages
    finally:
        log.cancel()
        await asyncio.gather(log, return_exceptions=True)


async def _first_bytes(stream: asyncio.StreamReader) -> bytes:
    """The beginning of the log; the rest is read and dropped, so that ffmpeg never blocks on a full pipe."""
    kept = bytearray()
    while block := await stream.read(_READ_BYTES):
        kept += block[: _LOG_BYTES - len(kept)]
    return bytes(kept)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may exit between the two lines
            process.kill()
    # asyncio reports the exit only after both pipes are at their end, so they must be read.
    await asyncio.gather(_drained(process.stdout), _drained(process.stderr), process.wait())


async def _drained(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_READ_BYTES):
        pass


def _checked(raw: bytes, log: str, missing: float, limits: DecodeLimits) -> NDArray[np.float32]:
    samples = np.frombuffer(raw, dtype="<i2")
    announced_s = announced_duration_s(log)
    if not len(samples):
        if announced_s == 0 or "Output #0" in log:
            raise EmptyAudio("The audio lasts zero seconds. Send a file with speech in it.")
        raise failure(log)
    duration_s = len(samples) / SAMPLE_RATE_HZ
    if missing > 0:
        announced_s = duration_s / (1 - missing)
    # A length beyond the limit is the placeholder of a streaming recorder.
    if announced_s is not None and duration_s + _MISSING_S < announced_s <= limits.max_duration_s:
        raise TruncatedAudio(
            f"The file announces {announced_s:.1f} s and holds {duration_s:.1f} s. Send it again, whole."
        )
    pcm = samples.astype(np.float32) / np.float32(32768)
    if float(np.abs(pcm).max()) < limits.silence_peak:
        raise SilentAudio("The audio is silent. Check the microphone, and send speech.")
    return pcm
