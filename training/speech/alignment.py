"""Phone timings by forced alignment with pocketsphinx, and a check of their plausibility."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.speech.clip import SAMPLE_RATE, SILENCE, Phone
from training.speech.sentences import Lexicon, spoken_words

STEP_S = 0.01
STEP_SAMPLES = int(SAMPLE_RATE * STEP_S)
PADDING_S = 0.25
SHORTEST_S = 0.03  # the model of a phone has three states, of at least one step each
VOWELS = frozenset(["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"])


class AlignmentError(ValueError):
    """The words could not be aligned with the audio."""


def load_lexicon(size: int = 25_000) -> Lexicon:
    """The `size` most probable words of pocketsphinx's US English model with their phones, most probable first."""
    from pocketsphinx import Config, LogMath, NGramModel, get_model_path

    model = NGramModel(Config(), LogMath(), get_model_path("en-us/en-us.lm.bin"))
    pronunciations: dict[str, list[str]] = {}
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        for line in lines:
            word, *phones = line.split()
            if word.replace("'", "").isalpha() and len(word) <= 14 and (len(word) > 1 or word in "ai"):
                pronunciations[word] = phones
    by_probability = sorted(pronunciations, key=lambda word: -model.prob([word]))
    return {word: pronunciations[word] for word in by_probability[:size]}


class Aligner:
    """Finds the phones of a known text in a recording."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        # Without bestpath=False one alignment in fifteen fails in its second, phone-level pass.
        self._decoder = Decoder(lm=None, loglevel="FATAL", cmn="batch", bestpath=False, compallsen=True)

    def __call__(self, samples: NDArray[np.float32], text: str) -> list[Phone]:
        """Phones of mono 16 kHz `samples` from 0 to their end, with `SIL` in the pauses between words.

        Raises AlignmentError when the recogniser finds no path.
        """
        pad = np.zeros(int(PADDING_S * SAMPLE_RATE), np.float32)
        padded = np.concatenate([pad, samples / max(1e-6, float(np.abs(samples).max())) * 0.7, pad])
        noise = np.random.default_rng(0).normal(0, 3e-4, len(padded))  # exact zeros have no logarithm
        pcm = (np.clip(padded + noise, -1, 1) * 32767).astype(np.int16).tobytes()
        try:
            self._decoder.set_align_text(" ".join(spoken_words(text)))
            self._pass(pcm)
            self._decoder.set_alignment()
            self._pass(pcm)
        except RuntimeError as error:
            raise AlignmentError(f"no alignment for {text!r}: {error}") from error
        alignment = self._decoder.get_alignment()
        if alignment is None:
            raise AlignmentError(f"no alignment for {text!r}")
        found = [
            Phone(phone.name, phone.start * STEP_S - PADDING_S, (phone.start + phone.duration) * STEP_S - PADDING_S)
            for word in alignment
            for phone in word
        ]
        return fill_gaps(found, len(samples) / SAMPLE_RATE)

    def _pass(self, pcm: bytes) -> None:
        # Resets the adaptation to level and noise, so that timings don't depend on the clips aligned before.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(pcm, full_utt=True)
        finally:
            self._decoder.end_utt()


def fill_gaps(phones: list[Phone], duration_s: float) -> list[Phone]:
    """The phones cut to 0 … `duration_s`, with `SIL` in all gaps and neighbouring `SIL` joined."""
    filled: list[Phone] = []
    at = 0.0
    for phone in phones:
        if phone.name == SILENCE or not phone.name.isalpha():
            continue
        start, end = max(at, phone.start_s), min(duration_s, phone.end_s)
        if end - start < STEP_S / 2:
            continue
        if start - at > STEP_S / 2:
            filled.append(Phone(SILENCE, at, start))
        else:
            start = at
        filled.append(Phone(phone.name, start, end))
        at = end
    if duration_s - at > 1e-6:
        filled.append(Phone(SILENCE, at, duration_s))
    return filled


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square of each 10 ms: float64 [len(samples) // 160]."""
    steps = len(samples) // STEP_SAMPLES
    blocks = samples[: steps * STEP_SAMPLES].astype(np.float64).reshape(steps, STEP_SAMPLES)
    return np.asarray(np.sqrt((blocks**2).mean(1)))


def implausibility(phones: list[Phone], samples: NDArray[np.float32]) -> str | None:
    """Why this alignment is implausible, or None.

    An aligner that fails gives some phones the shortest possible length, stretches others, and puts vowels on silence
    and silence on speech.
    """
    spoken = [phone for phone in phones if phone.name != SILENCE]
    if not spoken:
        return "nothing spoken"
    shortest = sum(phone.duration_s < SHORTEST_S + 0.005 for phone in spoken) / len(spoken)
    if shortest > 0.35:
        return f"{shortest:.0%} of the phones have the shortest possible length"
    longest = max(phone.duration_s for phone in spoken)
    if longest > 0.6:
        return f"a phone of {longest:.2f} s"
    level = loudness(samples)
    peak = float(np.percentile(level, 95))
    levels = {phone: _level(level, phone) for phone in phones}
    faint = [phone for phone in spoken if phone.name in VOWELS and levels[phone] < 0.03 * peak]
    if len(faint) > 0.12 * len(spoken):
        return f"{len(faint)} vowels without sound"
    silences = [phone for phone in phones if phone.name == SILENCE and phone.duration_s > 0.08]
    loud = [phone for phone in silences if levels[phone] > 0.15 * peak]
    if loud:
        return f"sound in the silence at {loud[0].start_s:.2f} s"
    return None


def _level(level: NDArray[np.float64], phone: Phone) -> float:
    first, last = round(phone.start_s / STEP_S), round(phone.end_s / STEP_S)
    inside = level[first : max(first + 1, last)]
    return float(np.median(inside)) if len(inside) else 0.0
