"""A tethered command ends with its parent, whatever state either is in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from processes.tethered import tethered
from tests.support.processes import is_running

PARENT = """
import subprocess, sys, time
from processes.tethered import tethered

print(subprocess.Popen(tethered("sleep", "600")).pid, flush=True)
time.sleep(600)
"""


def test_stopped_command_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        command = int(parent.stdout.readline())
        while Path(f"/proc/{command}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        os.kill(command, signal.SIGSTOP)
        parent.kill()
    while is_running(command):
        time.sleep(0.01)


def test_program_that_is_not_there_is_named() -> None:
    ended = subprocess.run(tethered("/no/ffmpeg", "-i"), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "[fatal] /no/ffmpeg can't be started: No such file or directory\n"


def test_command_keeps_its_arguments_environment_and_descriptors() -> None:
    read, write = os.pipe()
    program = f'printf "%s %s" "$1" "$WORD" > /dev/fd/{write}'
    environment = {**os.environ, "WORD": "two words"}
    command = tethered("sh", "-c", program, "sh", "an argument")
    subprocess.run(command, pass_fds=(write,), env=environment, check=True)
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == "an argument two words"
