"""Each background task fails once, while a speech plays and another waits: the stream goes on, and no task is lost."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.failing_tasks import FailingOnce, StartingPlace, starting_places
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import PATH, START, open_socket, receive, send, tone
from tests.support.speech_samples import wav
from tests.support.synthesisers import ToneSynthesiser

pytestmark = pytest.mark.timeout(90)

# What runs on the orchestrator's event loop; a new place is found by itself.
PLACES = starting_places("orchestrator", "speech", "conversation", "inference", "streaming/handle.py")
# Places that this scenario passes by, each with its reason.
ELSEWHERE = {
    "orchestrator/demo.py": "the command demo's own",
    "orchestrator/speak_client.py": "the command speak's own",
    "orchestrator/webrtc_probe.py": "the command probe's own",
    "inference/": "of the client of a real Triton, for which controlled models stand here",
    "orchestrator/readiness.py": "models that fail are not among the controlled ones",
    "orchestrator/http/agents/": "no agent is in a room; tests/orchestrator/http/agents has its faults",
    "orchestrator/orchestrator.py: keep_running 'what is open by keys'": "the server asks for no keys",
    "orchestrator/access/open_by_key.py": "no key is removed; tests/orchestrator/http/test_removed_keys.py has that",
    "orchestrator/avatars/preparations.py": "no avatar is prepared",
    "orchestrator/conversations/parts.py: keep_running f'the {name}'": "no recogniser of ours runs; its process has "
    "faults in tests/conversation/test_recognisers.py",
    "orchestrator/avatars/films.py": "no film is ordered; tests/orchestrator/http/test_films.py has its faults",
    "orchestrator/channels/motions.py": "the avatar has no motions, and nobody schedules any",
    "orchestrator/tasks/store.py": "the store can be written",
    "conversation/realtime/": "no channel uses a Realtime server; tests/conversation/test_realtime.py has its faults",
}
FINAL = ("done", "failed", "cancelled")
# Places that only live speech passes.
BY_SOCKET = ("orchestrator/http/speech_socket.py",)
BY_TEXT = ("conversation/sentences.py", "conversation/synthesis/holding.py")
BY_WHOLE_TEXT = ("orchestrator/tasks/arrivals.py",)
TALK = "/v1/channels/main/conversation"
BY_TALK = (
    "conversation/dialogue.py",
    "orchestrator/conversations/",
    "orchestrator/http/answer_speech.py",
    "orchestrator/http/conversation_socket.py",
)
BY_HANG_UP = "orchestrator/http/hang_up.py"
BY_BODY = ("orchestrator/http/speech_body.py", "speech/audio/live_container.py")


def elsewhere(place: StartingPlace) -> bool:
    return any(str(place).startswith(beginning) for beginning in ELSEWHERE)


async def say(server: RunningServer, seconds: float) -> str:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


@pytest.mark.parametrize("place", [place for place in PLACES if not elsewhere(place)], ids=str)
async def test_stream_goes_on_and_no_task_is_lost(tmp_path: Path, place: StartingPlace) -> None:
    failing = FailingOnce(place)
    asyncio.get_running_loop().set_task_factory(failing)
    # One that runs no process, and is not asked for anything; nobody answers, and that is said.
    settings = settings_in(
        tmp_path,
        synthesiser="openai",
        synthesiser_url="http://127.0.0.1:9",
        responder="openai",
        responder_url="http://127.0.0.1:9",
        conversation_apology="One is said.",
        conversation_log=True,
    )
    ended = False
    task_ids: list[str] = []
    try:
        async with running(settings) as server:
            await server.ready()
            if place.file == "orchestrator/tasks/decodings.py":  # a machine on which all uploads take long to decode
                server.orchestrator.decodings._grace_s = 0.0
            task_ids = [await say(server, 3.0), await say(server, 0.5)]
            await server.task(task_ids[0], "streaming", "done")  # a starved machine may see it at its end alone
            server.models.gate.clear()
            task_ids.append(await say(server, 0.5))  # its faces are being made when the fault comes
            async with speaking_live(server, place, failing):
                failing.fail()
                await asyncio.sleep(0.1)
                server.models.gate.set()
            last = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(3.0))})
            if last.status_code == 200:  # else it was the upload's own task, and nothing was promised
                task_ids.append(last.json()["task_id"])
            await all_over(server, task_ids)
            await frames_go_on(server)
    except (BaseExceptionGroup, httpx.TransportError):
        ended = True  # the process: the next one takes over
    asyncio.get_running_loop().set_task_factory(None)
    assert failing.seen, "this scenario doesn't pass there: extend it, or name the reason above"
    assert failing.failed
    async with running(settings) as server:
        await server.ready()
        for task in await all_over(server, task_ids):
            # The task whose own work failed may have failed, and says so; all the others are said.
            assert task["state"] == "done" or task["error"]["code"] == "internal_error", (task, ended)
        assert sum(task["state"] == "failed" for task in await all_over(server, task_ids)) <= 1


@asynccontextmanager
async def speaking_live(server: RunningServer, place: StartingPlace, failing: FailingOnce) -> AsyncIterator[None]:
    """Somebody speaks live, where the place lies on that way; what becomes of it is told to nobody here."""
    file = place.file
    if file in BY_SOCKET:
        async with open_socket(server, PATH) as socket:
            await send(socket, START, tone(0.5))
            await receive(socket, "accepted")
            yield
    elif file in BY_TEXT:
        server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
        synthesiser.gate.clear()
        async with open_socket(server, PATH) as socket:
            await send(socket, {"type": "start", "format": "text"}, {"type": "text", "text": "One is said. And"})
            await receive(socket, "accepted")
            await asyncio.sleep(0.2)
            yield
            synthesiser.gate.set()
    elif file in BY_WHOLE_TEXT:
        server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
        synthesiser.hold_after = 1
        answer = await server.http.post("/v1/channels/main/say", json={"text": "One is said. Another one waits."})
        assert answer.status_code == 202, answer.text
        yield
        synthesiser.gate.set()
    elif file == BY_HANG_UP:
        server.orchestrator.synthesiser = ToneSynthesiser()
        yield
        await server.http.post("/v1/channels/main/say", json={"text": "One is said."})
    elif file.startswith(BY_TALK):
        server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
        synthesiser.gate.clear()
        start = {"sample_rate": 16_000} if "recogniser" in place.source else {"format": "text"}
        async with open_socket(server, TALK) as socket:
            await send(socket, {"type": "start", **start}, {"type": "text", "text": "Hello."})
            await asyncio.sleep(1.0)
            yield
            synthesiser.gate.set()
            # What hadn't begun yet, or is over already, begins now; the fault may have ended the conversation.
            with suppress(ConnectionClosed):
                await send(socket, {"type": "interrupt"}, {"type": "text", "text": "Hello again."})
            await until_failed(failing)
    elif file in BY_BODY:
        sending = asyncio.create_task(server.http.put(PATH, content=slowly(wav(3.0))))
        await asyncio.sleep(1.0)
        yield
        await until_failed(failing)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    else:
        yield


async def until_failed(failing: FailingOnce) -> None:
    """What begins at the end alone fails later."""
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not failing.failed:
                await asyncio.sleep(0.05)


async def slowly(sound: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(sound), 4000):
        yield sound[first : first + 4000]
        await asyncio.sleep(0.1)


async def all_over(server: RunningServer, task_ids: list[str]) -> list[dict[str, Any]]:
    while True:
        tasks = [(await server.http.get(f"/v1/tasks/{task_id}")).json() for task_id in task_ids]
        if all(task["state"] in FINAL for task in tasks):
            return tasks
        await asyncio.sleep(0.05)


async def frames_go_on(server: RunningServer) -> None:
    await server.ready()
    pid = server.orchestrator.channels["main"].pid
    assert pid is not None
    os.kill(pid, 0)
    first: int | None = None
    while True:
        stream = (await server.http.get("/v1/channels/main")).json()["stream"]
        if stream is not None:
            first = stream["frames_sent"] if first is None else first
            if stream["frames_sent"] > first + 25:
                return
        await asyncio.sleep(0.1)
