"""How to run the models fast on this machine's CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_KEPT_BYTES = 1 << 30


def preferred_dtype() -> torch.dtype:
    """bfloat16 where the CPU computes in it (AVX-512 BF16 or AMX), else float32: emulated bfloat16 is far slower."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def keep_freed_memory() -> bool:
    """Has malloc keep what a forward pass frees instead of handing it back: page faults would cost more than the maths.

    Returns whether the C library took the setting (glibc only).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    took_mmap = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    took_trim = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(took_mmap and took_trim)
