"""A local folder of a language model answers in a process of its own, in pieces, and stops when nobody listens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from conversation.asked_process import Patience
from conversation.message import Message, Role
from conversation.response.responder import ResponseError, TextPiece
from conversation.response.transformers import LocalModel, TransformersResponder
from tests.support.processes import one

pytest.importorskip("transformers", reason="the extra transformers is not installed")

from conversation.response.transformers_model import ChatModel, End
from tests.support.chat_model import TEMPLATE, write_chat_model

SAYS = "It is noon now."
HISTORY = (Message(Role.SYSTEM, "Be brief."), Message(Role.PERSON, "What time is it?"))
_SLOW = Patience(start_s=100.0, wait_s=100.0, answer_s=60.0)


@asynccontextmanager
async def running(responder: TransformersResponder) -> AsyncIterator[TransformersResponder]:
    work = asyncio.create_task(responder.run())
    try:
        yield responder
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def text_of(responder: TransformersResponder) -> list[str]:
    async with aclosing(responder.answer(HISTORY)) as pieces:
        return [piece.text async for piece in pieces if isinstance(piece, TextPiece)]


async def test_folder_answers_in_pieces_and_survives_its_process(tmp_path: Path) -> None:
    model = LocalModel(write_chat_model(tmp_path, SAYS), first_s=100.0)
    async with running(TransformersResponder(model, patience=_SLOW)) as responder:
        pieces = await text_of(responder)
        assert "".join(pieces).strip() == SAYS and len(pieces) > 1
        assert "".join((await asyncio.gather(text_of(responder), text_of(responder)))[1]).strip() == SAYS
        os.kill(one(os.getpid(), "transformers_process"), signal.SIGKILL)
        assert "".join(await text_of(responder)).strip() == SAYS


async def test_answer_that_nobody_wants_is_stopped_and_the_next_one_made(tmp_path: Path) -> None:
    endless = LocalModel(write_chat_model(tmp_path, "and so on", context=10**6), most_tokens=10**5, first_s=100.0)
    async with running(TransformersResponder(endless, patience=_SLOW)) as responder:
        for _ in range(2):  # the second one begins only because the first one ends
            async with aclosing(responder.answer(HISTORY)) as pieces:
                piece = await anext(pieces)
                assert isinstance(piece, TextPiece) and piece.text.strip() in "and so on"


def test_model_says_why_its_answer_ends(tmp_path: Path) -> None:
    model, told = ChatModel(write_chat_model(tmp_path, SAYS)), list[str]()
    chat = [{"role": "user", "content": "noon"}]
    assert model.answer(chat, 20, 0.0, told.append) is End.COMPLETE and "".join(told).strip() == SAYS
    told.clear()
    assert model.answer(chat, 2, 0.0, told.append) is End.TOO_LONG and "".join(told).strip() == "It is"
    told.clear()
    assert model.answer(chat, 20, 0.0, told.append, lambda: bool(told)) is End.STOPPED
    assert len("".join(told).split()) < len(SAYS.split())


def test_long_history_is_forgotten_from_its_beginning_but_not_the_prompt(tmp_path: Path) -> None:
    model = ChatModel(write_chat_model(tmp_path, SAYS, context=40))
    kept: list[list[str]] = []
    tokens = model._tokens

    def noted(chat: Any) -> Any:
        kept.append([each["content"] for each in chat])
        return tokens(chat)

    model._tokens = noted  # type: ignore[method-assign]
    chat = [{"role": "system", "content": "brief"}]
    for number in range(8):
        chat += [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
    chat.append({"role": "user", "content": "last"})
    model.answer(chat, 10, 0.0, lambda text: None)
    assert kept[-1][0] == "brief" and kept[-1][-1] == "last" and kept[-1][1].startswith("q")
    assert 3 < len(kept[-1]) < len(chat)


def test_template_that_refuses_a_prompt_gets_it_in_the_question(tmp_path: Path) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    model, told = ChatModel(write_chat_model(tmp_path, SAYS, strict)), list[str]()
    chat = [{"role": "system", "content": "brief"}, {"role": "user", "content": "noon"}]
    model.answer(chat, 20, 0.0, told.append)
    assert "".join(told).strip() == SAYS


def test_folder_that_can_not_answer_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        LocalModel(tmp_path)
    write_chat_model(tmp_path, SAYS)
    LocalModel(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        LocalModel(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no \*\.safetensors"):
        LocalModel(tmp_path)


# Answers each question by its number of messages; the word decides how.
_STAND_IN = """
import json, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "stop" in asked: continue
    word = asked["messages"][-1]["content"]
    if word == "die": sys.exit(1)
    if word == "hang": time.sleep(60)
    if word == "refuse": say(error="why")
    if word != "refuse": say(text="a")
    if word == "die later": sys.exit(1)
    if word == "hang later": time.sleep(60)
    if word != "refuse": say(end="complete")
"""


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("die", "responder_unavailable"),
        ("hang", "responder_unavailable"),
        ("refuse", "responder_refused"),
        ("die later", "answer_broken_off"),
        ("hang later", "answer_broken_off"),
    ],
)
async def test_each_fault_of_the_process_has_its_code_and_the_next_question_is_answered(
    tmp_path: Path, word: str, code: str
) -> None:
    model = LocalModel(write_chat_model(tmp_path, SAYS))
    patience = Patience(start_s=30.0, wait_s=30.0, answer_s=3.0)
    stand_in = TransformersResponder(model, (sys.executable, "-c", _STAND_IN), patience)
    async with running(stand_in) as responder:
        with pytest.raises(ResponseError) as refused:
            async with aclosing(responder.answer([Message(Role.PERSON, word)])) as pieces:
                [piece async for piece in pieces]
        assert refused.value.code == code, refused.value
        assert await text_of(responder) == ["a"]


async def test_answer_has_to_begin_and_to_end_in_time(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path, SAYS)
    patience = Patience(start_s=30.0, wait_s=30.0, answer_s=3.0)
    limits: list[tuple[str, dict[str, float], str]] = [
        ("hang", {"first_s": 0.5}, "responder_busy"),
        ("hang later", {"whole_s": 1.0, "first_s": 10.0}, "answer_endless"),
    ]
    for word, limit, code in limits:
        stand_in = TransformersResponder(LocalModel(folder, **limit), (sys.executable, "-c", _STAND_IN), patience)  # type: ignore[arg-type]
        async with running(stand_in) as responder:
            with pytest.raises(ResponseError) as refused:
                async with aclosing(responder.answer([Message(Role.PERSON, word)])) as pieces:
                    [piece async for piece in pieces]
            assert refused.value.code == code
