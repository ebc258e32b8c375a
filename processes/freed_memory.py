"""What malloc does with memory that a server no longer needs."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_THRESHOLD_BYTES = 1 << 20


def give_back_freed_memory() -> bool:
    """Makes malloc return arrays of a megabyte and more to the kernel as soon as they are freed, in this process.

    By itself glibc raises that limit to the largest array that was ever freed, and from then on keeps them in its
    heaps, one for each thread: a server's memory would grow for hours towards the sum of what each heap once held.
    Returns whether the C library accepted the setting (glibc only).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES))
