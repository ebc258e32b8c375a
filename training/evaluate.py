"""Measures a checkpoint on held-out sentences:

    python -m training.evaluate DATA --checkpoint checkpoints/demo --json docs/benchmarks/demo-checkpoint-2core-cpu.json

DATA holds
    speech.json, wav/<id>.wav, curves.npz   as `training.speech.make` writes them
    idle.npy                                uint8 [N, R, R, 3], the aligned face of each idle frame
    starts.json                             id → the idle frame at which the clip starts
    truth/<id>.npy                          uint8 [n_frames, R, R, 3], the ground truth: the face that speaks the clip

Each clip is generated twice: with its own audio and with the audio of another held-out clip. The generated face is
blended over the idle frame as the server does it, and everything is measured on the blended picture.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.lip_landmarks import LipLandmarks
from latentsync.mask import face_mask, paste_mask
from training.lip_measures import (
    AT_THE_MOUTH,
    Count,
    Curve,
    FrameSteps,
    Scale,
    amplitude_ratio,
    chin_band,
    closures,
    correlation,
    edge_band,
    frame_steps,
    lip_weights,
    peak_lag,
    psnr,
    seam,
    silence_opening,
    silent_frames,
)
from training.poses import Poses, read_poses
from training.speech.clip import HELD_OUT, KNOWN_VOICE, UNSEEN_SYNTHESISER, UNSEEN_VOICE, Clip, read_clips
from training.verdict import ALL, DEMO, TARGETS, GroupMeasures, table, verdicts

Generate = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.uint8]]
"""(mono 16 kHz PCM, index of the idle frame of each video frame [n]) → decoded faces uint8 [n, R, R, 3]."""
TITLES = {
    KNOWN_VOICE: "known voices",
    UNSEEN_VOICE: "unseen voice",
    UNSEEN_SYNTHESISER: "unseen synthesiser",
}


@dataclass(frozen=True)
class HeldOut:
    """The held-out part of a data set folder."""

    folder: Path
    clips: list[Clip]
    idle: NDArray[np.uint8]
    poses: dict[str, Poses]

    @classmethod
    def open(cls, folder: Path) -> "HeldOut":
        """Raises FileNotFoundError when the ground truth of a clip has not been rendered."""
        clips = [clip for clip in read_clips(folder / "speech.json") if clip.group in HELD_OUT]
        absent = [clip.id for clip in clips if not (folder / "truth" / f"{clip.id}.npy").is_file()]
        if absent:
            raise FileNotFoundError(f"{folder}/truth lacks {', '.join(absent)}: render the data set first")
        idle = np.load(folder / "idle.npy")
        return cls(folder, clips, idle, read_poses(folder, {clip.id: clip.n_frames for clip in clips}, len(idle)))

    def pcm(self, clip: Clip) -> NDArray[np.float32]:
        samples, _ = soundfile.read(self.folder / "wav" / f"{clip.id}.wav", dtype="float32")
        return np.asarray(samples, np.float32)

    def truth(self, clip: Clip) -> NDArray[np.uint8]:
        return np.asarray(np.load(self.folder / "truth" / f"{clip.id}.npy"))

    def idle_indices(self, clip: Clip) -> NDArray[np.int64]:
        return self.poses[clip.id]

    def jaw(self, clip: Clip) -> NDArray[np.float64]:
        with np.load(self.folder / "curves.npz") as curves:
            return np.asarray(curves[clip.id][:, list(curves["names"]).index("jawOpen")], np.float64)


@dataclass(frozen=True)
class ClipMeasures:
    """Everything measured on one held-out clip; mouth openings are those of `LipLandmarks`."""

    id: str
    voice: str
    group: str
    r: float
    lag: int
    amplitude: float
    closed: Count
    closed_in_truth: Count
    silence: float
    silence_in_truth: float
    psnr_db: float
    psnr_of_idle_db: float
    mouth_db: float
    mouth_of_idle_db: float
    rest_db: float
    seam: float
    chin_seam: float
    steps: FrameSteps
    steps_in_truth: FrameSteps
    r_other_sound: float
    r_other_sound_to_its_own_truth: float
    r_of_truth_to_jaw: float


class Landmarks(Protocol):
    """Reads how far mouths are open."""

    def openings(self, faces: NDArray[np.uint8]) -> Curve:
        """Opening of the mouth on each of uint8 [n, R, R, 3]: float64 [n]."""


@dataclass(frozen=True)
class Evaluator:
    """Generates and measures clips."""

    data: HeldOut
    generate: Generate
    landmarks: Landmarks

    def compose(self, generated: NDArray[np.uint8], idle: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The repainted region of `generated` over `idle`, with the soft edge that the server uses."""
        weight = paste_mask(generated.shape[1])[None, :, :, None]
        return np.round(generated * weight + idle * (1 - weight)).astype(np.uint8)

    def measure(self, clip: Clip, other: Clip, true_openings: Mapping[str, Curve]) -> ClipMeasures:
        """All measures of `clip`, also with the audio of `other`; `true_openings` holds both by their ids."""
        truth, indices = self.data.truth(clip), self.data.idle_indices(clip)
        idle = self.data.idle[indices]
        generated = self.compose(self.generate(self.data.pcm(clip), indices), idle)
        mismatched = self.compose(self.generate(self._fitted(self.data.pcm(other), len(indices)), indices), idle)
        mask = face_mask(truth.shape[1])
        not_mouth = (lip_weights(truth.shape[1]) <= AT_THE_MOUTH).astype(np.float32)
        opening, mismatched_opening = self.landmarks.openings(generated), self.landmarks.openings(mismatched)
        true_opening = true_openings[clip.id]
        silent = silent_frames(clip.phones, clip.n_frames)
        scale = Scale.of(true_opening, self.landmarks.openings(idle))
        return ClipMeasures(
            id=clip.id,
            voice=clip.voice,
            group=clip.group,
            r=correlation(opening, true_opening),
            lag=peak_lag(opening, true_opening),
            amplitude=amplitude_ratio(opening, true_opening),
            closed=closures(opening, clip.phones, scale),
            closed_in_truth=closures(true_opening, clip.phones, scale),
            silence=silence_opening(opening, silent, scale),
            silence_in_truth=silence_opening(true_opening, silent, scale),
            psnr_db=psnr(generated, truth, mask),
            psnr_of_idle_db=psnr(idle, truth, mask),
            mouth_db=psnr(generated, truth, not_mouth),
            mouth_of_idle_db=psnr(idle, truth, not_mouth),
            rest_db=psnr(generated[silent], idle[silent], mask),
            seam=seam(generated, truth, edge_band(mask)),
            chin_seam=seam(generated, truth, chin_band(mask)),
            steps=frame_steps(generated, mask),
            steps_in_truth=frame_steps(truth, mask),
            r_other_sound=correlation(mismatched_opening, true_opening),
            r_other_sound_to_its_own_truth=correlation(mismatched_opening, true_openings[other.id]),
            r_of_truth_to_jaw=correlation(true_opening, self.data.jaw(clip)),
        )

    @staticmethod
    def _fitted(pcm: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
        """`pcm` for exactly `frames` video frames: cut, or padded with silence at its end."""
        samples = frames * CONTRACT.samples_per_frame
        return np.pad(pcm, (0, max(0, samples - len(pcm))))[:samples]


def group_measures(name: str, clips: Sequence[ClipMeasures]) -> GroupMeasures:
    """The measures of one group, over its clips."""

    def mean(values: Sequence[float]) -> float:
        return float(np.nanmean(values))

    steps = steps_in_truth = FrameSteps((), ())
    closed = closed_in_truth = Count(0, 0)
    for clip in clips:
        steps, closed = steps + clip.steps, closed + clip.closed
        closed_in_truth = closed_in_truth + clip.closed_in_truth
        steps_in_truth = steps_in_truth + clip.steps_in_truth
    return GroupMeasures(
        name=name,
        clips=len(clips),
        r=mean([c.r for c in clips]),
        worst_r=min(c.r for c in clips),
        worst_lag=max((c.lag for c in clips), key=abs),
        amplitude=mean([c.amplitude for c in clips]),
        closed=closed.rate,
        closed_of=closed.total,
        closed_in_truth=closed_in_truth.rate,
        silence=mean([c.silence for c in clips]),
        worst_silence=float(np.nanmax([c.silence for c in clips])),
        silence_in_truth=mean([c.silence_in_truth for c in clips]),
        psnr_db=mean([c.psnr_db for c in clips]),
        psnr_of_idle_db=mean([c.psnr_of_idle_db for c in clips]),
        mouth_db=mean([c.mouth_db for c in clips]),
        mouth_of_idle_db=mean([c.mouth_of_idle_db for c in clips]),
        rest_db=mean([c.rest_db for c in clips]),
        seam=mean([c.seam for c in clips]),
        chin_seam=mean([c.chin_seam for c in clips]),
        flicker=steps.flicker,
        flicker_in_truth=steps_in_truth.flicker,
        flicker_against_truth=steps.flicker / max(1e-9, steps_in_truth.flicker),
        r_other_sound=mean([c.r_other_sound for c in clips]),
        r_other_sound_to_its_own_truth=mean([c.r_other_sound_to_its_own_truth for c in clips]),
        r_of_truth_to_jaw=mean([c.r_of_truth_to_jaw for c in clips]),
    )


def evaluate(evaluator: Evaluator) -> tuple[list[GroupMeasures], list[ClipMeasures]]:
    """Measures of each group, the last of which is all clips, and of each clip.

    The mismatched audio of a clip is that of the clip half the list further on.
    """
    clips = evaluator.data.clips
    true_openings = {clip.id: evaluator.landmarks.openings(evaluator.data.truth(clip)) for clip in clips}
    measured = []
    for i, clip in enumerate(clips):
        measured.append(evaluator.measure(clip, clips[(i + max(1, len(clips) // 2)) % len(clips)], true_openings))
        print(f"{clip.id} {clip.voice}: r {measured[-1].r:.3f}, {measured[-1].psnr_db:.1f} dB", flush=True)
    groups = [
        group_measures(TITLES[group], [m for m in measured if m.group == group])
        for group in HELD_OUT
        if any(m.group == group for m in measured)
    ]
    return [*groups, group_measures(ALL, measured)], measured


def main() -> None:
    # They import torch, which the measures above don't need.
    import torch

    from latentsync.cpu import preferred_dtype
    from training.generate import CheckpointGenerator

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/demo"))
    parser.add_argument("--landmarks", type=Path, default=Path("checkpoints/face/face_landmark.tflite"))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--steps", type=int, help="default: the checkpoint's own")
    parser.add_argument("--guidance", type=float, help="default: the checkpoint's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--solver", default="ddim", help="ddim or dpm++")
    parser.add_argument("--reuse", type=int, default=1, help="run the deep layers in every n-th step only")
    parser.add_argument("--dtype", choices=("float32", "auto"), default="float32", help="auto: as the server does")
    parser.add_argument("--json", type=Path, help="file for all measures")
    arguments = parser.parse_args()
    data = HeldOut.open(arguments.data)
    generator = CheckpointGenerator(
        arguments.checkpoint,
        data.idle,
        arguments.device,
        arguments.steps,
        arguments.guidance,
        arguments.seed,
        arguments.solver,
        arguments.reuse,
        torch.float32 if arguments.dtype == "float32" else preferred_dtype(),
    )
    groups, clips = evaluate(Evaluator(data, generator, LipLandmarks(arguments.landmarks)))
    checks = verdicts(groups, TARGETS.get(arguments.checkpoint.name, DEMO))
    print(table(groups, checks))
    if arguments.json:
        settings = {"checkpoint": str(arguments.checkpoint), "device": arguments.device, "seed": arguments.seed}
        settings |= {"steps": generator.steps, "guidance": generator.guidance}
        settings |= {"solver": arguments.solver, "reuse": arguments.reuse, "dtype": arguments.dtype}
        report = {
            "settings": settings,
            "groups": [asdict(group) for group in groups],
            "verdicts": [asdict(check) for check in checks],
            "clips": [asdict(clip) for clip in clips],
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
