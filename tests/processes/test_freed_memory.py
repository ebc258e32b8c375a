"""Memory that a server frees goes back to the kernel."""

import platform
import subprocess
import sys

import pytest

_BYTES_KEPT = """
import os
from processes.freed_memory import give_back_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

{setting}
before, pins = resident(), []
for _ in range(3):
    chunks = [bytes([1]) * (3 << 20) for _ in range(8)]
    pins.append([bytes(50_000) for _ in range(4)])  # small, and needed for longer
    del chunks
print(resident() - before)
"""


def kept_after(setting: str) -> int:
    command = [sys.executable, "-c", _BYTES_KEPT.format(setting=setting)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_large_arrays_go_back_to_the_kernel_beside_small_ones_that_stay() -> None:
    assert kept_after("assert give_back_freed_memory()") < 4 << 20
    assert kept_after("") > 8 << 20, "otherwise the setting would not be needed"
