"""How much the Tritons work on at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """What all Tritons work on at once: a batch of up to so many chunks on each of so many instances of the UNet."""

    instances: int
    batch: int

    @property
    def chunks(self) -> int:
        """All instances with full batches."""
        return self.instances * self.batch
