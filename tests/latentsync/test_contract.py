"""The contract: its derived numbers are LatentSync's, and its file is read whole or refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.contract import CONTRACT, CONTRACT_FILE, Contract, ServedContract, read_contract

SERVED = ServedContract(CONTRACT, resolution=256)


def test_derived_numbers_are_those_of_latentsync() -> None:
    assert (CONTRACT.samples_per_frame, CONTRACT.positions_per_frame) == (640, 2)
    assert (CONTRACT.window_samples, CONTRACT.window_positions) == (480_000, 1500)
    assert (CONTRACT.audio_shape, CONTRACT.sample_channels) == ((50, 384), 13)
    assert SERVED.latent_size == 32


def test_chunks_have_few_lengths_each_twice_the_one_before() -> None:
    assert CONTRACT.chunk_lengths == (4, 8, 16)
    assert Contract(chunk_frames=8, shortest_chunk_frames=8).chunk_lengths == (8,)
    assert [CONTRACT.require_chunk_length(frames) for frames in CONTRACT.chunk_lengths] == [4, 8, 16]
    for frames in (0, 1, 5, 12, 17, 32):
        with pytest.raises(ValueError, match=f"a chunk of {frames} frames, expected one of 4, 8, 16"):
            CONTRACT.require_chunk_length(frames)


def test_features_are_those_of_a_window_of_whole_seconds() -> None:
    assert CONTRACT.features_shape(480_000) == (1500, 5, 384)
    assert CONTRACT.features_shape(16_000) == (50, 5, 384)
    for samples in (0, 1, 15_999, 40_000, 496_000):
        with pytest.raises(ValueError, match=f"a window of {samples} samples, expected a whole number of seconds"):
            CONTRACT.features_shape(samples)


def test_contract_of_a_repository_is_read_back_with_other_numbers_than_the_defaults(tmp_path: Path) -> None:
    other = ServedContract(replace(CONTRACT, chunk_frames=8, hidden_size=512), resolution=512)
    (tmp_path / CONTRACT_FILE).write_text(other.to_json())
    assert read_contract(tmp_path) == other


def test_missing_file_is_told_apart_from_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"contract\.json"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not JSON", "Expecting value"),
        (b"\xff", "utf-8"),
        (b"[]", "expected an object, got list"),
        (b"{}", "lacks chunk_frames, condition_channels, frame_window_positions"),
        (SERVED.to_json().replace('"shortest_chunk_frames": 4,', "").encode(), "lacks shortest_chunk_frames"),
        (SERVED.to_json().replace("{", '{"steps": 20,').encode(), "unknown entries: steps"),
        (
            SERVED.to_json().replace(": 25,", ": 0,").encode(),
            "frames_per_second must be a positive whole number, not 0",
        ),
        (SERVED.to_json().replace(": 16,", ': "16",').encode(), "chunk_frames must be .*, not '16'"),
        (SERVED.to_json().replace(": 256", ": 250").encode(), "resolution must be a positive multiple of 8, not 250"),
        (SERVED.to_json().replace(": 256", ": 256.0").encode(), r"resolution must be .*, not 256\.0"),
    ],
)
def test_file_of_another_shape_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / CONTRACT_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=rf"contract\.json is not the contract that this version reads: .*{message}"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames_per_second": 30}, "a frame at 30 frames/s is no whole number of samples at 16000 Hz"),
        ({"samples_per_position": 300}, "a frame of 640 samples is no whole number of positions of 300 samples"),
        ({"positions_before_frame": 10}, "positions_before_frame is 10, expected less than the frame window's 10"),
        ({"chunk_frames": 24}, "chunk_frames is 24, expected the 4 of shortest_chunk_frames, doubled"),
        ({"shortest_chunk_frames": 32}, "chunk_frames is 16, expected the 32 of shortest_chunk_frames, doubled"),
        ({"chunk_frames": True}, "chunk_frames must be a positive whole number, not True"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Contract(**change)


def test_file_holds_plain_numbers_that_any_client_reads() -> None:
    values = json.loads(SERVED.to_json())
    assert values["sample_rate_hz"] == 16_000 and values["chunk_frames"] == 16 and values["resolution"] == 256
