"""Dashboard and alerts against the whole product: what they ask for is there."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from inference.launcher import TritonServer
from latentsync.checkpoint import Checkpoint
from orchestrator.observability.metrics import triton_restarts
from tests.support.checkout import ROOT
from tests.support.prometheus import CONFIGURATION, prometheus, query
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="session")

DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "latentsync.json").read_text())
ALERTS = yaml.safe_load((CONFIGURATION / "alerts.yml").read_text())
METRIC = re.compile(r"\b(latentsync_\w+|nv_\w+)\b")

# What tritonserver exposes where there is a GPU, from its documentation; no GPU, no such series.
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage"}


def dashboard_queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def on_gpus(expression: str) -> bool:
    return bool(set(METRIC.findall(expression)) & GPU_METRICS)


async def test_every_query_of_the_dashboard_has_data_and_every_metric_of_the_alerts_exists(
    triton_server: TritonServer, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    settings = settings_in(
        tmp_path,
        triton_url=f"127.0.0.1:{triton_server.options.grpc_port}",
        checkpoint_dir=checkpoint.directory,
        rtmp_url="rtmp://127.0.0.1:9/live/main",  # nobody is there, which is a state like another
    )
    targets = {
        "orchestrator": f"127.0.0.1:{settings.http_port}",
        "triton": f"127.0.0.1:{triton_server.options.metrics_port}",
        "mediamtx": "127.0.0.1:9",
    }
    async with running(settings, real_client=True, resolution=checkpoint.resolution) as server:
        triton_restarts(server.orchestrator.metrics.registry)  # as where this process runs Triton
        await server.ready()
        async with prometheus(tmp_path, targets) as http:
            await until_scraped(http, "up{job='orchestrator'} == 1", "up{job='triton'} == 1")
            answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(2.0))})
            await server.task(answer.json()["task_id"], "done")
            # A quantile of what happened once needs a value before it and one after.
            await until_scraped(http, "rate(latentsync_first_frame_seconds_count[1m]) > 0")
            silent = [
                (title, expression)
                for title, expression in dashboard_queries()
                if not on_gpus(expression) and not await query(http, expression)
            ]
            assert silent == []
            exposed = await names_of(http)
            for rule in alert_rules():
                await query(http, rule["expr"])  # Prometheus understands it
                used = set(METRIC.findall(rule["expr"])) - GPU_METRICS
                assert used <= exposed, rule["alert"]


async def test_gpu_queries_name_what_triton_exposes_on_gpus() -> None:
    expressions = [expression for _, expression in dashboard_queries()] + [rule["expr"] for rule in alert_rules()]
    named = {name for expression in expressions for name in METRIC.findall(expression) if "gpu" in name}
    assert named <= GPU_METRICS


async def until_scraped(http: httpx.AsyncClient, *expressions: str) -> None:
    for expression in expressions:
        while not await query(http, expression):
            await asyncio.sleep(0.2)


async def names_of(http: httpx.AsyncClient) -> set[str]:
    return set((await http.get("/api/v1/label/__name__/values")).json()["data"])
