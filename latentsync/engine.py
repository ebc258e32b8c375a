"""What can run a model's graph (no torch, so that a choice can be checked before anything is loaded)."""

from __future__ import annotations

from enum import StrEnum


class EngineError(RuntimeError):
    """An engine can't run here, or what it compiled is missing or belongs to another machine; says what to do."""


class Engine(StrEnum):
    """What runs the graph."""

    EAGER = "eager"  # plain PyTorch
    COMPILE = "compile"  # torch.compile, with a kept cache of what it compiled
    AOT = "aot"  # AOTInductor: shared libraries that were compiled at the export
    FUSED = "fused"  # kernels of our own between library calls, as CUDA graphs (latentsync/fused); GPUs only
