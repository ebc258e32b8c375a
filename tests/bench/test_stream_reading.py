"""Reading a received part: each sound is heard at the time of its own packet."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.stream.findings import Said, find
from bench.stream.reading import read_part
from bench.stream.receiver import Part
from speech.audio.decoder import ffmpeg_binary
from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from streaming.flv_tags import HEADER, FlvParser, TagKind
from streaming.pattern import sound, stamp

SIZE = (384, 256)


def encoded(folder: Path, ticks: Sequence[int], scale: int = 1) -> bytes:
    """FLV of one encoder that begins with the first of these frames, at its time; `scale` divides its pictures."""
    picture = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    with (folder / "pictures").open("wb") as pictures, (folder / "sound").open("wb") as sounds:
        for tick in ticks:
            stamp(picture, tick)
            pictures.write(picture[..., 0].tobytes())
            sounds.write(sound(bytes(2 * FRAME_SAMPLES), tick))
    video = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS)]
    audio = ["-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    codecs += ["-s", f"{SIZE[0] // scale}x{SIZE[1] // scale}"]
    begin = ["-output_ts_offset", f"{1 + ticks[0] / FPS:.3f}", "-f", "flv", "pipe:1"]
    inputs = [*video, "-i", str(folder / "pictures"), *audio, "-i", str(folder / "sound")]
    return subprocess.run(
        [ffmpeg_binary(), "-v", "error", *inputs, *codecs, *begin], check=True, capture_output=True
    ).stdout


def received(folder: Path, *streams: bytes) -> Part:
    """What a viewer keeps of one encoder after another."""
    part = Part(folder / "part.flv")
    with part.path.open("wb") as file:
        file.write(HEADER)
        for tag in (tag for stream in streams for tag in FlvParser().feed(stream)):
            file.write(tag.data)
            if tag.kind is TagKind.PICTURE and not tag.configuration:
                part.picture_ms.append(tag.time_ms)
                part.arrived_s.append(tag.time_ms / 1000)
            elif tag.kind is TagKind.SOUND and not tag.configuration:
                part.sound_ms.append(tag.time_ms)
    return part


def test_sound_and_picture_stay_together_where_another_encoder_goes_on_less_than_a_packet_later(
    tmp_path: Path,
) -> None:
    part = received(tmp_path, encoded(tmp_path, range(100)), encoded(tmp_path, range(101, 260)))
    steps = np.diff(part.sound_ms)
    assert ((steps > 23) & (steps < 42)).sum() == 1, "one gap, less than two packets wide"
    reading = read_part(part, SIZE, ffmpeg_binary())
    found = find([reading], [Said(1, 0, 1.0, 1, "cancelled")], [], 2)
    assert found.av_offset_ms["count"] == 8
    assert max(abs(found.av_offset_ms["min"]), abs(found.av_offset_ms["max"])) < 1


def test_numbers_are_read_from_a_part_that_begins_with_smaller_pictures(tmp_path: Path) -> None:
    part = received(tmp_path, encoded(tmp_path, range(100, 160), scale=2), encoded(tmp_path, range(160, 200)))
    assert read_part(part, SIZE, ffmpeg_binary()).tick.tolist() == list(range(100, 200))
