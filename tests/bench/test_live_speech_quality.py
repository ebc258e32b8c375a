"""`bench live-speech`: what its figures mean."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.live_speech.flicker import flicker
from bench.live_speech.plot import plot
from bench.live_speech.quality import Point, QualityCurve, QualityPlan
from bench.live_speech.remembered import RememberedFeatures
from bench.live_speech.speeches import SILENT_FRAMES, BenchSpeech, NoTruthError, RenderedAvatar, rendered_sentences
from latentsync.contract import CONTRACT
from latentsync.lip_landmarks import CHIN, INPUT, LOWER_LIP, POINTS, LipLandmarks
from tests.support.audio_files import write_wav
from tests.support.logs import noise

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
    (speech,) = rendered_sentences(data_set(tmp_path, "heldB"), encode, of_each=1)
    assert (speech.name, speech.group) == ("one", "unseen voice")
    assert speech.truth is not None and speech.truth.shape == (3, SIDE, SIDE, 3)
    assert [speech.avatar.frame_index(SILENT_FRAMES + frame) for frame in range(3)] == [9, 0, 1]


def test_a_data_set_without_truth_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NoTruthError, match="no held-out sentence"):
        rendered_sentences(data_set(tmp_path, "train"), encode, of_each=1)
    (tmp_path / "idle.npy").unlink()
    with pytest.raises(NoTruthError, match=r"idle\.npy"):
        rendered_sentences(tmp_path, encode, of_each=1)


def test_the_first_sentences_of_each_group_are_said_by_turns(tmp_path: Path) -> None:
    entries = [{"id": f"{group}-{number}", "group": group} for group in ("heldA", "heldC") for number in (1, 2, 3)]
    data_set(tmp_path, "heldB")
    (tmp_path / "speech.json").write_text(json.dumps(entries))
    (tmp_path / "starts.json").write_text(json.dumps({entry["id"]: 0 for entry in entries}))
    for entry in entries:
        np.save(tmp_path / "truth" / f"{entry['id']}.npy", np.zeros((3, SIDE, SIDE, 3), np.uint8))
    names = [speech.name for speech in rendered_sentences(tmp_path, encode, of_each=2)]
    assert names == ["heldA-1", "heldC-1", "heldA-2", "heldC-2"]


class Echo:
    """The features of a position are the first sample of its 20 ms, and a face is as bright as what its frame hears."""

    def __init__(self) -> None:
        self.windows: list[bytes] = []

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        self.windows.append(window.tobytes())
        heard = window[:: CONTRACT.samples_per_position]
        return np.broadcast_to(heard[:, None, None], (len(heard), 5, 384)).astype(np.float16)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        level = 128 + 127 * audio.astype(np.float64).mean(axis=(1, 2)) + len(audio)
        return np.broadcast_to(level[:, None, None, None], (len(level), SIDE, SIDE, 3)).astype(np.uint8)


class BrightLips(LipLandmarks):
    """Lips that are as open as the face is bright."""

    def __init__(self) -> None: ...

    def points(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        points = np.random.default_rng(0).uniform(0.3 * INPUT, 0.7 * INPUT, (POINTS, 2)).astype(np.float32)
        points[LOWER_LIP, 1] += face.mean()
        points[CHIN, 1] = INPUT
        return points


async def curve_of(
    models: Echo,
    speech: Path,
    chunk_frames: tuple[int, ...],
    names: tuple[str, ...] = ("noise",),
    done: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    avatar = RenderedAvatar(encode(np.zeros((10, SIDE, SIDE, 3), np.uint8)), start=0)
    said = tuple(BenchSpeech(name, "recordings", speech, avatar) for name in names)
    plan = QualityPlan(said, windows=("short",), chunk_frames=chunk_frames, look_ahead_frames=(1, 5))
    return await QualityCurve(models, BrightLips(), steps=1, guidance=1.0).measure(plan, done)


async def test_a_window_is_encoded_once_for_all_ways_that_hear_it(tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "noise.wav", noise(50))
    models, alone = Echo(), Echo()
    points = await curve_of(models, speech, (4, 8))
    assert len(models.windows) == len(set(models.windows))
    assert await curve_of(alone, speech, (8,)) == [point for point in points if point.chunk_frames == 8]
    assert set(alone.windows) < set(models.windows), "chunks of 8 hear what chunks of 4 have heard"


async def test_an_interrupted_curve_has_the_speeches_that_were_finished(tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "noise.wav", noise(20))
    measuring = asyncio.current_task()
    assert measuring is not None

    def interrupt(at: str, point: Point) -> None:
        if point.speech == at:
            measuring.cancel()

    names = ("one", "two", "three")
    points = await curve_of(Echo(), speech, (8,), names, partial(interrupt, "two"))
    measuring.uncancel()
    assert [point.speech for point in points] == ["one", "one"]
    with pytest.raises(asyncio.CancelledError):
        await curve_of(Echo(), speech, (8,), names, partial(interrupt, "one"))
    measuring.uncancel()


async def test_remembered_features_are_those_of_the_sound(tmp_path: Path) -> None:
    window = np.full(15 * CONTRACT.sample_rate_hz, np.nan, np.float32)
    window[: CONTRACT.sample_rate_hz] = np.linspace(-1, 1, CONTRACT.sample_rate_hz)
    models = Echo()
    remembered = RememberedFeatures(models)
    for _ in range(2):
        np.testing.assert_array_equal(await remembered.features(window), (await Echo().features(window))[:50])
    assert len(models.windows) == 1
    window[0] = 0
    assert (await remembered.features(window))[0, 0, 0] == 0, "another window is encoded"


def point(window: str, look_ahead_ms: int, r: float, group: str = "recordings") -> dict[str, object]:
    likeness = {"r": r, "amplitude": 1.0, "psnr_db": 40 * r}
    truth = {"to_truth": likeness, "whole_to_truth": likeness} if group != "recordings" else {"to_truth": None}
    way = {"group": group, "window": window, "chunk_frames": 8, "look_ahead_ms": look_ahead_ms}
    return way | {"likeness": likeness} | truth


@pytest.mark.parametrize(("groups", "panels"), [(["recordings"], 2), (["recordings", "unseen voice"], 4)])
def test_the_plot_has_a_line_for_each_way_in_all_panels(groups: list[str], panels: int) -> None:
    values = [("growing", 0, 0.9), ("growing", 200, 1.0), ("short", 0, 0.8), ("short", 200, 0.9)]
    records = [{"points": [point(*each, group) for each in values]} for group in groups]
    drawing = ElementTree.fromstring(plot(*records))
    lines = [each.attrib["points"].split() for each in drawing.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 2 * panels
    heights = [[float(at.split(",")[1]) for at in line] for line in lines]
    assert all(first > second for first, second in heights), "a better value lies higher"
