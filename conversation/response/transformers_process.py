"""A language model in a process of its own: JSON lines in, JSON lines out.

`python -m conversation.response.transformers_process <folder> <device> <threads>`; a first line comes once it is ready.
A question is `{"number", "messages", "most_tokens", "temperature"}`, answered by any number of `{"text"}` and one
`{"end"}` or `{"error"}`. `{"stop": number}` ends that answer, also one that hasn't begun, at its next token.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from conversation.response.transformers_model import ChatModel, End

_SHOWN_CHARS = 200


class _Questions:
    """What comes in while an answer is being made; who asks limits how many there are."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._stopped: set[int] = set()

    def read(self) -> None:
        """All of the input, until it ends."""
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            with self._lock:
                if "stop" in asked:
                    self._stopped |= {int(asked["stop"])} & self._open  # an answer may have ended meanwhile
                    continue
                self._open.add(int(asked["number"]))
            self._waiting.put(asked)
        self._waiting.put(None)

    def next(self) -> dict[str, Any] | None:
        """The next question, None when there will be no more."""
        return self._waiting.get()

    def is_stopped(self, number: int) -> bool:
        """Whether nobody wants this answer."""
        with self._lock:
            return number in self._stopped

    def close(self, number: int) -> None:
        """The answer is over."""
        with self._lock:
            self._open.discard(number)
            self._stopped.discard(number)


def main() -> None:
    """Answer one question after another, until the input ends."""
    folder, device, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = ChatModel(folder, device)
    model.answer([{"role": "user", "content": "Hello"}], 2, 0.0, lambda text: None)
    questions = _Questions()
    threading.Thread(target=questions.read, name="questions", daemon=True).start()
    _write({"ready": True})
    while (asked := questions.next()) is not None:
        _answer(model, questions, asked)
        questions.close(int(asked["number"]))


def _answer(model: ChatModel, questions: _Questions, asked: dict[str, Any]) -> None:
    number = int(asked["number"])
    if questions.is_stopped(number):
        _write({"end": End.STOPPED})
        return
    try:
        end = model.answer(
            asked["messages"],
            int(asked["most_tokens"]),
            asked["temperature"],
            lambda text: _write({"text": text}),
            lambda: questions.is_stopped(number),
        )
    except Exception as error:  # noqa: BLE001  # whatever it is: of this question, and it is told
        _write({"error": f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]})
    else:
        _write({"end": end})


def _write(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
