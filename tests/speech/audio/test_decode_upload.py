"""What becomes of an upload: PCM, or an error that says what to do."""

import asyncio
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from speech.audio.child import _end
from speech.audio.decoder import DecodeLimits, decode_heard, ffmpeg_binary
from speech.audio.errors import (
    AudioError,
    DecodeTimeout,
    EmptyAudio,
    NotAudio,
    SilentAudio,
    TooLarge,
    TooLong,
    TruncatedAudio,
)
from speech.audio.spool import spool_upload
from tests.support.audio_files import children, convert, tone, write_wav


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", tone(2.0))


async def test_wav_at_16_khz_arrives_sample_for_sample(tmp_path: Path) -> None:
    samples = np.rint(tone(1.0)).astype(np.int16)
    pcm = await decode_heard(write_wav(tmp_path / "a.wav", samples))
    assert pcm.dtype == np.float32
    np.testing.assert_array_equal(pcm, samples.astype(np.float32) / 32768)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mp3", ()),
        ("m4a", ("-c:a", "aac")),
        ("ogg", ("-c:a", "libvorbis")),
        ("flac", ()),
        ("webm", ("-c:a", "libopus")),
        ("aac", ()),
        ("wav", ("-ar", "48000", "-ac", "2", "-c:a", "pcm_f32le")),
    ],
)
async def test_every_accepted_container_gives_mono_16_khz(
    speech: Path, tmp_path: Path, suffix: str, options: tuple[str, ...]
) -> None:
    pcm = await decode_heard(convert(speech, tmp_path / f"upload.{suffix}", *options))
    assert len(pcm) / 16_000 == pytest.approx(2.0, abs=0.15)
    assert 0.1 < np.abs(pcm).max() < 0.5


async def test_audio_of_a_video_is_taken_even_when_the_picture_lasts_longer(speech: Path, tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "color=s=64x64:d=4", "-c:v", "libx264", "-c:a", "aac")
    pcm = await decode_heard(convert(speech, tmp_path / "clip.mp4", *picture))
    assert len(pcm) / 16_000 == pytest.approx(2.0, abs=0.1)


async def test_not_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"<html>not audio at all</html>" * 200)
    with pytest.raises(NotAudio, match="wav, mp3"):
        await decode_heard(tmp_path / "a.wav")


async def test_video_without_sound_is_not_audio(tmp_path: Path) -> None:
    clip = tmp_path / "mute.mp4"
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi", "-i", "color=s=64x64:d=1", "-c:v", "libx264", str(clip)]
    subprocess.run(command, check=True)
    with pytest.raises(NotAudio, match="no audio"):
        await decode_heard(clip)


@pytest.mark.parametrize("scheme", ["concat", "hls"])
async def test_playlists_are_refused_and_what_they_name_is_not_read(speech: Path, tmp_path: Path, scheme: str) -> None:
    text = {
        "concat": f"ffconcat version 1.0\nfile {speech}\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{speech}\n#EXT-X-ENDLIST\n",
    }[scheme]
    (tmp_path / "upload.wav").write_text(text)
    with pytest.raises(NotAudio):
        await decode_heard(tmp_path / "upload.wav")


@pytest.mark.parametrize("content", [b"", None], ids=["no bytes", "header only"])
async def test_empty_and_zero_seconds_are_empty_audio(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is None:
        write_wav(path, np.zeros(0))
    else:
        path.write_bytes(content)
    with pytest.raises(EmptyAudio):
        await decode_heard(path)


async def test_silence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SilentAudio):
        await decode_heard(write_wav(tmp_path / "a.wav", np.zeros(16_000)))


@pytest.mark.parametrize(("suffix", "options"), [("wav", ()), ("m4a", ("-c:a", "aac")), ("flac", ())])
async def test_truncated_upload_is_recognised(tmp_path: Path, suffix: str, options: tuple[str, ...]) -> None:
    noise = write_wav(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 4000, 48_000))
    whole = convert(noise, tmp_path / f"whole.{suffix}", *options)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(TruncatedAudio, match="again"):
        await decode_heard(cut)


async def test_length_written_by_a_streaming_recorder_is_no_promise(speech: Path, tmp_path: Path) -> None:
    wav = bytearray(speech.read_bytes())
    wav[4:8] = wav[40:44] = (0x7FFFF000).to_bytes(4, "little")
    (tmp_path / "streamed.wav").write_bytes(wav)
    assert len(await decode_heard(tmp_path / "streamed.wav")) == 32_000


async def test_limit_is_exact_and_longer_is_refused(tmp_path: Path) -> None:
    limits = DecodeLimits(max_duration_s=1.0)
    assert len(await decode_heard(write_wav(tmp_path / "a.wav", tone(1.0)), limits)) == 16_000
    with pytest.raises(TooLong, match="longer than 1 s"):
        await decode_heard(write_wav(tmp_path / "b.wav", tone(1.1)), limits)
    assert children() == []


async def test_time_limit_ends_the_child(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(300.0))
    with pytest.raises(DecodeTimeout):
        await decode_heard(path, DecodeLimits(timeout_s=0.001))
    assert children() == []


async def test_cancelling_ends_the_child(tmp_path: Path) -> None:
    task = asyncio.create_task(decode_heard(write_wav(tmp_path / "a.wav", tone(600.0, 8000), 8000)))
    while not children():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = AudioError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_spooled_upload_is_whole_and_gone_afterwards(tmp_path: Path) -> None:
    async with spool_upload(blocks(b"ab", b"", b"c"), tmp_path, max_bytes=3) as path:
        assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("parts", "error"), [((b"ab", b"cd"), TooLarge), ((), EmptyAudio)])
async def test_refused_upload_leaves_no_file(tmp_path: Path, parts: tuple[bytes, ...], error: type[AudioError]) -> None:
    with pytest.raises(error):
        async with spool_upload(blocks(*parts), tmp_path, max_bytes=3):
            pytest.fail("the upload was taken")
    assert list(tmp_path.iterdir()) == []


async def test_decoder_that_is_ended_with_its_pipe_full_is_gone() -> None:
    process = await asyncio.create_subprocess_exec("cat", "/dev/zero", stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    while len(process.stdout._buffer) < 1 << 17:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    await asyncio.wait_for(_end(process), 30)
    assert process.returncode == -9
