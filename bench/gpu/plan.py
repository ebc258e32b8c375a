"""What a run of `bench gpu` does, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.settings import SettingsError

NAMED_SIZES = {"360p": (640, 360), "480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080)}


class Stage(StrEnum):
    """The parts of a run, in their order. Loading is always measured, since everything else needs it."""

    LOAD = "load"
    ENSEMBLE = "ensemble"
    PRODUCT = "product"
    LIVE = "live"
    GPU_MEMORY = "gpu_memory"


STAGE_LIMITS_S = {
    Stage.LOAD: 120.0,
    Stage.ENSEMBLE: 150.0,
    Stage.PRODUCT: 80.0,
    Stage.LIVE: 180.0,
    Stage.GPU_MEMORY: 40.0,
}
"""A stage that takes longer is cut off, and what it has until then is recorded. The sum keeps a run within ten minutes;
on a GPU with the usual plan it ends after less than eight."""


@dataclass(frozen=True)
class GpuPlan:
    """Stages, and their loads; `size` is the picture of live channels in pixels, None where the avatar's own."""

    stages: tuple[Stage, ...] = tuple(Stage)
    steps: int = 20
    guidance: float = 1.0
    clients: tuple[int, ...] = (1, 2, 3, 4, 5, 8, 16)
    seconds: float = 8.0
    warm_up_s: float = 1.0
    repeats: int = 5
    speech_s: float = 5.0
    channels: tuple[int, ...] = (1, 2, 4, 6, 9)
    live_s: float = 20.0
    size: tuple[int, int] | None = None
    limits: float = 1.0

    def __post_init__(self) -> None:
        for name, counts in (("clients", self.clients), ("channels", self.channels)):
            if not counts or min(counts) < 1 or list(counts) != sorted(set(counts)):
                raise SettingsError(f"--{name} is {counts} and must be whole numbers from 1 on that increase: 1,2,8")

    def limit_s(self, stage: Stage) -> float:
        """Seconds after which a stage is cut off."""
        return STAGE_LIMITS_S[stage] * self.limits


def counts(text: str, name: str) -> tuple[int, ...]:
    """The numbers of a list such as 1,2,8; raises SettingsError."""
    try:
        return tuple(int(field) for field in text.split(","))
    except ValueError:
        raise SettingsError(f"--{name} is {text!r} and must be whole numbers with commas, such as 1,2,8") from None


def stages(text: str | None) -> tuple[Stage, ...]:
    """The stages of a list such as ensemble,live, with what is always measured; None is all. Raises SettingsError."""
    if text is None:
        return tuple(Stage)
    try:
        wanted = {Stage(field.strip()) for field in text.split(",")} | {Stage.LOAD}
    except ValueError:
        raise SettingsError(f"--only is {text!r} and must be some of {_names(Stage)}") from None
    return tuple(stage for stage in Stage if stage in wanted)


def picture_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of 480p or of 832x1248; raises SettingsError."""
    if text is None or text in NAMED_SIZES:
        return NAMED_SIZES[text] if text else None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()) or int(width) % 2 or int(height) % 2:
        raise SettingsError(f"--size is {text!r} and must be {', '.join(NAMED_SIZES)}, or even numbers like 832x1248")
    return int(width), int(height)


def _names(known: Iterable[Stage]) -> str:
    return ", ".join(stage.value for stage in known)
