"""A received part decoded: what each picture shows, when each beep sounds, and how loud the sound is."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stream.face_code import FacePlace, read_faces
from bench.stream.receiver import Part
from streaming.config import SAMPLE_RATE_HZ
from streaming.pattern import read_stamp

_AAC_SAMPLES = 1024
_PACKET_MS = 1000 * _AAC_SAMPLES / SAMPLE_RATE_HZ
_ROUNDING_MS = 1.0  # two times of whole milliseconds
_BATCH = 32
_BEEP_LEVEL = 6000
_BEEPS_APART_S = 0.25


class UnreadablePart(RuntimeError):
    """A part can't be decoded as it was received; the message says how far it went."""


@dataclass(frozen=True)
class Sound:
    """Samples int16 without a gap, from `start_s` of the stream on; they may lie in a file."""

    start_s: float
    samples: NDArray[np.int16]

    def between(self, start_s: float, end_s: float) -> NDArray[np.float32] | None:
        """The samples between two times; None where they are not all there."""
        first, last = round((start_s - self.start_s) * SAMPLE_RATE_HZ), round((end_s - self.start_s) * SAMPLE_RATE_HZ)
        if first < 0 or last > len(self.samples):
            return None
        return self.samples[first:last].astype(np.float32)


@dataclass(frozen=True)
class PartReading:
    """One part: for each picture its number, time, arrival, flash, and the face's contrast and numbers.

    `epoch` counts the processes that the channel had before, each of which numbers its frames from zero.
    """

    tick: NDArray[np.int64]
    time_s: NDArray[np.float64]
    arrived_s: NDArray[np.float64]
    flash: NDArray[np.bool_]
    contrast: NDArray[np.float32]
    speech: NDArray[np.int64]
    frame: NDArray[np.int64]
    valid: NDArray[np.bool_]
    sound_ms: NDArray[np.int64]
    beeps_s: NDArray[np.float64]
    sounds: tuple[Sound, ...]
    epoch: int = 0


def read_part(part: Part, size: tuple[int, int], ffmpeg: str) -> PartReading:
    """Decodes a part whose pictures have `size` (width, height); raises UnreadablePart."""
    width, height = size
    place = FacePlace.within(width, height)
    ticks, flashes, faces = [], [], []
    command = [ffmpeg, "-v", "error", "-nostdin", "-threads", "1", "-i", str(part.path), "-map", "0:v"]
    # A channel whose encoder can't keep up sends smaller pictures, and a part may begin with them.
    command += ["-fps_mode", "passthrough", "-s", f"{width}x{height}", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while data := process.stdout.read(_BATCH * width * height):
            luma = np.frombuffer(data, np.uint8).reshape(-1, height, width)
            stamps = [read_stamp(picture) for picture in luma]
            ticks += [stamp[0] for stamp in stamps]
            flashes += [stamp[1] for stamp in stamps]
            faces.append(read_faces(luma, place))
    if len(ticks) != len(part.picture_ms):
        raise UnreadablePart(f"{part.path.name}: {len(part.picture_ms)} pictures came and {len(ticks)} can be decoded")
    sounds = read_sounds(part, ffmpeg)
    return PartReading(
        tick=np.array(ticks),
        time_s=np.array(part.picture_ms) / 1000,
        arrived_s=np.array(part.arrived_s),
        flash=np.array(flashes),
        contrast=np.concatenate([codes.contrast for codes in faces]),
        speech=np.concatenate([codes.speech for codes in faces]),
        frame=np.concatenate([codes.frame for codes in faces]),
        valid=np.concatenate([codes.valid for codes in faces]),
        sound_ms=np.array(part.sound_ms),
        beeps_s=np.concatenate([_beeps(sound) for sound in sounds] or [np.zeros(0)]),
        sounds=sounds,
    )


def read_sounds(part: Part, ffmpeg: str) -> tuple[Sound, ...]:
    """The sound of a part, mono, cut where its timestamps have a gap."""
    # Into a file: the sound of hours would fill the memory.
    path = part.path.with_suffix(".pcm")
    command = [ffmpeg, "-v", "error", "-nostdin", "-i", str(part.path), "-map", "0:a", "-ac", "1", "-f", "s16le"]
    subprocess.run([*command, str(path)], check=True)
    samples = np.memmap(path, np.int16, mode="r") if path.stat().st_size else np.zeros(0, np.int16)
    times = np.array(part.sound_ms)
    # A decoder that begins in the middle of a stream may swallow its first packets.
    times = times[len(times) - len(samples) // _AAC_SAMPLES :]
    # Another encoder's packets lie at other times, less than a packet apart too: joined, both would be heard elsewhere
    # than a player plays them.
    breaks = np.flatnonzero(np.abs(np.diff(times) - _PACKET_MS) > _ROUNDING_MS) + 1
    found = []
    for first, last in zip([0, *breaks], [*breaks, len(times)], strict=True):
        if last > first:
            # Times are whole milliseconds: their mean error is nothing, that of one is up to half a millisecond.
            start = float(np.mean(times[first:last] / 1000 - np.arange(last - first) * _AAC_SAMPLES / SAMPLE_RATE_HZ))
            found.append(Sound(start, samples[first * _AAC_SAMPLES : last * _AAC_SAMPLES]))
    return tuple(found)


def _beeps(sound: Sound) -> NDArray[np.float64]:
    loud = np.flatnonzero((sound.samples > _BEEP_LEVEL) | (sound.samples < -_BEEP_LEVEL))
    if not len(loud):
        return np.zeros(0)
    starts = loud[np.r_[True, np.diff(loud) > _BEEPS_APART_S * SAMPLE_RATE_HZ]]
    return np.asarray(sound.start_s + starts / SAMPLE_RATE_HZ)
