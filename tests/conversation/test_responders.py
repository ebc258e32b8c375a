"""Answers: the rules say that they are rules, and each fault of a provider is one of its own kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import pytest

from conversation.message import Message, Role
from conversation.response.openai import ChatProvider, OpenAiResponder
from conversation.response.responder import Piece, Responder, ResponseError, TextPiece, ToolCall
from conversation.response.rules import RuleResponder
from tests.support.chat_provider import Answer, ChatExchange
from tests.support.chat_provider import ChatProvider as Server

HISTORY = (Message(Role.SYSTEM, "Be brief."), Message(Role.PERSON, "What time is it?"))
NOON = datetime(2026, 3, 4, 12, 5)


async def pieces(responder: Responder, history: tuple[Message, ...] = HISTORY) -> list[Piece]:
    async with aclosing(responder.answer(history)) as answer:
        return [piece async for piece in answer]


async def text_of(responder: Responder, heard: str = "What time is it?") -> str:
    found = await pieces(responder, (Message(Role.PERSON, heard),))
    return "".join(piece.text for piece in found if isinstance(piece, TextPiece))


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("What time is it?", "It is 12:05 on this server."),
        ("what's the time", "It is 12:05 on this server."),
        ("Can you tell me the time, please?", "It is 12:05 on this server."),
        ("What day is it?", "Today is Wednesday, March 4."),
        ("Say good morning {time}", "good morning {time}"),
        ("Who are you?", "I am a digital human. My answers are rules, and not a language model."),
        ("Please stop.", ""),
        (
            "What time is it? What is your name?",
            "I am a digital human. My answers are rules, and not a language model.",
        ),
        ("What time is it? Say blue. And red.", "blue. And red."),
        ("现在几点了？你是谁？", "我是数字人。我的回答来自规则，不是语言模型。"),
        ("Blue.", "I heard: Blue. I have no rule for that. Connect a language model for real answers."),
        ("现在几点了？", "这台服务器上现在是12点5分。"),
        ("請問現在幾點", "这台服务器上现在是12点5分。"),
        ("今天星期几？", "今天是3月4日，星期三。"),
        ("你是谁？", "我是数字人。我的回答来自规则，不是语言模型。"),
        ("请说早上好", "早上好"),
        ("停！", ""),
        ("蓝色。", "我听到：蓝色。我没有相应的规则。想要真正的回答，请连接语言模型。"),
    ],
)
async def test_rules(heard: str, said: str) -> None:
    assert await text_of(RuleResponder(lambda: NOON), heard) == said


async def words(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.write(b": thinking\n\n")
    await exchange.delta(role="assistant", content="")
    for word in ("It", " is", " noon", "."):
        await exchange.delta(content=word)
    await exchange.done()


@asynccontextmanager
async def provider(answer: Answer, **limits: Any) -> AsyncIterator[tuple[Server, OpenAiResponder]]:
    async with Server(answer).running() as server:
        responder = OpenAiResponder(ChatProvider(server.url, "a-model", "secret-key", **limits))
        work = asyncio.create_task(responder.run())
        try:
            yield server, responder
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


async def test_answer_comes_in_pieces_and_the_history_is_sent() -> None:
    async with provider(words) as (server, responder):
        assert await pieces(responder) == [TextPiece("It"), TextPiece(" is"), TextPiece(" noon"), TextPiece(".")]
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions" and seen.headers["authorization"] == "Bearer secret-key"
    assert seen.json["stream"] is True and seen.json["model"] == "a-model" and "tools" not in seen.json
    assert seen.json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What time is it?"},
    ]


async def test_tools_are_passed_through_and_their_calls_put_together() -> None:
    async def calls(exchange: ChatExchange) -> None:
        await exchange.stream()
        await exchange.delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "clock", "arguments": ""}}])
        await exchange.delta(tool_calls=[{"index": 0, "function": {"arguments": '{"zone": '}}])
        await exchange.delta(tool_calls=[{"index": 0, "function": {"arguments": '"UTC"}'}}])
        await exchange.delta(finish="tool_calls")

    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    async with provider(calls) as (server, responder):
        async with aclosing(responder.answer(HISTORY, [tool])) as answer:
            assert [piece async for piece in answer] == [ToolCall("c1", "clock", '{"zone": "UTC"}')]
        assert server.seen[0].json["tools"] == [tool]


async def test_half_a_character_becomes_a_question_mark() -> None:
    """Nothing else could be told of it, nor asked after it: UTF-8 has no way to write it."""

    async def halves(exchange: ChatExchange) -> None:
        await exchange.stream()
        await exchange.delta(content="No\ud83don.")
        await exchange.delta(tool_calls=[{"index": 0, "id": "c\ud83d", "function": {"arguments": "\ude00"}}])
        await exchange.delta(finish="tool_calls")

    async with provider(halves) as (_, responder):
        assert await pieces(responder) == [TextPiece("No?on."), ToolCall("c?", "", "?")]


async def silent(exchange: ChatExchange) -> None:
    await asyncio.sleep(30)


async def begins_and_hangs(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.delta(content="It")
    await asyncio.sleep(30)


async def thinks_for_ever(exchange: ChatExchange) -> None:
    await exchange.stream()
    while True:
        await exchange.write(b": thinking\n\n")
        await asyncio.sleep(0.05)


async def endless(exchange: ChatExchange) -> None:
    await exchange.stream()
    while True:
        await exchange.delta(content="and ")
        await asyncio.sleep(0.01)


async def broken_off(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.delta(content="It")


async def fails_within(exchange: ChatExchange) -> None:
    await broken_off(exchange)
    await exchange.write(b'data: {"error": {"message": "out of memory"}}\n\n')


async def garbage(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.write(b"data: {not json\n\n")


async def wrong_shape(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.write(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n')


async def brackets(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.write(b"data: " + b"[" * 100_000 + b"\n\n")


async def endless_call(exchange: ChatExchange) -> None:
    await exchange.stream()
    while True:
        await exchange.delta(tool_calls=[{"index": 0, "function": {"name": "clock", "arguments": " " * 10_000}}])


async def calls_without_end(exchange: ChatExchange) -> None:
    await exchange.stream()
    for number in range(100_000):
        await exchange.delta(tool_calls=[{"index": number, "function": {"name": "clock"}}])


async def empty_events(exchange: ChatExchange) -> None:
    await exchange.stream()
    while True:
        await exchange.write(b"data: {}\n\n" * 1000)


async def no_stream(exchange: ChatExchange) -> None:
    await exchange.whole(200, "<html>welcome</html>", "text/html")


async def nothing(exchange: ChatExchange) -> None:
    await exchange.stream()


def status(number: int, **headers: str) -> Answer:
    async def answer(exchange: ChatExchange) -> None:
        await exchange.whole(number, '{"error": "about secret-key"}', **headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "code", "limit"),
    [
        (answer, code, {limit: 2.0})  # the answer behind it has so long too
        for answer, code, limit in (
            (silent, "responder_unavailable", "first_s"),
            (thinks_for_ever, "responder_unavailable", "first_s"),
            (begins_and_hangs, "answer_broken_off", "next_s"),
            (endless, "answer_endless", "whole_s"),
        )
    ],
)
async def test_one_that_takes_too_long_has_its_code_and_the_next_question_is_answered(
    answer: Answer, code: str, limit: dict[str, float]
) -> None:
    await fails_and_answers_then(answer, code, **limit)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (broken_off, "answer_broken_off"),
        (fails_within, "answer_broken_off"),
        (garbage, "answer_unreadable"),
        (brackets, "answer_unreadable"),
        (wrong_shape, "answer_unreadable"),
        (no_stream, "answer_unreadable"),
        (nothing, "answer_unreadable"),
        (status(429), "responder_busy"),
        (status(429, Retry_After="60"), "responder_busy"),
        (status(401), "responder_refused"),
        (status(400), "responder_refused"),
        (status(503), "responder_unavailable"),
    ],
)
async def test_each_fault_has_its_code_and_the_next_question_is_answered(answer: Answer, code: str) -> None:
    await fails_and_answers_then(answer, code)


async def fails_and_answers_then(answer: Answer, code: str, **limit: float) -> None:
    async with provider(answer, **limit) as (server, responder):
        with pytest.raises(ResponseError) as refused:
            await pieces(responder)
        assert refused.value.code == code, refused.value
        assert code == "responder_refused" or "secret" not in str(refused.value)
        server.answer = words
        assert await text_of(responder) == "It is noon."


@pytest.mark.parametrize(
    ("answer", "most"),
    [(endless_call, "64000 characters"), (calls_without_end, "64 calls"), (empty_events, "50000 events")],
)
async def test_provider_that_sends_without_end_is_not_taken_into_memory(answer: Answer, most: str) -> None:
    async with provider(answer, whole_s=3600.0) as (_, responder):
        with pytest.raises(ResponseError, match=most) as refused:
            await pieces(responder)
        assert refused.value.code == "answer_endless"


async def test_key_is_not_told_to_whoever_asks() -> None:
    async with provider(status(403)) as (_, responder):
        with pytest.raises(ResponseError, match="refuses the server's key") as refused:
            await pieces(responder)
        assert "secret-key" not in str(refused.value)


async def test_server_that_can_not_just_now_is_asked_once_more() -> None:
    for fault in (status(503), status(429, Retry_After="0")):
        async with provider(fault) as (server, responder):

            async def once(exchange: ChatExchange, server: Server = server, fault: Answer = fault) -> None:
                await (fault if len(server.seen) == 1 else words)(exchange)

            server.answer = once
            assert await text_of(responder) == "It is noon." and len(server.seen) == 2


async def test_address_where_nobody_is() -> None:
    with pytest.raises(ResponseError, match="can't be used now") as refused:
        await pieces(OpenAiResponder(ChatProvider("http://127.0.0.1:9/v1", "m")))
    assert refused.value.code == "responder_unavailable"


async def test_who_stops_listening_stops_the_server() -> None:
    async with provider(endless) as (server, responder):
        async with aclosing(responder.answer(HISTORY)) as answer:
            assert await anext(answer) == TextPiece("and ")
        async with asyncio.timeout(60):
            while not server.left:
                await asyncio.sleep(0.01)
    assert json.loads(server.seen[0].body)["stream"]
