"""Completion in a real bash, with a Tab that is pressed."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROMPT = b"ready> "


class Terminal:
    """An interactive bash with a home of its own."""

    def __init__(self, home: Path) -> None:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self._terminal, theirs = pty.openpty()
        self._bash = subprocess.Popen(
            ["bash", "-i"],
            env={"HOME": str(home), "PATH": path, "PS1": PROMPT.decode(), "TERM": "dumb", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def press(self, keys: bytes, until: bytes) -> bytes:
        """What is shown after the keys, up to what is waited for; the test's own limit ends a wait in vain."""
        os.write(self._terminal, keys)
        shown = b""
        while not re.search(until, shown):
            select.select([self._terminal], [], [])
            shown += os.read(self._terminal, 4096)
        return shown

    def close(self) -> None:
        self._bash.kill()
        self._bash.wait()
        os.close(self._terminal)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    first = Terminal(tmp_path)
    first.press(b"latentsync-realtime --install-completion\n", b"completion installed")
    first.close()
    with (tmp_path / ".bashrc").open("a") as settings:
        settings.write(f"PS1='{PROMPT.decode()}'\n")
    terminal = Terminal(tmp_path)
    terminal.press(b"", re.escape(PROMPT))
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"latentsync-realtime exp\t", rb"export "),
        (b"latentsync-realtime avatar prev\t", rb"preview "),
        (b"latentsync-realtime serve --rt\t", rb"--rtmp "),
        (b"latentsync-realtime key \t\t", rb"add\s+list\s+remove"),
    ],
)
def test_installed_completion_completes_commands_and_options(bash: Terminal, typed: bytes, shown: bytes) -> None:
    bash.press(typed, shown)
