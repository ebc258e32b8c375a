"""Prometheus and the API key that the operations guide has made for it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.prometheus import prometheus, query
from tests.support.running_server import running, settings_in


def key_of(data_dir: Path, name: str, scope: str) -> str:
    """What `key add` writes to the file that its output is sent to."""
    command = [sys.executable, "-m", "orchestrator.cli", "key", "add", name, "--scope", scope, "--data-dir"]
    made = subprocess.run([*command, str(data_dir)], capture_output=True, text=True, check=True)
    return made.stdout


@pytest.mark.parametrize(("known", "up"), [(True, "1"), (False, "0")])
async def test_provisioned_prometheus_scrapes_a_server_that_asks_for_keys(tmp_path: Path, known: bool, up: str) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key_of(settings.data_dir, "ops", "administer")
    key = key_of(settings.data_dir if known else tmp_path / "elsewhere", "prometheus", "view")
    targets = {
        "orchestrator": f"127.0.0.1:{settings.http_port}",
        "triton": "127.0.0.1:9",
        "mediamtx": "127.0.0.1:9",
    }
    async with running(settings) as server:
        await server.ready()
        async with prometheus(tmp_path, targets, key) as http:
            # A busy server may answer the first attempts too late.
            while not (scraped := await query(http, "up{job='orchestrator'}")) or scraped[0]["value"][1] != up:
                await asyncio.sleep(0.2)
            while ("401" in await last_error(http)) is known:
                await asyncio.sleep(0.2)


async def last_error(http: httpx.AsyncClient) -> str:
    """Why the orchestrator could not be scraped the last time."""
    targets = (await http.get("/api/v1/targets")).json()["data"]["activeTargets"]
    [target] = [each for each in targets if each["labels"]["job"] == "orchestrator"]
    return str(target["lastError"])
