"""How the models run on this CPU."""

import platform

import pytest
import torch

from latentsync.cpu import keep_freed_memory, preferred_dtype


def test_bfloat16_is_preferred_only_where_the_cpu_has_it() -> None:
    flags = torch.cpu.get_capabilities()
    native = bool(flags.get("avx512_bf16")) or bool(flags.get("amx_bf16"))
    assert preferred_dtype() is (torch.bfloat16 if native else torch.float32)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_malloc_takes_the_setting() -> None:
    assert keep_freed_memory()
