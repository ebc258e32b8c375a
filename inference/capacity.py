"""How many chunks the Triton servers process in parallel."""

from __future__ import annotations

from dataclasses import dataclass

EMULATED_GPUS = "gpus"
"""The parameter of a model that stands for one on GPUs, and takes their time on a machine without one."""


@dataclass(frozen=True)
class Capacity:
    """All Triton servers together: `instances` of the UNet, each with a batch of up to `batch` chunks.

    `on_gpu` says whether they run on GPUs.
    """

    instances: int
    batch: int
    on_gpu: bool = False

    @property
    def chunks(self) -> int:
        """Chunks in process when every instance has a full batch."""
        return self.instances * self.batch
