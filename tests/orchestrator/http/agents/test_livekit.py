"""An avatar in a LiveKit room, driven by the stock plugin's call and the agents' own audio output."""

import asyncio
import os
import random
import signal
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import av
import httpx
import pytest
import pytest_asyncio

from orchestrator.access.keys import KeyFile, Scope
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import tone

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages' own imports
    pytest.importorskip("livekit.plugins.bey")
    from livekit import rtc
    from livekit.agents.voice.avatar import DataStreamAudioOutput
    from livekit.agents.voice.io import PlaybackFinishedEvent
    from livekit.plugins import bey

from orchestrator.http.agents.livekit import avatar_room
from tests.support.livekit_rooms import URL, Hall, MemoryRoom, hall_of_test, token

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("default"),  # of the packages' own
]
AVATAR = "bey-avatar-agent"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"), channel_limit=3)) as started:
        await started.ready()
        yield started


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> Hall:
    return hall_of_test(monkeypatch)


class Agent:
    """An agent in its room, and what it is told of its segments."""

    def __init__(self, room: MemoryRoom) -> None:
        self.room = room
        self.started = 0
        self.finished: list[PlaybackFinishedEvent] = []
        self.output = DataStreamAudioOutput(
            room,
            destination_identity=AVATAR,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            sample_rate=16_000,
            wait_playback_start=True,
        )
        self.output.on("playback_finished", self.finished.append)
        self.output.on("playback_started", self._count_started)

    def _count_started(self, event: Any) -> None:
        self.started += 1

    async def say(self, seconds: float, end: bool = True) -> None:
        sound = tone(seconds, 16_000)
        for first in range(0, len(sound), 6400):
            part = sound[first : first + 6400]
            await self.output.capture_frame(rtc.AudioFrame(part, 16_000, 1, len(part) // 2))
        if end:
            self.output.flush()

    async def reports(self, count: int) -> None:
        while len(self.finished) < count:
            await asyncio.sleep(0.01)


async def join(server: RunningServer, key: str = "none", avatar: str = "demo") -> None:
    """The plugin's own call."""
    async with aiohttp.ClientSession() as session:
        plugin = bey.AvatarSession(avatar_id=avatar, api_url=str(server.http.base_url), api_key=key)
        plugin._http_session = session
        await plugin._start_agent(URL, token(AVATAR, **{"lk.publish_on_behalf": "agent"}))


async def newest_task(server: RunningServer) -> dict[str, Any]:
    task: dict[str, Any] = (await server.http.get("/v1/tasks?limit=1")).json()["tasks"][0]
    return task


def of_rooms(server: RunningServer) -> list[str]:
    return [name for name in server.orchestrator.channels if name.startswith("room-")]


async def gone(server: RunningServer) -> None:
    while of_rooms(server):
        await asyncio.sleep(0.02)
    while any(task.get_name().startswith("room-") for task in asyncio.all_tasks()):
        await asyncio.sleep(0.02)


@asynccontextmanager
async def talking(server: RunningServer, hall: Hall) -> AsyncIterator[Agent]:
    room = hall.room()
    await room.connect(URL, token("agent"))
    agent = Agent(room)
    await join(server)
    try:
        yield agent
    finally:
        await room.disconnect()
        await gone(server)
        assert hall.rooms == {"room": []}, "the avatar has left too"


async def test_the_stock_plugin_brings_the_avatar_with_sound_and_picture(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        (channel,) = of_rooms(server)
        avatar = agent.room.remote_participants[AVATAR]
        sources = [publication.options.source for publication in avatar.track_publications.values()]
        assert sources == [rtc.TrackSource.SOURCE_MICROPHONE, rtc.TrackSource.SOURCE_CAMERA]
        assert (await server.http.get(f"/v1/channels/{channel}")).json()["avatar"] == "demo"
        saved = server.orchestrator.settings.data_dir / "channels.json"
        assert not saved.exists() or channel not in saved.read_text()


async def test_what_the_agent_says_is_heard_and_reported_once(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        for seconds in (0.6, 0.3):
            await agent.say(seconds)
            event = await asyncio.wait_for(agent.output.wait_for_playout(), 60)
            assert (event.playback_position, event.interrupted) == (pytest.approx(seconds, abs=0.04), False)
        assert (agent.started, len(agent.finished)) == (2, 2)


async def test_clearing_ends_the_speech_at_what_was_heard(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        await agent.say(20.0, end=False)
        while not agent.started or (await newest_task(server))["frames"]["heard"] < 3:
            await asyncio.sleep(0.01)
        agent.output.clear_buffer()
        agent.output.flush()
        await agent.reports(1)
        assert agent.finished[0].interrupted and 0.1 < agent.finished[0].playback_position < 5
        await agent.say(0.3)
        await agent.reports(2)
        assert (agent.finished[1].playback_position, agent.finished[1].interrupted) == (pytest.approx(0.3), False)


async def test_only_the_agent_may_clear(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        stranger = hall.room()
        await stranger.connect(URL, token("stranger"))
        call = stranger.local_participant.perform_rpc
        assert await call(destination_identity=AVATAR, method="lk.clear_buffer", payload="") == "reject"
        assert await agent.room.local_participant.perform_rpc(
            destination_identity=AVATAR, method="lk.clear_buffer", payload=""
        ) == "ok"  # fmt: skip
        await stranger.disconnect()


async def test_a_call_that_was_not_taken_is_made_again(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        hall.lost_calls += ["lk.playback_finished", "lk.playback_finished"]
        await agent.say(0.2)
        await agent.reports(1)


async def test_a_restart_of_the_channel_brings_no_second_report(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        await agent.say(2.0)
        while not agent.started:
            await asyncio.sleep(0.01)
        pid = server.orchestrator.channels[of_rooms(server)[0]].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await agent.reports(1)
        assert (agent.finished[0].playback_position, agent.finished[0].interrupted) == (pytest.approx(2.0), False)
        await agent.say(0.2)
        await agent.reports(2)
        assert (agent.started, len(agent.finished)) == (2, 2)


async def test_what_cannot_be_said_is_reported_as_not_heard(
    server: RunningServer, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(server, hall) as agent:
        with monkeypatch.context() as patch:
            patch.setattr(server.orchestrator.board, "_queue_limit", 0)
            await agent.say(0.2)
            await agent.reports(1)
    assert (agent.finished[0].playback_position, agent.finished[0].interrupted) == (0.0, True)


async def test_an_agent_that_goes_away_in_the_middle_takes_the_avatar_with_it(
    server: RunningServer, hall: Hall
) -> None:
    async with talking(server, hall) as agent:
        await agent.say(5.0, end=False)
        while not agent.started:
            await asyncio.sleep(0.01)
    while list(server.orchestrator.settings.tasks_dir.glob("*.speech")):
        await asyncio.sleep(0.05)


async def test_removing_the_channel_ends_the_session(server: RunningServer, hall: Hall) -> None:
    async with talking(server, hall) as agent:
        await agent.say(5.0)
        while not agent.started:
            await asyncio.sleep(0.01)
        await server.http.delete(f"/v1/channels/{of_rooms(server)[0]}")
        await agent.reports(1)
        while AVATAR in agent.room.remote_participants:
            await asyncio.sleep(0.01)
        assert agent.finished[0].interrupted


async def test_the_room_gets_the_channels_own_pictures(
    server: RunningServer, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[rtc.EncodedVideoFrame] = []
    sound: list[rtc.AudioFrame] = []
    captured = rtc.AudioSource.capture_frame

    def picture(source: Any, frame: rtc.EncodedVideoFrame) -> bool:
        frames.append(frame)
        return True

    async def listen(source: Any, frame: rtc.AudioFrame) -> None:
        sound.append(frame)
        await captured(source, frame)

    monkeypatch.setattr(rtc.EncodedVideoSource, "capture_frame", picture)
    monkeypatch.setattr(rtc.AudioSource, "capture_frame", listen)
    async with talking(server, hall):
        while len(frames) < 50:
            await asyncio.sleep(0.05)
    assert frames[0].frame_type == rtc.EncodedFrameType.ENCODED_FRAME_KEY
    decoder = av.CodecContext.create("h264", "r")
    shown = [picture for frame in frames for picture in decoder.decode(av.Packet(frame.data))]
    assert len(shown) >= 45 and {(each.width, each.height) for each in shown} == {(frames[0].width, frames[0].height)}
    times = [frame.timestamp_us for frame in frames]
    assert times == sorted(times) and times[-1] - times[0] == pytest.approx(40_000 * (len(times) - 1), abs=200_000)
    assert {(frame.sample_rate, frame.num_channels) for frame in sound} == {(48_000, 1)}
    assert sum(frame.samples_per_channel for frame in sound) / 48_000 == pytest.approx(len(frames) / 25, abs=1.5)


async def test_a_room_that_cannot_be_joined_leaves_no_channel(server: RunningServer, hall: Hall) -> None:
    body = {"avatar_id": "demo", "livekit_url": URL, "livekit_token": token(AVATAR, **{"lk.publish_on_behalf": "a"})}

    async def refused(path: str = "/v1/sessions", **changes: str) -> tuple[int, str]:
        answer = await server.http.post(path, json={**body, **changes})
        assert of_rooms(server) == [], answer.text
        return answer.status_code, answer.json()["error"]["code"]

    hall.unreachable = True
    assert await refused("/agents/v1/session") == (502, "room_unreachable")
    hall.unreachable = False
    assert await refused(livekit_token=token(AVATAR)) == (502, "room_unreachable")
    assert await refused(avatar_id="nobody") == (422, "bad_channel")
    assert await refused(livekit_url="http://rooms.example") == (422, "bad_url")
    assert (await server.http.post("/v1/sessions", json={"avatar_id": "demo"})).status_code == 422
    assert all(not rooms for rooms in hall.rooms.values())


async def test_sessions_are_limited_as_channels_are(
    server: RunningServer, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avatar_room, "_RETURN_S", 60.0)
    body = {"url": URL, "token": token(AVATAR, **{"lk.publish_on_behalf": "agent"})}
    answers = [await server.http.post("/v1/sessions", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    assert answers[2].json()["error"]["code"] == "too_many_channels"
    monkeypatch.setattr(avatar_room, "_RETURN_S", 0.1)
    await gone(server)  # no agent ever came


async def test_a_session_needs_a_key_that_may_make_channels(tmp_path: Path, hall: Hall) -> None:
    settings = settings_in(tmp_path, require_key=True, allowed_targets=["wss://other.example"])
    keys = {scope: KeyFile(settings.keys_path).add(scope.value, scope) for scope in Scope}
    async with running(settings) as server:

        async def asked(key: str) -> httpx.Response:
            return await server.http.post("/v1/sessions", json={"url": URL, "token": "t"}, headers={"x-api-key": key})

        assert (await asked("lsr_none")).status_code == 401
        assert (await asked(keys[Scope.SPEAK])).status_code == 403
        server.http.headers["Authorization"] = f"Bearer {keys[Scope.ADMINISTER]}"
        await server.ready()
        del server.http.headers["Authorization"]
        refused = await asked(keys[Scope.ADMINISTER])
        assert refused.status_code == 422 and "allowed_targets" in refused.text


async def test_the_avatar_leaves_with_the_key_that_brought_it(tmp_path: Path, hall: Hall) -> None:
    settings = settings_in(tmp_path, require_key=True)
    keys = KeyFile(settings.keys_path)
    ops = keys.add("ops", Scope.ADMINISTER)
    async with running(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {ops}"
        await server.ready()
        room = hall.room()
        await room.connect(URL, token("agent"))
        await join(server, key=keys.add("leaver", Scope.ADMINISTER))
        assert AVATAR in room.remote_participants
        keys.remove("leaver")
        await gone(server)
        assert AVATAR not in room.remote_participants
        await room.disconnect()


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_each_segment_is_reported_once_with_clearing_at_any_moment(
    server: RunningServer, hall: Hall, count: int
) -> None:
    drawn = random.Random(7)
    async with talking(server, hall) as agent:
        said = 0
        while said < count:
            seconds, ends = drawn.choice([0.1, 0.4, 1.0]), drawn.random() < 0.7
            await agent.say(seconds, ends)
            said += 1
            if ends and drawn.random() < 0.4 and said < count:  # another one behind it
                await agent.say(0.2)
                said += 1
            if not ends or drawn.random() < 0.5:
                await asyncio.sleep(drawn.choice([0.0, 0.02, 0.3]))
                agent.output.clear_buffer()
                agent.output.flush()
            await agent.reports(said)
            assert agent.finished[-1].playback_position <= max(seconds, 0.2) + 0.001
        await asyncio.sleep(0.2)
        assert len(agent.finished) == said
        while server.orchestrator.channels[of_rooms(server)[0]].active:
            await asyncio.sleep(0.02)
