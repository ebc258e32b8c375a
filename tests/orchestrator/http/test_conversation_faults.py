"""Conversations through faults: of the client, the channel, the models and the language model."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.conversations.session_events import Ending
from tests.support.chat_provider import Answer, ChatExchange, ChatProvider
from tests.support.sockets import open_socket, send
from tests.support.talk_client import (
    LONG,
    TALK,
    TYPED,
    Talk,
    all_tasks_are_final,
    noon,
    over,
    talking,
    talking_server,
    until_heard,
)


async def test_a_client_that_dies_half_way_ends_the_answer_and_finds_its_history_again(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        async with talking(server) as talk:
            await talk.say(LONG)
            await talk.until("ledger")
            talk.socket.transport.abort()
        said = await over(server)
        assert [message["role"] for message in said["messages"]] in (["user"], ["user", "assistant"])
        assert await all_tasks_are_final(server)
        async with open_socket(server, TALK) as socket:
            await send(socket, TYPED)
            ready = await Talk(socket).until("ready")
            assert ready["messages"] == len(said["messages"])


async def test_a_chat_that_is_hung_up_is_interrupted(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        async with server.http.stream("POST", "/v1/channels/main/chat", json={"text": LONG}) as answer:
            async for line in answer.aiter_lines():
                if line == "event: ledger":
                    break
        await over(server)
        assert await all_tasks_are_final(server)


async def test_whatever_ends_an_answer_the_next_turn_works(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say(LONG)
        await until_heard(server, 15)
        await server.http.post("/v1/channels/main/interrupt")
        assert len((await talk.until("heard"))["text"]) < len(LONG)

        synthesiser, server.orchestrator.synthesiser = server.orchestrator.synthesiser, None
        await talk.say("Say one.")
        assert (await talk.until("error"))["code"] == "speech_failed"
        assert (await talk.until("heard"))["text"] == ""
        server.orchestrator.synthesiser = synthesiser

        server.models.failing = True
        await talk.say("Say two.")
        assert (await talk.until("error"))["code"] == "speech_failed"
        assert (await talk.until("heard"))["text"] == ""
        server.models.failing = False

        await talk.say("Say three.")
        # What was answered by nothing that was heard belongs to one question with the next.
        assert (await talk.until("heard"))["text"].endswith("three.")


async def test_an_answer_whose_channel_dies_is_said_again_and_its_end_is_told_once(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say(LONG)
        await talk.until("ledger")
        pid = server.orchestrator.channels["main"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert (await talk.until("heard"))["text"] == LONG.removeprefix("Say ")
        await talk.say("Say two.")
        assert (await talk.until("heard"))["text"] == "two."
        assert talk.texts("heard") == [LONG.removeprefix("Say "), "two."]


async def test_a_stopping_server_ends_the_conversation_and_leaves_no_answer_for_its_next_start(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say(LONG)
        await talk.until("ledger")
        server.orchestrator.stop_accepting()
        assert (await talk.until("ended"))["reason"] == "stopping"
        await talk.socket.wait_closed()
        assert talk.socket.close_code == 1001
        assert await all_tasks_are_final(server)


async def test_mistakes_are_answered_and_too_many_end_the_connection(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, open_socket(server, TALK) as socket:
        talk = Talk(socket)
        await send(socket, b"\0\0", {"type": "text", "text": "Hi"})
        assert [(await talk.until("error"))["code"] for _ in range(2)] == ["not_started"] * 2
        await send(socket, TYPED, TYPED, b"\0\0", b"\0\0", {"type": "unknown"})
        codes = [(await talk.until("error"))["code"] for _ in range(3)]
        assert codes == ["already_started", "no_sound", "bad_message"]
        await talk.say("Say hi.")
        assert (await talk.until("heard"))["text"] == "hi."
        await send(socket, *[{"type": "unknown"}] * 20)
        assert (await talk.until("ended"))["reason"] == "mistakes"
        await socket.wait_closed()
        assert socket.close_code == 1008


async def broken_off(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.delta(content="It is noon. And")


async def busy(exchange: ChatExchange) -> None:
    await exchange.whole(429, "{}")


async def garbage(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.write(b"data: {not json\n\n")


async def silent(exchange: ChatExchange) -> None:
    await asyncio.sleep(30)


async def empty(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.done()


async def endless(exchange: ChatExchange) -> None:
    await exchange.stream()
    while True:
        await exchange.delta(content="On and on it goes. " * 20)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (broken_off, "answer_broken_off"),
        (busy, "responder_busy"),
        (garbage, "answer_unreadable"),
        (silent, "responder_unavailable"),
        (empty, None),
    ],
)
async def test_faults_of_the_language_model_are_told_and_the_next_turn_works(
    tmp_path: Path, fault: Answer, code: str | None
) -> None:
    async with ChatProvider(fault).running() as provider:
        settings: dict[str, Any] = {"responder": "openai", "responder_url": provider.url}
        if fault is silent:  # the answer behind it has so long too
            settings["responder_timeout_s"] = 3.0
        async with talking_server(tmp_path, **settings) as server, talking(server) as talk:
            await talk.say("What time is it?")
            if code is not None:
                assert (await talk.until("error"))["code"] == code
            heard = await talk.until("heard")
            assert heard["text"] == ("It is noon. And" if fault is broken_off else "")
            provider.answer = noon
            await talk.say("And now?")
            assert (await talk.until("heard"))["text"] == "It is noon."
            channel = (await server.http.get("/v1/channels/main")).json()
            assert channel["state"] == "running" and channel["restarts"] == 0


async def test_an_endless_answer_is_cut_and_can_be_interrupted(tmp_path: Path) -> None:
    async with ChatProvider(endless).running() as provider:
        settings: dict[str, Any] = {"responder": "openai", "responder_url": provider.url}
        async with talking_server(tmp_path, **settings) as server, talking(server) as talk:
            await talk.say("Go on.")
            assert (await talk.until("error"))["code"] == "answer_too_long"
            await talk.until("ledger")
            await send(talk.socket, {"type": "interrupt"})
            await talk.until("heard")
            while not provider.left:
                await asyncio.sleep(0.01)
            provider.answer = noon
            await talk.say("And now?")
            assert (await talk.until("heard"))["text"] == "It is noon."


async def test_a_slow_answer_begins_with_the_filler(tmp_path: Path) -> None:
    async def slow(exchange: ChatExchange) -> None:
        await exchange.stream()
        await asyncio.sleep(1.5)
        await exchange.delta(content="It is noon.")
        await exchange.done()

    async with ChatProvider(slow).running() as provider:
        settings: dict[str, Any] = {"responder": "openai", "responder_url": provider.url}
        settings |= {"conversation_filler": "Let me see.", "conversation_filler_after_s": 0.5}
        async with talking_server(tmp_path, **settings) as server, talking(server) as talk:
            await talk.say("What time is it?")
            assert (await talk.until("heard"))["text"] == "Let me see. It is noon."


async def test_a_removed_channel_ends_its_conversation(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        created = await server.http.post("/v1/channels", json={"channel": "news", "avatar": "demo"})
        assert created.status_code == 201
        await server.ready()
        async with open_socket(server, "/v1/channels/news/conversation") as socket:
            await send(socket, TYPED)
            talk = Talk(socket)
            await talk.until("ready")
            await server.http.delete("/v1/channels/news")
            assert (await talk.until("ended"))["reason"] == Ending.CHANNEL_GONE
