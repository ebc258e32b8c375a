"""The turn detector: Smart Turn's input is Whisper's, and a dialogue waits as long as the detector says."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import whisper
from numpy.typing import NDArray

from bench.virtual_loop import in_virtual_time
from conversation.activity.smart_turn import SmartTurn, _mel_filters, log_mel
from conversation.dialogue import Dialogue, Parts
from conversation.response.responder import ToolCall
from conversation.response.rules import RuleResponder
from conversation.turn.actions import Action, Commit
from conversation.turn.state import TurnRules
from tests.support.human_voice import said, silence
from tests.support.timed_mouth import TimedMouth
from tests.support.tiny_onnx import mean_network


def test_features_are_those_of_whisper() -> None:
    samples = np.pad(said("What time is it?").astype(np.float32) / 32768, (128_000, 0))[-128_000:]
    ours = log_mel(samples, _mel_filters())
    theirs = whisper.log_mel_spectrogram(samples, 80).numpy()
    assert ours.shape == (80, 800) and np.abs(ours - theirs).max() < 1e-3


async def test_network_of_a_path_is_asked(tmp_path: Path) -> None:
    """The stand-in's answer is the mean of the spectrogram, which silence in front of the sentence makes smaller."""
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_network("input_features", [1, 80, 800]))
    detector = SmartTurn(path)
    spoken: NDArray[np.int16] = np.concatenate([said("What time is it?")] * 8)
    assert detector.probability(spoken) > detector.probability(said("Well")) + 0.05
    assert await detector.is_finished(spoken) == (detector.probability(spoken) > 0.5)
    assert 0 <= detector.probability(silence(0.5)) <= 1


def test_file_that_is_no_smart_turn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(mean_network("sound", [1, 16_000]))
    with pytest.raises(ValueError, match="is no Smart Turn 3"):
        SmartTurn(path)
    path.write_bytes(b"not a network")
    with pytest.raises(ValueError, match="can't be read"):
        SmartTurn(path)


class Loud:
    """Whatever is loud is a voice."""

    def probability(self, frame: NDArray[np.int16]) -> float:
        return float(np.abs(frame).max() > 1000)

    def reset(self) -> None: ...


class Hears:
    """A recogniser that hears the same words in each utterance."""

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        return "what time is it"

    async def run(self) -> None: ...


class Judges:
    """A turn detector of one opinion."""

    def __init__(self, is_finished: bool | None) -> None:
        self._is_finished = is_finished

    async def is_finished(self, sound: NDArray[np.int16]) -> bool:
        if self._is_finished is None:
            raise RuntimeError("out of memory")
        return self._is_finished


@pytest.mark.parametrize(("opinion", "waited_s"), [(True, 0.2), (None, 0.5), (False, 1.2)])
def test_dialogue_waits_as_long_as_its_detector_says(opinion: bool | None, waited_s: float) -> None:
    async def talk() -> float:
        loop = asyncio.get_running_loop()
        committed_s: list[float] = []

        def tell(action: Action | ToolCall) -> None:
            if isinstance(action, Commit):
                committed_s.append(loop.time())

        mouth = TimedMouth(loop.time)
        parts = Parts(Loud(), Hears(), RuleResponder(lambda: datetime(2026, 3, 4)), mouth, Judges(opinion))
        dialogue = Dialogue(parts, TurnRules(), tell, loop.time)
        mouth.dialogue = dialogue
        work = asyncio.create_task(dialogue.run())
        loud = np.full(round(0.8 * 16_000), 5000, np.int16)
        for block in np.array_split(np.concatenate([loud, silence(2.0)]), 140):
            await dialogue.hear(block)
            await asyncio.sleep(len(block) / 16_000)
        work.cancel()
        return committed_s[0] - 0.8

    assert in_virtual_time(talk()) == pytest.approx(waited_s, abs=0.06)
