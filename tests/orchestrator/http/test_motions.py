"""Motions over HTTP: added to an avatar as a task, asked for on a channel, and told of in its events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from latentsync.avatar import Loop, PreparedAvatar
from tests.support.grey_avatar import add_motion, make_avatar
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import START, open_socket, receive, send, tone
from tests.support.speech_samples import wav
from tests.support.synthesisers import ToneSynthesiser

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOTIONS = "/v1/channels/main/motions"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"))
    avatar = make_avatar(settings.avatars_dir / "demo", 320, 240, 60, Loop.CYCLE)
    for name in ("wave", "nod"):
        add_motion(avatar, name, 30, like=20)
    make_avatar(settings.avatars_dir / "still", 320, 240, 60)
    async with running(settings) as started:
        await started.ready()
        yield started


async def told(server: RunningServer, count: int) -> list[dict[str, Any]]:
    """So many notices of motions from now on."""
    found: list[dict[str, Any]] = []
    with server.orchestrator.notices.subscribe(lambda notice: notice.kind == "motion") as subscription:
        while len(found) < count:
            async with asyncio.timeout(60):
                found += [dict(notice.as_json()) for notice in await subscription.next() or ()]
    return found


async def test_a_motion_is_asked_for_and_told_of(server: RunningServer) -> None:
    telling = asyncio.create_task(told(server, 3))
    await asyncio.sleep(0)
    answer = await server.http.post(MOTIONS, json={"name": "wave"})
    assert answer.status_code == 202, answer.text
    planned = answer.json()
    assert planned["motion"] == "wave" and 0 < planned["starts_in_s"] <= 1.1
    assert 0.5 < planned["duration_s"] < 2
    notices = await telling
    assert [(each["motion"], each["state"]) for each in notices] == [
        ("wave", "planned"), ("wave", "playing"), ("wave", "ended"),
    ]  # fmt: skip
    channel = (await server.http.get("/v1/channels/main")).json()
    assert channel["motions"] == ["nod", "wave"] and channel["motion"] is None


async def test_events_of_a_channel_have_its_motions(server: RunningServer) -> None:
    async with server.http.stream("GET", "/v1/events?channel=main") as events:
        await server.http.post(MOTIONS, json={"name": "nod"})
        named = ""
        async for line in events.aiter_lines():
            if line.startswith("event: "):
                named = line.removeprefix("event: ")
            if line.startswith("data: ") and named == "motion":
                assert json.loads(line.removeprefix("data: "))["channel"] == "main"
                break
    await quiet(server)


async def test_a_motion_waits_for_the_faces_that_are_made_and_the_speech_is_whole(server: RunningServer) -> None:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(6.0))})
    task_id = answer.json()["task_id"]
    await server.task(task_id, "streaming")
    planned = (await server.http.post(MOTIONS, json={"name": "wave"})).json()
    assert planned["starts_in_s"] > 0.5, "not on frames whose faces are made"
    await server.task(task_id, "done")
    await quiet(server)


async def test_a_motion_that_is_held_ends_when_it_is_stopped(server: RunningServer) -> None:
    planned = (await server.http.post(MOTIONS, json={"name": "wave", "repeat": 0})).json()
    assert planned["duration_s"] is None
    async with asyncio.timeout(60):
        while (await server.http.get("/v1/channels/main")).json()["motion"] != "wave":
            await asyncio.sleep(0.05)
    stopped = await server.http.delete(MOTIONS)
    assert 0 < stopped.json()["ends_in_s"] < 3
    await quiet(server)
    assert (await server.http.delete(MOTIONS)).json() == {"ends_in_s": None}


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"name": "bow"}, 404, "unknown_motion", "no motion 'bow'; there is nod, wave"),
        ({}, 422, "bad_name", "Field required"),
        ({"name": "wave", "repeat": -1}, 422, "bad_repeat", "greater than or equal to 0"),
        ({"name": "wave", "at": "soon"}, 422, "bad_at", "valid number"),
        ([], 400, "broken_json", '{"name": "wave"}'),
    ],
)
async def test_a_bad_request_says_what_is_meant(
    server: RunningServer, body: Any, status: int, code: str, message: str
) -> None:
    answer = await server.http.post(MOTIONS, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert message in answer.json()["error"]["message"]


async def test_too_many_motions_are_refused(server: RunningServer) -> None:
    # The first lasts longer than the others take to be asked for.
    answers = [await server.http.post(MOTIONS, json={"name": "wave", "repeat": 50})]
    answers += [await server.http.post(MOTIONS, json={"name": "wave"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 4 + [409] * 2
    assert answers[-1].json()["error"]["code"] == "motion_refused"
    await server.http.delete(MOTIONS)
    await quiet(server)


async def test_states_of_a_conversation_hold_their_motions(server: RunningServer) -> None:
    change = {"state_motions": {"listening": "nod", "thinking": "wave"}}
    changed = await server.http.patch("/v1/channels/main", json=change)
    if changed.status_code == 409:  # the channel of the settings keeps its definition: another one stands in
        body = {"channel": "states", "avatar": "demo", **change}
        assert (await server.http.post("/v1/channels", json=body)).status_code == 201
        await server.ready()
    channel = server.orchestrator.channels["states" if changed.status_code == 409 else "main"]
    for state, shown in (("listening", "nod"), ("thinking", "wave"), ("speaking", None)):
        channel.motions.follow(state)
        async with asyncio.timeout(60):
            while channel.view.motion != shown:
                await asyncio.sleep(0.05)


async def test_a_request_cuts_the_motion_of_a_state_which_comes_back(server: RunningServer) -> None:
    body = {"channel": "held", "avatar": "demo", "state_motions": {"listening": "nod"}}
    assert (await server.http.post("/v1/channels", json=body)).status_code == 201
    await server.ready()
    channel = server.orchestrator.channels["held"]
    telling = asyncio.create_task(told(server, 8))
    await asyncio.sleep(0)
    channel.motions.follow("listening")
    async with asyncio.timeout(60):
        while channel.view.motion != "nod":
            await asyncio.sleep(0.02)
    await channel.motions.play("wave")
    shown = [each["motion"] for each in await telling if each["state"] == "playing"]
    assert shown == ["nod", "wave", "nod"]
    stopping = asyncio.create_task(told(server, 1))
    await server.http.delete("/v1/channels/held/motions")
    assert [(each["motion"], each["state"]) for each in await stopping] == [("nod", "ended")]
    await asyncio.sleep(0.3)
    assert channel.view.motion is None, "whoever stops it does not get it back"
    await server.http.delete("/v1/channels/held")


async def test_idle_shows_scheduled_motions(server: RunningServer) -> None:
    body = {"channel": "busy", "avatar": "demo", "idle_motions": ["nod"], "idle_motions_every_s": 1}
    telling = asyncio.create_task(told(server, 2))
    assert (await server.http.post("/v1/channels", json=body)).status_code == 201
    notices = await telling
    assert {(each["channel"], each["motion"]) for each in notices} == {("busy", "nod")}
    await server.http.delete("/v1/channels/busy")


async def test_marks_of_a_text_are_shown_with_their_words_and_unknown_ones_are_told(server: RunningServer) -> None:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    synthesiser.hold_after = 1
    telling = asyncio.create_task(told(server, 3))
    await asyncio.sleep(0)
    text = "This is said first of all. [bow] And then [wave] comes another word or two."
    answer = await server.http.post("/v1/channels/main/say", json={"text": text})
    assert answer.status_code == 202, answer.text
    assert [sentence for sentence, _ in synthesiser.said] == ["This is said first of all."]
    synthesiser.hold_after = None
    synthesiser.gate.set()
    notices = await telling
    assert {(each["motion"], each["state"]) for each in notices[:1]} == {("bow", "skipped")}
    assert "there is nod, wave" in notices[0]["reason"]
    assert [(each["motion"], each["state"]) for each in notices[1:]] == [("wave", "playing"), ("wave", "ended")]
    assert synthesiser.said[-1][0] == "And then comes another word or two."
    await server.task(answer.json()["task_id"], "done")


async def test_a_socket_sends_cues_with_its_sound(server: RunningServer) -> None:
    telling = asyncio.create_task(told(server, 1))
    async with open_socket(server, "/v1/channels/main/speech") as socket:
        await send(socket, {"type": "cue", "motion": "nod"})
        assert (await receive(socket, "error"))["code"] == "no_segment"
        await send(socket, START, tone(0.5))
        await receive(socket, "accepted")
        await send(socket, {"type": "cue", "motion": "bow"})
        assert (await receive(socket, "error"))["code"] == "unknown_motion"
        await send(socket, {"type": "cue", "motion": "nod"}, tone(2.0), {"type": "end"})
        (notice,) = await telling
    assert (notice["motion"], notice["state"]) == ("nod", "playing")
    await quiet(server)


async def test_a_frame_has_eight_cues_at_most(server: RunningServer) -> None:
    async with open_socket(server, "/v1/channels/main/speech") as socket:
        await send(socket, START)
        await receive(socket, "accepted")
        for _ in range(9):
            await send(socket, {"type": "cue", "motion": "nod"})
        assert (await receive(socket, "error"))["code"] == "too_many_cues"
        await send(socket, {"type": "interrupt"})
        await receive(socket, "ended")
    await quiet(server)


async def test_a_channel_can_not_name_motions_that_its_avatar_has_not(server: RunningServer) -> None:
    body = {"channel": "other", "avatar": "still", "idle_motions": ["wave"]}
    answer = await server.http.post("/v1/channels", json=body)
    assert answer.status_code == 422
    assert "no motion wave; it has none" in answer.json()["error"]["message"]


async def test_a_channel_shows_motions_that_are_added_and_leaves_those_that_are_removed(server: RunningServer) -> None:
    channel = server.orchestrator.channels["main"]
    pid, restarts = channel.pid, channel.view.restarts
    add_motion(PreparedAvatar.open(server.orchestrator.settings.avatars_dir / "demo"), "bow", 40, like=10)
    await has_motions(server, "bow", "nod", "wave")
    renamed = await server.http.patch("/v1/avatars/demo/motions/bow", json={"name": "curtsy"})
    assert renamed.status_code == 200, renamed.text
    await has_motions(server, "curtsy", "nod", "wave")
    assert (await server.http.post(MOTIONS, json={"name": "bow"})).status_code == 404
    assert (await server.http.post(MOTIONS, json={"name": "curtsy", "repeat": 0})).status_code == 202
    async with asyncio.timeout(60):
        while channel.view.motion != "curtsy":
            await asyncio.sleep(0.05)
    assert (await server.http.delete("/v1/avatars/demo/motions/curtsy")).status_code == 204
    await has_motions(server, "nod", "wave")
    async with asyncio.timeout(60):
        while channel.view.motion is not None:
            await asyncio.sleep(0.05)
    assert (await server.http.post(MOTIONS, json={"name": "curtsy"})).status_code == 404
    assert (channel.pid, channel.view.restarts) == (pid, restarts), "the stream goes on"


async def test_motions_of_an_avatar_are_listed_renamed_and_removed(server: RunningServer) -> None:
    make_avatar(server.orchestrator.settings.avatars_dir / "free", 320, 240, 60)
    folder = server.orchestrator.settings.avatars_dir / "free"

    add_motion(PreparedAvatar.open(folder), "wave", 30)
    (listed,) = (await server.http.get("/v1/avatars/free/motions")).json()["motions"]
    assert (listed["name"], listed["frames"], listed["nearest"]) == ("wave", 30, 0)
    assert (await server.http.get(listed["preview"])).content[1:4] == b"PNG"
    renamed = await server.http.patch("/v1/avatars/free/motions/wave", json={"name": "hello"})
    assert renamed.json()["name"] == "hello"
    gone = await server.http.delete("/v1/avatars/free/motions/wave")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_motion")
    assert "there is hello" in gone.json()["error"]["message"]
    assert (await server.http.delete("/v1/avatars/free/motions/hello")).status_code == 204
    assert (await server.http.get("/v1/avatars/free/motions")).json() == {"motions": []}
    unknown = await server.http.get("/v1/avatars/nobody/motions")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_avatar")


async def quiet(server: RunningServer) -> None:
    """No motion is shown or waits."""
    await server.http.delete(MOTIONS)
    async with asyncio.timeout(60):
        while server.orchestrator.channels["main"].view.motion is not None:
            await asyncio.sleep(0.05)


async def has_motions(server: RunningServer, *names: str) -> None:
    """The channel has these motions, and no others."""
    async with asyncio.timeout(60):
        while server.orchestrator.channels["main"].view.motions != names:
            await asyncio.sleep(0.05)
