"""A channel whose answers come from a Realtime server, which hears and speaks by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.human_voice import said, silence
from tests.support.realtime_server import RealtimeServer
from tests.support.running_server import RunningServer
from tests.support.sockets import open_socket, send
from tests.support.talk_client import TALK, Talk, conversation, over, talking, talking_server, until_heard


@asynccontextmanager
async def spoken_to(folder: Path, model: RealtimeServer, **settings: Any) -> AsyncIterator[RunningServer]:
    """A server that has no synthesiser, and needs none."""
    async with model.running():
        address = model.url.replace("ws", "http", 1)
        asked = {"responder": "realtime", "responder_url": address, "responder_key": "sk-real", **settings}
        async with talking_server(folder, **asked) as server:
            server.orchestrator.synthesiser = None
            yield server


async def newest_task(server: RunningServer) -> dict[str, Any]:
    return dict((await server.http.get("/v1/tasks")).json()["tasks"][0])


async def test_typed_turn_is_answered_with_the_sound_of_the_model(tmp_path: Path) -> None:
    model = RealtimeServer()
    async with spoken_to(tmp_path, model, conversation_prompt="Be brief.") as server, talking(server) as talk:
        await talk.say("What time is it?")
        assert (await talk.until("heard"))["text"] == model.words
        assert await talk.until("state", state="listening")
        states = [message["state"] for message in talk.told if message["type"] == "state"]
        assert states == ["thinking", "speaking", "listening"] and talk.texts("sentence") == [model.words]
        # It comes once the first sound is encoded, which a busy machine may do after the turn's end.
        ledgers = [message for message in talk.told if message["type"] == "ledger"]
        ledger = (ledgers[0] if ledgers else await talk.until("ledger"))["stages"]
        assert ledger["encoded"] >= ledger["first_sound"] > 0
        task = await newest_task(server)
        assert (task["state"], task["source"]) == ("done", "stream")
        # The model's words are a tenth of a second each, and a frame 40 ms.
        assert task["frames"]["heard"] * 0.04 == pytest.approx(0.1 * len(model.words.split()), abs=0.08)
        assert [message["text"] for message in (await conversation(server))["messages"]] == [
            "What time is it?", model.words,
        ]  # fmt: skip
    assert model.keys == ["Bearer sk-real"]
    (update,) = model.of_type("session.update")
    assert update["session"]["instructions"] == "Be brief." and update["session"]["audio"]["output"]["voice"] == "marin"


async def test_model_learns_at_which_position_it_was_interrupted(tmp_path: Path) -> None:
    model = RealtimeServer(words=" ".join(f"word{n:02}" for n in range(60)))
    async with spoken_to(tmp_path, model) as server, talking(server) as talk:
        await talk.say("Count.")
        await until_heard(server, 20)
        await send(talk.socket, {"type": "interrupt"})
        heard = (await talk.until("heard"))["text"].split()
        assert 5 < len(heard) < 60 and heard == model.words.split()[: len(heard)]
        task = await newest_task(server)
        assert task["state"] == "cancelled"
        while not (cuts := model.of_type("conversation.item.truncate")):
            await asyncio.sleep(0.01)
        assert cuts[0]["audio_end_ms"] == 40 * task["frames"]["heard"]
        assert len(heard) == pytest.approx(cuts[0]["audio_end_ms"] / 100, abs=1)


async def test_spoken_question_reaches_the_model_and_its_words_the_client(tmp_path: Path) -> None:
    model = RealtimeServer(words="It is noon.", heard="What time is it?")
    async with spoken_to(tmp_path, model) as server, open_socket(server, TALK) as socket:
        await send(socket, {"type": "start", "sample_rate": 16_000})
        talk = Talk(socket)
        await talk.until("ready")

        async def speak() -> None:
            spoken = np.concatenate([silence(0.3), said("What time is it?"), silence(3.0)]).astype("<i2")
            for first in range(0, len(spoken), 320):
                await socket.send(spoken[first : first + 320].tobytes())
                await asyncio.sleep(0.02)

        speaking = asyncio.create_task(speak())
        assert (await talk.until("heard"))["text"] == "It is noon."
        await speaking
        assert "What time is it?" in talk.texts("transcript")
    (sound,) = model.committed
    loud = np.flatnonzero(np.abs(said("What time is it?")) > 600)
    # From 0.3 s before the voice to the pause of 0.5 s that ended the turn.
    assert len(sound) / 24_000 == pytest.approx((loud[-1] - loud[0]) / 16_000 + 0.8, abs=0.4)


async def test_greeting_is_said_by_the_model_and_limits_hold(tmp_path: Path) -> None:
    model = RealtimeServer(words="Good day.")
    settings = {"conversation_greeting": "Good day.", "conversation_turns": 1}
    async with spoken_to(tmp_path, model, **settings) as server:
        async with talking(server) as talk:
            assert (await talk.until("heard"))["text"] == "Good day."
            await talk.say("Say one.")
            assert (await talk.until("ended"))["reason"] == "limit"
        assert [message["role"] for message in (await over(server))["messages"]] == ["assistant", "user", "assistant"]
    assert [message["code"] for message in talk.told if message["type"] == "error"] == ["too_many_turns"]
    greeting, answer = model.of_type("response.create")
    assert greeting["response"]["instructions"].endswith(": Good day.") and "instructions" not in answer["response"]


async def test_model_that_refuses_the_key_is_told_and_the_key_is_not(tmp_path: Path) -> None:
    model = RealtimeServer()
    model.status = HTTPStatus.UNAUTHORIZED
    async with spoken_to(tmp_path, model) as server, talking(server) as talk:
        await talk.say("Hello?")
        assert (await talk.until("heard"))["text"] == ""
        assert [message["code"] for message in talk.told if message["type"] == "error"] in (
            ["responder_refused"],  # at the first attempt to connect, and between two of them:
            ["responder_unavailable"],
        )
        assert "sk-real" not in str(talk.told)
