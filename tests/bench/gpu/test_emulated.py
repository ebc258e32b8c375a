"""Emulated GPUs: their times by a record, and how processes share one."""

import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.emulated.gpu import EmulatedGpu
from bench.gpu.emulated.repository import emulation
from bench.gpu.emulated.times import GpuTimes
from orchestrator.settings import SettingsError


def point(model: str, **times: tuple[float, dict[str, int]]) -> dict[str, Any]:
    return {"model": model, "models": {name: {"infer_ms": ms, "batches": sizes} for name, (ms, sizes) in times.items()}}


ALONE = [point("unet", unet=(100.0, {"1": 9})), point("vae_decoder", vae_decoder=(10.0, {"1": 9}))]
MIXED = point("lipsync", unet=(200.0, {"1": 3, "3": 3}), vae_decoder=(30.0, {"2": 4}))
FULL = point("lipsync", unet=(380.0, {"4": 5}), vae_decoder=(80.0, {"4": 5}))


@pytest.fixture
def record(tmp_path: Path) -> Any:
    def write(*points: dict[str, Any]) -> Path:
        path = tmp_path / "record.json"
        path.write_text(json.dumps({"plan": {"steps": 20}, "ensemble": points}))
        return path

    return write


def test_a_full_batch_is_rid_of_the_decoding_that_it_shared_its_gpu_with(record: Any) -> None:
    times = GpuTimes.of_record(record(MIXED, FULL, *ALONE))
    assert times.unet_step_ms == (5.0, 9.0, 13.0, 17.0)  # (380 - 4 * 10) / 20 = 17
    assert times.decoder_ms == 10.0


def test_shorter_chunks_cost_more_a_frame_and_decoding_costs_what_its_frames_do(record: Any) -> None:
    times = GpuTimes.of_record(record(MIXED, FULL, *ALONE))
    assert times.unet_ms_of_frames == pytest.approx({4: 2.775, 8: 3.525, 16: 5.0, 32: 9.0, 48: 13.0, 64: 17.0})
    assert times.decoder_ms_of_frames == {4: 2.5, 8: 5.0, 16: 10.0, 32: 20.0, 48: 30.0, 64: 40.0}


def test_a_record_that_lacks_what_is_needed_is_refused_with_what_to_measure(record: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no load of lipsync in which unet had batches of one size.*--clients"):
        GpuTimes.of_record(record(MIXED, *ALONE))
    with pytest.raises(SettingsError, match=r"no load under which all batches were full"):
        GpuTimes.of_record(record(point("lipsync", unet=(100.0, {"1": 3})), *ALONE))
    other = tmp_path / "other.json"
    other.write_text("[]")
    with pytest.raises(SettingsError, match=r"other\.json is no record"):
        GpuTimes.of_record(other)


def test_how_many_and_like_which_belong_together(record: Any) -> None:
    assert emulation(None, None) is None
    found = emulation(8, record(FULL, *ALONE))
    assert found is not None and (found.gpus, found.like) == (8, "record.json")
    with pytest.raises(SettingsError, match="belong together"):
        emulation(8, None)


def test_processes_that_share_a_gpu_work_in_time_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices: list[str] = []
    at_work: set[str] = set()
    overlaps: list[set[str]] = []
    sleep = time.sleep

    def recorded_sleep(seconds: float) -> None:
        name = threading.current_thread().name
        at_work.add(name)
        overlaps.extend([set(at_work)] if len(at_work) > 1 else [])
        slices.append(name)
        sleep(seconds)
        at_work.discard(name)

    monkeypatch.setattr(time, "sleep", recorded_sleep)
    with EmulatedGpu(tmp_path / "0") as one, EmulatedGpu(tmp_path / "0") as other:
        named = {"a": one, "b": other}
        both = [threading.Thread(target=gpu.work, args=(0.15,), name=name) for name, gpu in named.items()]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    assert overlaps == []
    changes = sum(earlier != later for earlier, later in pairwise(slices))
    assert changes > len(slices) / 2, "".join(slices)


def test_work_ends_when_it_is_stopped(tmp_path: Path) -> None:
    asked = iter([False, True])
    with EmulatedGpu(tmp_path / "0") as gpu:
        assert not gpu.work(3600, lambda: next(asked))
        assert gpu.work(0.001)
