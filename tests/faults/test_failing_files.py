"""Every file and database call fails while a speech plays: it plays to its end, and what was accepted is not lost."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tests.support.failing_files import failing_files
from tests.support.running_server import RunningServer, running, settings_in
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
        second = await say(server)
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
