"""The example clients against a real server: they follow a task to its end, and say why one failed."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.checkout import ROOT
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav
from tests.support.synthesisers import ToneSynthesiser

pytestmark = pytest.mark.timeout(60)

PYTHON = (sys.executable, str(ROOT / "examples/client.py"))
SAY = (sys.executable, str(ROOT / "examples/say.py"))
LIVE = (sys.executable, str(ROOT / "examples/speak.py"))
SHELL = (str(ROOT / "examples/client.sh"),)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path)) as started:
        await started.ready()
        yield started


async def run(
    client: tuple[str, ...], server: RunningServer, speech: Path | None, given: bytes = b""
) -> tuple[int | None, list[str], str]:
    """Exit code, lines of output, and error output of a client that sends `speech`, or what it is given."""
    process = await asyncio.create_subprocess_exec(
        *client,
        *([] if speech is None else [str(speech)]),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LATENTSYNC_URL": str(server.http.base_url)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given)
    return process.returncode, output.decode().splitlines(), errors.decode()


async def test_the_python_client_prints_the_progress_until_the_speech_was_said(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(0.5))
    code, lines, errors = await run(PYTHON, server, tmp_path / "speech.wav")
    assert (code, errors) == (0, "")
    assert lines[-1].split() == ["done", "100%"]


async def test_the_client_of_texts_prints_what_the_server_tells(server: RunningServer) -> None:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    code, lines, errors = await run(SAY, server, None, b"Good morning. How are\nyou?\n")
    assert (code, errors) == (0, "")
    assert [text for text, _ in synthesiser.said] == ["Good morning.", "How are you?"]
    assert json.loads(lines[-1])["reason"] == "completed"


async def test_the_shell_client_prints_the_task_until_the_speech_was_said(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(0.5))
    code, lines, errors = await run(SHELL, server, tmp_path / "speech.wav")
    assert (code, errors) == (0, "")
    assert json.loads(lines[-1])["state"] == "done"


async def test_the_live_client_prints_what_was_heard_to_the_last_sample(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(0.5))
    code, lines, errors = await run(LIVE, server, tmp_path / "speech.wav")
    assert (code, errors) == (0, "")
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events if event["type"] != "position"] == ["accepted", "started", "ended"]
    assert (events[-1]["heard_samples"], events[-1]["reason"]) == (8_000, "completed")


@pytest.mark.parametrize("client", [PYTHON, SHELL], ids=["python", "shell"])
async def test_a_client_says_why_its_file_was_refused(
    server: RunningServer, tmp_path: Path, client: tuple[str, ...]
) -> None:
    (tmp_path / "speech.wav").write_text("no audio at all")
    code, _, errors = await run(client, server, tmp_path / "speech.wav")
    assert code == 1
    assert "audio" in errors and "Traceback" not in errors


@pytest.mark.parametrize("client", [PYTHON, SHELL, LIVE], ids=["python", "shell", "live"])
async def test_a_client_fails_with_its_task(server: RunningServer, tmp_path: Path, client: tuple[str, ...]) -> None:
    server.models.failing = True
    (tmp_path / "speech.wav").write_bytes(wav(0.5))
    code, _, _ = await run(client, server, tmp_path / "speech.wav")
    assert code == 1


@pytest.mark.parametrize("client", [PYTHON, SHELL], ids=["python", "shell"])
async def test_the_clients_say_how_they_are_called_and_that_no_server_is_there(
    client: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(0.5))
    for arguments, said in (([], "client."), ([str(tmp_path / "speech.wav")], "refused|connect")):
        process = await asyncio.create_subprocess_exec(
            *client,
            *arguments,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LATENTSYNC_URL": "http://127.0.0.1:9"},
            stderr=asyncio.subprocess.PIPE,
        )
        errors = (await process.communicate())[1].decode()
        assert process.returncode != 0
        assert re.search(said, errors, re.IGNORECASE) and "Traceback" not in errors, errors
