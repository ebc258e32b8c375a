"""Generates the speech of the data set: `python -m training.speech.make --minutes 28 --out DIR --seed 1`.

Writes DIR/wav/<id>.wav (16 kHz mono, whole frames of 640 samples), DIR/speech.json (see `training.speech.clip`) and
DIR/curves.npz: `names`, those of the face units, and under each clip's id float32 [n_frames, units].
With --curves-only the speech in DIR is kept and only its curves are computed again.
"""

import argparse
import collections
import itertools
import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.speech.alignment import Aligner, AlignmentError, fill_gaps, implausibility, load_lexicon
from training.speech.backgrounds import KINDS, background
from training.speech.clip import (
    FRAME_RATE,
    FRAME_SAMPLES,
    HELD_OUT,
    KNOWN_VOICE,
    SAMPLE_RATE,
    SILENCE,
    TRAIN,
    UNSEEN_SYNTHESISER,
    UNSEEN_VOICE,
    Clip,
    Phone,
    read_clips,
    write_clips,
)
from training.speech.held_out import TEXTS, held_out_sentences
from training.speech.sentences import Sentence, SentenceMaker
from training.speech.visemes import UNITS, face_curves
from training.speech.voices import (
    TRAINING_SHARES,
    UNSEEN_SYNTHESISER_NAME,
    UNSEEN_VOICE_NAME,
    Samples,
    Synthesise,
    missing,
    open_voice,
    resample,
)

BACKGROUND_SHARE = 0.04
HELD_OUT_VOICES = {
    KNOWN_VOICE: [*((voice, 1.0) for voice in TRAINING_SHARES), ("heart", 0.9), ("joe", 1.1)],
    UNSEEN_VOICE: [(UNSEEN_VOICE_NAME, 1.0)] * 6,
    UNSEEN_SYNTHESISER: [(UNSEEN_SYNTHESISER_NAME, 1.0)] * 6,
}


@dataclass(frozen=True)
class Plan:
    """One clip to generate. `scale` multiplies pitch and formants; `rate` is the pace, independent of the scale."""

    id: str
    group: str
    voice: str
    scale: float
    rate: float
    sentence: Sentence
    seed: int


def training_plans(seed: int) -> Iterator[Plan]:
    """An endless sequence of plans: sentences in all voices, and some backgrounds without speech."""
    rng = random.Random(seed)
    sentence = SentenceMaker(load_lexicon(), seed, forbidden=[text.replace("|", "") for text in TEXTS])
    voices, shares = list(TRAINING_SHARES), list(TRAINING_SHARES.values())
    index = 0
    while True:
        index += 1
        clip_seed = rng.randrange(2**31)
        if rng.random() < BACKGROUND_SHARE:
            kind = KINDS[index % len(KINDS)]
            yield Plan(f"{TRAIN}-{index:04d}", TRAIN, kind, 1.0, 1.0, Sentence(()), clip_seed)
            continue
        scale = rng.uniform(0.86, 1.15) if rng.random() < 0.65 else 1.0
        voice = rng.choices(voices, shares)[0]
        yield Plan(f"{TRAIN}-{index:04d}", TRAIN, voice, scale, rng.uniform(0.85, 1.22), sentence(), clip_seed)


def held_out_plans(seed: int) -> dict[str, list[Plan]]:
    """More plans for each group than it has clips, so that an implausible alignment can be replaced."""
    sentences = held_out_sentences()
    plans: dict[str, list[Plan]] = {}
    for group in HELD_OUT:
        voices = HELD_OUT_VOICES[group]
        chosen, sentences = sentences[: len(voices) + 2], sentences[len(voices) + 2 :]
        plans[group] = [
            Plan(f"{group}-{i + 1:02d}", group, *voices[i % len(voices)], 1.0, sentence, seed + i)
            for i, sentence in enumerate(chosen)
        ]
    return plans


class ClipMaker:
    """Generates clips in one process, which loads synthesisers and aligner once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aligner = Aligner()
        self._voices: dict[str, Synthesise] = {}

    def __call__(self, plan: Plan) -> Clip | str:
        """Write the wav of a clip and return the clip, or return why it was dropped."""
        rng = np.random.default_rng(plan.seed)
        try:
            parts = self._parts(plan, rng)
        except AlignmentError as error:
            return str(error)
        if isinstance(parts, str):
            return parts
        samples, phones = concatenate(parts, rng)
        soundfile.write(self._folder / "wav" / f"{plan.id}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        return Clip(plan.id, plan.voice, plan.group, plan.sentence.text, tuple(phones), len(samples) // FRAME_SAMPLES)

    def _parts(self, plan: Plan, rng: np.random.Generator) -> list[tuple[Samples, list[Phone]]] | str:
        """Audio and phones of pauses and phrases, alternating."""
        if not plan.sentence.phrases:
            sound = background(plan.voice, rng.uniform(2.5, 5.0), rng)
            return [(sound, fill_gaps([], len(sound) / SAMPLE_RATE))]
        level = rng.uniform(0.3, 0.75)
        parts = [_pause(rng.uniform(0.2, 0.4))]
        for i, phrase in enumerate(plan.sentence.phrases):
            if i:
                parts.append(_pause(rng.uniform(0.12, 0.9)))
            phrase_seed = int(rng.integers(2**31))
            spoken = trimmed(self._voice(plan.voice)(phrase, plan.rate / plan.scale, phrase_seed))
            phones = self._aligner(spoken, phrase)
            reason = implausibility(phones, spoken)
            if reason:
                return f"{plan.voice}, {phrase!r}: {reason}"
            scaled = resample(spoken, round(1000 * plan.scale), 1000)
            stretch = len(scaled) / len(spoken)
            phones = [Phone(p.name, p.start_s * stretch, p.end_s * stretch) for p in phones]
            parts.append((scaled / np.abs(scaled).max() * level, phones))
        parts.append(_pause(rng.uniform(0.22, 0.4)))
        return parts

    def _voice(self, name: str) -> Synthesise:
        if name not in self._voices:
            self._voices[name] = open_voice(name)
        return self._voices[name]


def trimmed(samples: Samples, guard_s: float = 0.03) -> Samples:
    """`samples` without the silence around the speech: 50 dB below the loudest, `guard_s` left on each side."""
    sounding = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (-50 / 20))
    guard = round(guard_s * SAMPLE_RATE)
    return samples[max(0, sounding[0] - guard) : sounding[-1] + guard]


def concatenate(parts: list[tuple[Samples, list[Phone]]], rng: np.random.Generator) -> tuple[Samples, list[Phone]]:
    """The parts in order, mixed with faint noise and padded to a whole number of frames."""
    sound = np.concatenate([samples for samples, _ in parts])
    length = -(-len(sound) // FRAME_SAMPLES) * FRAME_SAMPLES
    noise = rng.normal(0, 10 ** rng.uniform(-4.3, -3.2), length)
    mixed = (noise + np.pad(sound, (0, length - len(sound)))).astype(np.float32)
    phones, at = [], 0.0
    for samples, own in parts:
        phones += [Phone(p.name, p.start_s + at, p.end_s + at) for p in own if p.name != SILENCE]
        at += len(samples) / SAMPLE_RATE
    # Rounded as in speech.json, so that curves computed again from it are the same.
    filled = fill_gaps(phones, length / SAMPLE_RATE)
    return mixed, [Phone(p.name, round(p.start_s, 4), round(p.end_s, 4)) for p in filled]


def _pause(duration_s: float) -> tuple[Samples, list[Phone]]:
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32), []


_maker: ClipMaker


def _start_worker(folder: Path) -> None:
    global _maker
    os.nice(5)
    _maker = ClipMaker(folder)


def _make_clip(plan: Plan) -> Clip | str:
    return _maker(plan)


def make(folder: Path, minutes: float, seed: int, processes: int) -> list[Clip]:
    """Fill `folder` with `minutes` of training clips and the held-out clips; returns all clips.

    Raises RuntimeError when too few held-out clips could be aligned.
    """
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    dropped: list[str] = []
    with multiprocessing.get_context("spawn").Pool(processes, _start_worker, (folder,)) as pool:
        for group, plans in held_out_plans(seed).items():
            results = pool.map(_make_clip, plans, chunksize=1)
            made = [result for result in results if not isinstance(result, str)][: len(HELD_OUT_VOICES[group])]
            dropped += [result for result in results if isinstance(result, str)]
            if len(made) < len(HELD_OUT_VOICES[group]):
                raise RuntimeError(f"only {len(made)} clips of {group} could be aligned: {dropped}")
            clips += made
        plans_ahead = training_plans(seed)
        frames, wanted = 0, round(minutes * 60 * FRAME_RATE)
        while frames < wanted:
            # With a fixed batch the result doesn't depend on the number of processes and their speed.
            for result in pool.map(_make_clip, [next(plans_ahead) for _ in range(16)], chunksize=1):
                if isinstance(result, str):
                    dropped.append(result)
                elif frames < wanted:
                    clips.append(result)
                    frames += result.n_frames
    kept = {clip.id for clip in clips}
    for path in (folder / "wav").glob("*.wav"):
        if path.stem not in kept:
            path.unlink()
    write_clips(folder / "speech.json", clips)
    write_curves(folder, clips)
    print(summary(clips, dropped))
    return clips


def write_curves(folder: Path, clips: list[Clip]) -> None:
    """Write `curves.npz` for clips whose wav files exist."""
    curves: dict[str, NDArray[np.float32]] = {}
    for clip in clips:
        samples, _ = soundfile.read(folder / "wav" / f"{clip.id}.wav", dtype="float32")
        curves[clip.id] = face_curves(clip.phones, clip.n_frames, samples)
    np.savez(folder / "curves.npz", names=np.array(list(UNITS)), **curves)


def summary(clips: list[Clip], dropped: list[str]) -> str:
    """Minutes, voices and phones of the data set in a few lines."""
    lines = []
    for group in (TRAIN, *HELD_OUT):
        voices: collections.Counter[str] = collections.Counter()
        for clip in clips:
            if clip.group == group:
                voices[clip.voice] += clip.n_frames
        count = sum(clip.group == group for clip in clips)
        by_voice = ", ".join(f"{voice} {frames / FRAME_RATE / 60:.1f}" for voice, frames in voices.most_common())
        lines.append(f"{group}: {count} clips, {sum(voices.values()) / FRAME_RATE / 60:.1f} min ({by_voice})")
    spoken = [[p.name for p in clip.phones if p.name != SILENCE] for clip in clips if clip.group == TRAIN]
    phones = collections.Counter(name for names in spoken for name in names)
    pairs = {pair for names in spoken for pair in itertools.pairwise(names)}
    words = {word for clip in clips if clip.group == TRAIN for word in clip.text.lower().split()}
    rarest = ", ".join(f"{name} {count}" for name, count in phones.most_common()[-4:])
    lines.append(f"{len(phones)} phones (rarest: {rarest}), {len(pairs)} pairs, {len(words)} words")
    lines.append(f"{len(dropped)} dropped" + "".join(f"\n  {reason}" for reason in dropped[:12]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=28, help="training speech, silence included")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--curves-only", action="store_true", help="compute the curves of the speech in --out again")
    arguments = parser.parse_args()
    if arguments.curves_only:
        write_curves(arguments.out, read_clips(arguments.out / "speech.json"))
        return
    absent = missing([*TRAINING_SHARES, UNSEEN_VOICE_NAME, UNSEEN_SYNTHESISER_NAME])
    if absent:
        parser.error(f"not installed: {', '.join(absent)} (see training/README.md)")
    make(arguments.out, arguments.minutes, arguments.seed, arguments.processes)


if __name__ == "__main__":
    main()
