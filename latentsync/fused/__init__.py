"""The full-size models as fast as one GPU runs them: fused kernels between the libraries' convolutions and products."""

import os

# A product and a sum are one instruction. Triton 3.9 warns that a later one will not make it so unless it is told.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
