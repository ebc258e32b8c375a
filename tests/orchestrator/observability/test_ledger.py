"""The ledger: what is summed up, what is left out, and how a real server tells it."""

import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.observability.ledger import Ledger, Passage
from orchestrator.tasks.task import Stage
from speech.source import SpeechSource
from tests.support.boards import task
from tests.support.logs import noise, sound_frames
from tests.support.running_server import RunningServer, metric, running, settings_in

STAGES = ["started", "features", "first_chunk", "first_face", "handed_over", "first_frame", "encoded_opus", "encoded"]


def ledger(now: float = 0.0, recent: int = 200) -> Ledger:
    return Ledger(CollectorRegistry(), lambda: now, recent)


def test_percentiles_count_from_the_reception_and_from_the_stage_before() -> None:
    found = ledger()
    for tenths in (1, 2, 3):
        found.note("main", "upload", Passage({"features": tenths / 10, "encoded": 3 * tenths / 10}))
    (entry,) = found.entries()
    assert (entry["channel"], entry["kind"], entry["speeches"], entry["waited"]) == ("main", "upload", 3, 0)
    features, encoded = entry["stages"]
    assert (features["stage"], features["count"], features["p50_s"], features["step_p50_s"]) == (
        "features",
        3,
        0.2,
        0.2,
    )
    assert (encoded["stage"], encoded["p50_s"], encoded["p95_s"]) == ("encoded", 0.6, 0.87)
    assert (encoded["step_p50_s"], encoded["step_p95_s"]) == (0.4, 0.58)


def test_only_the_newest_count() -> None:
    found = ledger(recent=2)
    for seconds in (9.0, 1.0, 3.0):
        found.note("main", "upload", Passage({"encoded": seconds}))
    assert found.entries()[0]["stages"][0]["p50_s"] == 2.0


def test_turn_has_stages_of_its_own_in_front_of_those_of_its_speech() -> None:
    found = ledger()
    found.note("main", "turn", Passage({"turn_decided": 0.2, "first_sentence": 0.5, "encoded": 0.9}))
    assert [stage["stage"] for stage in found.entries()[0]["stages"]] == ["turn_decided", "first_sentence", "encoded"]


def test_speech_counts_from_its_first_sound_and_not_where_it_had_to_wait_or_began_again() -> None:
    found = ledger(now=5.0)
    stamps = {Stage.RECEIVED.value: 6.0, Stage.FEATURES.value: 6.4, Stage.ENCODED.value: 6.5, Stage.DONE.value: 9.0}
    live = replace(task("live"), source=SpeechSource.MICROPHONE, stamps=stamps)
    found.freed("main")
    found.enter(live)
    found.enter(replace(live, attempts=2))
    found.enter(replace(live, stamps=stamps | {Stage.RECEIVED.value: 4.0}))
    (entry,) = found.entries()
    assert (entry["kind"], entry["speeches"], entry["waited"]) == ("microphone", 3, 2)
    assert {stage["stage"]: stage["p50_s"] for stage in entry["stages"]} == {"features": 0.4, "encoded": 0.5}


def test_removed_channel_leaves_nothing() -> None:
    registry = CollectorRegistry()
    found = Ledger(registry, lambda: 0.0)
    for channel in ("main", "news"):
        found.note(channel, "upload", Passage({"encoded": 0.4}))
    found.forget("news")
    assert [entry["channel"] for entry in found.entries()] == ["main"]
    counted = [sample.labels["channel"] for metric in registry.collect() for sample in metric.samples]
    assert set(counted) == {"main"}


async def say(server: RunningServer, task_id: str, source: SpeechSource = SpeechSource.UPLOAD) -> None:
    order = replace(task(task_id), created_at=server.orchestrator.clock(), source=source)
    if source is SpeechSource.UPLOAD:
        await server.orchestrator.board.submit(order, [sound_frames(noise(30))])
        return
    log = await server.orchestrator.board.begin(order)
    await log.append(sound_frames(noise(30)))
    log.seal()
    await server.orchestrator.board.received(task_id)


@pytest.mark.timeout(60)
async def test_api_metrics_and_command_tell_what_was_said(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        assert (await server.http.get("/v1/ledger")).json() == {"ledger": []}
        for name, source in (("alone", SpeechSource.UPLOAD), ("live", SpeechSource.STREAM)):
            await say(server, name, source)
            await server.task(name, "done")
        await say(server, "first")
        await say(server, "behind it")
        await server.task("behind it", "done")
        told = (await server.http.get("/v1/ledger", params={"channel": "main"})).json()
        live, upload = told["ledger"]
        assert (live["kind"], live["speeches"], live["waited"]) == ("stream", 1, 0)
        assert (upload["kind"], upload["speeches"], upload["waited"]) == ("upload", 3, 1)
        for entry in (live, upload):
            assert [stage["stage"] for stage in entry["stages"]] == STAGES
            medians = [stage["p50_s"] for stage in entry["stages"]]
            assert medians == sorted(medians)
        where = '{channel="main",kind="upload",stage="encoded"}'
        assert await metric(server, f"latentsync_speech_stage_seconds_count{where}") == 2
        unknown = await server.http.get("/v1/ledger", params={"channel": "nobody"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_channel")

        code, printed, _ = await command(server, "--channel", "main")
        assert code == 0 and "main, upload: 3 speeches, of which 1 had to wait" in printed and "first chunk" in printed
        code, printed, _ = await command(server, "--json")
        assert (code, json.loads(printed)) == (0, told)
        code, _, said = await command(server, "--channel", "nobody")
        assert code == 1 and "There is no channel 'nobody'" in said


async def command(server: RunningServer, *arguments: str) -> tuple[Any, str, str]:
    url = str(server.http.base_url)
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.cli", "ledger", "--url", url, *arguments), stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()
