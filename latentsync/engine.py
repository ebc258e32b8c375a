"""The engines that can run a model's graph (without importing torch, so that an option is checked quickly)."""

from __future__ import annotations

from enum import StrEnum


class EngineError(RuntimeError):
    """An engine can't run here, or its compiled graphs are missing or of another machine; says what to do."""


class Engine(StrEnum):
    """What runs the graph."""

    EAGER = "eager"  # plain PyTorch
    COMPILE = "compile"  # torch.compile, whose cache is part of the export
    AOT = "aot"  # AOTInductor: shared libraries that the export compiled
    FUSED = "fused"  # this project's kernels between library calls, as CUDA graphs (latentsync/fused); GPUs only
