"""Speech rendered offline: what is in the file, and that nothing half-made stays."""

import asyncio
import io
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.render import bench_render
from inference.client import TritonClient
from inference.errors import InferenceFailed
from inference.launcher import TritonServer
from inference.transport import TritonSettings
from latentsync.avatar import PreparedAvatar
from orchestrator.avatars.video import read_frames
from orchestrator.offline.mp4_writer import EncodingFailed
from orchestrator.offline.render import RenderOptions, render, render_in_terminal
from speech.audio.decoder import decode_heard, ffmpeg_binary
from speech.audio.errors import NotAudio
from tests.support.controlled_models import ControlledModels
from tests.support.processes import descendants
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPTIONS = RenderOptions(steps=2)


@pytest.fixture
def avatar(tmp_path: Path) -> PreparedAvatar:
    return write_avatar(tmp_path / "avatars")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(wav(3.01))
    return path


async def test_video_lasts_as_long_as_the_speech_with_a_face_in_every_frame(
    avatar: PreparedAvatar, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    told: list[tuple[int, int]] = []
    report = await render(avatar, speech, output, ControlledModels(), OPTIONS, lambda *now: told.append(now))
    frames = list(read_frames(output, 1000))
    assert len(frames) == report.frames == 76
    assert told[0] == (16, 76)
    assert told[-1] == (76, 76)
    mouth = [frame[48 + 57 : 48 + 70, 32 + 40 : 32 + 56].mean() for frame in frames]
    assert min(mouth) > 190, "the mouth of every frame is the generated one"
    for position, frame in enumerate(frames):
        plain = np.asarray(avatar.frames[avatar.frame_index(position)])
        assert np.abs(frame[:40].astype(int) - plain[:40]).mean() < 6, "the body keeps its own frame"


async def test_audio_keeps_its_place(avatar: PreparedAvatar, tmp_path: Path) -> None:
    beeps = np.zeros(16_000 * 3, np.int16)
    for second in (0.5, 1.5, 2.5):
        start = round(second * 16_000)
        beeps[start : start + 800] = 12_000 * np.sin(2 * np.pi * 1000 * np.arange(800) / 16_000)
    raw, speech, output = tmp_path / "a.s16", tmp_path / "a.wav", tmp_path / "out.mp4"
    raw.write_bytes(beeps.tobytes())
    command = [ffmpeg_binary(), "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", str(raw), str(speech)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    await render(avatar, speech, output, ControlledModels(), OPTIONS)
    heard = await decode_heard(output)
    assert len(heard) / 16_000 == pytest.approx(3.0, abs=0.1)
    for second in (0.5, 1.5, 2.5):
        around = np.abs(heard[round((second - 0.3) * 16_000) : round((second + 0.3) * 16_000)])
        onset = int(np.argmax(around > 0.1)) / 16_000 - 0.3
        assert onset == pytest.approx(0, abs=0.01)


async def test_failed_speech_leaves_no_file(avatar: PreparedAvatar, speech: Path, tmp_path: Path) -> None:
    models = ControlledModels()
    models.failing = True
    output = tmp_path / "videos" / "out.mp4"
    output.parent.mkdir()
    with pytest.raises(InferenceFailed, match="the model said no"):
        await render(avatar, speech, output, models, OPTIONS)
    assert list(output.parent.iterdir()) == []


async def test_cancelled_render_leaves_no_file_and_no_child(
    avatar: PreparedAvatar, speech: Path, tmp_path: Path
) -> None:
    models = ControlledModels()
    output = tmp_path / "videos" / "out.mp4"
    output.parent.mkdir()
    begun = asyncio.Event()

    def hold(done: int, total: int) -> None:
        begun.set()
        models.gate.clear()

    task = asyncio.create_task(render(avatar, speech, output, models, OPTIONS, hold))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(output.parent.iterdir()) == []
    assert not [line for line in descendants(os.getpid()).values() if "libx264" in line]


async def test_bad_input_and_output_are_named(avatar: PreparedAvatar, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no speech here" * 100)
    with pytest.raises(NotAudio):
        await render(avatar, text, tmp_path / "out.mp4", ControlledModels(), OPTIONS)
    with pytest.raises(EncodingFailed, match="no such folder"):
        await render(avatar, speech, tmp_path / "none" / "out.mp4", ControlledModels(), OPTIONS)


async def test_same_seed_renders_the_same_through_triton_with_a_bar(
    speech: Path, tmp_path: Path, triton_server: TritonServer
) -> None:
    avatar = write_avatar(tmp_path / "avatars", resolution=RESOLUTION)
    shown = io.StringIO()
    async with TritonClient(TritonSettings(f"127.0.0.1:{triton_server.options.grpc_port}")) as client:
        for name in ("one.mp4", "two.mp4"):
            console = Console(file=shown, force_terminal=True, width=120)
            await render_in_terminal(avatar, speech, tmp_path / name, client, OPTIONS, console)
    assert "76/76" in shown.getvalue()
    for one, two in zip(read_frames(tmp_path / "one.mp4", 100), read_frames(tmp_path / "two.mp4", 100), strict=True):
        assert np.abs(one.astype(int) - two).mean() < 1


async def test_bench_says_where_the_time_went(speech: Path, tmp_path: Path, triton_server: TritonServer) -> None:
    avatar = write_avatar(tmp_path / "avatars", resolution=RESOLUTION)
    date = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with TritonClient(TritonSettings(f"127.0.0.1:{triton_server.options.grpc_port}")) as client:
        bench = json.loads((await bench_render(avatar, speech, client, OPTIONS, date)).to_json())
    assert bench["date"] == "2026-01-02T03:04:05+00:00"
    assert bench["frames"] == 76
    assert bench["frames_per_s"] == pytest.approx(76 / bench["elapsed_s"], rel=0.01)
    assert set(bench["stage_ms_per_frame"]) == {"decode", "whisper", "unet", "vae_decoder", "paste_back", "encode"}
    assert all(value > 0 for value in bench["stage_ms_per_frame"].values())
    assert bench["machine"]["cores"] >= 1
    assert bench["machine"]["versions"]["ffmpeg"].startswith("ffmpeg version")
