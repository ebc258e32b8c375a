"""perf_analyzer's requests and its call; the binary itself is not a dependency, a script stands in for it."""

import base64
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.gpu.chunks import drawn_chunks
from bench.gpu.perf_analyzer import (
    NoPerfAnalyzer,
    PerfAnalyzerFailed,
    PerfRun,
    find_perf_analyzer,
    run_perf_analyzer,
)
from bench.gpu.perf_data import write_perf_data
from bench.gpu.perf_run import PerfPlan
from orchestrator.settings import SettingsError

WRITES_ITS_CSV = """#!/bin/sh
while [ "$1" != "-f" ]; do shift; done
echo "$LD_LIBRARY_PATH" > "$2"
echo "Throughput: 6.2 infer/sec"
"""


def wheel(folder: Path, script: str) -> Path:
    path = folder / "tritonclient-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tritonclient-0.data/data/bin/perf_analyzer", script)
    return path


def run_in(folder: Path) -> PerfRun:
    return PerfRun("lipsync", "127.0.0.1:1", folder / "lipsync.json", folder / "out" / "lipsync.csv", face_bytes=7)


def test_requests_are_the_chunks_byte_for_byte(tmp_path: Path) -> None:
    chunks = drawn_chunks(4, "a test", count=2)
    latents = np.ones((1, 16, 4, 4, 4), np.float16)
    ensemble, unet, decoder = write_perf_data(tmp_path, chunks, [{"LATENTS": latents}], steps=3, guidance=1.5)
    rows = json.loads(ensemble.read_text())["data"]
    assert rows == json.loads(unet.read_text())["data"]
    assert len(rows) == 2
    for row, chunk in zip(rows, chunks.chunks, strict=True):
        for name, values in chunk.inputs(3, 1.5).items():
            sent = np.frombuffer(base64.b64decode(row[name]["content"]["b64"]), values.dtype)
            np.testing.assert_array_equal(sent.reshape(row[name]["shape"]), values[0])
    (row,) = json.loads(decoder.read_text())["data"]
    assert row["LATENTS"]["shape"] == [16, 4, 4, 4]
    assert (tmp_path / "origin.txt").read_text() == "2 chunks of normal values, seed 0: a test; 3 steps, guidance 1.5\n"


def test_shared_memory_needs_the_size_of_the_faces(tmp_path: Path) -> None:
    text = " ".join(run_in(tmp_path).arguments())
    assert "--shared-memory system --output-shared-memory-size 7" in text
    assert "-m lipsync -i grpc -u 127.0.0.1:1 " in text


def test_the_binary_of_a_wheel_runs_with_the_libraries_that_the_wheel_lacks(tmp_path: Path) -> None:
    binary = find_perf_analyzer(wheel(tmp_path, WRITES_ITS_CSV), tmp_path / "run")
    run = run_in(tmp_path)
    assert "6.2 infer/sec" in run_perf_analyzer(binary, run, tmp_path / "run", timeout_s=10)
    folders = [Path(folder) for folder in run.csv.read_text().strip().split(":")]
    for name in ("libb64.so.0d", "libcudart.so.12"):
        assert any((folder / name).is_file() for folder in folders), f"{name} is not in {folders}"


def test_what_perf_analyzer_says_of_its_failure_is_told(tmp_path: Path) -> None:
    script = WRITES_ITS_CSV.replace("Throughput: 6.2 infer/sec", "no such model") + "exit 99\n"
    binary = find_perf_analyzer(wheel(tmp_path, script), tmp_path / "run")
    with pytest.raises(PerfAnalyzerFailed, match="status 99: no such model"):
        run_perf_analyzer(binary, run_in(tmp_path), tmp_path / "run", timeout_s=10)


def test_a_binary_for_a_newer_system_is_named(tmp_path: Path) -> None:
    script = "#!/bin/sh\necho \"/lib/libc.so.6: version 'GLIBC_2.38' not found\" >&2\nexit 1\n"
    binary = find_perf_analyzer(wheel(tmp_path, script), tmp_path / "run")
    with pytest.raises(NoPerfAnalyzer, match=r"does not run here: .*GLIBC_2\.38"):
        run_perf_analyzer(binary, run_in(tmp_path), tmp_path / "run", timeout_s=10)


def test_no_binary_is_said_with_where_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(NoPerfAnalyzer, match=r"tritonclient==2\.48\.0"):
        find_perf_analyzer(None, tmp_path)


def test_a_model_that_is_not_loaded_by_it_is_named() -> None:
    with pytest.raises(SettingsError, match="--models names whisper and must be some of lipsync, unet, vae_decoder"):
        PerfPlan(None, None, models=("lipsync", "whisper"))
