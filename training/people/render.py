"""Render people who speak: python -m training.people.render --people 300 --seed 1 --out PEOPLE [--speech DATA]

Each take is one person in one light, pose and camera: PEOPLE/<person>-<take>.npz with
    talking  uint8 [T, R, R, 3]: the aligned face that speaks
    idle     uint8 [T, R, R, 3]: the same frames with the mouth at rest, from which the UNet's condition is made
    clip, first_frame: the speech that it is, in DATA; empty without --speech, where mouth shapes are drawn
A take depends only on its person's number, its own, the speech data, and the options that change pictures; takes that
exist are skipped, so an interrupted run goes on where it stopped. The same OpenGL gives the same pictures.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import AnchorAligner, face_matrix
from training.people.identity import draw_identity
from training.people.renderer import PersonRenderer, Studio
from training.people.setting import draw_take, filmed, photographed
from training.people.speech import SpeechData, Utterance, drawn_shapes

FRAMES_PER_SECOND = 25
# The vertices nearest to the means of the brows' and the nose's landmarks: over 40 people 0.02 face widths away in the
# median, which is how much the landmark model itself differs from person to person.
_ANCHORS = np.array([231, 3154, 291])
_ALIGNMENT_JITTER = 0.012


@dataclass(frozen=True)
class Options:
    """What to render: side of the faces in pixels, frames of a take, the cameras' damage or none, and how wide all
    people speak (None: each take as wide as it was drawn, which no picture of a resting face tells).
    """

    resolution: int
    frames: int
    damage: bool
    openness: float | None = None


def render_take(
    studio: Studio, seed: int, number: int, utterance: Utterance, options: Options
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(talking, idle) faces of one take, uint8 [T, R, R, 3] each; both are seen by the same camera."""
    take = draw_take(seed, number)
    if options.openness is not None:
        take = replace(take, openness=options.openness)
    renderer = PersonRenderer(studio, draw_identity(seed), take)
    rng = np.random.default_rng((29, seed, number))
    aligner, side = AnchorAligner(options.resolution), options.resolution
    talking, idle = [], []
    for frame in range(options.frames):
        pose = renderer.pose(frame / FRAMES_PER_SECOND)
        anchors = renderer.place(pose, _ANCHORS)
        width = float(np.linalg.norm(anchors[1] - anchors[0]))
        view = face_matrix(aligner.align(anchors + rng.normal(0, _ALIGNMENT_JITTER * width, (3, 2))), side)
        pair = [renderer.render(renderer.face_units(mouth), pose, view, side) for mouth in (utterance.mouth(frame), {})]
        if options.damage:
            pair = [photographed(face, take.camera, rng) for face in pair]
        talking.append(pair[0])
        idle.append(pair[1])
    clips = np.stack(talking), np.stack(idle)
    if options.damage and take.camera.h264 is not None:
        clips = filmed(clips[0], take.camera.h264), filmed(clips[1], take.camera.h264)
    return clips


def render_people(
    out: Path, jobs: list[tuple[int, int]], speech: Path | None, held_out: bool, options: Options
) -> None:
    """Render these takes, as (person, take), in this process."""
    studio = Studio()
    data = None if speech is None else SpeechData(speech, held_out)
    began, done = time.monotonic(), 0
    for seed, number in jobs:
        if write_take(studio, out, seed, number, data, options):
            done += 2 * options.frames
            print(f"{seed}-{number}: {1e3 * (time.monotonic() - began) / done:.0f} ms a picture", flush=True)


def write_take(studio: Studio, out: Path, seed: int, number: int, data: SpeechData | None, options: Options) -> bool:
    """Render one take into `out`, where it appears whole; False where it is already."""
    target = out / f"{seed:06d}-{number}.npz"
    if target.exists():
        return False
    rng = np.random.default_rng((30, seed, number))
    utterance = drawn_shapes(options.frames, rng) if data is None else data.draw(options.frames, rng)
    talking, idle = render_take(studio, seed, number, utterance, options)
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, talking=talking, idle=idle, clip=utterance.clip, first_frame=utterance.first_frame)
    part.rename(target)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True, help="number of the first person; the next ones follow")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech", type=Path, help="folder of training.speech.make")
    parser.add_argument("--held-out", action="store_true", help="say the held-out sentences")
    parser.add_argument("--takes", type=int, default=2, help="of each person")
    parser.add_argument("--frames", type=int, default=48, help="of a take")
    parser.add_argument("--resolution", type=int, default=192)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--undamaged", action="store_true", help="without noise, blur and compression")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    options = Options(arguments.resolution, arguments.frames, not arguments.undamaged)
    people = range(arguments.seed, arguments.seed + arguments.people)
    # All people's first takes first, so that an interrupted run has as many people as it can.
    jobs = [(seed, number) for number in range(arguments.takes) for seed in people]
    shares = [jobs[share :: arguments.processes] for share in range(arguments.processes)]
    workers = [
        multiprocessing.Process(target=render_people, args=(out, share, arguments.speech, arguments.held_out, options))
        for share in shares
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a process failed: its error is above; run the command again to go on")


if __name__ == "__main__":
    main()
