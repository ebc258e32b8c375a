"""An upload is decoded to frames as they come: for Whisper at 16 kHz, and for viewers at 48 kHz."""

import asyncio
import subprocess
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.decoder import DecodeLimits, decode, ffmpeg_binary
from speech.audio.errors import SilentAudio, TooLong, TruncatedAudio
from speech.log import SoundFrames
from tests.support.audio_files import children, convert, tone, write_wav

Samples = NDArray[np.int16]


def alone(path: Path, rate_hz: int) -> Samples:
    """What ffmpeg gives with one output, in the words that were used before there were two."""
    output = f"-map 0:a:0 -vn -sn -dn -ac 1 -ar {rate_hz} -f s16le pipe:1".split()
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-i", f"file:{path}", *output]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2")


async def both_sounds(path: Path) -> tuple[Samples, Samples]:
    blocks = [block async for block in decode(path)]
    heard, sound = ([getattr(block, name) for block in blocks] for name in ("heard", "sound"))
    return np.concatenate(heard).reshape(-1), np.concatenate(sound).reshape(-1)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("wav", ()), ("mp3", ()), ("m4a", ("-c:a", "aac")), ("webm", ("-c:a", "libopus"))],
)
async def test_both_sounds_are_to_the_bit_what_ffmpeg_gives_alone(
    tmp_path: Path, suffix: str, options: tuple[str, ...]
) -> None:
    noise = np.random.default_rng(0).normal(0, 4000, (44_100 * 3 + 123, 2))
    stereo = write_wav(tmp_path / "stereo.wav", noise, 44_100, channels=2)
    path = convert(stereo, tmp_path / f"upload.{suffix}", *options)
    heard, sound = await both_sounds(path)
    for samples, rate_hz in ((heard, 16_000), (sound, 48_000)):
        expected = alone(path, rate_hz)
        assert 0 <= len(samples) - len(expected) < rate_hz // 25, "whole frames, and none too many"
        np.testing.assert_array_equal(samples[: len(expected)], expected)
        assert not samples[len(expected) :].any(), "the last frame is filled up with silence"
    assert len(heard) * 3 == len(sound)


async def test_viewers_get_what_whisper_does_not_hear(tmp_path: Path) -> None:
    high = 8000 * np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000)
    low = tone(1.0, 48_000) / 10
    heard, sound = await both_sounds(write_wav(tmp_path / "a.wav", high + low, 48_000))
    assert np.abs(sound[4800:43_200].astype(int)).max() > 8000
    assert np.abs(heard[1600:14_400].astype(int)).max() < 1000


async def test_frames_come_while_the_child_still_decodes_and_it_waits_for_its_reader(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", tone(600.0, 8000), 8000)
    async with aclosing(decode(path)) as blocks:
        first = await anext(blocks)
        await asyncio.sleep(0.3)
        assert len(first) < 600 and children()
        async for _ in blocks:
            pass
        assert not children()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_reader_that_goes_away_ends_the_child_and_leaves_no_descriptor(tmp_path: Path, how: str) -> None:
    path = write_wav(tmp_path / "long.wav", tone(600.0, 8000), 8000)
    before = descriptors()
    began = asyncio.Event()

    async def read() -> None:
        async with aclosing(decode(path)) as blocks:
            async for _ in blocks:
                began.set()
                if how == "closed":
                    break
                await asyncio.sleep(60)

    reading = asyncio.create_task(read())
    await began.wait()
    if how == "cancelled":
        reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert children() == []
    while descriptors() != before:  # transports close their files on the loop's next turns
        await asyncio.sleep(0.01)


async def frames_until(path: Path, error: type[Exception], limits: DecodeLimits | None = None) -> list[SoundFrames]:
    blocks = []
    with pytest.raises(error):
        async for block in decode(path, limits):
            blocks.append(block)
    assert children() == []
    return blocks


async def test_what_only_the_end_can_tell_is_told_after_the_frames(tmp_path: Path) -> None:
    silent = await frames_until(write_wav(tmp_path / "silent.wav", np.zeros(16_010)), SilentAudio)
    assert sum(map(len, silent)) == 26
    whole = write_wav(tmp_path / "whole.wav", tone(2.0))
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:32_044])
    assert sum(map(len, await frames_until(cut, TruncatedAudio))) == 25


async def test_no_more_than_the_longest_duration_is_given_out(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", tone(30.0))
    given = await frames_until(path, TooLong, DecodeLimits(max_duration_s=20.0))
    assert 0 < sum(map(len, given)) <= 500
