"""OpenAI's own client makes a channel speak, and gets the sound that it asked for."""

import asyncio
import base64
import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import pytest_asyncio

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.access.keys import KeyFile, Scope
from tests.support.failing_files import no_file_left
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.synthesisers import ToneSynthesiser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

PATH = "/v1/audio/speech"
BODY = {"model": "main", "voice": "alloy", "input": "Hi there. You too?"}
SECONDS = 0.7 + 0.35 + 0.6 + 0.35  # of BODY: a tenth for each letter, and the pauses


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"), say_limit_chars=200)) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def synthesiser(server: RunningServer) -> AsyncIterator[ToneSynthesiser]:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    yield synthesiser
    await server.http.post("/v1/channels/main/interrupt?queue=true")  # else the next test waits for its speeches


def decoded_s(sound: bytes, container: str | None = None) -> float:
    """The length of a file's sound, and that it is the tone that the synthesiser says."""
    with av.open(io.BytesIO(sound), "r", format=container) as file:
        frames = [frame.to_ndarray().astype(np.float64).mean(axis=0) for frame in file.decode(audio=0)]
        rate_hz = file.streams.audio[0].rate
    samples = np.concatenate(frames)
    loudest = np.abs(np.fft.rfft(samples[: rate_hz // 2] * np.hanning(rate_hz // 2))).argmax()
    assert loudest * 2 == pytest.approx(220, abs=6)
    return len(samples) / rate_hz


async def held(synthesiser: ToneSynthesiser) -> None:
    """The next sentence is asked for, and held back."""
    while synthesiser.gate.is_set():
        await asyncio.sleep(0.01)


async def sound_of(server: RunningServer, **body: Any) -> httpx.Response:
    answer = await server.http.post(PATH, json={**BODY, **body})
    assert answer.status_code == 200, answer.text
    return answer


async def latest_task(server: RunningServer) -> dict[str, Any]:
    task: dict[str, Any] = (await server.http.get("/v1/tasks?limit=1")).json()["tasks"][0]
    return task


@pytest.mark.parametrize("prefix", ["/v1", "/v1/channels/main"])
async def test_openais_client_makes_the_channel_speak(
    server: RunningServer, synthesiser: ToneSynthesiser, prefix: str
) -> None:
    openai = pytest.importorskip("openai")
    url = f"{server.http.base_url}{prefix}".replace("//v1", "/v1")
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="tts-1", voice="nova", input=BODY["input"], response_format="pcm") as answer:
            sound = b"".join([block async for block in answer.iter_bytes()])
            task_id = answer.headers["Location"].rpartition("/")[2]
        with pytest.raises(openai.UnprocessableEntityError, match="no word"):
            await client.audio.speech.create(model="tts-1", voice="nova", input=" … ")
    assert len(sound) / 2 / 24_000 == pytest.approx(SECONDS, abs=0.08)
    task = await server.task(task_id, "done")
    assert (task["source"], task["channel"]) == ("text", "main")
    assert task["frames"]["heard"] == round(len(sound) / 2 / 24_000 * 25)


@pytest.mark.parametrize(
    ("wanted", "media", "container"),
    [
        ("mp3", "audio/mpeg", "mp3"),
        ("opus", "audio/ogg", "ogg"),
        ("aac", "audio/aac", "aac"),
        ("flac", "audio/flac", "flac"),
        ("wav", "audio/wav", "wav"),
    ],
)
async def test_the_sound_is_of_the_format_that_was_asked_for(
    server: RunningServer, synthesiser: ToneSynthesiser, wanted: str, media: str, container: str
) -> None:
    answer = await sound_of(server, response_format=wanted)
    assert answer.headers["Content-Type"] == media
    assert decoded_s(answer.content, container) == pytest.approx(SECONDS, abs=0.12)


async def test_mp3_is_what_comes_where_nothing_is_asked_for(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    assert (await sound_of(server)).headers["Content-Type"] == "audio/mpeg"


async def test_events_hold_the_same_sound(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    answer = await sound_of(server, response_format="pcm", stream_format="sse")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(sound) / 2 / 24_000 == pytest.approx(SECONDS, abs=0.08)


async def test_voice_and_speed_are_ours_where_they_are_known(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    await sound_of(server, voice={"id": "high"}, speed=1.5, input="One.")
    await sound_of(server, voice="shimmer", input="One.")
    assert [(voice.name, voice.rate) for _, voice in synthesiser.said] == [("high", 1.5), ("low", 1.0)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nobody"}, 404, "unknown_channel"),
        ({"voice": "deep"}, 422, "unknown_voice"),
        ({"speed": 3}, 422, "bad_speed"),
        ({"response_format": "midi"}, 422, "bad_response_format"),
        ({"input": "Hi. " * 51}, 413, "text_too_long"),
        ({"input": "Hi. " * 2000}, 413, "body_too_large"),
        ({"input": None}, 422, "bad_input"),
    ],
)
async def test_what_cannot_be_said_is_refused_and_no_task(
    server: RunningServer, synthesiser: ToneSynthesiser, body: Any, status: int, code: str
) -> None:
    before = (await server.http.get("/v1/tasks")).json()["tasks"]
    answer = await server.http.post(PATH, json={**BODY, **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert len((await server.http.get("/v1/tasks")).json()["tasks"]) == len(before)


async def test_it_comes_while_the_next_sentence_is_synthesised(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.hold_after = 1
    body = {**BODY, "input": "A first sentence of two seconds. Second one.", "response_format": "pcm"}
    async with server.http.stream("POST", PATH, json=body) as answer:
        blocks = answer.aiter_bytes()
        first = await anext(blocks)
        await held(synthesiser)
        assert len(synthesiser.said) == 1
        synthesiser.gate.set()
        rest = [block async for block in blocks]
    assert len(synthesiser.said) == 2
    assert len(first + b"".join(rest)) / 2 / 24_000 == pytest.approx(2.6 + 0.35 + 0.9 + 0.35, abs=0.08)


async def test_who_leaves_before_its_end_interrupts_the_speech(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.hold_after = 1
    body = {**BODY, "input": "A first sentence of two seconds. Second one.", "response_format": "pcm"}
    async with server.http.stream("POST", PATH, json=body) as answer:
        blocks = answer.aiter_bytes()  # kept: it closes the answer when it is no more
        await anext(blocks)
        await held(synthesiser)
        task_id = answer.headers["Location"].rpartition("/")[2]
    task = await server.task(task_id, "cancelled")
    assert task["frames"]["heard"] < 60
    synthesiser.gate.set()
    await server.orchestrator.arrivals.drain()


async def test_who_has_all_of_it_may_leave_and_it_is_said_to_its_end(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    await sound_of(server)
    task = await latest_task(server)
    assert (await server.task(task["task_id"], "done"))["frames"]["heard"] == pytest.approx(SECONDS * 25, abs=1)


async def test_an_interrupted_speech_ends_the_sound(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    synthesiser.hold_after = 1
    body = {**BODY, "input": "A first sentence of two seconds. Second one.", "response_format": "pcm"}
    async with server.http.stream("POST", PATH, json=body) as answer:
        blocks = answer.aiter_bytes()
        await anext(blocks)
        await held(synthesiser)
        await server.http.delete(answer.headers["Location"])
        async for _ in blocks:
            pass
    synthesiser.gate.set()
    await server.orchestrator.arrivals.drain()


async def test_a_synthesiser_that_fails_later_breaks_the_answer_off(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.hold_after = 1
    body = {**BODY, "input": "A first sentence of two seconds. Second one.", "response_format": "pcm"}
    async with server.http.stream("POST", PATH, json=body) as answer:
        blocks = answer.aiter_bytes()
        await anext(blocks)
        await held(synthesiser)
        synthesiser.error = SynthesisError("synthesis_failed", "It said nonsense.")
        synthesiser.gate.set()
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in blocks:
                pass
        task_id = answer.headers["Location"].rpartition("/")[2]
    assert (await server.task(task_id, "failed"))["error"]["code"] == "synthesis_failed"


async def test_a_text_whose_sound_cannot_be_opened_is_refused_and_not_said(
    server: RunningServer, synthesiser: ToneSynthesiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr("speech.log.os.dup", no_file_left)
        answer = await server.http.post(PATH, json={**BODY, "input": "This would take three seconds to be said."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    task = await server.task((await latest_task(server))["task_id"], "cancelled")
    assert task["frames"]["heard"] < 10
    await server.orchestrator.arrivals.drain()


async def come_and_go(server: RunningServer, count: int, drawn: random.Random) -> None:
    """Clients that leave at any moment, or stay, while others interrupt."""

    async def one() -> None:
        body = {**BODY, "response_format": drawn.choice(["pcm", "mp3", "opus"])}
        leaves_after = drawn.choice([0, 1, 2, None])
        async with server.http.stream("POST", PATH, json=body) as answer:
            assert answer.status_code in (200, 429, 503), answer.status_code
            seen = 0
            async for _ in answer.aiter_bytes(1000):
                seen += 1
                if leaves_after is not None and seen > leaves_after:
                    return

    for _ in range(count // 4):
        await asyncio.gather(*(one() for _ in range(4)))
        await server.http.post("/v1/channels/main/interrupt?queue=true")


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
async def test_nothing_is_left_of_clients_that_come_and_go(
    server: RunningServer, synthesiser: ToneSynthesiser, count: int
) -> None:
    files = len(list(Path("/proc/self/fd").iterdir()))
    await come_and_go(server, count, random.Random(5))
    await server.orchestrator.arrivals.drain()
    while server.orchestrator.channels["main"].view.waiting or server.orchestrator.channels["main"].active:
        await asyncio.sleep(0.05)
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.01)
    while list(server.orchestrator.settings.tasks_dir.glob("*.speech")):  # deleted once the store has the task's end
        await asyncio.sleep(0.05)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 8, "of connections that are kept open"


async def test_it_takes_a_key_that_may_speak(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    viewer, speaker = (KeyFile(settings.keys_path).add(scope.value, scope) for scope in (Scope.VIEW, Scope.SPEAK))
    async with running(settings) as server:
        for key, status in (("lsr_none", 401), (viewer, 403), (speaker, 503)):
            answer = await server.http.post(PATH, json=BODY, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status, answer.text  # 503: this server says no texts
