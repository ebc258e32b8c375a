"""Hung or busy: what the kernel says of real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from processes.state import ProcessState, children_of, is_stopped, state_of


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-c", f"print(flush=True); {request.param}"], stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.readline()
    yield running
    running.kill()
    running.wait()
    running.stdout.close()


def look(process: subprocess.Popen[bytes]) -> ProcessState:
    state = state_of(process.pid)
    assert state is not None
    return state


def after(process: subprocess.Popen[bytes], wait_s: float) -> tuple[ProcessState, ProcessState]:
    earlier = look(process)
    time.sleep(wait_s)
    return earlier, look(process)


@pytest.mark.parametrize("process", ["import time; time.sleep(600)"], indirect=True)
def test_who_waits_and_does_nothing_stands_still(process: subprocess.Popen[bytes]) -> None:
    while (earlier := look(process)).eager:
        time.sleep(0.01)
    time.sleep(0.3)
    assert look(process).stood_still_since(earlier)


@pytest.mark.parametrize("process", ["import os; os.nice(19)\nwhile True: pass"], indirect=True)
def test_who_computes_or_waits_for_a_core_does_not_stand_still(process: subprocess.Popen[bytes]) -> None:
    for _ in range(20):
        earlier, now = after(process, 0.02)
        assert not now.stood_still_since(earlier)


@pytest.mark.parametrize(
    "process",
    ["import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()\nwhile True: pass"],
    indirect=True,
)
def test_one_busy_thread_among_idle_ones_counts(process: subprocess.Popen[bytes]) -> None:
    for _ in range(20):
        earlier, now = after(process, 0.02)
        assert not now.stood_still_since(earlier)


@pytest.mark.parametrize("process", ["\nwhile True: pass"], indirect=True)
def test_who_was_stopped_is_known_until_it_goes_on(process: subprocess.Popen[bytes]) -> None:
    assert not is_stopped(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    while not is_stopped(process.pid):
        time.sleep(0.01)
    while look(process).eager:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGCONT)
    while is_stopped(process.pid):
        time.sleep(0.01)


@pytest.mark.parametrize("process", ["import time; time.sleep(600)"], indirect=True)
def test_children_are_found_and_the_gone_are_gone(process: subprocess.Popen[bytes]) -> None:
    assert process.pid in children_of(os.getpid())
    process.kill()
    process.wait()
    assert state_of(process.pid) is None and not is_stopped(process.pid) and process.pid not in children_of(os.getpid())
    assert children_of(process.pid) == []
