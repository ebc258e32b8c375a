"""Render the training faces: python -m training.render_faces DATA [--presenter woman] [--motions]

Aligns the clips of a presenter as the server does, then renders the aligned face of each speech clip directly, through
the alignment matrix of the frame below it. Writes idle.npy, plates.npy, matrices.npy, starts.json and truth/ (see
training.corpus). Existing clips are skipped, so an interrupted run continues where it stopped.

With `--motions` a speech wanders between idle and the presenter's motions; then poses.npz takes the place of
starts.json (see training.poses).
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import crop_face
from latentsync.landmarks import FaceLandmarker
from orchestrator.avatars.tracking import FaceTracker
from orchestrator.avatars.video import read_frames
from training.poses import read_poses, walk
from training.presenters import IDLE, PRESENTERS, Presenter
from training.speech.clip import TRAIN, read_clips
from training.write_checkpoint import RESOLUTION


def align(video: Path, face_models: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(frames uint8 [N, H, W, 3], affines [N, 2, 3] to the face template) of a clip, as an avatar is prepared.

    ffmpeg decodes the clip: OpenCV ignores its colour matrix, and idle frame and rendered face would differ in hue.
    """
    frames, tracker = list(read_frames(video, max_frames=2000)), FaceTracker(FaceLandmarker(face_models))
    for frame in frames:
        tracker.see(frame)
    return np.stack(frames), tracker.track().affines


def prepare_clips(data: Path, presenter: Presenter, names: list[str], face_models: Path) -> list[int]:
    """Write idle.npy, plates.npy and matrices.npy of these clips, one after another; return how long each is."""
    aligned = [align(presenter.video(name), face_models) for name in names]
    plates, matrices = (np.concatenate(each) for each in zip(*aligned, strict=True))
    faces = np.stack([crop_face(plate, matrix, RESOLUTION) for plate, matrix in zip(plates, matrices, strict=True)])
    np.save(data / "plates.npy", plates)
    np.save(data / "idle.npy", faces)
    np.save(data / "matrices.npy", matrices)
    return [len(frames) for frames, _ in aligned]


def place_speech(data: Path, lengths: list[int], seed: int) -> None:
    """Draw on which frames each speech is shown: starts.json, or poses.npz where there is more than the idle clip."""
    clips = sorted(read_clips(data / "speech.json"), key=lambda clip: clip.group == TRAIN)
    rng = np.random.default_rng(seed)
    if len(lengths) == 1:
        starts = {clip.id: int(rng.integers(lengths[0])) for clip in clips}
        (data / "starts.json").write_text(json.dumps(starts))
    else:
        poses = {clip.id: walk(clip.n_frames, lengths, rng) for clip in clips}
        np.savez(data / "poses.npz", **poses)


def render_clips(data: Path, presenter: Presenter, names: list[str], share: int, shares: int, every: int) -> None:
    """Render the clips of one of `shares` processes, of training clips every `every`-th frame."""
    curves = np.load(data / "curves.npz")
    units = [str(name) for name in curves["names"]]
    plates, matrices = np.load(data / "plates.npy", mmap_mode="r"), np.load(data / "matrices.npy")
    states = [state for name, clip in presenter.states().items() if name in names for state in clip]
    if len(states) != len(matrices):
        raise ValueError(f"{data} has {len(matrices)} frames of {', '.join(names)}, the presenter {len(states)}")
    # Held-out clips first, so that the clips of an interrupted run suffice for training and for measuring.
    clips = sorted(read_clips(data / "speech.json"), key=lambda clip: clip.group == TRAIN)
    poses = read_poses(data, {clip.id: clip.n_frames for clip in clips}, len(matrices))
    renderer = presenter.renderer()
    began, done = time.monotonic(), 0
    for clip in clips[share::shares]:
        target = data / "truth" / f"{clip.id}.npy"
        if target.exists():
            continue
        frames = []
        step = every if clip.group == TRAIN else 1
        for row, index in list(zip(curves[clip.id], poses[clip.id], strict=True))[::step]:
            mouth = dict(zip(units, map(float, row), strict=True))
            frames.append(renderer.render_crop(mouth, states[index], matrices[index], RESOLUTION, plates[index]))
        np.save(target.with_suffix(".part.npy"), np.stack(frames))
        target.with_suffix(".part.npy").rename(target)
        done += len(frames)
        print(f"{clip.id}: {done} frames, {1e3 * (time.monotonic() - began) / done:.1f} ms a frame", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--presenter", choices=PRESENTERS, default="woman")
    parser.add_argument("--motions", action="store_true", help="speak in the presenter's motions too")
    parser.add_argument("--face-models", type=Path, default=Path("checkpoints/face"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="render each n-th frame of training clips only")
    arguments = parser.parse_args()
    data: Path = arguments.data
    presenter = PRESENTERS[arguments.presenter]
    names = [name for name in presenter.states() if arguments.motions or name == IDLE]
    place_speech(data, prepare_clips(data, presenter, names, arguments.face_models), arguments.seed)
    (data / "truth").mkdir(exist_ok=True)
    shares = arguments.processes
    workers = [
        multiprocessing.Process(target=render_clips, args=(data, presenter, names, share, shares, arguments.every))
        for share in range(shares)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
