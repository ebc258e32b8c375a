"""Held-out people say held-out sentences: python -m training.people.held_out DATA OUT --seed 900000 --resolution 160

DATA is a folder of `training.speech.make`. Each of its held-out sentences is said by another person, whose numbers
follow `--seed`; with `--each 5` each of these people says the four that follow too. OUT is then a folder that
`training.evaluate` measures. Sentences that OUT has already are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.people.render import Options, render_take
from training.people.renderer import Studio
from training.people.speech import Utterance
from training.speech.clip import HELD_OUT, Clip, read_clips, write_clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True, help="number of the first person, whom no training has seen")
    parser.add_argument("--resolution", type=int, required=True)
    parser.add_argument("--each", type=int, default=1, help="sentences that each person says")
    parser.add_argument("--openness", type=float, help="how wide all speak, where 1 is the mean (default: as drawn)")
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    for folder in ("wav", "truth", "idle"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in read_clips(data / "speech.json") if clip.group in HELD_OUT]
    curves, studio = np.load(data / "curves.npz"), Studio()
    names = tuple(str(name) for name in curves["names"])
    said: dict[str, Clip] = {}
    curves_said: dict[str, NDArray[np.float32]] = {}
    for turn, number in itertools.product(range(arguments.each), range(len(clips))):
        clip, person = clips[(number + turn) % len(clips)], arguments.seed + number
        name = f"{clip.id}-{person}" if arguments.each > 1 else clip.id
        said[name], curves_said[name] = dataclasses.replace(clip, id=name), curves[clip.id].astype(np.float32)
        if (out / "truth" / f"{name}.npy").exists():
            continue
        utterance = Utterance(names, curves_said[name], clip.id, 0)
        options = Options(arguments.resolution, clip.n_frames, damage=False, openness=arguments.openness)
        talking, idle = render_take(studio, person, turn, utterance, options)
        shutil.copy(data / "wav" / f"{clip.id}.wav", out / "wav" / f"{name}.wav")
        np.save(out / "idle" / f"{name}.npy", idle)
        np.save(out / "truth" / f"{name}.npy", talking)
        print(f"{clip.id}: person {person}, {clip.n_frames} frames", flush=True)
    _join(out, list(said.values()))
    np.savez(out / "curves.npz", names=curves["names"], **curves_said)


def _join(out: Path, said: list[Clip]) -> None:
    """All resting faces in one clip, and where in it each sentence begins."""
    idle = [np.load(out / "idle" / f"{clip.id}.npy") for clip in said]
    starts = np.cumsum([0, *map(len, idle)])
    np.save(out / "idle.npy", np.concatenate(idle))
    (out / "starts.json").write_text(json.dumps(dict(zip([clip.id for clip in said], starts.tolist(), strict=False))))
    write_clips(out / "speech.json", said)


if __name__ == "__main__":
    main()
