"""Render what the networks learn from: python -m training.render_faces DATA --idle checkpoints/demo/avatar/idle.mp4

Aligns the idle clip as the product does, then renders the aligned face of each speech clip directly, through the
alignment matrix of the idle frame on which it is said. Writes idle.npy, matrices.npy, starts.json and truth/ (see
training.corpus). Clips that are there already are left alone, so an interrupted run goes on where it stopped.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import FaceAligner, crop_face
from latentsync.landmarks import FaceLandmarker
from training.write_checkpoint import RESOLUTION


def align_idle(video: Path, face_models: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(faces uint8 [N, R, R, 3], matrices [N, 2, 3]) of the idle clip."""
    capture, landmarker, aligner = cv2.VideoCapture(str(video)), FaceLandmarker(face_models), FaceAligner()
    faces, matrices = [], []
    while (read := capture.read())[0]:
        frame = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        matrices.append(aligner.align(landmarker.detect(frame)[0].landmarks))
        faces.append(crop_face(frame, matrices[-1], RESOLUTION))
    return np.stack(faces), np.stack(matrices)


def render_clips(data: Path, share: int, shares: int) -> None:
    from training.avatar.renderer import Renderer  # opens an OpenGL context: one per process

    curves = np.load(data / "curves.npz")
    names = [str(name) for name in curves["names"]]
    matrices = np.load(data / "matrices.npy")
    starts = json.loads((data / "starts.json").read_text())
    renderer = Renderer()
    began, done = time.monotonic(), 0
    for clip, start in list(starts.items())[share::shares]:
        target = data / "truth" / f"{clip}.npy"
        if target.exists():
            continue
        frames = []
        for offset, row in enumerate(curves[clip]):
            index = (start + offset) % len(matrices)
            units = dict(zip(names, map(float, row), strict=True))
            frames.append(renderer.render_crop(units, index, matrices[index], RESOLUTION))
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
    arguments = parser.parse_args()
    data: Path = arguments.data
    faces, matrices = align_idle(arguments.idle, arguments.face_models)
    np.save(data / "idle.npy", faces)
    np.save(data / "matrices.npy", matrices)
    clips = json.loads((data / "speech.json").read_text())
    # Held-out clips first: an interrupted run can be trained on and measured.
    clips.sort(key=lambda clip: clip["group"] == "train")
    rng = np.random.default_rng(arguments.seed)
    starts = {str(clip["id"]): int(rng.integers(len(faces))) for clip in clips}
    (data / "starts.json").write_text(json.dumps(starts))
    (data / "truth").mkdir(exist_ok=True)
    workers = [
        multiprocessing.Process(target=render_clips, args=(data, share, arguments.processes))
        for share in range(arguments.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
