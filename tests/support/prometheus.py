"""Debian's Prometheus with the containers' configuration, scraping servers on this machine."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.checkout import ROOT
from tests.support.running_server import free_port

CONFIGURATION = ROOT / "docker" / "prometheus"


@asynccontextmanager
async def prometheus(
    folder: Path, targets: Mapping[str, str], metrics_key: str = "no key is asked for on loopback"
) -> AsyncIterator[httpx.AsyncClient]:
    """A running Prometheus with every job of ours; `targets` says where on this machine each job's server listens.

    `metrics_key` is the text of the file in which it finds its key.
    """
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    port = free_port()
    targets = {"prometheus": f"127.0.0.1:{port}", **targets}
    key = folder / "metrics_key"
    key.write_text(metrics_key)
    config = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets.pop(job["job_name"])]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(key)
    assert not targets, "jobs that the configuration lacks"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(CONFIGURATION / "alerts.yml", folder)
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            while not await _is_ready(http):
                assert process.returncode is None, (folder / "prometheus.log").read_text()
                await asyncio.sleep(0.1)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def query(http: httpx.AsyncClient, expression: str) -> list[dict[str, Any]]:
    """The series that an expression gives now; an error of the expression fails the test."""
    answer = (await http.get("/api/v1/query", params={"query": expression})).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    series: list[dict[str, Any]] = answer["data"]["result"]
    return series


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False
