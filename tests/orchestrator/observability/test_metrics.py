"""/metrics as Prometheus reads it."""

from collections import Counter
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.running_server import running, settings_in


async def test_every_metric_is_described_once_and_read_by_prometheus_own_parser(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        text = (await server.http.get("/metrics")).text
    described = Counter(tuple(line.split(maxsplit=3)[:3]) for line in text.splitlines() if line.startswith("# "))
    assert [line for line, times in described.items() if times > 1] == []
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names)) > 20
    assert "latentsync_channel_restarts" in names
