"""Every file and database call fails while a speech plays: it plays to its end, and what was accepted is not lost."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from speech.audio import decoder
from tests.support.failing_files import failing_files, failing_open_files
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.slow_decoder import slow_decoder
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(90)

CODES = [errno.EIO, errno.EACCES, errno.ENOSPC, errno.EMFILE]


async def say(server: RunningServer, seconds: float = 0.5) -> str:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


@pytest.mark.parametrize("code", CODES, ids=[errno.errorcode[code] for code in CODES])
async def test_what_plays_plays_on_and_what_waits_is_said_or_told(tmp_path: Path, code: int) -> None:
    settings = settings_in(tmp_path)
    async with running(settings) as server:
        await server.ready()
        first = await say(server, 3.0)
        await server.task(first, "streaming")
        server.models.gate.clear()
        second = await say(server, 0.08)  # one chunk, whose sound is read before
        await server.task(second, "inferring")
        third = await say(server)  # its speech is read while everything fails
        with failing_files(settings.data_dir, code) as calls:
            server.models.gate.set()
            refused = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(0.5))})
            assert refused.status_code in (503, 507), "what can't be stored is not accepted"
            for task_id in (first, second):
                assert (await server.task(task_id, "done"))["attempts"] == 1
            if code != errno.EMFILE:
                await server.task(third, "failed")
        assert {"open", "_write"} <= set(calls)
        after = await say(server)
        if code == errno.EMFILE:  # what passes is waited for
            await server.task(third, "done")
        await server.task(after, "done")
        view = (await server.http.get("/v1/channels/main")).json()
        assert (view["restarts"], view["problem"]) == (0, None)
        while next(iter(server.orchestrator.metrics.unwritten.collect())).samples[0].value:
            await asyncio.sleep(0.05)
    async with running(settings) as server:
        states = {task["task_id"]: task for task in (await server.http.get("/v1/tasks")).json()["tasks"]}
        assert [states[task_id]["state"] for task_id in (first, second, after)] == ["done"] * 3
        if code != errno.EMFILE:
            assert os.strerror(code) in states[third]["error"]["message"]
    assert list(settings.tasks_dir.glob("*.speech")) == []


@pytest.mark.parametrize(
    ("code", "told"), [(errno.EIO, "speech_unwritable"), (errno.ENOSPC, "disk_full")], ids=["EIO", "ENOSPC"]
)
@pytest.mark.parametrize("waits", [True, False], ids=["waits", "taken"])
async def test_speech_that_arrives_is_said_as_far_as_it_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str, waits: bool
) -> None:
    settings, program = settings_in(tmp_path), str(slow_decoder(tmp_path / "bin"))
    async with running(settings) as server:
        await server.ready()
        before = []
        if waits:
            server.models.gate.clear()
            before.append(await say(server))
            await server.task(before[0], "inferring")
        with monkeypatch.context() as slow:
            slow.setattr(decoder, "ffmpeg_binary", lambda: program)
            arriving = await say(server, 20.0)
        assert (await server.task(arriving, "receiving" if waits else "inferring"))["duration_s"] is None
        while not (settings.tasks_dir / f"{arriving}.speech").stat().st_size:
            await asyncio.sleep(0.05)
        with failing_open_files(settings.data_dir, code, "pwrite", "fsync") as calls:
            while "pwrite" not in calls:
                await asyncio.sleep(0.05)
        server.models.gate.set()
        failed = await server.task(arriving, "failed")
        assert failed["error"]["code"] == told
        assert 0 < failed["duration_s"] < 20.0 and failed["frames"]["played"] == failed["frames"]["total"] > 2
        for task_id in (*before, await say(server)):
            await server.task(task_id, "done")
        view = (await server.http.get("/v1/channels/main")).json()
        assert (view["restarts"], view["problem"]) == (0, None)
    assert list(settings.tasks_dir.glob("*.speech")) == []
