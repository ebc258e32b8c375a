"""SiLU and GELU in few instructions, since kernels between the matrix products are bound by them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gelu(x):
    """x · Φ(x) of float32, within 6e-7; erf takes four times the instructions.

    It is max(x, 0) - |x| · Φ(-|x|), and log2 Φ(-u) is nearly a polynomial: this one is fitted to u · Φ(-u) in [0, 7]
    and goes on falling beyond.
    """
    u = tl.abs(x)
    tail = u * -0.00047329394 + 0.0070844605
    tail = u * tail - 0.051827166
    tail = u * tail - 0.45999265
    tail = u * tail - 1.1507877
    tail = u * tail - 1.0000377
    return tl.maximum(x, 0.0) - u * tl.exp2(tail)


@triton.jit
def silu_of_double(half, exact: tl.constexpr):
    """SiLU of 2 · half, which is half · (1 + tanh(half)).

    Unless it must be exact, tanh is one instruction, whose error relative to tanh (5e-4) is float16's own.
    """
    if exact:
        return 2 * half * tl.sigmoid(2 * half)
    else:
        tanh = tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [half], tl.float32, is_pure=True, pack=1)
        return half * tanh + half
