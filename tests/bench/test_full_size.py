"""The official size on a CPU: every weight of it, one step, through the real tritonserver into a file."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bench.full_size import bench_full_size
from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.running_server import free_port, settings_in
from tests.support.speech_samples import wav

pytestmark = [pytest.mark.slow, pytest.mark.asyncio, pytest.mark.timeout(3600)]

MOST_GIB = 12


async def test_the_official_size_renders_on_a_cpu_within_twelve_gigabytes(tmp_path: Path) -> None:
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    clip, speech = tmp_path / "clip.mp4", tmp_path / "speech.wav"
    source = ROOT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    cut = ["-i", str(source), "-frames:v", "6", "-an", str(clip)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *cut], check=True)
    speech.write_bytes(wav(0.6))
    settings = settings_in(
        tmp_path, checkpoint_dir=ROOT / "checkpoints" / "demo", cpu_threads=2,
        triton_grpc_port=free_port(), triton_metrics_port=free_port(),
    )  # fmt: skip
    date = datetime(2026, 1, 2, tzinfo=UTC)
    lines: list[str] = []
    record = await bench_full_size(
        settings, clip, speech, date, device="cpu", dtype="bf16", engine="eager", steps=1, report=lines.append
    )
    print(record.to_json())
    assert record.render.frames == 15
    assert record.render.resolution == 256
    # The export's own peak is over when the models are loaded.
    assert 0 < record.export_peak_gib < MOST_GIB
    assert 2 < record.served_gib < MOST_GIB
    errors = {row["stage"]: row["relative_error"] for row in record.parity}
    assert errors["whisper"] == 0
    assert all(np.isfinite(error) and error < 0.1 for error in errors.values()), errors
