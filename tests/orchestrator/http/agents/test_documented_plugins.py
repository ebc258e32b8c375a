"""The examples of docs/agents.md for LiveKit's plugins, word for word but for the server's address, as in a job."""

import asyncio
import re
import textwrap
import warnings
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from tests.support.checkout import ROOT
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import tone

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages' own imports
    for plugin in ("bey", "liveavatar", "simli"):
        pytest.importorskip(f"livekit.plugins.{plugin}")
    from livekit import rtc
    from livekit.agents import job
    from livekit.agents.utils import http_context
    from livekit.rtc.event_emitter import EventEmitter

from tests.support.livekit_rooms import URL, hall_of_test, token

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("default"),  # of the packages' own
]

_BLOCK = re.compile(r"^```python\nfrom livekit\.plugins import (?P<plugin>\w+)\n.*?^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    each["plugin"]: each[0].removeprefix("```python\n").removesuffix("```")
    for each in _BLOCK.finditer((ROOT / "docs/agents.md").read_text())
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"), channel_limit=3)) as started:
        await started.ready()
        yield started


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What LiveKit's worker gives every agent: the room's address and keys, and who the agent is."""
    for name, value in (("URL", URL), ("API_KEY", "key"), ("API_SECRET", "s" * 32)):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    context = SimpleNamespace(
        local_participant_identity="agent",
        token_claims=lambda: SimpleNamespace(identity="agent"),
        proc=SimpleNamespace(http_proxy=None),
        add_shutdown_callback=lambda callback: None,
    )
    monkeypatch.setattr(job, "_JobContextVar", SimpleNamespace(get=lambda default=None: context))


async def test_each_plugin_has_its_example() -> None:
    assert set(EXAMPLES) == {"bey", "liveavatar", "simli"}


@pytest.mark.usefixtures("in_a_job")
@pytest.mark.parametrize("plugin", sorted(EXAMPLES))
async def test_they_bring_the_avatar_and_make_it_speak(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    room = hall_of_test(monkeypatch).room()
    await room.connect(URL, token("agent"))
    tails: list[Any] = []
    session: Any = EventEmitter()
    session.output = SimpleNamespace(replace_audio_tail=tails.append)
    code = EXAMPLES[plugin].replace("http://127.0.0.1:11001", str(server.http.base_url).rstrip("/"))
    names: dict[str, Any] = {}
    exec(f"async def entrypoint(session, ctx):\n{textwrap.indent(code, '    ')}", names)
    async with http_context.open():
        await names["entrypoint"](session, SimpleNamespace(room=room))
        [output] = tails
        assert [each for each in room.remote_participants if each != "agent"] == [f"{plugin}-avatar-agent"]
        sound = tone(0.6, output.sample_rate)
        await output.capture_frame(rtc.AudioFrame(sound, output.sample_rate, 1, len(sound) // 2))
        output.flush()
        event = await output.wait_for_playout()
        assert (event.playback_position, event.interrupted) == (pytest.approx(0.6, abs=0.05), False)
        session.emit("close", None)
        await room.disconnect()
    while any(name.startswith("room-") for name in server.orchestrator.channels):
        await asyncio.sleep(0.02)
