"""The whole evaluation on drawn faces, whose mouth is a dark gap that is measured by counting its rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from training.evaluate import ClipMeasures, Evaluator, HeldOut, evaluate
from training.speech.clip import KNOWN_VOICE, UNSEEN_VOICE, Clip, Phone, write_clips
from training.speech.visemes import UNITS, face_curves
from training.verdict import DEMO, GroupMeasures, table, verdicts

SIZE = 128
IDLE_FRAMES = 20
SENTENCES = ("AA M AA S OW P IY B AE", "UW B AE M OW T AA F AO", "IY P AO K AA B UW M EH", "OW M IY N AE P AA L UW")


def drawn(jaw: NDArray[np.floating[Any]], indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A face whose mouth is as open as `jaw` says, over a background that moves with the idle frame."""
    faces = np.full((len(jaw), SIZE, SIZE, 3), 180, np.uint8)
    faces[:, :40] = (100 + 3 * (indices % IDLE_FRAMES))[:, None, None, None]
    for face, opening in zip(faces, jaw, strict=True):
        face[80 : 80 + round(float(opening) * 80), 40:88] = 20
    return faces


class DarkRows:
    """Stands in for the landmark network: the height of the dark gap."""

    def openings(self, faces: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray((faces[:, 76:118, 60:68].mean((2, 3)) < 100).sum(1) / SIZE)


class Puppet:
    """Stands in for a checkpoint: finds the curve of the audio, and distorts it as a test asks."""

    def __init__(self, data: HeldOut, late: int = 0, gain: float = 1.0, ignores_audio: bool = False) -> None:
        self.data, self.late, self.gain, self.ignores_audio = data, late, gain, ignores_audio

    def __call__(self, pcm: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        clip = min(self.data.clips, key=lambda clip: self._distance(self.data.pcm(clip), pcm))
        jaw = np.zeros(len(indices)) if self.ignores_audio else np.resize(self.data.jaw(clip), len(indices))
        return drawn(np.roll(jaw, self.late) * self.gain, indices)

    @staticmethod
    def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        length = min(len(one), len(other))
        return float(np.abs(one[:length] - other[:length]).mean())


@pytest.fixture
def data(tmp_path: Path) -> HeldOut:
    rng = np.random.default_rng(2)
    clips, curves, starts = [], {"names": np.array(list(UNITS))}, {}
    (tmp_path / "wav").mkdir()
    (tmp_path / "truth").mkdir()
    for i, sentence in enumerate(SENTENCES):
        phones, at = [Phone("SIL", 0.0, 0.4)], 0.4
        for name in sentence.split():
            length = float(rng.uniform(0.1, 0.35))
            phones.append(Phone(name, at, at + length))
            at += length
        n_frames = int(np.ceil((at + 0.5) * 25))
        phones.append(Phone("SIL", at, n_frames / 25))
        clip = Clip(f"held-{i}", "drawn", UNSEEN_VOICE if i % 2 else KNOWN_VOICE, sentence, tuple(phones), n_frames)
        clips.append(clip)
        curves[clip.id] = face_curves(phones, n_frames)
        starts[clip.id] = 7 * i
        soundfile.write(tmp_path / "wav" / f"{clip.id}.wav", rng.normal(0, 0.1, n_frames * 640), 16_000)
        np.save(
            tmp_path / "truth" / f"{clip.id}.npy", drawn(curves[clip.id][:, 0], starts[clip.id] + np.arange(n_frames))
        )
    write_clips(tmp_path / "speech.json", clips)
    np.savez(tmp_path / "curves.npz", **curves)
    np.save(tmp_path / "idle.npy", drawn(np.zeros(IDLE_FRAMES), np.arange(IDLE_FRAMES)))
    (tmp_path / "starts.json").write_text(json.dumps(starts))
    return HeldOut.open(tmp_path)


def measured(
    data: HeldOut, late: int = 0, gain: float = 1.0, ignores_audio: bool = False
) -> tuple[GroupMeasures, list[GroupMeasures], list[ClipMeasures]]:
    groups, clips = evaluate(Evaluator(data, Puppet(data, late, gain, ignores_audio), DarkRows()))
    return groups[-1], groups, clips


def test_a_perfect_mouth_reaches_every_target_of_the_lips(data: HeldOut) -> None:
    whole, groups, clips = measured(data)
    assert [group.name for group in groups] == ["known voices", "unseen voice", "all"]
    assert whole.r > 0.99 and whole.worst_lag == 0 and whole.amplitude == pytest.approx(1, abs=0.02)
    assert whole.closed == 1 and whole.closed_of == 10
    assert whole.worst_silence < 0.01
    assert whole.psnr_db > 40 > whole.psnr_of_idle_db
    assert whole.mouth_db > 40 > whole.mouth_of_idle_db and whole.rest_db > 40
    assert whole.seam == pytest.approx(1, abs=0.03)
    assert len(clips) == 4


def test_mismatched_audio_moves_the_mouth_to_its_own_truth(data: HeldOut) -> None:
    whole, _, _ = measured(data)
    assert whole.r_other_sound < 0.6 < whole.r_other_sound_to_its_own_truth


def test_a_late_mouth_is_found_by_its_lag(data: HeldOut) -> None:
    whole, groups, _ = measured(data, late=2)
    assert whole.worst_lag == 2
    assert whole.r < 0.9
    missed = {check.measure for check in verdicts(groups, DEMO) if not check.reached}
    assert {"worst_lag", "r"} <= missed


def test_a_weak_mouth_is_found_by_its_amplitude(data: HeldOut) -> None:
    whole, groups, _ = measured(data, gain=0.5)
    assert whole.r > 0.95
    assert whole.amplitude == pytest.approx(0.5, abs=0.06)
    assert "amplitude" in {check.measure for check in verdicts(groups, DEMO) if not check.reached}


def test_a_mouth_that_ignores_the_audio_reaches_no_target_of_the_lips(data: HeldOut) -> None:
    whole, groups, _ = measured(data, ignores_audio=True)
    assert whole.r == 0 and whole.amplitude == 0
    assert whole.psnr_db == pytest.approx(whole.psnr_of_idle_db, abs=0.1)
    assert "**0.000**" in table(groups, verdicts(groups, DEMO))


def test_missing_truth_is_named(data: HeldOut) -> None:
    (data.folder / "truth" / "held-2.npy").unlink()
    with pytest.raises(FileNotFoundError, match="held-2"):
        HeldOut.open(data.folder)
