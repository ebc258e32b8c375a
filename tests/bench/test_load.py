"""The clients of the load measurement, against a real server: what they count, and what they call wrong."""

import asyncio
import os
import time
from pathlib import Path

import httpx

from bench.load.clients import Answers, Clients
from bench.load.usage import WholeServer
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav


async def test_clients_upload_and_poll_and_come_back_when_they_are_told(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, queue_limit=2, uploads_at_once=3)) as server:
        await server.ready()
        server.models.gate.clear()
        url = str(server.http.base_url)
        clients = Clients(url, wav(0.5), time.monotonic() + 10)
        await clients.run(uploaders=8, pollers=2)
        usage = WholeServer(os.getpid())
        usage.sample()
        await server.http.post("/v1/channels/main/interrupt", params={"queue": "true"})
    counts = clients.uploads.counts
    assert counts["200"] == len(clients.accepted) == 3, "one in preparation and two that wait"
    assert counts["429 queue_full"] > 0 and sum(counts.values()) >= 8
    assert not clients.uploads.wrong and not clients.polls.wrong
    assert set(clients.polls.counts) == {"200"}
    assert {"orchestrator", "channel", "encoder"} <= set(usage.samples)


async def test_faults_are_wrong_and_so_is_a_refusal_that_says_no_time() -> None:
    answers = Answers()
    answers.note(httpx.Response(500, json={"error": {"code": "internal_error"}}), 0.1)
    answers.note(httpx.Response(503, json={"error": {"code": "busy"}}), 0.1)
    answers.note(httpx.Response(429, json={"error": {"code": "queue_full"}}, headers={"Retry-After": "1"}), 0.1)
    answers.note_failure(httpx.ReadError("gone"))
    assert answers.counts == {"500 internal_error": 1, "503 busy": 1, "429 queue_full": 1}
    assert answers.wrong == {"500 internal_error": 1, "503 busy without Retry-After": 1, "ReadError": 1}


async def test_clients_that_nobody_answers_say_so() -> None:
    clients = Clients("http://127.0.0.1:9", wav(0.1), time.monotonic() + 0.2)
    await asyncio.wait_for(clients.run(uploaders=1, pollers=1), 20)
    assert clients.uploads.wrong["ConnectError"] > 0
