"""Launches that overlap (programmatic dependent launch): a kernel is set up while the one before it still runs."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait
from triton.language.target_info import cuda_capability_geq

_COMPILED = tl.constexpr(not triton.knobs.runtime.interpret)


@triton.jit
def await_inputs():
    """Comes first in every kernel: lets the next one be set up, and waits until the kernels before have written all.

    A kernel continues only when its predecessor has ended, which has waited for its own predecessor. So nothing is read
    or overwritten too early, however many kernels are set up at once.
    """
    if _COMPILED and cuda_capability_geq(9, 0):
        gdc_launch_dependents()
        gdc_wait()
