"""How the presenter moves while idle, and the mouth shapes of speech."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from latentsync.contract import CONTRACT

FPS = CONTRACT.frames_per_second
IDLE_FRAMES = 250
BLINKS = (34, 121, 138, 204)

MOUTH_PREFIXES = ("jaw", "mouth", "tongue")
TALKING_SMILE = 0.4
"""Share of the idle expression of the mouth that is kept during speech."""
FULLY_TALKING = 0.25
"""Strength of the strongest mouth unit from which the idle expression is reduced to `TALKING_SMILE`."""


@dataclass(frozen=True)
class Pose:
    """Head turned by yaw, pitch and roll, gaze by two angles (all in radians), breath 0..1, sway in decimetres."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze_yaw: float = 0.0
    gaze_pitch: float = 0.0
    breath: float = 0.0
    sway_x: float = 0.0
    sway_y: float = 0.0


@dataclass(frozen=True)
class FaceState:
    """Face units by name with their strengths, and the pose."""

    units: dict[str, float]
    pose: Pose


def _both(name: str, strength: float, difference: float = 0.0) -> dict[str, float]:
    return {f"{name}Left": strength * (1 + difference), f"{name}Right": strength * (1 - difference)}


VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "AA": {"jawOpen": 0.38, **_both("mouthLowerDown", 0.30), **_both("mouthUpperUp", 0.25)},
    "EE": {
        "jawOpen": 0.13,
        **_both("mouthStretch", 0.40),
        **_both("mouthSmile", 0.25),
        **_both("mouthLowerDown", 0.40),
        **_both("mouthUpperUp", 0.30),
    },
    "OO": {"jawOpen": 0.25, "mouthFunnel": 0.70, "mouthPucker": 0.30},
    "UU": {"jawOpen": 0.08, "mouthPucker": 0.80, "mouthFunnel": 0.15},
    "MM": {"mouthRollLower": 0.45, "mouthRollUpper": 0.40},
    "FF": {"jawOpen": 0.08, "mouthRollLower": 0.60, **_both("mouthUpperUp", 0.35)},
    "SS": {
        "jawOpen": 0.05,
        **_both("mouthStretch", 0.25),
        **_both("mouthLowerDown", 0.35),
        **_both("mouthUpperUp", 0.28),
    },
    "SH": {"jawOpen": 0.10, "mouthFunnel": 0.50, **_both("mouthLowerDown", 0.22), **_both("mouthUpperUp", 0.15)},
    "TH": {"jawOpen": 0.15, **_both("mouthLowerDown", 0.25), **_both("mouthUpperUp", 0.22), "tongueOut": 0.25},
}


def is_mouth_unit(name: str) -> bool:
    """Whether speech controls this face unit."""
    return name.startswith(MOUTH_PREFIXES)


def _wave(i: int, n: int, turns: int, phase: float = 0.0) -> float:
    return math.sin(2 * math.pi * turns * i / n + phase)


def _blink(i: int, n: int) -> float:
    """Closure of the lids in 0..1: they close within three frames and open within five."""
    closed = 0.0
    for at in BLINKS:
        d = (i - round(at * n / IDLE_FRAMES) + n // 2) % n - n // 2
        x = 1 + d / 3 if d < 0 else 1 - max(0, d - 1) / 4.5
        closed = max(closed, x)
    return closed * closed * (3 - 2 * closed)


def _glance(i: int, n: int) -> tuple[float, float]:
    """Yaw and pitch of the gaze, which jumps between resting points; both ends of the loop share one."""
    rests = (
        (0.0, 0.004, 0.0),
        (0.16, 0.035, 0.008),
        (0.33, -0.022, -0.012),
        (0.485, 0.008, 0.010),
        (0.64, -0.040, 0.004),
        (0.82, 0.004, 0.0),
    )
    x = i / n
    now = max(k for k, rest in enumerate(rests) if rest[0] <= x)
    before = rests[now - 1]
    s = min(1.0, (i - rests[now][0] * n) / 2.5)
    s = s * s * (3 - 2 * s)
    return before[1] + (rests[now][1] - before[1]) * s, before[2] + (rests[now][2] - before[2]) * s


def idle_state(i: int, n: int = IDLE_FRAMES) -> FaceState:
    """Face and pose of idle frame `i` of `n`; every motion is periodic, so frame `n` equals frame 0."""
    yaw = 0.060 * _wave(i, n, 1) + 0.022 * _wave(i, n, 3, 0.4)
    pitch = 0.026 * _wave(i, n, 2, 1.0) + 0.009 * _wave(i, n, 5)
    gaze_yaw, gaze_pitch = _glance(i, n)
    pose = Pose(
        yaw=yaw,
        pitch=pitch,
        roll=0.016 * _wave(i, n, 1, 2.0) + 0.006 * _wave(i, n, 2, 0.3),
        # The eyes keep looking at the viewer while the head turns.
        gaze_yaw=gaze_yaw - 0.85 * yaw,
        gaze_pitch=gaze_pitch - 0.85 * pitch,
        breath=0.5 + 0.5 * _wave(i, n, 3, -0.8),
        sway_x=0.020 * _wave(i, n, 1, 0.9),
        sway_y=0.008 * _wave(i, n, 3, -0.4),
    )
    lids = _blink(i, n)
    smile = 0.24 + 0.05 * _wave(i, n, 1, 0.6)
    brow = 0.16 + 0.10 * _wave(i, n, 2, 2.1)
    units = {
        **_both("eyeBlink", lids),
        **_both("eyeSquint", 0.03 + 0.02 * _wave(i, n, 1, 0.6)),
        **_both("cheekSquint", 0.14 + 0.05 * _wave(i, n, 1, 0.6)),
        "browInnerUp": max(0.0, brow),
        **_both("browOuterUp", max(0.0, 0.6 * brow), 0.1),
        **_both("mouthSmile", smile, 0.06),
        **_both("mouthPress", 0.12),
    }
    return FaceState(units, pose)


def mirrored(state: FaceState) -> FaceState:
    """The same as in a mirror: left is right."""
    units = {_other_side(name): strength for name, strength in state.units.items()}
    turned = {name: -getattr(state.pose, name) for name in ("yaw", "roll", "gaze_yaw", "sway_x")}
    return FaceState(units, replace(state.pose, **turned))


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


def talking_state(shown: FaceState, mouth: dict[str, float]) -> FaceState:
    """A frame's state with the face units `mouth`; pose, lids, brows and breath are kept, and a mouth at rest too."""
    activity = min(1.0, max(mouth.values(), default=0.0) / FULLY_TALKING)
    left = 1 - (1 - TALKING_SMILE) * activity * activity * (3 - 2 * activity)
    units = {name: strength * (left if is_mouth_unit(name) else 1.0) for name, strength in shown.units.items()}
    for name, strength in mouth.items():
        units[name] = units.get(name, 0.0) + strength
    return FaceState(units, shown.pose)
