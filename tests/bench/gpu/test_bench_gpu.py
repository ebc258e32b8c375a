"""`bench gpu` from its command line: a real tritonserver, orchestrator, channels and encoders, for moments each."""

import json
import subprocess
import sys
from typing import Any

import pytest

from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    folder = tmp_path_factory.mktemp("bench")
    clip, source = folder / "clip.mp4", ROOT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    cut = ["-i", str(source), "-frames:v", "24", "-an", str(clip)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *cut], check=True)
    command = [sys.executable, "-m", "orchestrator.cli", "bench", "gpu", "--json", "--device", "cpu"]
    command += ["--data-dir", str(folder / "var"), "--video", str(clip), "--clients", "1,2", "--seconds", "1"]
    command += ["--repeats", "1", "--speech-seconds", "2", "--channels", "1", "--live-seconds", "2"]
    # A busy machine may take its time: nothing here measures it.
    command += ["--size", "192x192", "--patience", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_record_says_what_ran_where(record: dict[str, Any]) -> None:
    assert record["machine"]["versions"]["torch"] != "not installed"
    assert record["triton"].startswith("triton 2.")
    assert record["checkpoint"] == "demo"
    assert record["exported"]["device"] == "cpu"
    assert record["plan"]["clients"] == [1, 2]
    assert "--clients 1,2" in record["command"]
    assert record["load_s"] > 0 < record["export_s"]
    assert record["cut_off"] == [] and record["failures"] == {}
    assert record["took_s"].keys() == {"load", "ensemble", "product", "live", "gpu_memory"}


def test_the_models_are_loaded_with_real_chunks(record: dict[str, Any]) -> None:
    assert record["chunks"].startswith("3 chunks of the avatar 'bench' saying 2 s of")
    assert [(p["model"], p["clients"]) for p in record["ensemble"]] == [
        ("lipsync", 1), ("lipsync", 2), ("unet", 1), ("vae_decoder", 1),
    ]  # fmt: skip
    for point in record["ensemble"]:
        assert point["chunks"] > 0 and point["frames_per_s"] > 0
        assert 0 < point["p50_ms"] <= point["p95_ms"] <= point["p99_ms"]
        assert point["average_batch"] >= 1
        used = {"lipsync": {"lipsync", "unet", "vae_decoder"}}.get(point["model"], {point["model"]})
        assert point["models"].keys() == used
        assert all(times["infer_ms"] > 0 for times in point["models"].values())
        assert sum(point["cores"][model] for model in used - {"lipsync"}) > 0
        assert point["gpu_shares"] is None and point["gpu_utilization"] is None


def test_the_product_is_timed_by_its_own_stamps(record: dict[str, Any]) -> None:
    product = record["product"]
    assert product["avatar_size"] == [640, 640] and product["face_size"] == 128
    (run,) = product["runs"]
    assert product["median_ms"] == run["first_frame_ms"] > 0
    assert run["stages_ms"].keys() == {"decode", "queue", "whisper", "first_chunk", "hand_over"}
    assert sum(run["stages_ms"].values()) == run["first_frame_ms"]
    assert run["models"].keys() >= {"whisper", "unet", "vae_decoder"}


def test_live_channels_really_spoke(record: dict[str, Any]) -> None:
    (point,) = record["live"]
    assert point["channels"] == 1
    assert point["spoken_frames"] > 0 < point["frames_sent"]
    assert point["on_time"] == (point["late_frames"] + point["late_waits"] + point["dropped_pairs"] == 0)
    assert record["channels_on_time"] == int(point["on_time"])
    assert point["cores"].keys() >= {"orchestrator", "channel", "encoder", "tritonserver", "unet"}
    assert point["cores"]["encoder"] > 0


def test_without_a_gpu_there_is_no_gpu_memory(record: dict[str, Any]) -> None:
    assert record["gpus"] == []
    assert record["gpu_memory"] is None
