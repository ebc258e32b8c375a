"""Held-out people say held-out sentences: python -m training.people.held_out DATA OUT --seed 900000 --resolution 160

DATA is a folder of `training.speech.make`. Each of its held-out sentences is said by another person, whose numbers
follow `--seed`; OUT is then a folder that `training.evaluate` measures. Sentences that OUT has already are kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from training.people.render import Options, render_take
from training.people.renderer import Studio
from training.people.speech import Utterance
from training.speech.clip import HELD_OUT, read_clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True, help="number of the first person, whom no training has seen")
    parser.add_argument("--resolution", type=int, required=True)
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    for folder in ("wav", "truth", "idle"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in read_clips(data / "speech.json") if clip.group in HELD_OUT]
    curves, studio = np.load(data / "curves.npz"), Studio()
    names = tuple(str(name) for name in curves["names"])
    for number, clip in enumerate(clips):
        if (out / "truth" / f"{clip.id}.npy").exists():
            continue
        utterance = Utterance(names, curves[clip.id].astype(np.float32), clip.id, 0)
        options = Options(arguments.resolution, clip.n_frames, damage=False)
        talking, idle = render_take(studio, arguments.seed + number, 0, utterance, options)
        shutil.copy(data / "wav" / f"{clip.id}.wav", out / "wav")
        np.save(out / "idle" / f"{clip.id}.npy", idle)
        np.save(out / "truth" / f"{clip.id}.npy", talking)
        print(f"{clip.id}: person {arguments.seed + number}, {clip.n_frames} frames", flush=True)
    _join(data, out, [clip.id for clip in clips])


def _join(data: Path, out: Path, ids: list[str]) -> None:
    """All resting faces in one clip, and where in it each sentence begins."""
    idle = [np.load(out / "idle" / f"{clip}.npy") for clip in ids]
    starts = np.cumsum([0, *map(len, idle)])
    np.save(out / "idle.npy", np.concatenate(idle))
    (out / "starts.json").write_text(json.dumps(dict(zip(ids, starts.tolist(), strict=False))))
    entries = [entry for entry in json.loads((data / "speech.json").read_text()) if entry["id"] in ids]
    (out / "speech.json").write_text(json.dumps(entries))
    shutil.copy(data / "curves.npz", out)


if __name__ == "__main__":
    main()
