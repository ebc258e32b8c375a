"""A folder with Kokoro's network, tokens and voices, as onnx-community/Kokoro-82M-v1.0-ONNX has them."""

from __future__ import annotations

import json
from pathlib import Path

from conversation.synthesis.synthesiser import Voice

_LANGUAGES = {"a": "en-US", "b": "en-GB", "z": "zh-CN"}  # by the first letter of a voice; others have no rules here
_PREFERRED = ("model.onnx", "model_quantized.onnx")


def language_of(voice: str) -> str:
    """By its name, as Kokoro's authors named them."""
    return _LANGUAGES[voice[0]]


def kokoro_voices(folder: Path) -> tuple[Voice, ...]:
    """Those of the folder whose language can be said; raises ValueError where it has none, no network or no tokens."""
    found = [
        Voice(path.stem, _LANGUAGES[path.stem[0]])
        for path in sorted((folder / "voices").glob("*.bin"))
        if path.stem[0] in _LANGUAGES
    ]
    if not found:
        raise ValueError(f"{folder} has no English or Chinese voices: files voices/af_….bin or voices/zf_….bin")
    network_of(folder)
    vocabulary_of(folder)
    return tuple(found)


def network_of(folder: Path) -> Path:
    """The file of the whole network rather than that of a smaller one; raises ValueError where there is none."""
    found = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    preferred = [path for name in _PREFERRED for path in found if path.name == name]
    if not found:
        raise ValueError(f"{folder} has no network: a file model.onnx, there or in its folder onnx")
    return (preferred or found)[0]


def vocabulary_of(folder: Path) -> dict[str, int]:
    """Kokoro's symbols with their numbers, as tokenizer.json or, of the original, config.json has them.

    Raises ValueError where neither does.
    """
    for name in ("tokenizer.json", "config.json"):
        try:
            read = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        found = read.get("vocab") or (read.get("model") or {}).get("vocab")
        if isinstance(found, dict) and " " in found:
            return {str(symbol): int(number) for symbol, number in found.items()}
    raise ValueError(f"{folder} has no tokens: a tokenizer.json or config.json with Kokoro's vocabulary")
