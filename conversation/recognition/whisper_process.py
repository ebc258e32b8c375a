"""Whisper in a process of its own: a JSON line and so many samples at the standard input, a JSON line for each answer.

`python -m conversation.recognition.whisper_process <model> <threads>`; a first line comes once it is ready.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from conversation.recognition.recogniser import RATE_HZ
from conversation.recognition.whisper_model import WhisperName, WhisperRecogniser


def main() -> None:
    """Answer one request after another, until the input ends."""
    torch.set_num_threads(int(sys.argv[2]))
    recogniser = WhisperRecogniser(WhisperName(sys.argv[1]))
    recogniser.recognise(np.zeros(RATE_HZ, np.int16))
    _answer({"ready": True})
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        sound = np.frombuffer(sys.stdin.buffer.read(2 * int(asked["samples"])), "<i2").astype(np.int16)
        try:
            _answer({"text": recogniser.recognise(sound, str(asked["language"]))})
        except Exception as error:  # noqa: BLE001  # whatever it is: of this utterance, and it is told
            _answer({"error": f"{type(error).__name__}: {error}"[:200]})


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
