"""The demo's presenters: who renders each, and what each does in its clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.avatar.demo_motions import MOTIONS
from training.avatar.motion import IDLE_FRAMES, FaceState, Pose, idle_state, mirrored

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "demo"
IDLE = "idle"


class PresenterRenderer(Protocol):
    """Draws one presenter; needs OpenGL, and a context of its own in each process."""

    def render(self, face_units: dict[str, float], pose: Pose) -> NDArray[np.uint8]: ...

    def render_crop(
        self,
        face_units: dict[str, float],
        shown: FaceState,
        matrix: NDArray[np.float64],
        size: int,
        plate: NDArray[np.uint8],
    ) -> NDArray[np.uint8]: ...


def _woman() -> PresenterRenderer:
    from training.avatar.renderer import Renderer  # imports OpenGL

    return Renderer()


def _man() -> PresenterRenderer:
    from training.people.man_renderer import ManRenderer  # imports OpenGL

    return ManRenderer()


@dataclass(frozen=True)
class Presenter:
    """`folder` holds idle.mp4 and motions/; `mirrors` the movements, so that two presenters don't move alike."""

    folder: Path
    renderer: Callable[[], PresenterRenderer]
    mirrors: bool

    def states(self) -> dict[str, list[FaceState]]:
        """Face and pose of every frame of each clip: first the idle one, then the motions by name."""
        clips = {IDLE: [idle_state(index) for index in range(IDLE_FRAMES)]}
        clips |= {name: [motion.state(k) for k in range(motion.frames)] for name, motion in sorted(MOTIONS.items())}
        if self.mirrors:
            clips = {name: [mirrored(state) for state in states] for name, states in clips.items()}
        return clips

    def video(self, clip: str) -> Path:
        """Where a clip lies."""
        return self.folder / "idle.mp4" if clip == IDLE else self.folder / "motions" / f"{clip}.mp4"


PRESENTERS = {
    "woman": Presenter(CHECKPOINT / "avatar", _woman, False),
    "man": Presenter(CHECKPOINT / "second-avatar", _man, True),
}
