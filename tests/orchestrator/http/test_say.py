"""A text is said on a channel: as a task with the sound of a synthesiser, or refused with a reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.access.keys import KeyFile, Scope
from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.synthesisers import ToneSynthesiser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

PATH = "/v1/channels/main/say"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), say_limit_chars=200)
    async with running(settings) as started:
        await started.ready()
        yield started


@pytest.fixture
def synthesiser(server: RunningServer) -> ToneSynthesiser:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    return synthesiser


async def accepted(server: RunningServer, **body: Any) -> str:
    answer = await server.http.post(PATH, json=body)
    assert answer.status_code == 202, answer.text
    task_id: str = answer.json()["task_id"]
    assert answer.headers["Location"] == f"/v1/tasks/{task_id}"
    return task_id


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return str(answer.json()["error"]["message"])


async def test_a_text_is_heard_sentence_by_sentence(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    task = await server.task(await accepted(server, text="Hi there. **You** too?", seed=7), "done")
    assert [text for text, _ in synthesiser.said] == ["Hi there.", "You too?"]
    assert (task["source"], task["file_name"], task["seed"]) == ("text", None, 7)
    assert task["duration_s"] == pytest.approx(0.7 + 0.35 + 0.6 + 0.35, abs=0.2)
    assert task["frames"]["heard"] == round(task["duration_s"] * 25)
    assert await metric(server, "latentsync_text_first_sound_seconds_count") > 0


async def test_it_is_heard_while_its_next_sentence_is_synthesised(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.gate.clear()
    synthesiser.hold_after = 1
    answering = asyncio.create_task(accepted(server, text="First one. Second one."))
    await asyncio.sleep(0.1)
    assert not answering.done(), "before its first sound it may still be refused"
    synthesiser.gate.set()
    task_id = await answering
    task = await server.task(task_id, "streaming")
    while task["frames"]["heard"] < 20:  # 0.8 s of 0.8 s and a pause: to the last frame, without the next sentence
        task = await server.task(task_id, "streaming")
    assert (task["duration_s"], task["frames"]["total"]) == (None, None)
    synthesiser.gate.set()
    await server.task(task_id, "done")


@pytest.mark.parametrize(
    ("path", "body"),
    [(PATH, {"text": "Hi there."}), ("/v1/audio/speech", {"model": "main", "input": "Hi there."})],
)
async def test_who_hangs_up_before_the_first_sound_ends_the_synthesis_and_no_task_begins(
    server: RunningServer, synthesiser: ToneSynthesiser, path: str, body: dict[str, str]
) -> None:
    tasks = (await server.http.get("/v1/tasks")).json()["tasks"]
    synthesiser.gate.clear()
    asking = asyncio.create_task(server.http.post(path, json=body))
    while not synthesiser.waiting:
        await asyncio.sleep(0.01)
    asking.cancel()
    while synthesiser.waiting:
        await asyncio.sleep(0.01)
    assert (synthesiser.cancelled, synthesiser.said) == (1, [])
    assert (await server.http.get("/v1/tasks")).json()["tasks"] == tasks


async def test_voice_and_rate_are_those_that_were_asked_for(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    await accepted(server, text="您好。", voice="high", rate=1.5)
    ((_, voice),) = synthesiser.said
    assert (voice.name, voice.rate) == ("high", 1.5)


async def test_cancelling_ends_the_synthesis(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    synthesiser.hold_after = 1
    task_id = await accepted(server, text="A long first sentence. Another one. A third one.")
    await server.task(task_id, "streaming")
    while not synthesiser.waiting:
        await asyncio.sleep(0.01)
    await server.http.delete(f"/v1/tasks/{task_id}")
    synthesiser.hold_after = None
    synthesiser.gate.set()
    await server.orchestrator.arrivals.drain()
    assert (await server.http.get(f"/v1/tasks/{task_id}")).json()["state"] == "cancelled"
    assert [text for text, _ in synthesiser.said] == ["A long first sentence.", "Another one."]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": ""}, 422, "empty_text"),
        ({"text": " … 👍 \n"}, 422, "empty_text"),
        ({"text": "123"}, 422, "unsayable_text"),
        ({}, 422, "bad_text"),
        ({"text": 5}, 422, "bad_text"),
        ({"text": "Hi \ud800."}, 422, "bad_text"),
        ({"text": "Hi.", "rate": 2.5}, 422, "bad_rate"),
        ({"text": "Hi.", "voice": "deep"}, 422, "unknown_voice"),
        ({"text": "Hi.", "seed": -1}, 422, "bad_seed"),
        ({"text": "Hi.", "num_inference_steps": 9_999}, 422, "bad_num_inference_steps"),
        ({"text": "Hi. " * 51}, 413, "text_too_long"),
        ({"text": "Hi. " * 2000}, 413, "body_too_large"),
        ([], 400, "broken_json"),
    ],
)
async def test_a_text_that_cannot_be_said_is_refused_and_no_task(
    server: RunningServer, synthesiser: ToneSynthesiser, body: Any, status: int, code: str
) -> None:
    before = (await server.http.get("/v1/tasks")).json()["tasks"]
    refused(await server.http.post(PATH, content=json.dumps(body)), status, code)
    assert len((await server.http.get("/v1/tasks")).json()["tasks"]) == len(before)


async def test_unknown_voice_names_those_that_there_are(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    message = refused(await server.http.post(PATH, json={"text": "Hi.", "voice": "deep"}), 422, "unknown_voice")
    assert "low, high" in message


async def test_a_synthesiser_that_is_away_or_off_is_told(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    synthesiser.error = SynthesisError("synthesiser_unavailable", "It is away.")
    answer = await server.http.post(PATH, json={"text": "Hi."})
    refused(answer, 503, "synthesiser_unavailable")
    assert answer.headers["Retry-After"]
    synthesiser.error = SynthesisError("synthesis_failed", "It said nonsense.")
    refused(await server.http.post(PATH, json={"text": "Hi."}), 502, "synthesis_failed")
    server.orchestrator.synthesiser = None
    refused(await server.http.post(PATH, json={"text": "Hi."}), 503, "no_synthesiser")
    refused(await server.http.post("/v1/channels/none/say", json={"text": "Hi."}), 404, "unknown_channel")


async def test_a_synthesiser_that_fails_later_ends_the_task_behind_what_came(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.hold_after = 1
    task_id = await accepted(server, text="First one. " + "Second one. " * 9)
    synthesiser.error = SynthesisError("synthesis_failed", "It said nonsense.")
    while not synthesiser.waiting:
        await asyncio.sleep(0.01)
    synthesiser.gate.set()
    task = await server.task(task_id, "failed")
    assert task["error"] == {"code": "synthesis_failed", "message": "It said nonsense."}
    assert task["frames"]["heard"] >= 20


async def test_a_channel_has_a_voice_which_changes_without_a_restart(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    news = {"channel": "news", "avatar": "demo", "voice": "deep"}
    assert "low, high" in refused(await server.http.post("/v1/channels", json=news), 422, "bad_channel")
    created = await server.http.post("/v1/channels", json={**news, "voice": "high", "language": "zh-CN"})
    assert created.status_code == 201 and (created.json()["voice"], created.json()["language"]) == ("high", "zh-CN")
    await server.ready()
    pid = server.orchestrator.channels["news"].pid
    changed = await server.http.patch("/v1/channels/news", json={"voice": "low", "language": None})
    assert (changed.json()["voice"], changed.json()["language"]) == ("low", None)
    assert server.orchestrator.channels["news"].pid == pid
    assert (await server.http.post("/v1/channels/news/say", json={"text": "Hi."})).status_code == 202
    assert synthesiser.said[-1][1].name == "low"
    await server.http.delete("/v1/channels/news")


async def test_a_key_needs_the_scope_and_the_rate_is_that_of_speeches(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True, uploads_per_minute=1)
    keys = KeyFile(settings.keys_path)
    viewer, speaker = keys.add("viewer", Scope.VIEW), keys.add("speaker", Scope.SPEAK)
    async with running(settings) as server:
        await server.ready()
        server.orchestrator.synthesiser = ToneSynthesiser()
        refused(await server.http.post(PATH, json={"text": "Hi."}), 401, "key_required")
        refused(
            await server.http.post(PATH, json={"text": "Hi."}, headers={"Authorization": f"Bearer {viewer}"}),
            403,
            "scope_missing",
        )
        mine = {"Authorization": f"Bearer {speaker}"}
        assert (await server.http.post(PATH, json={"text": "Hi."}, headers=mine)).status_code == 202
        refused(await server.http.post(PATH, json={"text": "Hi."}, headers=mine), 429, "too_many_requests")


async def test_a_text_that_was_accepted_survives_the_server(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with running(settings) as server:
        await server.ready()
        server.orchestrator.synthesiser = ToneSynthesiser()
        server.models.gate.clear()
        task_id = await accepted(server, text="Hello there. How are you?")
        await server.orchestrator.arrivals.drain()
    async with running(settings) as server:
        task = await server.task(task_id, "done")
        assert task["duration_s"] == pytest.approx(1.0 + 0.35 + 0.9 + 0.35, abs=0.2)
