"""`serve` killed with its whole process group: what it had accepted is said after the next start, and nothing stays."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.launcher import TritonServer
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from orchestrator.observability.metrics import TASK_STORE
from orchestrator.settings import Settings
from tests.support.processes import descendants as processes_below
from tests.support.running_server import settings_in
from tests.support.slow_decoder import slow_decoder
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@asynccontextmanager
async def serving(
    settings: Settings, path: Path | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """`serve` in a process group of its own, ready, and a client for it; what runs at the end is killed.

    Programs in `path` are found before others of their name.
    """
    assert settings.triton_url
    environment = {
        **os.environ,
        "LATENTSYNC_DATA_DIR": str(settings.data_dir),
        "LATENTSYNC_CHECKPOINT_DIR": str(settings.checkpoint_dir),
        "LATENTSYNC_HTTP_PORT": str(settings.http_port),
        "LATENTSYNC_TRITON_URL": settings.triton_url,
        "LATENTSYNC_X264_PRESET": "ultrafast",
        "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
    }
    command = [sys.executable, "-m", "orchestrator.cli", "serve"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http_port}", timeout=30) as http:
            while await status(http) != 200:
                assert process.returncode is None, "the server ended before it was ready"
                await asyncio.sleep(0.05)
            yield process, http
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def status(http: httpx.AsyncClient) -> int:
    try:
        return (await http.get("/health/ready")).status_code
    except httpx.TransportError:
        return 0


async def task_in(http: httpx.AsyncClient, task_id: str, *states: str) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await http.get(f"/v1/tasks/{task_id}")).json()
        if task["state"] in states:
            return task
        assert task["state"] not in ("done", "failed", "cancelled"), task
        await asyncio.sleep(0.05)


async def test_everything_accepted_is_said_after_the_kill_and_nothing_is_left_over(
    triton_server: TritonServer, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    settings = settings_in(
        tmp_path, triton_url=f"127.0.0.1:{triton_server.options.grpc_port}", checkpoint_dir=checkpoint.directory
    )
    write_avatar(settings.avatars_dir, resolution=checkpoint.resolution)
    async with serving(settings) as (process, http):
        playing = await say(http, 9.0)  # on a busy machine two uploads and their decoding take a third of it
        queued = [await say(http, 1.0) for _ in range(2)]
        for task_id in queued:
            await task_in(http, task_id, "queued", "inferring")
        await task_in(http, playing, "streaming")
        _, upload = await asyncio.open_connection("127.0.0.1", settings.http_port)
        upload.write(half_an_upload())
        while not list(incoming(settings)):
            await asyncio.sleep(0.02)
        started = descendants(process.pid)
        memory = [*Path("/dev/shm").glob(f"latentsync-{process.pid}-*")]
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        upload.close()
        assert len(started) >= 2 and memory, "a channel, its encoder, and shared memory for Triton"
        await all_gone(started)
    attempts_before = attempts_on_disk(settings)  # one plays, and what waits may have been begun ahead

    async with serving(settings) as (process, http):
        tasks = [await task_in(http, task_id, "done") for task_id in (playing, *queued)]
        first, second, third = tasks
        assert first["attempts"] == 2, "what played when the server was killed is said again from its beginning"
        assert [task["attempts"] for task in tasks] == [attempts_before[task["task_id"]] + 1 for task in tasks]
        for task in tasks:
            assert task["frames"]["played"] == task["frames"]["generated"] == task["frames"]["total"]
        assert len((await http.get("/v1/tasks")).json()["tasks"]) == 3
        said = [
            datetime.fromisoformat(task["created_at"]) + timedelta(seconds=task["timings_s"]["done"])
            for task in (first, second, third)
        ]
        assert said == sorted(said)
        assert not any(path.exists() for path in memory), "the next server gives back what a killed one held"
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    await all_gone(started)
    assert not list(incoming(settings)) and not list(settings.tasks_dir.glob("*.speech"))
    assert not [path for path in settings.run_dir.rglob("*") if path.is_socket()]
    assert not [*Path("/dev/shm").glob(f"latentsync-{process.pid}-*")]


async def test_speech_that_arrived_when_the_server_was_killed_is_said_as_far_as_it_came(
    triton_server: TritonServer, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    settings = settings_in(
        tmp_path, triton_url=f"127.0.0.1:{triton_server.options.grpc_port}", checkpoint_dir=checkpoint.directory
    )
    write_avatar(settings.avatars_dir, resolution=checkpoint.resolution)
    async with serving(settings, slow_decoder(tmp_path / "bin").parent) as (process, http):
        taken = await say(http, 20.0)
        assert (await task_in(http, taken, "inferring"))["duration_s"] is None
        waiting = await say(http, 20.0)
        assert (await task_in(http, waiting, "receiving"))["progress"] is None
        for task_id in (taken, waiting):
            while (settings.tasks_dir / f"{task_id}.speech").stat().st_size < bytes_of_frames(16):
                await asyncio.sleep(0.02)
        started = descendants(process.pid)
        assert any("-format_whitelist" in line for line in processes_below(process.pid).values())
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await all_gone(started)

    async with serving(settings) as (process, http):
        for task_id, attempts in ((taken, 2), (waiting, 1)):
            task = await task_in(http, task_id, "failed")
            assert (task["error"]["code"], task["attempts"]) == ("source_lost", attempts)
            assert 0 < task["duration_s"] < 20 and task["frames"]["played"] == task["frames"]["total"] > 10
        after = await say(http, 0.5)
        assert (await task_in(http, after, "done"))["error"] is None
        while list(settings.tasks_dir.glob("*.speech")):  # deleted once the final state is on the disk
            await asyncio.sleep(0.02)


async def say(http: httpx.AsyncClient, seconds: float) -> str:
    answer = await http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def bytes_of_frames(count: int) -> int:
    """What so many frames of a speech take on the disk, in both of their sounds."""
    return count * 2 * (CONTRACT.samples_per_frame + SOUND_FRAME_SAMPLES)


def attempts_on_disk(settings: Settings) -> dict[str, int]:
    """The attempts of each task, as the next server finds them."""
    with contextlib.closing(sqlite3.connect(settings.tasks_dir / TASK_STORE)) as database:
        return dict(database.execute("SELECT id, attempts FROM tasks").fetchall())


def half_an_upload() -> bytes:
    part = b'--cut\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n' + bytes(200_000)
    head = "POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
    return f"{head}Content-Length: {2 * len(part)}\r\n\r\n".encode() + part


def incoming(settings: Settings) -> list[Path]:
    """Files of uploads that are on their way."""
    return [path for path in (settings.tasks_dir / "incoming").glob("*") if path.is_file()]


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, in whatever session, each with the time of its start, by which it is known again."""
    return {child: started_at(child) for child in processes_below(pid)}


async def all_gone(processes: dict[int, str]) -> None:
    """Returns once none of the processes runs any more;"""
    while any(started_at(pid) == since for pid, since in processes.items()):
        await asyncio.sleep(0.05)


def started_at(pid: int) -> str:
    """When a process started, in clock ticks; empty for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
