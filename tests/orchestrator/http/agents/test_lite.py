"""Sessions in LiveAvatar's shapes: with the stock plugin for LiveKit, and with a plain client."""

import asyncio
import base64
import errno
import gc
import json
import os
import random
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.channels.store import ChannelStore
from tests.support.late_looks import see_ends_alone
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import tone

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("default"),  # of the packages' own
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), channel_limit=3, uploads_per_minute=0)
    async with running(settings) as started:
        await started.ready()
        yield started


def of_sessions(server: RunningServer) -> list[str]:
    return [name for name in server.orchestrator.channels if name.startswith("room-")]


async def gone(server: RunningServer) -> None:
    while of_sessions(server) or server.orchestrator.sockets.taken:
        await asyncio.sleep(0.02)
    while any(task.get_name().startswith("lite-") for task in asyncio.all_tasks()):
        await asyncio.sleep(0.02)


async def begun(server: RunningServer) -> tuple[str, dict[str, Any]]:
    """The token of a session that was started, and where it is."""
    answer = await server.http.post("/v1/sessions/token", json={"mode": "LITE", "avatar_id": "demo"})
    assert answer.status_code == 200, answer.text
    token = answer.json()["data"]["session_token"]
    answer = await server.http.post("/v1/sessions/start", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return token, answer.json()["data"]


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.ends: list[dict[str, Any]] = []

    async def say(self, seconds: float, end: bool = True) -> None:
        sound = tone(seconds)
        for first in range(0, len(sound), 24_000):
            part = base64.b64encode(sound[first : first + 24_000]).decode()
            await self.send("agent.speak", audio=part)
        if end:
            await self.send("agent.speak_end")

    async def send(self, kind: str, **values: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, "event_id": "1", **values}))

    async def until(self, *kinds: str) -> dict[str, Any]:
        async for text in self._socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] in ("agent.speak_ended", "agent.speak_interrupted"):
                self.ends.append(message)
            if message["type"] in kinds:
                return message
        raise AssertionError(f"closed with {self._socket.close_code}")


ENDS = ("agent.speak_ended", "agent.speak_interrupted")


@asynccontextmanager
async def talking(server: RunningServer) -> AsyncIterator[Client]:
    _, data = await begun(server)
    async with connect(data["ws_url"]) as socket:
        client = Client(socket)
        assert (await client.until("session.state_updated"))["state"] == "connected"
        yield client
    await gone(server)


async def test_logs_of_the_last_sessions_are_kept(server: RunningServer) -> None:
    folder = server.orchestrator.settings.log_dir
    for number in range(60):
        (folder / f"room-{number:02}.log").touch()
        os.utime(folder / f"room-{number:02}.log", (number, number))
    running, at = await begun(server)
    while not (folder / f"{at['channel']}.log").exists():
        await asyncio.sleep(0.02)
    os.utime(folder / f"{at['channel']}.log", (0, 0))
    ended, _ = await begun(server)
    await server.http.post("/v1/sessions/stop", headers={"Authorization": f"Bearer {ended}"})
    while len(list(folder.glob("room-*.log"))) > 51:
        await asyncio.sleep(0.02)
    assert (folder / f"{at['channel']}.log").exists(), "the one that runs may write to it"
    assert (folder / "main.log").exists()
    kept = sorted(path.name for path in folder.glob("room-[0-9][0-9].log"))
    assert kept == [f"room-{number:02}.log" for number in range(60 - len(kept), 60)]
    await server.http.post("/v1/sessions/stop", headers={"Authorization": f"Bearer {running}"})
    await gone(server)


async def test_session_ends_though_nothing_can_be_saved(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channel would keep its place and its processor time until the server's end."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    token, _ = await begun(server)
    monkeypatch.setattr(ChannelStore, "save", full)
    await server.http.post("/v1/sessions/stop", headers={"Authorization": f"Bearer {token}"})
    await gone(server)


async def test_a_segment_is_heard_and_its_end_told(server: RunningServer) -> None:
    async with talking(server) as client:
        await client.say(0.6)
        await client.until("agent.speak_started")
        assert (await client.until("agent.state_updated"))["new_state"] == "talking"
        assert (await client.until(*ENDS))["heard_s"] == pytest.approx(0.6)
        assert (await client.until("agent.state_updated"))["new_state"] == "idle"
        await client.send("session.keep_alive")
        await client.send("agent.start_listening")
        assert (await client.until("agent.state_updated"))["state"] == "listening"


async def test_an_interruption_overtakes_what_was_sent(server: RunningServer) -> None:
    async with talking(server) as client:
        await client.say(60.0, end=False)
        await client.until("agent.speak_started")
        await client.send("agent.interrupt")
        end = await client.until(*ENDS)
        assert end["type"] == "agent.speak_interrupted" and end["heard_s"] < 10
        await client.say(0.2)
        assert (await client.until(*ENDS))["type"] == "agent.speak_ended"


async def test_stopping_ends_the_session_and_a_second_time_is_no_mistake(server: RunningServer) -> None:
    token, data = await begun(server)
    async with connect(data["ws_url"]) as socket:
        client = Client(socket)
        await client.say(5.0)
        await client.until("agent.speak_started")
        for _ in range(2):
            stopped = await server.http.post("/v1/sessions/stop", headers={"Authorization": f"Bearer {token}"})
            assert stopped.status_code == 200
        with pytest.raises(AssertionError, match="closed"):
            await client.until("never")
    assert [end["type"] for end in client.ends] == ["agent.speak_interrupted"]
    await gone(server)
    with pytest.raises(InvalidStatus):
        await connect(data["ws_url"])


async def test_secrets_open_their_own_session_alone(server: RunningServer) -> None:
    token, data = await begun(server)
    for path in ("start", "stop"):
        answer = await server.http.post(f"/v1/sessions/{path}", headers={"Authorization": "Bearer lsr_other"})
        assert answer.status_code == 401
    again = await server.http.post("/v1/sessions/start", headers={"Authorization": f"Bearer {token}"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "session_started")
    async with connect(data["ws_url"]):
        with pytest.raises(InvalidStatus):
            await connect(data["ws_url"])
        with pytest.raises(InvalidStatus):
            await connect(data["ws_url"].replace("/v1/sessions/lsr_", "/v1/sessions/lsr_x"))
    await gone(server)


async def test_who_sends_nonsense_is_told_and_then_sent_away(server: RunningServer) -> None:
    async with talking(server) as client:
        with pytest.raises((AssertionError, ConnectionClosed)):
            for message in ({"type": "agent.speak", "audio": "%"}, {"type": "agent.dance"}, {}) * 10:
                await client._socket.send(json.dumps(message))
                assert "error" in await client.until("error")


async def test_a_session_needs_a_key_that_may_make_channels(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    keys = {scope: KeyFile(settings.keys_path).add(scope.value, scope) for scope in Scope}
    async with running(settings) as server:
        for key, status in (("lsr_none", 401), (keys[Scope.SPEAK], 403), (keys[Scope.ADMINISTER], 200)):
            body = {"mode": "LITE", "avatar_id": "demo"}
            answer = await server.http.post("/v1/sessions/token", json=body, headers={"x-api-key": key})
            assert answer.status_code == status
        token = {"Authorization": f"Bearer {answer.json()['data']['session_token']}"}
        KeyFile(settings.keys_path).remove(Scope.ADMINISTER.value)
        answer = await server.http.post("/v1/sessions/start", headers=token)
        assert answer.status_code == 401, "the key that it was asked for with is gone"


async def test_a_session_ends_with_the_key_that_asked_for_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    ops, leaver = (KeyFile(settings.keys_path).add(name, Scope.ADMINISTER) for name in ("ops", "leaver"))
    async with running(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {ops}"
        await server.ready()
        server.http.headers["Authorization"] = f"Bearer {leaver}"
        _, data = await begun(server)
        async with connect(data["ws_url"]) as socket:
            KeyFile(settings.keys_path).remove("leaver")
            with pytest.raises(ConnectionClosed):
                while True:
                    await socket.recv()
        await gone(server)


async def test_a_segment_whose_beginning_nobody_saw_has_begun_all_the_same(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    see_ends_alone(monkeypatch)
    async with talking(server) as client:
        await client.say(0.2)
        await client.until("agent.speak_started")
        assert (await client.until(*ENDS))["heard_s"] == pytest.approx(0.2)


def mapped_avatars() -> int:
    gc.collect()
    return Path("/proc/self/maps").read_text().count("frames.rgb")


async def test_a_session_that_is_over_keeps_no_avatar_open(server: RunningServer) -> None:
    before = mapped_avatars()
    for _ in range(2):
        async with talking(server) as client:
            await client.say(0.2)
            await client.until(*ENDS)
    while mapped_avatars() != before:
        await asyncio.sleep(0.05)


async def test_each_segments_end_is_told_once_with_interruptions_and_deaths(server: RunningServer) -> None:
    drawn = random.Random(3)
    for _ in range(2):
        async with talking(server) as client:
            for number in range(1, 6):
                seconds, ends = drawn.choice([0.1, 0.4, 0.8]), drawn.random() < 0.7
                await client.say(seconds, ends)
                if not ends or drawn.random() < 0.5:
                    await asyncio.sleep(drawn.choice([0.0, 0.05, 0.3]))
                    await client.send("agent.interrupt")
                assert (await client.until(*ENDS))["heard_s"] <= seconds + 0.001
                assert len(client.ends) == number
            await client.say(2.0, end=drawn.random() < 0.5)  # and the client goes away
    while list(server.orchestrator.settings.tasks_dir.glob("*.speech")):  # deleted once the store has the task's end
        await asyncio.sleep(0.05)


async def test_livekits_stock_plugin_drives_the_avatar(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages' own imports
        liveavatar = pytest.importorskip("livekit.plugins.liveavatar")
    import aiohttp
    from livekit import rtc
    from livekit.rtc.event_emitter import EventEmitter

    from orchestrator.http.agents.livekit import avatar_room
    from tests.support.livekit_rooms import URL, Hall, token

    hall = Hall()
    monkeypatch.setattr(avatar_room, "new_room", hall.room)
    room = hall.room()
    await room.connect(URL, token("agent"))
    session: Any = EventEmitter()
    session.output = SimpleNamespace(replace_audio_tail=lambda tail: None)
    async with aiohttp.ClientSession() as http:
        plugin = liveavatar.AvatarSession(
            avatar_id="demo", api_url=f"{server.http.base_url}/v1/sessions".replace("//v1", "/v1"), api_key="none"
        )
        plugin._api._session = http
        await plugin.start(session, room, livekit_url=URL, livekit_api_key="key", livekit_api_secret="s" * 32)
        assert "liveavatar-avatar-agent" in room.remote_participants
        output = plugin._audio_buffer
        for seconds in (1.0, 0.4):
            sound = tone(seconds)
            await output.capture_frame(rtc.AudioFrame(sound, 24_000, 1, len(sound) // 2))
            output.flush()
            event = await output.wait_for_playout()
            assert (event.playback_position, event.interrupted) == (pytest.approx(seconds, abs=0.05), False)
        session.emit("close", None)
        await plugin._main_atask
    await gone(server)
    assert "liveavatar-avatar-agent" not in room.remote_participants
