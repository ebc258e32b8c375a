"""What two processes may do at once in one data folder, and what the second of them is refused."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from orchestrator.exclusive import (
    LockRefused,
    changing_avatar,
    moving_avatar,
    playing_avatar,
    replacing_repository,
    running_triton,
    serving,
)
from orchestrator.settings import Settings
from orchestrator.tasks.board import TaskBoard
from tests.support.boards import SPEECH, assert_whole, board_in, task
from tests.support.command_line import cli
from tests.support.running_server import free_port, running, settings_in
from tests.support.synthetic_avatar import write_avatar

pytestmark = pytest.mark.timeout(60)


@contextmanager
def demo(settings: Settings) -> Iterator[None]:
    with serving(settings, "demo"), running_triton(settings, "demo"):
        yield


def locked(settings: Settings, command: str) -> AbstractContextManager[None]:
    """What a command holds while it runs."""
    return {
        "serve": lambda: serving(settings, "serve"),
        "triton": lambda: running_triton(settings, "triton"),
        "demo": lambda: demo(settings),
        "export": lambda: replacing_repository(settings.model_repository),
        "avatar add person": lambda: changing_avatar(settings, "person"),
        "avatar add other": lambda: changing_avatar(settings, "other"),
        "avatar remove person": lambda: moving_avatar(settings, "person"),
        "a channel with person": lambda: playing_avatar(settings, "person"),
    }[command]()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("serve", "serve"),
        ("serve", "demo"),
        ("demo", "serve"),
        ("triton", "triton"),
        ("demo", "triton"),
        ("triton", "export"),
        ("export", "triton"),
        ("export", "export"),
        ("avatar add person", "avatar add person"),
        ("avatar add person", "avatar remove person"),
        ("avatar remove person", "avatar add person"),
        ("avatar remove person", "a channel with person"),
        ("a channel with person", "avatar remove person"),
    ],
)
def test_second_is_refused_and_told_who_is_there(tmp_path: Path, first: str, second: str) -> None:
    settings = settings_in(tmp_path)
    named = "a channel" if first.startswith("a channel") else first.split()[0]
    holder = rf"in use by process {os.getpid()} \({named}\)"
    with locked(settings, first), pytest.raises(LockRefused, match=holder), locked(settings, second):
        pass
    with locked(settings, second):
        pass


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("serve", "triton"),
        ("serve", "export"),
        ("serve", "avatar add person"),
        ("demo", "avatar add person"),
        ("triton", "avatar add person"),
        ("avatar add person", "avatar add other"),
        ("a channel with person", "a channel with person"),
        ("a channel with person", "avatar add person"),
        ("a channel with person", "serve"),
    ],
)
def test_both_may_work_at_once(tmp_path: Path, first: str, second: str) -> None:
    settings = settings_in(tmp_path)
    with locked(settings, first), locked(settings, second):
        pass


def test_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    script = (
        "import sys; from tests.support.running_server import settings_in; from orchestrator.exclusive import serving;"
        "from pathlib import Path\n"
        "with serving(settings_in(Path(sys.argv[1])), 'serve'): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(LockRefused, match=str(process.pid)), serving(settings, "serve"):
            pass
        process.kill()
    with serving(settings, "serve"):
        pass


@pytest.mark.parametrize("same_port", [True, False], ids=["same port", "another port"])
async def test_second_server_on_a_data_folder_touches_nothing(tmp_path: Path, same_port: bool) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir)
    board = board_in(settings.tasks_dir)
    await board.open()
    waiting = [f"task-{number}" for number in range(4)]
    for task_id in waiting:
        await board.submit(task(task_id), [SPEECH])
    await board.aclose()
    environment = {
        **os.environ,
        "LATENTSYNC_DATA_DIR": str(settings.data_dir),
        "LATENTSYNC_CHECKPOINT_DIR": str(settings.checkpoint_dir),
        "LATENTSYNC_TRITON_URL": "127.0.0.1:9",  # nobody is there: the tasks wait
    }
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.cli", "serve", "--port", str(settings.http_port), env=environment
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http_port}", timeout=30) as http:
            await until_running(http)
            preview = next(settings.run_dir.glob("*.sock"))
            port = settings.http_port if same_port else free_port()
            # Another name of the channel would make orphans of all tasks.
            second = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orchestrator.cli", "serve", "--port", str(port)),
                env={**environment, "LATENTSYNC_CHANNEL_ID": "other"},
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await second.communicate()
            assert second.returncode == 1
            assert f"process {first.pid} (serve)" in said.decode() and "Traceback" not in said.decode()
            tasks = (await http.get("/v1/tasks")).json()["tasks"]
            assert {each["task_id"]: each["state"] for each in tasks} == dict.fromkeys(waiting, "queued")
            assert preview.is_socket()
    finally:
        first.send_signal(signal.SIGTERM)
        await first.wait()
    board = board_in(settings.tasks_dir)
    await board.open()
    await assert_all_are_there(board, waiting)
    await board.aclose()


@pytest.mark.parametrize("arguments", [["rename", "demo", "other"], ["remove", "demo"]])
async def test_command_leaves_an_avatar_alone_that_a_channel_of_a_server_plays(
    tmp_path: Path, arguments: list[str]
) -> None:
    settings = settings_in(tmp_path)
    folder = {"LATENTSYNC_DATA_DIR": str(settings.data_dir)}
    async with running(settings) as server:
        await server.ready()
        answer = await asyncio.to_thread(cli, "avatar", *arguments, **folder)
        assert answer.returncode == 1
        assert f"Avatar 'demo' is in use by process {os.getpid()} (a channel): give that channel" in answer.stderr
        assert (settings.avatars_dir / "demo").is_dir()
    assert cli("avatar", *arguments, **folder).returncode == 0, "the server is gone"


async def test_avatar_that_is_being_prepared_is_neither_renamed_nor_removed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "held")
    async with running(settings) as server:
        with changing_avatar(settings, "held"):  # as `avatar add` does in a process of its own
            for answer in (
                await server.http.delete("/v1/avatars/held"),
                await server.http.patch("/v1/avatars/held", json={"name": "free"}),
                await server.http.patch("/v1/avatars/demo2", json={"name": "held"}),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "avatar_in_use"), answer.text
        assert (await server.http.patch("/v1/avatars/held", json={"name": "held"})).json()["error"][
            "code"
        ] == "avatar_exists"
        assert (await server.http.delete("/v1/avatars/held")).status_code == 204


async def until_running(http: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await http.get("/v1/channels/main")).json()["state"] == "running":
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def assert_all_are_there(board: TaskBoard, task_ids: list[str]) -> None:
    for task_id in task_ids:
        taken, log = await board.take("main")
        assert taken.id == task_id
        await assert_whole(log)
