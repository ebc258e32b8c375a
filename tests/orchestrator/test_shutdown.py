"""`serve` as a process: SIGTERM ends it in order, with exit code 0 and nothing left running."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer, ServerFailed, require_free_address
from tests.support.controlled_models import ControlledModels
from tests.support.processes import is_running
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar

pytestmark = pytest.mark.timeout(60)


def processes_of_session_or_group(parent: int) -> list[int]:
    """The children of a process, also in sessions of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_the_server_with_viewers_connected(tmp_path: Path, number: signal.Signals) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir)
    environment = {
        **os.environ,
        "LATENTSYNC_DATA_DIR": str(settings.data_dir),
        "LATENTSYNC_CHECKPOINT_DIR": str(settings.checkpoint_dir),
        "LATENTSYNC_HTTP_PORT": str(settings.http_port),
        "LATENTSYNC_TRITON_URL": "127.0.0.1:9",
    }
    command = [sys.executable, "-m", "orchestrator.cli", "serve"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http_port}", timeout=30) as http:
        while True:
            try:
                channel = (await http.get("/v1/channels/main")).json()
            except httpx.TransportError:
                channel = {}
            if channel.get("preview_codecs"):
                break
            await asyncio.sleep(0.1)
        children = processes_of_session_or_group(process.pid)
        async with (
            http.stream("GET", "/v1/channels/main/preview.mp4") as preview,
            http.stream("GET", "/v1/events") as sse,
        ):
            pictures, events = preview.aiter_bytes(), sse.aiter_lines()
            assert (await anext(pictures))[4:8] == b"ftyp"
            assert await anext(events) == "event: channel"
            process.send_signal(number)
            async for _ in pictures:
                pass
            async for _ in events:
                pass
        _, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    assert b"Traceback" not in log, log.decode()
    assert children
    while any(is_running(pid) for pid in children):  # one that only notices the end of its parent takes a moment
        await asyncio.sleep(0.05)


async def test_speech_that_plays_is_played_and_the_next_is_kept_for_the_next_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, drain_limit_s=20.0)
    async with running(settings) as server:
        await server.ready()
        files = {"audio_file": ("speech.wav", wav(4))}
        playing = (await server.http.post("/v1/tasks", files=files)).json()["task_id"]
        await server.task(playing, "streaming")
        server.models.gate.clear()
        kept = []
        for _ in range(2):
            kept.append((await server.http.post("/v1/tasks", files=files)).json()["task_id"])
        await server.http.delete(f"/v1/tasks/{kept[0]}")
        server.orchestrator.stop_accepting()
        refused = await server.http.post("/v1/tasks", files=files)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert "Retry-After" in refused.headers
        server.models.gate.set()
    async with running(settings) as server:
        assert (await server.http.get(f"/v1/tasks/{playing}")).json()["state"] == "done"
        assert (await server.task(kept[1], "done"))["attempts"] == 1


async def test_ordered_stop_answers_with_503_while_the_speech_plays_to_its_end(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, drain_limit_s=20.0)
    async with running(settings) as server:
        await server.ready()
        files = {"audio_file": ("speech.wav", wav(6))}
        playing = (await server.http.post("/v1/tasks", files=files)).json()["task_id"]
        await server.task(playing, "streaming")
        server.server.stop()
        while server.orchestrator.accepting:
            await asyncio.sleep(0.01)
        for path in ("/v1/tasks", "/generate_video"):
            refused = await server.http.post(path, files=files)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert int(refused.headers["Retry-After"]) > 0
        health = await server.http.get("/health/ready")
        assert (health.status_code, health.json()["parts"]["accepting"]["ready"]) == (503, False)
        while server.orchestrator.board.taken("main"):
            await asyncio.sleep(0.05)
    async with running(settings) as server:
        assert (await server.http.get(f"/v1/tasks/{playing}")).json()["state"] == "done"
        assert len((await server.http.get("/v1/tasks")).json()["tasks"]) == 1


async def test_server_whose_parts_fail_for_good_ends_with_their_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir)
    fail = asyncio.Event()

    async def failing(name: str, work: object) -> None:
        await fail.wait()
        raise LookupError(name)

    monkeypatch.setattr("orchestrator.orchestrator.keep_running", failing)
    server = OrchestratorServer(Orchestrator(settings, client=ControlledModels()), fail.set)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as raised:
        await server.serve()
    assert raised.group_contains(LookupError), "`serve` ends with exit code 1 for any error"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(settings.http_host, settings.http_port)


async def test_address_that_is_taken_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    settings = settings_in(tmp_path, http_port=taken.sockets[0].getsockname()[1])
    write_avatar(settings.avatars_dir)
    before = sorted(settings.data_dir.rglob("*"))
    async with taken:
        server = OrchestratorServer(Orchestrator(settings, client=ControlledModels()))  # type: ignore[arg-type]
        with pytest.raises(ServerFailed, match=f"can't listen on 127.0.0.1:{settings.http_port}"):
            await server.serve()
    assert sorted(settings.data_dir.rglob("*")) == before


def test_address_that_is_no_address_is_not_called_taken(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"can't listen on 300\.1\.1\.1:.*choose another host or port"):
        require_free_address(settings_in(tmp_path, http_host="300.1.1.1"))
