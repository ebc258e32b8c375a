"""OpenAI's own Realtime client talks with a channel, and every event is one that its package knows."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from conversation.response.rules import RuleResponder
from orchestrator.access.keys import KeyFile, Scope
from orchestrator.conversations.parts import SessionParts
from tests.support.running_server import RunningServer
from tests.support.sockets import refusal, tone
from tests.support.talk_client import LONG, conversation, over, talking_server

openai = pytest.importorskip("openai")

pytestmark = [pytest.mark.timeout(90), pytest.mark.filterwarnings("default")]  # of the package's own
_SERVER_EVENT: Any = pytest.importorskip("openai.types.realtime").RealtimeServerEvent
_EVENT: TypeAdapter[Any] = TypeAdapter(_SERVER_EVENT)


class Client:
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.told: list[Any] = []

    async def until(self, kind: str) -> Any:
        while True:
            event = await self.connection.recv()
            _EVENT.validate_python(event.to_dict(), strict=True)
            self.told.append(event)
            if event.type == kind:
                return event
            assert event.type != "error" or kind == "error", event

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.told if event.type == kind]

    @property
    def sound_s(self) -> float:
        deltas = self.of("response.output_audio.delta")
        return sum(len(base64.b64decode(event.delta)) for event in deltas) / 48_000

    async def type(self, text: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.connection.conversation.item.create(item=item)
        await self.connection.response.create()


@asynccontextmanager
async def connected(server: RunningServer, prefix: str = "/v1", **session: Any) -> AsyncIterator[Client]:
    url = f"{str(server.http.base_url).rstrip('/')}{prefix}"
    async with (
        openai.AsyncOpenAI(base_url=url, api_key="none") as sdk,
        sdk.realtime.connect(model="gpt-realtime") as connection,
    ):
        client = Client(connection)
        await client.until("session.created")
        if session:
            await connection.session.update(session={"type": "realtime", **session})
            await client.until("session.updated")
        yield client


async def test_a_typed_question_is_answered_with_text_and_sound_while_the_avatar_says_it(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        async with connected(server, instructions="Be brief.") as client:
            assert client.told[-1].session.instructions == "Be brief."
            await client.type("Say one two three.")
            done = (await client.until("response.done")).response
            assert (done.status, done.output[0].content[0].transcript) == ("completed", "one two three.")
            assert [event.delta for event in client.of("response.output_audio_transcript.delta")] == ["one two three."]
            order = [event.type for event in client.told if event.type.startswith("response.")]
            assert list(dict.fromkeys(order)) == [
                "response.created", "response.output_item.added", "response.content_part.added",
                "response.output_audio_transcript.delta", "response.output_audio.delta", "response.output_audio.done",
                "response.output_audio_transcript.done", "response.content_part.done", "response.output_item.done",
                "response.done",
            ]  # fmt: skip
            (task,) = (await server.http.get("/v1/tasks")).json()["tasks"]
            assert (task["state"], task["source"]) == ("done", "text")
            assert client.sound_s == pytest.approx(task["duration_s"], abs=0.05)
        assert (await over(server))["messages"][-1] == {"role": "assistant", "text": "one two three."}


async def test_cancelling_leaves_what_was_heard(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        for how in ("cancel", "truncate"):
            async with connected(server, "/v1/channels/main") as client:
                await client.type(LONG)
                delta = await client.until("response.output_audio.delta")
                while (await server.http.get("/v1/tasks")).json()["tasks"][0]["frames"]["heard"] < 20:
                    await asyncio.sleep(0.02)
                if how == "cancel":
                    await client.connection.response.cancel()
                else:
                    place = {"item_id": delta.item_id, "content_index": 0, "audio_end_ms": 800}
                    await client.connection.conversation.item.truncate(**place)
                done = (await client.until("response.done")).response
                assert done.status == "cancelled"
                heard = done.output[0].content[0].transcript
                assert heard and LONG.removeprefix("Say ").startswith(heard) and len(heard) < len(LONG) - 10
            assert (await over(server))["messages"][-1]["text"] == heard


async def test_who_says_nothing_does_not_keep_the_place_of_others(tmp_path: Path) -> None:
    async with talking_server(tmp_path, conversation_unused_s=0.3) as server, connected(server) as silent:
        assert (await silent.until("error")).error.code == "unused"
        while server.orchestrator.sockets.taken:
            await asyncio.sleep(0.02)
        async with connected(server):
            assert server.orchestrator.conversations.is_running("main") is False


class _Loud:
    """Hears a voice in whatever is loud."""

    def probability(self, frame: NDArray[np.int16]) -> float:
        return float(np.abs(frame.astype(np.int32)).max() > 1_000)

    def reset(self) -> None:
        pass


class _Understands:
    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        return "Say done."

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("pushed", [False, True])
async def test_a_spoken_question_is_understood_and_answered(tmp_path: Path, pushed: bool) -> None:
    async with talking_server(tmp_path) as server:
        parts = SessionParts(_Loud, _Understands(), RuleResponder(lambda: datetime(2026, 1, 1, 12)))
        server.orchestrator.conversations.stock.parts = lambda plan, typed: parts  # type: ignore[method-assign]
        detection = {"turn_detection": None} if pushed else {}
        async with connected(server, audio={"input": detection}) as client:
            sound = tone(0.8) + bytes(48_000 * 2)
            for first in range(0, len(sound), 4800):
                audio = base64.b64encode(sound[first : first + 4800]).decode()
                await client.connection.input_audio_buffer.append(audio=audio)
            if pushed:
                await client.connection.input_audio_buffer.commit()
            done = (await client.until("response.done")).response
            assert (done.status, done.output[0].content[0].transcript) == ("completed", "done.")
            (understood,) = client.of("conversation.item.input_audio_transcription.completed")
            assert understood.transcript == "Say done."
            (committed,) = client.of("input_audio_buffer.committed")
            assert committed.item_id == understood.item_id
            voice = client.of("input_audio_buffer.speech_started") + client.of("input_audio_buffer.speech_stopped")
            assert len(voice) == (0 if pushed else 2)


async def test_what_means_nothing_here_is_told_with_the_clients_own_event_id(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, connected(server) as client:
        for event in (
            {"type": "conversation.item.delete", "item_id": "x", "event_id": "mine"},
            {"type": "input_audio_buffer.append", "audio": "%", "event_id": "mine"},
        ):
            await client.connection.send(event)
            assert (await client.until("error")).error.event_id == "mine"


async def test_one_conversation_a_channel_and_a_key_that_may_speak(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        async with connected(server):
            assert await refusal(server, "/v1/realtime") == (409, "conversation_running")
        assert await refusal(server, "/v1/realtime?model=nobody") == (404, "unknown_channel")
        await over(server)
    async with talking_server(tmp_path, uploads_per_minute=0) as server:
        viewer = KeyFile(server.orchestrator.settings.keys_path).add("viewer", Scope.VIEW)
        server.orchestrator.gate.required = True
        headers = {"Authorization": f"Bearer {viewer}"}
        assert await refusal(server, "/v1/realtime") == (401, "key_required")
        assert await refusal(server, "/v1/realtime", additional_headers=headers) == (403, "scope_missing")
        server.orchestrator.gate.required = False


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_each_response_is_done_once_with_interruptions_and_clients_that_die(tmp_path: Path, count: int) -> None:
    drawn = random.Random(9)
    said = 0
    async with talking_server(tmp_path, uploads_per_minute=0, requests_per_minute=0) as server:
        while said < count:
            async with connected(server) as client:
                for number in range(1, 5):
                    said += 1
                    await client.type(drawn.choice(["Say hi.", "Say one two three.", LONG]))
                    if drawn.random() < 0.7:
                        await client.until(drawn.choice(["response.created", "response.output_audio.delta"]))
                        await asyncio.sleep(drawn.choice([0.0, 0.1, 0.4]))
                        await client.connection.response.cancel()
                    await client.until("response.done")
                    assert len(client.of("response.done")) == len(client.of("response.created")) == number
                await client.type(LONG)  # and the client goes away
            await over(server)
        assert not (await conversation(server))["running"]
        while list(server.orchestrator.settings.tasks_dir.glob("*.speech")) or server.orchestrator.sockets.taken:
            await asyncio.sleep(0.05)
