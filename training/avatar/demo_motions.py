"""What the presenter does beside being idle: motions that leave the idle clip at one frame and join it at another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from training.avatar.motion import FaceState, Pose, idle_state


@dataclass(frozen=True)
class DemoMotion:
    """`frames` frames from idle frame `first` on, to which `change` adds face units and a pose.

    `change` is given the share of the motion that is over, 0 … 1, and adds nothing at either end.
    """

    first: int
    frames: int
    change: Callable[[float], FaceState]

    def state(self, index: int) -> FaceState:
        """Face and pose of the motion's frame `index`."""
        idle, added = idle_state(self.first + index), self.change(index / (self.frames - 1))
        units = {name: idle.units.get(name, 0.0) + strength for name, strength in added.units.items()}
        pose = {name: getattr(idle.pose, name) + getattr(added.pose, name) for name in vars(added.pose)}
        # The lids stay as open as the motion has them: a blink in the middle of a nod would be chance.
        return FaceState({**idle.units, **{name: min(1.0, each) for name, each in units.items()}}, Pose(**pose))


def _swell(share: float, rise: float = 0.25, fall: float = 0.3) -> float:
    """0 at both ends, 1 in between, with soft shoulders; rises and falls over these shares."""
    x = min(1.0, share / rise, (1 - share) / fall)
    return x * x * (3 - 2 * x)


def _brows(strength: float) -> dict[str, float]:
    return {"browInnerUp": strength, "browOuterUpLeft": 0.8 * strength, "browOuterUpRight": 0.8 * strength}


def _smile(strength: float) -> dict[str, float]:
    return {
        "mouthSmileLeft": strength,
        "mouthSmileRight": strength,
        "cheekSquintLeft": 0.7 * strength,
        "cheekSquintRight": 0.7 * strength,
    }


def _greeting(share: float) -> FaceState:
    swell = _swell(share)
    bow = math.sin(math.pi * min(1.0, share / 0.6)) ** 2
    pose = Pose(pitch=0.15 * bow, roll=0.07 * swell, gaze_pitch=-0.12 * bow, sway_y=-0.03 * bow)
    return FaceState({**_brows(0.45 * swell), **_smile(0.35 * swell)}, pose)


def _nod(share: float) -> FaceState:
    swell = _swell(share, 0.2, 0.35)
    down = swell * (0.5 - 0.5 * math.cos(2 * math.pi * 2 * share))
    return FaceState({**_brows(0.10 * swell), **_smile(0.08 * swell)}, Pose(pitch=0.16 * down, gaze_pitch=-0.13 * down))


def _thinking(share: float) -> FaceState:
    swell = _swell(share, 0.22, 0.25)
    drift = 0.015 * math.sin(2 * math.pi * 1.5 * share)
    units = {"browInnerUp": 0.35 * swell, "browDownLeft": 0.30 * swell, "mouthPucker": 0.12 * swell}
    pose = Pose(
        yaw=(0.13 + drift) * swell,
        pitch=-0.07 * swell,
        roll=-0.06 * swell,
        gaze_yaw=0.22 * swell,
        gaze_pitch=-0.16 * swell,
    )
    return FaceState(units, pose)


def _emphasis(share: float) -> FaceState:
    beat = math.sin(math.pi * share) ** 2
    after = math.sin(2 * math.pi * share) * beat
    pose = Pose(pitch=0.10 * beat - 0.04 * after, gaze_pitch=-0.09 * beat, sway_y=-0.02 * beat)
    return FaceState(_brows(0.65 * beat), replace(pose, roll=0.02 * after))


MOTIONS: dict[str, DemoMotion] = {
    "greeting": DemoMotion(60, 56, _greeting),
    "nod": DemoMotion(75, 40, _nod),
    "thinking": DemoMotion(144, 56, _thinking),
    "emphasis": DemoMotion(220, 28, _emphasis),
}
"""By name. None of them has a blink of the idle clip in it."""
