"""Files that are no speech, or not quite: seeds of each container, damaged in many ways, and built to deceive."""

import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from speech.audio.decoder import ffmpeg_binary

_TONE = ["-f", "lavfi", "-i", "sine=frequency=300:duration=0.6"]
_SILENCE = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono"]
_SEEDS = {
    "wav": [],
    "mp3": ["-b:a", "32k"],
    "ogg": ["-c:a", "libvorbis"],
    "opus.ogg": ["-c:a", "libopus", "-b:a", "24k", "-f", "ogg"],
    "webm": ["-c:a", "libopus", "-b:a", "24k"],
    "flac": [],
    "m4a": ["-c:a", "aac", "-b:a", "32k"],
    "faststart.m4a": ["-c:a", "aac", "-b:a", "32k", "-movflags", "faststart"],
    "aac": ["-c:a", "aac", "-b:a", "32k", "-f", "adts"],
}
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0")


def audio_seeds(folder: Path) -> dict[str, bytes]:
    """A short tone in each container that is taken."""
    return {name: _made(folder / f"tone.{name}", [*_TONE, *options]) for name, options in _SEEDS.items()}


def video_seeds(folder: Path) -> dict[str, bytes]:
    """A short clip without a face."""
    pictures = ["-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=0.4", "-pix_fmt", "yuv420p"]
    return {name: _made(folder / f"clip.{name}", pictures) for name in ("mp4", "webm", "mkv")}


def deceptions(folder: Path) -> dict[str, bytes]:
    """Playlists as audio, much silence in few bytes, durations that nobody could hold, samples that are no numbers."""
    flac = _made(folder / "hour.flac", [*_SILENCE, "-t", "3600"])
    opus = _made(folder / "minutes.ogg", [*_SILENCE, "-t", "300", "-c:a", "libopus", "-b:a", "500"])
    floats = [float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 5e-324] * 2000
    odd = struct.pack(f"<{len(floats)}f", *floats)
    return {
        "m3u8 of a file": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "m3u8 of an address": b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:1/secret.wav\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "concat of devices": b"ffconcat version 1.0\nfile 'pipe:0'\nfile 'fd:0'\n",
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "dash": b'<?xml version="1.0"?><MPD><Period><BaseURL>file:///etc/passwd</BaseURL></Period></MPD>',
        "ffmetadata": b";FFMETADATA1\ntitle=x\n",
        "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
        "html": b"<html><body>" + b"<p>" * 5000,
        "gzip": b"\x1f\x8b\x08" + b"\0" * 4000,
        "zip": b"PK\x03\x04" + b"\0" * 4000,
        "hour of silence, flac": flac,
        "five minutes of silence, opus": opus,
        "wav of 4 GB": _wav(b"\x10\x20" * 4000, claimed=0xFFFF_FFFF),
        "wav of 2 GB": _wav(b"\x10\x20" * 4000, claimed=0x7FFE_0000),
        "wav without a rate": _wav(b"\x10\x20" * 4000, rate=0),
        "wav of the highest rate": _wav(b"\x10\x20" * 4000, rate=0xFFFF_FFFF),
        "wav of the lowest rate": _wav(b"\x10\x20" * 4000, rate=1),
        "wav of 65535 channels": _wav(b"\x10\x20" * 70_000, channels=0xFFFF),
        "wav without channels": _wav(b"\x10\x20" * 4000, channels=0),
        "wav of a kind that is not": _wav(b"\x10\x20" * 4000, kind=0x1234),
        "wav of NaN and infinity": _wav(odd, kind=3, bits=32),
        "wav of chunks in chunks": b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 20_000,
        "m4a of nested boxes": b"".join(struct.pack(">I4s", 8 * (500 - depth), b"moov") for depth in range(500)),
        "a zero": b"\0",
        "zeros": b"\0" * 100_000,
        "ones": b"\xff" * 100_000,
    }


def damaged(dice: random.Random, seeds: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Without end: the name of a seed, and it damaged in one to three ways."""
    names = list(seeds)
    while True:
        name = dice.choice(names)
        data = bytearray(seeds[name])
        for _ in range(dice.randint(1, 3)):
            _DAMAGES[dice.randrange(len(_DAMAGES))](dice, data, seeds)
        yield name, bytes(data)


def _flip(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    for _ in range(dice.choice((1, 3, 30, 300))):
        if data:
            data[dice.randrange(len(data))] = dice.randrange(256)


def _flip_header(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    for _ in range(dice.randint(1, 8)):
        if data:
            data[dice.randrange(min(len(data), 200))] = dice.randrange(256)


def _extreme_number(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    place = dice.randrange(max(1, min(len(data), dice.choice((64, 400, 1 << 20)))))
    data[place : place + 4] = dice.choice(_EXTREMES)


def _cut_off(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _cut_out(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    start = dice.randrange(len(data) + 1)
    del data[start : start + dice.choice((1, 7, 64, 1000))]


def _repeat(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    start = dice.randrange(len(data) + 1)
    part = bytes(data[start : start + dice.choice((1, 16, 256, 4000))])
    data[start:start] = part * dice.choice((1, 5, 40))
    del data[900_000:]  # as large as an upload may be


def _other_header(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    other, length = seeds[dice.choice(list(seeds))], dice.choice((4, 12, 48, 200))
    data[:length] = other[:length]


def _splice(dice: random.Random, data: bytearray, seeds: dict[str, bytes]) -> None:
    other = seeds[dice.choice(list(seeds))]
    data[dice.randrange(len(data) + 1) :] = other[dice.randrange(len(other)) :]


_DAMAGES: tuple[Callable[[random.Random, bytearray, dict[str, bytes]], None], ...] = (
    _flip, _flip_header, _extreme_number, _cut_off, _cut_out, _repeat, _other_header, _splice,
)  # fmt: skip


def _wav(
    samples: bytes, claimed: int | None = None, rate: int = 16_000, channels: int = 1, kind: int = 1, bits: int = 16
) -> bytes:
    align = max(1, channels * bits // 8) & 0xFFFF
    described = struct.pack("<HHIIHH", kind, channels, rate, (rate * align) & 0xFFFF_FFFF, align, bits)
    size = len(samples) if claimed is None else claimed
    head = b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFF_FFFF) + b"WAVEfmt " + struct.pack("<I", len(described))
    return head + described + b"data" + struct.pack("<I", size) + samples


def _made(path: Path, options: list[str]) -> bytes:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-nostdin", "-y", *options, str(path)], check=True)
    return path.read_bytes()
