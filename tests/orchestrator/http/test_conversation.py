"""Conversations with a channel: typed over the socket and as chat, one at a time, and remembered."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_provider import ChatExchange, ChatProvider
from tests.support.running_server import metric
from tests.support.sockets import refusal, send
from tests.support.talk_client import (
    LONG,
    TALK,
    conversation,
    noon,
    over,
    talking,
    talking_server,
    until_heard,
)


async def test_each_answer_is_one_speech_whose_sentences_are_all_heard(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say("Hello there")
        heard = await talk.until("heard")
        assert talk.texts("sentence") == [
            "Hello!", "I answer by simple rules until a language model is connected.",
        ]  # fmt: skip
        assert heard["text"] == " ".join(talk.texts("sentence"))
        states = [message["state"] for message in talk.told if message["type"] == "state"]
        assert states == ["thinking", "speaking"]
        await talk.until("state", state="listening")
        tasks = (await server.http.get("/v1/tasks")).json()["tasks"]
        assert [(task["state"], task["source"]) for task in tasks] == [("done", "text")]
        ledger = next(message for message in talk.told if message["type"] == "ledger")
        assert list(ledger["stages"]) == [
            "decided", "text", "first_token", "first_sentence", "first_sound", "first_face", "encoded",
        ]  # fmt: skip
        assert list(ledger["stages"].values()) == sorted(ledger["stages"].values())


async def test_the_channel_shows_what_the_conversation_is_at(tmp_path: Path) -> None:
    shown: list[tuple[str, str | None]] = []
    async with talking_server(tmp_path) as server:
        server.orchestrator.conversations._show_state = lambda channel, state: shown.append((channel, state))
        async with talking(server) as talk:
            await talk.say("Hello there")
            await talk.until("heard")
            await talk.until("state", state="listening")
    states = ["listening", "thinking", "speaking", "listening", None]
    assert shown == [("main", state) for state in states]


async def test_an_interrupted_answer_leaves_in_the_history_what_was_heard(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say(LONG)
        await until_heard(server, 15)
        await send(talk.socket, {"type": "interrupt"})
        heard = (await talk.until("heard"))["text"]
        whole = LONG.removeprefix("Say ")
        assert heard and whole.startswith(heard) and heard != whole
        task = (await server.http.get("/v1/tasks")).json()["tasks"][0]
        assert task["state"] == "cancelled"
        # ToneSynthesiser says 0.1 s for each letter, so that the words tell the time.
        letters = sum(char.isalpha() for char in heard)
        next_word = whole[len(heard) :].split()[0]
        assert letters * 0.1 - 0.05 <= task["frames"]["heard"] * 0.04 <= (letters + len(next_word)) * 0.1 + 0.05
        assert (await conversation(server))["messages"] == [
            {"role": "user", "text": LONG},
            {"role": "assistant", "text": heard},
        ]


async def test_a_turn_typed_into_an_answer_ends_it_and_is_answered(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say(LONG)
        await until_heard(server, 15)
        await talk.say("Say done.")
        first, second = await talk.until("heard"), await talk.until("heard")
        assert first["turn"] < second["turn"] and 0 < len(first["text"]) < len(LONG)
        assert second["text"] == "done."


async def test_a_second_conversation_is_refused_until_the_first_is_over(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        async with talking(server):
            assert await refusal(server, TALK) == (409, "conversation_running")
            chat = await server.http.post("/v1/channels/main/chat", json={"text": "Hello"})
            assert (chat.status_code, chat.json()["error"]["code"]) == (409, "conversation_running")
        async with talking(server):
            assert (await conversation(server))["running"]


async def test_what_was_said_is_forgotten_after_its_time(tmp_path: Path) -> None:
    async with talking_server(tmp_path, conversation_kept_s=0.3) as server:
        async with talking(server) as talk:
            await talk.say("Say hi.")
            await talk.until("heard")
            assert (await conversation(server))["messages"]
        while (await over(server))["messages"]:
            await asyncio.sleep(0.05)


async def test_a_reset_begins_again_in_the_same_connection(tmp_path: Path) -> None:
    async with talking_server(tmp_path, conversation_greeting="Good day.") as server, talking(server) as talk:
        greeted = await talk.until("heard")
        assert greeted["text"] == "Good day."
        await talk.say(LONG)
        await talk.until("ledger")
        answer = await server.http.delete(TALK)
        assert answer.json() == {"forgotten": 1}
        ready = await talk.until("ready")
        assert (ready["messages"], ready["greeting"]) == (0, "Good day.")
        again = await talk.until("heard")
        assert again["text"] == "Good day." and again["turn"] > greeted["turn"] + 1
        assert [message["text"] for message in (await conversation(server))["messages"]] == ["Good day."]


async def test_the_avatar_remarks_something_where_nobody_speaks(tmp_path: Path) -> None:
    remarks = ("Still here.", "Ask me.")
    settings: dict[str, Any] = {"conversation_remarks": remarks, "conversation_remark_after_s": 0.5}
    async with talking_server(tmp_path, **settings) as server, talking(server) as talk:
        assert [(await talk.until("heard"))["text"] for _ in remarks] == list(remarks)


async def test_limits_end_a_conversation_and_say_why(tmp_path: Path) -> None:
    async with talking_server(tmp_path, conversation_turns=1) as server, talking(server) as talk:
        await talk.say("Say one.")
        assert (await talk.until("ended"))["reason"] == "limit"
        assert [message["code"] for message in talk.told if message["type"] == "error"] == ["too_many_turns"]
        assert talk.texts("heard") == ["one."]
        await talk.socket.wait_closed()
        assert talk.socket.close_code == 1000
    async with talking_server(tmp_path, conversation_unused_s=0.3) as server, talking(server) as talk:
        assert (await talk.until("ended"))["reason"] == "unused"


async def test_chat_answers_one_turn_with_events_and_goes_on_with_the_next(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        for text in ("Say one.", "Say two."):
            answer = await server.http.post("/v1/channels/main/chat", json={"text": text})
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
            events = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
            assert events[0] == "transcript" and events[-2:] == ["heard", "done"] and "sentence" in events
        assert [message["text"] for message in (await over(server))["messages"]] == [
            "Say one.",
            "one.",
            "Say two.",
            "two.",
        ]
        wrong = await server.http.post("/v1/channels/main/chat", json={"text": ""})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "bad_text")


async def test_the_prompt_the_history_and_tools_reach_the_language_model_and_its_calls_the_client(
    tmp_path: Path,
) -> None:
    async def calls(exchange: ChatExchange) -> None:
        function = {"name": "clock", "arguments": '{"zone": "UTC"}'}
        await exchange.stream()
        await exchange.delta(tool_calls=[{"index": 0, "id": "call-1", "function": function}])
        await exchange.done()

    tools = [{"type": "function", "function": {"name": "clock"}}]
    async with ChatProvider(noon).running() as provider:
        settings: dict[str, Any] = {
            "responder": "openai",
            "responder_url": provider.url,
            "responder_key": "sk-settings",
        }
        settings["conversation_prompt"] = "You are a clock."
        async with talking_server(tmp_path, **settings) as server, talking(server, tools=tools) as talk:
            await talk.say("What time is it?")
            await talk.until("heard")
            provider.answer = calls
            await talk.say("In UTC?")
            called = await talk.until("tool_call")
            assert (called["id"], called["name"], called["arguments"]) == ("call-1", "clock", '{"zone": "UTC"}')
            assert called["turn"] == (await talk.until("heard"))["turn"]
    asked = provider.seen[-1]
    assert asked.json["tools"] == tools
    assert asked.headers["authorization"] == "Bearer sk-settings"
    assert asked.json["messages"] == [
        {"role": "system", "content": "You are a clock."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "It is noon."},
        {"role": "user", "content": "In UTC?"},
    ]


async def test_the_oldest_turns_are_not_sent_where_the_history_is_long_and_the_prompt_is(tmp_path: Path) -> None:
    async with ChatProvider(noon).running() as provider:
        settings: dict[str, Any] = {"responder": "openai", "responder_url": provider.url}
        settings |= {"conversation_prompt": "You are a clock.", "conversation_history_chars": 100}
        async with talking_server(tmp_path, **settings) as server:
            async with talking(server) as talk:
                for question in ("What time is it in " + 60 * "far " + "away?", "And in Rome?", "And here?"):
                    await talk.say(question)
                    await talk.until("heard")
            assert len((await over(server))["messages"]) == 6
    assert [message["content"] for message in provider.seen[-1].json["messages"]] == [
        "You are a clock.", "And in Rome?", "It is noon.", "And here?",
    ]  # fmt: skip


async def test_who_offers_tools_to_a_responder_that_takes_none_is_told(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "clock"}}]
    async with talking_server(tmp_path) as server, talking(server, tools=tools) as talk:
        await talk.say("Say hi.")
        assert (await talk.until("heard"))["text"] == "hi."
        assert {"no_tools"} == {message["code"] for message in talk.told if message["type"] == "error"}


async def test_turns_are_in_the_ledger_and_in_the_metrics(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say("Say one.")
        told = await talk.until("ledger")
        entries = (await server.http.get("/v1/ledger?channel=main")).json()["ledger"]
        (entry,) = [each for each in entries if each["kind"] == "typed_turn"]
        assert [stage["stage"] for stage in entry["stages"]] == list(told["stages"])
        encoded = entry["stages"][-1]
        assert (encoded["count"], encoded["p50_s"]) == (1, pytest.approx(told["stages"]["encoded"] / 1000, abs=1e-3))
        line = 'latentsync_speech_stage_seconds_count{channel="main",kind="typed_turn",stage="encoded"}'
        assert await metric(server, line) == 1


async def test_what_is_said_is_written_to_files_only_where_a_setting_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "conversations"
    async with talking_server(tmp_path) as server, talking(server) as talk:
        await talk.say("Say one.")
        await talk.until("heard")
    assert not folder.exists()
    folder.mkdir()
    (folder / "2020-01-01.jsonl").write_text("old")
    yesterday = folder / f"{(datetime.now(UTC) - timedelta(days=1)).date()}.jsonl"
    yesterday.write_text("")  # without one so young the clock would be doubted
    (folder / "notes.txt").write_text("of somebody else")
    async with talking_server(tmp_path, conversation_log=True) as server, talking(server) as talk:
        await talk.say("Say two.")
        await talk.until("heard")
    assert not (folder / "2020-01-01.jsonl").exists() and (folder / "notes.txt").exists()
    (file,) = set(folder.glob("*.jsonl")) - {yesterday}
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["channel"], line["role"], line["text"]) for line in lines] == [
        ("main", "user", "Say two."),
        ("main", "assistant", "two."),
    ]


async def test_a_channel_has_a_conversation_of_its_own_whose_key_nobody_is_shown(tmp_path: Path) -> None:
    async with (
        ChatProvider(noon).running() as provider,
        talking_server(tmp_path, responder_key="sk-settings") as server,
    ):
        own = {"responder": "openai", "url": provider.url, "key": "sk-own", "prompt": "Be brief.", "greeting": "Hi."}
        created = await server.http.post(
            "/v1/channels", json={"channel": "news", "avatar": "demo", "conversation": own}
        )
        assert created.status_code == 201 and created.json()["conversation"] == {**own, "key": "***"}
        changes = {"greeting": None, "key": "***", "silence_s": 0.8}
        changed = await server.http.patch("/v1/channels/news", json={"conversation": changes})
        assert changed.json()["conversation"] == {
            "responder": "openai", "url": provider.url, "key": "***", "prompt": "Be brief.", "silence_s": 0.8,
        }  # fmt: skip
        assert changed.json()["restarts"] == 0
        await server.ready()
        for key, sent in (("sk-own\n", "Bearer sk-own"), (None, None)):
            await server.http.patch("/v1/channels/news", json={"conversation": {"key": key}})
            answer = await server.http.post("/v1/channels/news/chat", json={"text": "What time is it?"})
            assert "It is noon." in answer.text
            # The key of the settings is for their own address alone.
            assert provider.seen[-1].headers.get("authorization") == sent
        for wrong, field in (({"url": "file:///etc"}, "url"), ({"keyy": "x"}, "keyy"), ({"silence_s": 0}, "silence_s")):
            refused = await server.http.patch("/v1/channels/news", json={"conversation": wrong})
            assert refused.status_code == 422 and f"conversation.{field}" in refused.json()["error"]["message"]
        for wrong_key in (["sk-secret"], "sk-secret\nX-More: 1"):
            secret = await server.http.patch("/v1/channels/news", json={"conversation": {"key": wrong_key}})
            assert secret.status_code == 422 and "sk-secret" not in secret.text
        assert "sk-own" not in (await server.http.get("/v1/channels")).text
