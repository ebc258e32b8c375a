"""The stock plugin for Simli brings our avatar into a room, with another base URL alone."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import tone

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages' own imports
    pytest.importorskip("livekit.plugins.simli")
    from livekit import rtc
    from livekit.plugins import simli
    from livekit.plugins.simli import avatar as plugin_module
    from livekit.rtc.event_emitter import EventEmitter

from orchestrator.http.agents.livekit import avatar_room
from tests.support.livekit_rooms import URL, Hall, hall_of_test, token

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("default"),  # of the packages' own
]
AVATAR = "simli-avatar-agent"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"), channel_limit=3)) as started:
        await started.ready()
        yield started


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> Hall:
    return hall_of_test(monkeypatch)


def of_rooms(server: RunningServer) -> list[str]:
    return [name for name in server.orchestrator.channels if name.startswith("room-")]


async def test_the_stock_plugin_makes_the_avatar_speak_in_its_room(
    server: RunningServer, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_module, "get_job_context", lambda: SimpleNamespace(local_participant_identity="agent"))
    room = hall.room()
    await room.connect(URL, token("agent"))
    tails: list[Any] = []
    agent: Any = EventEmitter()
    agent.output = SimpleNamespace(replace_audio_tail=tails.append)
    async with aiohttp.ClientSession() as http:
        monkeypatch.setattr(simli.AvatarSession, "_ensure_http_session", lambda self: http)
        plugin = simli.AvatarSession(
            simli_config=simli.SimliConfig(api_key="none", face_id="demo"),
            api_url=f"{server.http.base_url}/agents".replace("//agents", "/agents"),
        )
        await plugin.start(agent, room, livekit_url=URL, livekit_api_key="key", livekit_api_secret="s" * 32)
        [output] = tails
        assert AVATAR in room.remote_participants
        (channel,) = of_rooms(server)
        assert (await server.http.get(f"/v1/channels/{channel}")).json()["avatar"] == "demo"
        for seconds in (0.6, 0.4):
            sound = tone(seconds, 16_000)
            await output.capture_frame(rtc.AudioFrame(sound, 16_000, 1, len(sound) // 2))
            output.flush()
            event = await output.wait_for_playout()
            assert (event.playback_position, event.interrupted) == (pytest.approx(seconds, abs=0.05), False)
    await room.disconnect()
    while of_rooms(server):
        await asyncio.sleep(0.02)


async def test_a_token_is_good_for_one_room(server: RunningServer, hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatar_room, "_RETURN_S", 60)  # no agent comes
    answer = await server.http.post(
        "/agents/compose/token", json={"faceId": "demo/an-emotion", "maxSessionLength": 600}
    )
    assert answer.status_code == 200, answer.text
    body = {
        "session_token": answer.json()["session_token"],
        "livekit_url": URL,
        "livekit_token": token(AVATAR, **{"lk.publish_on_behalf": "agent"}),
    }

    async def asked(**changes: str) -> httpx.Response:
        return await server.http.post("/agents/integrations/livekit/agents", json={**body, **changes})

    assert (await asked(session_token="another")).status_code == 401
    hall.unreachable = True
    assert (await asked()).status_code == 502
    hall.unreachable = False
    assert (await asked()).status_code == 201  # a token whose room couldn't be joined may be used again
    assert (await asked()).json()["error"]["code"] == "session_started"
    (channel,) = of_rooms(server)
    await server.http.delete(f"/v1/channels/{channel}")


async def test_the_plugins_key_is_the_one_that_is_checked(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.orchestrator.gate, "required", True)
    answer = await server.http.post("/agents/compose/token", json={}, headers={"x-simli-api-key": "lsr_wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unknown_key")
