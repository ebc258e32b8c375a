"""Clients of every door speak, interrupt and die at random, all at once, each on a channel of its own."""

from pathlib import Path

import pytest

from bench.agents.doors.every import every_door
from bench.agents.doors.speech import SpeechDoor
from bench.agents.server import AgentsServer
from bench.agents.soak import soak
from bench.agents.tones import ToneSynthesiser
from tests.support.running_server import running, settings_in

pytestmark = pytest.mark.filterwarnings("default")  # of the clients' own packages
_SEGMENTS = 200  # over each door


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_each_segment_is_reported_once_as_it_was_heard_and_nothing_is_left(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, uploads_per_minute=0, requests_per_minute=0)) as server:
        server.orchestrator.synthesiser = ToneSynthesiser()
        await server.ready()
        doors = [SpeechDoor(), *every_door()]
        url = str(server.http.base_url).rstrip("/")
        record = await soak(AgentsServer(server.orchestrator, url), doors, _SEGMENTS, seed=4)
    for found in record.doors:
        assert (found.lost, found.missing, found.surplus) == ([], 0, 0), found
        assert found.positions + found.unheard == found.segments >= _SEGMENTS, found
        assert found.deviations == [], found
    assert record.left == {}
