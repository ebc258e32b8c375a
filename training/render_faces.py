"""Render the training faces: python -m training.render_faces DATA --idle checkpoints/demo/avatar/idle.mp4

Aligns the idle clip as the server does, then renders the aligned face of each speech clip directly, through the
alignment matrix of the idle frame below it. Writes idle.npy, plates.npy, matrices.npy, starts.json and truth/ (see
training.corpus). Existing clips are skipped, so an interrupted run continues where it stopped.
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
from training.speech.clip import TRAIN
from training.write_checkpoint import RESOLUTION


def align_idle(video: Path, face_models: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(frames uint8 [N, H, W, 3], affines [N, 2, 3] to the face template) of the idle clip, as an avatar is prepared.

    ffmpeg decodes the clip: OpenCV ignores its colour matrix, and idle frame and rendered face would differ in hue.
    """
    frames, tracker = list(read_frames(video, max_frames=2000)), FaceTracker(FaceLandmarker(face_models))
    for frame in frames:
        tracker.see(frame)
    return np.stack(frames), tracker.track().affines


def render_clips(data: Path, share: int, shares: int, every: int) -> None:
    """Render the clips of one of `shares` processes, of training clips every `every`-th frame."""
    from training.avatar.renderer import Renderer  # imports OpenGL; each process needs its own context

    curves = np.load(data / "curves.npz")
    names = [str(name) for name in curves["names"]]
    plates, matrices = np.load(data / "plates.npy", mmap_mode="r"), np.load(data / "matrices.npy")
    starts = json.loads((data / "starts.json").read_text())
    renderer = Renderer()
    began, done = time.monotonic(), 0
    for clip, start in list(starts.items())[share::shares]:
        target = data / "truth" / f"{clip}.npy"
        if target.exists():
            continue
        frames = []
        step = every if clip.startswith(TRAIN) else 1
        for offset, row in list(enumerate(curves[clip]))[::step]:
            index = (start + offset) % len(matrices)
            units = dict(zip(names, map(float, row), strict=True))
            frames.append(renderer.render_crop(units, index, matrices[index], RESOLUTION, plates[index]))
        np.save(target.with_suffix(".part.npy"), np.stack(frames))
        target.with_suffix(".part.npy").rename(target)
        done += len(frames)
        print(f"{clip}: {done} frames, {1e3 * (time.monotonic() - began) / done:.1f} ms a frame", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--idle", type=Path, default=Path("checkpoints/demo/avatar/idle.mp4"))
    parser.add_argument("--face-models", type=Path, default=Path("checkpoints/face"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="render each n-th frame of training clips only")
    arguments = parser.parse_args()
    data: Path = arguments.data
    plates, matrices = align_idle(arguments.idle, arguments.face_models)
    faces = np.stack([crop_face(plate, matrix, RESOLUTION) for plate, matrix in zip(plates, matrices, strict=True)])
    np.save(data / "plates.npy", plates)
    np.save(data / "idle.npy", faces)
    np.save(data / "matrices.npy", matrices)
    clips = json.loads((data / "speech.json").read_text())
    # Held-out clips first, so that the clips of an interrupted run suffice for training and for measuring.
    clips.sort(key=lambda clip: clip["group"] == "train")
    rng = np.random.default_rng(arguments.seed)
    starts = {str(clip["id"]): int(rng.integers(len(faces))) for clip in clips}
    (data / "starts.json").write_text(json.dumps(starts))
    (data / "truth").mkdir(exist_ok=True)
    workers = [
        multiprocessing.Process(target=render_clips, args=(data, share, arguments.processes, arguments.every))
        for share in range(arguments.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
