"""Commands that end when their parent does, also where they hang (Linux).

A parent that is killed has no time to end what it started: a tritonserver would keep its ports and its gigabyte, a
push whose remote server hangs would keep the stream's name at the RTMP server.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def tethered(*command: str) -> list[str]:
    """What runs `command` so that the kernel kills it when the thread that started it ends, whatever ends that.

    It keeps its process id, and finds its program on PATH as usual.
    """
    # Without site-packages, which it doesn't need: that saves some 10 ms of a core for each start.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _main(parent: int, command: list[str]) -> None:
    # Not SIGTERM: a process that is stopped, or blocked by a remote server, would not act on it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent ended before its command began")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        # In the format of ffmpeg's log, since its readers look for the level.
        raise SystemExit(f"[fatal] {command[0]} can't be started: {error.strerror}") from None


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
