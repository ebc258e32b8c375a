"""A responder of one's own: a folder with a causal language model, run by `transformers` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from conversation.asked_process import AskedProcess, Patience, ProcessAway, ProcessDied, line
from conversation.message import Message
from conversation.response.responder import (
    AWAY,
    BROKEN_OFF,
    BUSY,
    ENDLESS,
    REFUSED,
    Piece,
    ResponseError,
    TextPiece,
    Tool,
)

_START_S, _PIECE_S = 600.0, 30.0  # it may have to read some gigabytes; a token takes less than a second
_ATTEMPTS = 2


@dataclass(frozen=True)
class LocalModel:
    """A folder as `save_pretrained` writes it, and how it is run.

    It is given `threads` of a CPU, or a `device` as torch names it. An answer has at most `most_tokens`, must begin
    within `first_s` and end within `whole_s`. `temperature` 0 always takes the likeliest token, None leaves that to
    the model's own generation_config.json. Raises ValueError for a folder that can't be such a model.
    """

    folder: Path
    threads: int = 1
    device: str = "cpu"
    most_tokens: int = 400
    temperature: float | None = None
    first_s: float = 20.0
    whole_s: float = 120.0

    def __post_init__(self) -> None:
        if find_spec("transformers") is None:
            raise ValueError("the package transformers is missing: pip install 'latentsync-realtime[transformers]'")
        if not (self.folder / "config.json").is_file():
            raise ValueError(f"{self.folder} has no config.json: it must be a folder as save_pretrained writes it")
        if not any(self.folder.glob("*.safetensors")):
            raise ValueError(f"{self.folder} has no *.safetensors: weights of other formats can run code")
        if not _has_chat_template(self.folder):
            raise ValueError(f"{self.folder} has no chat template: take a model that was trained for chat (“instruct”)")


class TransformersResponder:
    """One answer after another: a second person who asks meanwhile waits for the end of the first one's answer."""

    def __init__(self, model: LocalModel, command: Sequence[str] = (), patience: Patience | None = None) -> None:
        self._model = model
        self._numbers = count(1)
        module = "conversation.response.transformers_process"
        options = (str(model.folder.resolve()), model.device, str(model.threads))
        patience = patience or Patience(start_s=_START_S, answer_s=_PIECE_S, wait_s=model.first_s)
        self._process = AskedProcess(
            "the responder transformers", command or (sys.executable, "-m", module, *options), patience, line
        )

    async def run(self) -> None:
        """Keep the process running."""
        await self._process.run()

    async def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """Pieces as they come; closing it stops the model at its next token.

        Tools are not offered to it: each family of models has its own way to write their calls.
        """
        loop, model = asyncio.get_running_loop(), self._model
        began_s = loop.time()
        for attempt in range(1, _ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._answers(history)) as answers:
                    while True:
                        async with asyncio.timeout_at(began_s + (model.whole_s if begun else model.first_s)):
                            answer = await anext(answers)
                        if "end" in answer:
                            return
                        if "error" in answer:
                            raise ResponseError(REFUSED, f"The language model can't answer this: {answer['error']}")
                        begun = True
                        yield TextPiece(str(answer["text"]))
            except TimeoutError:
                if begun:
                    message = f"The answer was not over after {model.whole_s:g} s, and is cut."
                    raise ResponseError(ENDLESS, message) from None
                message = f"The language model did not begin within {model.first_s:g} s. Ask later."
                raise ResponseError(BUSY, message) from None
            except ProcessAway as error:
                raise ResponseError(BROKEN_OFF if begun else AWAY, f"The language model: {error}. Ask later.") from None
            except ProcessDied as error:
                # It may have died of someone else's answer; nothing of this one was told.
                if begun or attempt == _ATTEMPTS:
                    code = BROKEN_OFF if begun else AWAY
                    raise ResponseError(code, f"The language model ended: {error}. Ask again.") from None

    async def _answers(self, history: Sequence[Message]) -> AsyncGenerator[dict[str, Any], None]:
        number = next(self._numbers)
        asked = {
            "number": number,
            "messages": [{"role": message.role.value, "content": message.text} for message in history],
            "most_tokens": self._model.most_tokens,
            "temperature": self._model.temperature,
        }
        lines = self._process.ask_for_many(_line(asked), _is_last, _line({"stop": number}))
        async with aclosing(lines):
            async for each in lines:
                yield dict(json.loads(each))


def _line(asked: dict[str, Any]) -> bytes:
    return json.dumps(asked).encode() + b"\n"


def _is_last(answer: bytes) -> bool:
    return "text" not in json.loads(answer)


def _has_chat_template(folder: Path) -> bool:
    """Where `transformers` looks for one: a file of its own, or a field of the tokenizer's configuration."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError):
        return False
