"""Runs a command that ends when its parent does: `python -m export.tethered PARENT_PID COMMAND ...` (Linux).

A parent that is killed has no time to stop its tritonserver, which would then keep its ports and its gigabyte.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main(parent: int, command: list[str]) -> None:
    """Asks the kernel for SIGTERM at the end of the parent, and becomes the command."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit("the parent ended before its command began")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
