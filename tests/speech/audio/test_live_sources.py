"""Sound that arrives block by block becomes frames at once: PCM cut anywhere, and what browsers record."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from speech.audio.decoder import decode
from speech.audio.errors import AudioError, CutSample, EmptyAudio, NotAudio, TruncatedAudio
from speech.audio.live_container import ContainerSource
from speech.audio.live_pcm import PcmSource
from speech.audio.live_source import LiveSource
from speech.audio.resampling import Framer
from speech.log import SoundFrames
from tests.support.audio_files import children, convert, tone, write_wav


async def in_blocks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for first in range(0, len(data), size):
        yield data[first : first + size]


async def heard_from(source: LiveSource, data: bytes, size: int = 1000) -> tuple[SoundFrames, AudioError | None]:
    """All frames, and the error after them."""
    parts, fault = [], None
    async with aclosing(source.frames(in_blocks(data, size))) as frames:
        try:
            parts = [part async for part in frames]
        except AudioError as error:
            fault = error
    if not parts:
        return SoundFrames(np.zeros((0, 640), np.int16), np.zeros((0, 1920), np.int16)), fault
    return SoundFrames(np.concatenate([each.heard for each in parts]), np.concatenate([p.sound for p in parts])), fault


@pytest.mark.parametrize("size", [1, 7, 4_096, 1_000_000])
@pytest.mark.parametrize("big_endian", [False, True])
async def test_pcm_is_the_same_wherever_its_messages_are_cut(size: int, big_endian: bool) -> None:
    samples = np.random.default_rng(2).integers(-9_000, 9_000, (12_000, 2)).astype(np.int16)
    framer = Framer(24_000, 2)
    first, last = framer.push(samples), framer.finish()
    source = PcmSource(24_000, 2, big_endian)
    frames, fault = await heard_from(source, samples.astype(">i2" if big_endian else "<i2").tobytes(), size)
    assert fault is None and source.samples == 12_000
    assert np.array_equal(frames.sound, np.concatenate([first.sound, last.sound]))
    assert np.array_equal(frames.heard, np.concatenate([first.heard, last.heard]))


async def test_pcm_that_ends_within_a_sample_is_a_fault_after_all_that_is_whole() -> None:
    parts, source = [], PcmSource(48_000, 1)
    with pytest.raises(CutSample, match="1 bytes of a sample of 2"):
        async for part in source.frames(in_blocks(bytes(2 * 1920 * 3) + b"\x01", 100)):
            parts.append(part)
    assert sum(map(len, parts)) == 3


async def test_long_message_comes_in_short_pieces() -> None:
    lengths = [len(part) async for part in PcmSource(8_000, 1).frames(in_blocks(bytes(16_000 * 60), 960_000))]
    assert sum(lengths) == 60 * 25 and max(lengths) <= 8


CONTAINERS = [
    ("webm", "matroska", ("-c:a", "libopus")),
    ("ogg", "ogg", ("-c:a", "libopus")),
    ("wav", None, ()),
    ("flac", None, ()),
]


@pytest.mark.parametrize(("suffix", "demuxer", "options"), CONTAINERS)
async def test_container_that_arrives_is_to_the_bit_what_its_file_is(
    tmp_path: Path, suffix: str, demuxer: str | None, options: tuple[str, ...]
) -> None:
    noise = np.random.default_rng(0).normal(0, 4000, (44_100 * 3 + 123, 2))
    path = convert(write_wav(tmp_path / "a.wav", noise, 44_100, channels=2), tmp_path / f"b.{suffix}", *options)
    whole = [part async for part in decode(path)]
    source = ContainerSource(60, demuxer)
    frames, fault = await heard_from(source, path.read_bytes())
    assert fault is None
    assert np.array_equal(frames.heard, np.concatenate([part.heard for part in whole]))
    assert np.array_equal(frames.sound, np.concatenate([part.sound for part in whole]))
    assert 0 <= len(frames) * 1920 - source.samples < 1920
    assert not children()


@pytest.mark.parametrize(("suffix", "demuxer"), [("webm", "matroska"), ("ogg", "ogg")])
async def test_frames_come_while_the_rest_is_not_sent_yet(tmp_path: Path, suffix: str, demuxer: str) -> None:
    path = convert(write_wav(tmp_path / "a.wav", tone(4.0, 48_000), 48_000), tmp_path / f"b.{suffix}",
                   "-c:a", "libopus", "-cluster_time_limit" if suffix == "webm" else "-page_duration",
                   "100" if suffix == "webm" else "100000")  # fmt: skip
    data, never = path.read_bytes(), asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await never.wait()

    received = 0
    async with aclosing(ContainerSource(60, demuxer).frames(half())) as frames:
        async for part in frames:
            received += len(part)
            if received >= 35:
                break
    assert not children(), "the child has ended with its reader"


async def test_child_is_confined(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def nothing() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    async with aclosing(ContainerSource(600, "ogg").frames(nothing())) as frames:
        waiting = asyncio.create_task(anext(frames))
        while not (pids := children()):
            await asyncio.sleep(0.01)
        while resource.prlimit(pids[0], resource.RLIMIT_AS) != (1 << 30, 1 << 30):  # its parent sets it, in a moment
            await asyncio.sleep(0.01)
        assert resource.prlimit(pids[0], resource.RLIMIT_CPU) == (90, 90)
        assert resource.prlimit(pids[0], resource.RLIMIT_FSIZE) == (0, 0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert not children()


@pytest.mark.parametrize("demuxer", [None, "matroska", "ogg"])
async def test_what_is_no_container_is_refused_with_all_that_follows(demuxer: str | None) -> None:
    frames, fault = await heard_from(ContainerSource(60, demuxer), b"no audio at all " * 100_000)
    assert isinstance(fault, (NotAudio, TruncatedAudio)) and len(frames) == 0


async def test_nothing_is_refused() -> None:
    frames, fault = await heard_from(ContainerSource(60, "ogg"), b"")
    assert isinstance(fault, (NotAudio, TruncatedAudio, EmptyAudio)) and len(frames) == 0


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n", "v=0\no=- 0 0 IN IP4 127.0.0.1\n"],
)
async def test_playlist_opens_nothing(text: str) -> None:
    frames, fault = await heard_from(ContainerSource(60), text.encode())
    assert isinstance(fault, (NotAudio, TruncatedAudio)) and len(frames) == 0
