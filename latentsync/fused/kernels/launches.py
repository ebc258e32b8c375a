"""Launches that overlap (programmatic dependent launch): a kernel is set up while the last programs before it run."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait
from triton.language.target_info import cuda_capability_geq

_COMPILED = tl.constexpr(not triton.knobs.runtime.interpret)


@triton.jit
def await_inputs():
    """The first thing in every kernel: lets the next one be set up, and waits until all before has been written.

    So whatever runs has seen its predecessor end, which had seen its own: nothing is read or overwritten too early.
    """
    if _COMPILED and cuda_capability_geq(9, 0):
        gdc_launch_dependents()
        gdc_wait()
