"""Settings that make the models fast on this machine's CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_TRIM_THRESHOLD_BYTES = 1 << 30


def preferred_dtype() -> torch.dtype:
    """bfloat16 where the CPU computes in it (AVX-512 BF16 or AMX), else float32: emulated bfloat16 is far slower."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def keep_freed_memory() -> bool:
    """Makes malloc keep the memory that a forward pass frees: page faults would take longer than the computation.

    Returns whether the C library accepted the setting (glibc only).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    mmap_set = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    trim_set = mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
    return bool(mmap_set and trim_set)
