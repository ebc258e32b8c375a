"""Kokoro: what its network is given, by a stand-in that gives it back; and its process. The weights aren't here."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from pathlib import Path

import numpy as np
import pytest

from conversation.synthesis.kokoro_folder import kokoro_voices
from tests.support.tiny_onnx import FLOAT, INT64, Node, Shape, network

pytest.importorskip("misaki", reason="the extra kokoro is not installed")

from conversation.synthesis.kokoro import KokoroSynthesiser
from conversation.synthesis.kokoro_model import KokoroModel
from conversation.synthesis.kokoro_phonemes import phonemes

STYLES = 510


def write_kokoro(folder: Path, tokens: str = "input_ids") -> Path:
    """Its sound is each token's number plus the style, which is 1000 for one token, 2000 for two, and so on."""
    symbols = sorted({*" .,!?abcdefghijklmnopqrstuvwxyz", *"həlˈOdɪizðɹɛGjuptˌŋʂɨʦxauniwoʰ↓↗→↘ɕɻʤʨꭧɤɚ"})
    vocabulary = {symbol: number for number, symbol in enumerate(symbols, 1)}
    nodes: list[Node] = [
        ("Cast", [tokens], "numbers", {"to": FLOAT}),
        ("ReduceMean", ["style"], "mean", {}),
        ("Add", ["numbers", "mean"], "out", {}),
    ]
    inputs: dict[str, tuple[int, Shape]] = {
        tokens: (INT64, [1, "n"]),
        "style": (FLOAT, [1, 256]),
        "speed": (FLOAT, [1]),
    }
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(network(inputs, nodes, (FLOAT, [1, "n"])))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    (folder / "voices").mkdir()
    for name in ("zf_one", "af_two", "jf_three"):
        styles = np.repeat(1000 * np.arange(1, STYLES + 1, dtype=np.float32), 256)
        styles.tofile(folder / "voices" / f"{name}.bin")
    return folder


def test_phonemes_are_those_of_chinese_and_of_the_english_within_it() -> None:
    assert phonemes("您好，我是数字人。", "zh") == "ni↗nxau↓, wo↓ ʂɨ↘ ʂu↘ʦɨ↘ ɻə↗n."
    assert phonemes("Hello, it is the time.", "en") == "həlˈO, ɪt ɪz ði tˈIm."
    assert phonemes("我用GPU。", "zh").endswith("ʤˈi pˈi jˈu ."), "what no dictionary has is spelt"
    assert "tɹˈItˌɑn" in phonemes("我用Triton生成", "zh")
    assert phonemes("US", "en") != phonemes("us", "en")


@pytest.mark.parametrize("tokens", ["input_ids", "tokens"])
def test_network_is_given_tokens_between_zeros_and_the_style_of_their_number(tmp_path: Path, tokens: str) -> None:
    folder = write_kokoro(tmp_path, tokens)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    model = KokoroModel(folder, threads=1)
    spoken = [vocabulary[symbol] for symbol in phonemes("Hello, it is.", "en")]
    said = model.say("Hello, it is.", "af_two", 1.0)
    assert (said - 1000 * len(spoken)).tolist() == [0, *spoken, 0]
    assert len(model.say("…", "af_two", 1.0)) == 0


def test_long_sentence_is_said_in_parts_cut_between_words(tmp_path: Path) -> None:
    folder = write_kokoro(tmp_path)
    space = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][" "]
    said = KokoroModel(folder, threads=1).say("hello " * 120, "af_two", 1.0)
    parts = np.split(said, 1 + np.flatnonzero(np.diff(said // 1000)))
    assert len(parts) == 2 and all(len(part) <= 502 for part in parts)
    assert parts[1][1] % 1000 == space


def test_voices_are_those_of_languages_that_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no English or Chinese voices"):
        kokoro_voices(tmp_path)
    folder = write_kokoro(tmp_path / "kokoro")
    assert {voice.name: voice.language for voice in kokoro_voices(folder)} == {"af_two": "en-US", "zf_one": "zh-CN"}
    with pytest.raises(ValueError, match="has no voice zf_none"):
        KokoroSynthesiser(folder, first_voice="zf_none")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="has no tokens"):
        kokoro_voices(folder)
    (folder / "onnx" / "model.onnx").unlink()
    with pytest.raises(ValueError, match="has no network"):
        kokoro_voices(folder)


async def test_process_says_sentences(tmp_path: Path) -> None:
    synthesiser = KokoroSynthesiser(write_kokoro(tmp_path), first_voice="zf_one")
    assert synthesiser.voices[0].language == "zh-CN"
    work = asyncio.create_task(synthesiser.run())
    try:
        async with aclosing(synthesiser.synthesise("您好。", synthesiser.voices[0])) as blocks:
            (sound,) = [block async for block in blocks]
        assert len(sound) == 2 + len(phonemes("您好。", "zh")) and sound.dtype == np.int16
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
