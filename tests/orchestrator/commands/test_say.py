"""The command `say` against a real server: a text, standard input, an interruption, and what goes wrong."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in
from tests.support.synthesisers import ToneSynthesiser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        started.orchestrator.synthesiser = ToneSynthesiser()
        await started.ready()
        yield started


async def begun(server: RunningServer, *arguments: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "orchestrator.cli", "say", "--url", str(server.http.base_url), *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def test_text_is_said_and_its_events_are_printed(server: RunningServer) -> None:
    process = await begun(server, "Hello there. How are you?", "--rate", "2")
    output, errors = await process.communicate()
    lines = output.decode().splitlines()
    assert (process.returncode, errors) == (0, b"")
    assert [line.split()[0] for line in lines[:2]] == ["accepted", "started"]
    assert lines[-1].startswith("ended     1.6") and lines[-1].endswith("were heard: completed")


async def test_standard_input_is_said_while_it_is_read_until_ctrl_c(server: RunningServer) -> None:
    process = await begun(server, "-")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"Hello there. And")
    await process.stdin.drain()
    heads = [(await process.stdout.readline()).split()[0] for _ in range(2)]
    assert heads == [b"accepted", b"started"], "before its end"
    process.send_signal(signal.SIGINT)
    output, _ = await process.communicate()
    assert process.returncode == 130
    assert output.decode().splitlines()[-1].endswith("were heard: interrupted")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["…"], "There is no word in the text"),
        (["Hi.", "--voice", "deep"], "there is low, high"),
        (["Hi.", "--channel", "none"], "There is no channel 'none'"),
    ],
)
async def test_what_can_not_be_said_is_told(server: RunningServer, arguments: list[str], told: str) -> None:
    process = await begun(server, *arguments)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert told in errors.decode()
