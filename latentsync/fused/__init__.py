"""The networks on fused Triton kernels, between cuDNN's convolutions and cuBLAS's matrix products; NVIDIA GPUs only."""

import os

# Lets a product and a sum be one instruction (FMA): Triton 3.9's default, of which it warns that it will change.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
