"""A stream of text is said while it arrives: over the socket in pieces, and as a request's body."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection

from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import END, PATH, START, open_socket, receive, send, tone
from tests.support.synthesisers import ToneSynthesiser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

SAY = "/v1/channels/main/say"
TEXT_START = {"type": "start", "format": "text"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        await started.ready()
        yield started


@pytest.fixture
def synthesiser(server: RunningServer) -> ToneSynthesiser:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    return synthesiser


async def newest_but(server: RunningServer, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest task, once it is none of the earlier ones."""
    known = {task["task_id"] for task in earlier}
    while True:
        tasks: list[dict[str, Any]] = (await server.http.get("/v1/tasks?limit=1")).json()["tasks"]
        if tasks and tasks[0]["task_id"] not in known:
            return tasks[0]
        await asyncio.sleep(0.01)


def piece(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


async def test_pieces_are_sentences_as_soon_as_they_are_certain(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    async with open_socket(server, PATH) as socket:
        await send(socket, {**TEXT_START, "voice": "high", "rate": 2.0}, piece("I am he"), piece("re. And y"))
        accepted = await receive(socket, "accepted")
        assert accepted["sample_rate"] == synthesiser.rate_hz
        await receive(socket, "started")
        assert [(text, voice.name, voice.rate) for text, voice in synthesiser.said] == [("I am here.", "high", 2.0)]
        await send(socket, piece("ou?"), END)
        ended = await receive(socket, "ended")
        assert ended["reason"] == "completed"
        assert [text for text, _ in synthesiser.said] == ["I am here.", "And you?"]
        task = (await server.http.get(f"/v1/tasks/{accepted['task_id']}")).json()
        assert task["source"] == "text"
        assert ended["heard_samples"] == pytest.approx(task["duration_s"] * synthesiser.rate_hz, abs=960)


async def test_sentence_is_heard_to_its_end_while_the_next_one_is_still_thought(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    async with open_socket(server, PATH) as socket:
        await send(socket, TEXT_START, piece("Good morning to you. "))  # 16 letters
        task_id = (await receive(socket, "accepted"))["task_id"]
        await receive(socket, "started")
        while (await server.task(task_id, "streaming"))["frames"]["heard"] < 40:
            await asyncio.sleep(0.02)
        assert len(synthesiser.said) == 1
        await send(socket, piece("Bye."), END)
        assert (await receive(socket, "ended"))["reason"] == "completed"


async def test_text_and_sound_do_not_mix_and_the_connection_goes_on(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    async with open_socket(server, PATH) as socket:
        await send(socket, piece("Hi."))
        assert (await receive(socket, "error"))["code"] == "no_segment"
        await send(socket, TEXT_START, piece("Hello. "), tone(0.1))
        await receive(socket, "accepted")
        assert await errors_until_the_end(socket) == ["bad_message"]
        await send(socket, START, tone(0.2), piece("Hi."))
        await receive(socket, "accepted")
        assert await errors_until_the_end(socket) == ["bad_message"]
        await send(socket, {**TEXT_START, "voice": "deep"})
        assert (await receive(socket, "error"))["code"] == "unknown_voice"
        await send(socket, {**TEXT_START, "rate": 3})
        assert (await receive(socket, "error"))["code"] == "bad_rate"
        await send(socket, TEXT_START, END)
        await receive(socket, "accepted")
        assert await errors_until_the_end(socket) == ["empty_text"]


async def errors_until_the_end(socket: ClientConnection) -> list[str]:
    found = []
    async for text in socket:
        message = json.loads(text)
        if message["type"] == "error":
            found.append(message["code"])
        if message["type"] == "ended":
            return found
    raise AssertionError("closed")


async def test_interrupt_ends_it(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    async with open_socket(server, PATH) as socket:
        await send(socket, TEXT_START, piece("A rather long sentence is said here, is it not? Yes"))
        await receive(socket, "accepted")
        await receive(socket, "started")
        await send(socket, {"type": "interrupt"})
        assert (await receive(socket, "ended"))["reason"] == "interrupted"


async def test_body_of_text_is_said_while_it_arrives(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield "Good morning. Ü".encode()[:-1]
        await more.wait()
        yield "Ü".encode()[-1:] + b"bung."

    plain = {"Content-Type": "text/plain; charset=utf-8"}
    earlier = (await server.http.get("/v1/tasks")).json()["tasks"]
    sending = asyncio.create_task(server.http.post(SAY, content=body(), headers=plain, params={"rate": "2"}))
    task = await newest_but(server, earlier)
    await server.task(task["task_id"], "streaming")
    more.set()
    answer = await sending
    assert (answer.status_code, answer.json()["task_id"]) == (202, task["task_id"])
    assert [(text, voice.rate) for text, voice in synthesiser.said] == [("Good morning.", 2.0), ("Übung.", 2.0)]


@pytest.mark.parametrize(
    ("content", "params", "status", "code"),
    [
        (b"", {}, 422, "empty_text"),
        (b"\xff\xfe", {}, 422, "bad_text"),
        (b"Hi.", {"rate": "fast"}, 422, "bad_rate"),
        (b"Hi.", {"seed": "-1"}, 422, "bad_seed"),
        (b"Hi.", {"voice": "deep"}, 422, "unknown_voice"),
    ],
)
async def test_body_that_is_no_text_is_refused(
    server: RunningServer, synthesiser: ToneSynthesiser, content: bytes, params: dict[str, str], status: int, code: str
) -> None:
    answer = await server.http.post(SAY, content=content, headers={"Content-Type": "text/plain"}, params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
