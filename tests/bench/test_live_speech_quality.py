"""`bench live-speech`: what its figures mean."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.live_speech.flicker import flicker
from bench.live_speech.plot import plot
from bench.live_speech.speeches import SILENT_FRAMES, NoTruthError, rendered_sentences

SIDE = 32


def test_a_step_where_windows_meet_is_told_from_those_elsewhere() -> None:
    level = np.arange(20) * 2
    level[10:] += 6  # frames step by 2, and by 8 into frame 10
    faces = np.broadcast_to(level[:, None, None, None], (20, SIDE, SIDE, 3)).astype(np.uint8)
    found = flicker("speech.wav", "short", faces, [10])
    assert (found.joins, found.at_joins, found.elsewhere, found.ratio) == (1, 8, 2, 4)
    assert flicker("speech.wav", None, faces, []).ratio is None, "a speech of one window has no joins"


def data_set(folder: Path, group: str) -> Path:
    (folder / "truth").mkdir()
    np.save(folder / "truth" / "one.npy", np.full((3, SIDE, SIDE, 3), 7, np.uint8))
    np.save(folder / "idle.npy", np.zeros((10, SIDE, SIDE, 3), np.uint8))
    (folder / "starts.json").write_text(json.dumps({"one": 9}))
    (folder / "speech.json").write_text(json.dumps([{"id": "one", "group": group}, {"id": "two", "group": "train"}]))
    return folder


def encode(faces: NDArray[np.uint8]) -> NDArray[np.float16]:
    return np.zeros((len(faces), 9, 4, 4), np.float16)


def test_a_rendered_sentence_is_said_over_the_idle_frames_it_was_rendered_on(tmp_path: Path) -> None:
    (speech,) = rendered_sentences(data_set(tmp_path, "heldB"), encode)
    assert (speech.name, speech.group) == ("one", "unseen voice")
    assert speech.truth is not None and speech.truth.shape == (3, SIDE, SIDE, 3)
    assert [speech.avatar.frame_index(SILENT_FRAMES + frame) for frame in range(3)] == [9, 0, 1]


def test_a_data_set_without_truth_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NoTruthError, match="no held-out sentence"):
        rendered_sentences(data_set(tmp_path, "train"), encode)
    (tmp_path / "idle.npy").unlink()
    with pytest.raises(NoTruthError, match=r"idle\.npy"):
        rendered_sentences(tmp_path, encode)


def point(window: str, look_ahead_ms: int, r: float) -> dict[str, object]:
    likeness = {"r": r, "amplitude": 1.0, "psnr_db": 40 * r}
    return {"group": "recordings", "window": window, "chunk_frames": 8, "look_ahead_ms": look_ahead_ms} | {
        "likeness": likeness
    }


def test_the_plot_has_a_line_for_each_way_in_both_panels() -> None:
    points = [point("growing", 0, 0.9), point("growing", 200, 1.0), point("short", 0, 0.8), point("short", 200, 0.9)]
    drawing = ElementTree.fromstring(plot({"points": points}))
    lines = [each.attrib["points"].split() for each in drawing.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 4
    heights = [[float(at.split(",")[1]) for at in line] for line in lines]
    assert all(first > second for first, second in heights), "a better value lies higher"
