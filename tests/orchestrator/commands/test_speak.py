"""The command `speak` against a real server: files, pipes, an interruption, and what goes wrong."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from orchestrator.access.keys import KeyFile, Scope
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        await started.ready()
        yield started


async def begun(server: RunningServer, *arguments: str) -> asyncio.subprocess.Process:
    url = str(server.http.base_url)
    command = [sys.executable, "-m", "orchestrator.cli", "speak", "--url", url, *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def run(server: RunningServer, *arguments: str, given: bytes = b"") -> tuple[int | None, list[str], str]:
    """Exit code, lines of output, and error output."""
    process = await begun(server, *arguments)
    output, errors = await process.communicate(given)
    return process.returncode, output.decode().splitlines(), errors.decode()


async def test_file_is_said_and_its_events_are_printed(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(2.5))
    code, lines, errors = await run(server, str(tmp_path / "speech.wav"))
    assert (code, errors) == (0, "")
    assert [line.split()[0] for line in lines[:2]] == ["accepted", "started"]
    assert any(line.startswith("position") for line in lines)
    assert lines[-1] == "ended     2.50 s (120000 samples) were heard: completed"


async def test_pipe_is_said_raw_or_in_a_container(server: RunningServer) -> None:
    raw = np.full(8_000, 9_000, "<i2").tobytes()
    code, lines, errors = await run(server, "-", "--rate", "8000", "--channels", "2", given=raw)
    assert (code, lines[-1], errors) == (0, "ended     0.50 s (4000 samples) were heard: completed", "")
    code, lines, errors = await run(server, "-", given=wav(0.5))
    assert (code, lines[-1], errors) == (0, "ended     0.50 s (24000 samples) were heard: completed", "")


async def test_ctrl_c_interrupts_and_tells_what_was_heard(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(10))
    process = await begun(server, str(tmp_path / "speech.wav"))
    assert process.stdout is not None
    while not (await process.stdout.readline()).startswith(b"position"):
        pass
    process.send_signal(signal.SIGINT)
    rest = (await process.stdout.read()).decode().splitlines()
    assert await process.wait() == 130
    assert rest[-1].endswith("were heard: interrupted") and not rest[-1].startswith("ended     0.00 s")


async def test_ctrl_c_ends_a_pipe_that_brings_nothing_more(server: RunningServer) -> None:
    process = await begun(server, "-", "--rate", "16000")
    assert process.stdout is not None and process.stdin is not None
    process.stdin.write(bytes(3_200))
    await process.stdin.drain()
    assert (await process.stdout.readline()).startswith(b"accepted")
    process.send_signal(signal.SIGINT)
    assert (await process.stdout.read()).decode().splitlines()[-1].endswith("interrupted")
    assert await process.wait() == 130


async def test_failure_is_told_with_its_reason(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "speech.txt").write_text("no audio at all")
    code, lines, errors = await run(server, str(tmp_path / "speech.txt"))
    assert (code, lines[-1].split()[-1]) == (1, "failed")
    assert "no sound" in errors and "Traceback" not in errors


async def test_refusals_are_sentences(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(0.2))
    for arguments, said in (
        ((str(tmp_path / "missing.wav"),), "there is no file"),
        ((str(tmp_path / "speech.wav"), "--channel", "nothing"), "There is no channel 'nothing'"),
        ((str(tmp_path / "speech.wav"), "--url", "http://127.0.0.1:9"), "Is the server running"),
    ):
        code, lines, errors = await run(server, *arguments)
        assert (code, lines) == (1, [])
        assert said in errors and "Traceback" not in errors


async def test_key_opens_a_server_that_asks_for_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("speaker", Scope.SPEAK)
    (tmp_path / "speech.wav").write_bytes(wav(0.2))
    async with running(settings) as server:
        await asyncio.sleep(0)
        while not server.orchestrator.ready:
            await asyncio.sleep(0.05)
        code, _, errors = await run(server, str(tmp_path / "speech.wav"))
        assert code == 1 and "API key" in errors
        code, lines, errors = await run(server, str(tmp_path / "speech.wav"), "--key", key)
        assert (code, errors) == (0, ""), lines
