"""Who is who in a clip: faces linked from frame to frame, and the one that will speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# How far a face may have moved since it was last seen, in widths of it, for each frame between and at most.
_STEP_WIDTHS, _STEP_PER_FRAME, _MOST_WIDTHS = 0.5, 0.1, 1.5
_SIZE_RATIO = 1.6
# A face that the detector misses is looked for where it was for this many frames.
_FOLLOWED_FRAMES = 12
_NOSE, _RIGHT_EAR, _LEFT_EAR = 30, 1, 15


class FoundFace(Protocol):
    """A face with its landmarks; `latentsync.landmarks.Face` is one."""

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """The 68 landmarks [68, 2] in frame pixels."""
        ...


class FaceFinder(Protocol):
    """Finds faces; `latentsync.landmarks.FaceLandmarker` is one."""

    def detect(self, frame: NDArray[np.uint8]) -> Sequence[FoundFace]:
        """The faces in a frame RGB [H, W, 3]."""
        ...

    def follow(self, frame: NDArray[np.uint8], face: FoundFace) -> FoundFace | None:
        """Searches for a face near its last position; None when it is gone."""
        ...


@dataclass(eq=False)
class Person:
    """One face through the clip: its landmarks [68, 2] by frame."""

    landmarks: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    last_frame: int = -1
    last_face: FoundFace | None = None

    def add(self, frame: int, face: FoundFace) -> None:
        """Notes where the face is in a frame."""
        self.landmarks[frame] = face.landmarks
        self.last_frame, self.last_face = frame, face

    @property
    def presence(self) -> float:
        """How much of the clip is this person: the sum of the face's areas."""
        return sum(face_width(points) ** 2 for points in self.landmarks.values())


class People:
    """The faces of a clip, frame after frame."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._people: list[Person] = []

    def see(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Finds the faces of the next frame and links them to those of the frames before."""
        free = list(self._people)
        for face in self._finder.detect(frame):
            person = _nearest(free, face, number)
            if person is None:
                person = Person()
                self._people.append(person)
            else:
                free.remove(person)
            person.add(number, face)
        for person in free:
            self._follow(person, number, frame)

    def speaker(self, point: tuple[float, float] | None) -> Person | None:
        """The person with the largest face, or whose face is nearest to `point` in pixels; None without any."""
        if not self._people:
            return None
        if point is None:
            return max(self._people, key=lambda person: person.presence)
        lasting = max(len(person.landmarks) for person in self._people)
        # A false detection of a few frames may lie nearer than the face that is meant.
        candidates = [person for person in self._people if len(person.landmarks) * 4 >= lasting]
        return min(candidates, key=lambda person: _distance(np.asarray(point), next(iter(person.landmarks.values()))))

    @property
    def count(self) -> int:
        """The most faces in one frame."""
        frames: dict[int, int] = {}
        for person in self._people:
            for frame in person.landmarks:
                frames[frame] = frames.get(frame, 0) + 1
        return max(frames.values(), default=0)

    def _follow(self, person: Person, number: int, frame: NDArray[np.uint8]) -> None:
        if person.last_face is None or number - person.last_frame > _FOLLOWED_FRAMES:
            return
        face = self._finder.follow(frame, person.last_face)
        # Tracking must not switch to another person's face.
        taken = [other for other in self._people if other.last_frame == number]
        if face is not None and _fits(person, face, number) and _nearest(taken, face, number) is None:
            person.add(number, face)


def face_width(landmarks: NDArray[np.float64]) -> float:
    """Width of a face in pixels, from landmarks [68, 2]."""
    return float(np.ptp(landmarks[:, 0]))


def face_turn(landmarks: NDArray[np.float64]) -> float:
    """How far a face looks to the side: 0 straight ahead, ±1 in profile; about ±0.6 at 35°.

    It is the nose tip's place between both ears, measured along the eyes' line, so a tilted head doesn't matter.
    """
    across = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    along = landmarks @ (across / max(float(np.hypot(*across)), 1e-6))
    right, left = along[_NOSE] - along[_RIGHT_EAR], along[_LEFT_EAR] - along[_NOSE]
    return float(np.clip((right - left) / max(abs(right + left), 1e-6), -1, 1))


def _nearest(people: Sequence[Person], face: FoundFace, number: int) -> Person | None:
    near = [person for person in people if _fits(person, face, number)]
    centre = face.landmarks.mean(axis=0)
    return min(near, key=lambda person: _distance(centre, _last(person)), default=None)


def _fits(person: Person, face: FoundFace, number: int) -> bool:
    before, now = _last(person), face.landmarks
    width, ratio = face_width(before), face_width(now) / max(face_width(before), 1e-6)
    reach = min(_STEP_WIDTHS + _STEP_PER_FRAME * (number - person.last_frame - 1), _MOST_WIDTHS) * width
    return 1 / _SIZE_RATIO <= ratio <= _SIZE_RATIO and _distance(now.mean(axis=0), before) <= reach


def _last(person: Person) -> NDArray[np.float64]:
    return person.landmarks[person.last_frame]


def _distance(point: NDArray[np.float64], landmarks: NDArray[np.float64]) -> float:
    return float(np.hypot(*(point - landmarks.mean(axis=0))))
