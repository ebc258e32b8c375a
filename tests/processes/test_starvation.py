"""How long a process had no core is known."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from processes.starvation import starved_s


@contextmanager
def busy_on(core: int) -> Iterator[int]:
    code = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as started:
        try:
            yield started.pid
        finally:
            started.kill()


def test_one_of_two_that_share_a_core_waits_for_it() -> None:
    core, until_s = min(os.sched_getaffinity(0)), time.monotonic() + 60
    with ExitStack() as stack:
        busy = [stack.enter_context(busy_on(core)) for _ in range(2)]
        while starved_s(busy[0]) < 0.2:
            assert time.monotonic() < until_s, "none waits"
            time.sleep(0.05)


def test_one_that_is_gone_waits_for_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert starved_s(ended.pid) == 0
