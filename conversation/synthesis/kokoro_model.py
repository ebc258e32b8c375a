"""Kokoro-82M (Apache-2.0): phonemes in, sound out, by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from conversation.synthesis.kokoro_folder import language_of, network_of, vocabulary_of
from conversation.synthesis.kokoro_phonemes import phonemes

RATE_HZ = 24_000
_STYLES, _STYLE_SIZE = 510, 256
_MOST_TOKENS = 500


class KokoroModel:
    """Says one sentence after another, in the calling thread."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises ValueError for a folder without network or tokens."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        providers = [each for each in ("CUDAExecutionProvider", "CPUExecutionProvider") if each in _available()]
        self._session = onnxruntime.InferenceSession(str(network_of(folder)), options, providers=providers)
        # Two exports are about, which differ in the name of the tokens and the type of the speed.
        self._inputs = {each.name: each.type for each in self._session.get_inputs()}
        self._vocabulary = vocabulary_of(folder)
        self._folder = folder
        self._styles: dict[str, NDArray[np.float32]] = {}

    def say(self, text: str, voice: str, rate: float) -> NDArray[np.float32]:
        """Samples at 24 kHz, -1 … 1; none of a text of which nothing can be said."""
        language = language_of(voice).partition("-")[0]
        tokens = [self._vocabulary[char] for char in phonemes(text, language) if char in self._vocabulary]
        space = self._vocabulary[" "]
        sounds = [self._sound(part, voice, rate) for part in _cut(tokens, space) if any(each != space for each in part)]
        return np.concatenate(sounds) if sounds else np.zeros(0, np.float32)

    def _sound(self, tokens: list[int], voice: str, rate: float) -> NDArray[np.float32]:
        name = next(each for each in self._inputs if each in ("input_ids", "tokens"))
        speed = np.array([rate], np.float32 if "float" in self._inputs["speed"] else np.int32)
        asked = {
            name: np.array([[0, *tokens, 0]], np.int64),
            "style": self._style(voice)[min(len(tokens), _STYLES) - 1][None],
            "speed": speed,
        }
        return np.asarray(self._session.run(None, asked)[0], np.float32).reshape(-1)

    def _style(self, voice: str) -> NDArray[np.float32]:
        """float32 [510, 256]: one for each number of tokens."""
        if voice not in self._styles:
            read = np.fromfile(self._folder / "voices" / f"{voice}.bin", np.float32)
            self._styles[voice] = read.reshape(_STYLES, _STYLE_SIZE)
        return self._styles[voice]


def _cut(tokens: list[int], space: int) -> list[list[int]]:
    """Parts of at most 500 tokens, cut at spaces where there are any."""
    parts = []
    while len(tokens) > _MOST_TOKENS:
        at = next((n for n in range(_MOST_TOKENS, 0, -1) if tokens[n] == space), _MOST_TOKENS)
        parts.append(tokens[:at])
        tokens = tokens[at:]
    return [*parts, tokens]


def _available() -> list[str]:
    return list(onnxruntime.get_available_providers())
