"""Where the speaking face lies in each frame of a clip, and on which frames it can't speak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import LANDMARKS, SMALLEST_CROPPED, FaceAligner
from latentsync.avatar import Loop
from orchestrator.avatars.errors import FaceTooSmall, FaceTurned, FaceUnusable, NoFace
from orchestrator.avatars.faces import FaceFinder, People, Person, face_turn, face_width
from orchestrator.avatars.looping import detect_loop, thumbnail

# A face that is lost, small or turned for no longer than this (half a second) is bridged.
_BRIDGED_FRAMES = 12
_BRIDGED_WIDTHS = 0.75  # a face that moved further than this while it was lost means a cut
_LEAST_SPEECH_FRAMES = 25
_LEAST_WIDTH_PX = 48.0
_MOST_TURN = 0.8  # about 45°


@dataclass(frozen=True)
class Track:
    """What was found in a clip of N frames.

    affines [N, 2, 3] lead from the frame to the face template of `latentsync.alignment`; NaN where nobody can speak.
    landmarks [N, 68, 2] in frame pixels, NaN where the face wasn't found. `faces` is the most faces in one frame.
    """

    affines: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    loop: Loop
    faces: int


class FaceTracker:
    """Reads a clip's frames once; keeps their landmarks and thumbnails, never the frames."""

    def __init__(
        self, finder: FaceFinder, face_at: tuple[float, float] | None = None, resolution: int = SMALLEST_CROPPED
    ) -> None:
        """`face_at` names one of several faces: a point near it, as shares of the picture's width and height.

        `resolution` is the side in pixels of the faces that the affines are for.
        """
        self._people = People(finder)
        self._resolution = resolution
        self._face_at = face_at
        self._thumbnails: list[NDArray[np.float32]] = []
        self._size = (0, 0)
        self._first = 0

    @property
    def frames_seen(self) -> int:
        """How many frames were looked at."""
        return len(self._thumbnails)

    def see(self, frame: NDArray[np.uint8], number: int | None = None) -> None:
        """Looks at the next frame, RGB [H, W, 3]; the first one's `number` is where errors count from."""
        if not self._thumbnails:
            self._first = number or 0
        self._size = (frame.shape[1], frame.shape[0])
        self._people.see(self.frames_seen, frame)
        self._thumbnails.append(thumbnail(frame))

    def track(self) -> Track:
        """The speaking face's way through the clip.

        Raises NoFace, FaceTooSmall or FaceTurned, which name the frames, when no stretch is long enough to speak on.
        """
        total = self.frames_seen
        point = None if self._face_at is None else (self._face_at[0] * self._size[0], self._face_at[1] * self._size[1])
        speaker = self._people.speaker(point)
        if speaker is None:
            raise NoFace(list(range(self._first, self._first + total)), total, 0, _LEAST_SPEECH_FRAMES)
        found = _found(speaker, total)
        usable, problems = _usable(found)
        needed = min(_LEAST_SPEECH_FRAMES, (total + 1) // 2)
        longest = max((stop - start for start, stop in runs(usable)), default=0)
        if longest < needed:
            problem = max(problems, key=lambda kind: len(problems[kind]))
            raise problem([self._first + frame for frame in problems[problem]], total, longest, needed)
        affines = np.full((total, 2, 3), np.nan)
        filled = _filled(found)
        for start, stop in runs(usable):
            aligner = FaceAligner(self._resolution)  # after a long loss it must not remember where the face was
            for frame in range(start, stop):
                affines[frame] = aligner.align(filled[frame])
        return Track(affines, found.astype(np.float32), detect_loop(self._thumbnails), self._people.count)


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each stretch in which `flags` [N] is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _found(speaker: Person, total: int) -> NDArray[np.float64]:
    found = np.full((total, LANDMARKS, 2), np.nan)
    for frame, landmarks in speaker.landmarks.items():
        found[frame] = landmarks
    return found


def _usable(found: NDArray[np.float64]) -> tuple[NDArray[np.bool_], dict[type[FaceUnusable], list[int]]]:
    """Which frames [N] can be spoken on, short losses bridged; and the bad frames by the kind of problem."""
    there = np.isfinite(found).all(axis=(1, 2))
    problems: dict[type[FaceUnusable], list[int]] = {NoFace: [], FaceTooSmall: [], FaceTurned: []}
    good = np.zeros(len(found), bool)
    for frame, landmarks in enumerate(found):
        if not there[frame]:
            problems[NoFace].append(frame)
        elif face_width(landmarks) < _LEAST_WIDTH_PX:
            problems[FaceTooSmall].append(frame)
        elif abs(face_turn(landmarks)) > _MOST_TURN:
            problems[FaceTurned].append(frame)
        else:
            good[frame] = True
    usable = good.copy()
    for start, stop in runs(~good):
        usable[start:stop] = _is_moment(found, there, start, stop)
    return usable, problems


def _is_moment(found: NDArray[np.float64], there: NDArray[np.bool_], start: int, stop: int) -> bool:
    """Whether frames start … stop can be bridged: there is a good frame, not far off, on either side."""
    if start == 0 or stop == len(found) or stop - start > _BRIDGED_FRAMES:
        return False
    if there[start:stop].all():
        return True  # small or turned, but found
    before, after = found[start - 1], found[stop]
    moved = float(np.hypot(*(after.mean(axis=0) - before.mean(axis=0))))
    return moved <= _BRIDGED_WIDTHS * face_width(before)


def _filled(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Landmarks in every frame: where they are missing, on the straight line between those before and after."""
    there = np.isfinite(found).all(axis=(1, 2))
    numbers, known = np.arange(len(found)), np.flatnonzero(there)
    flat = found.reshape(len(found), -1)
    columns = [np.interp(numbers, known, flat[known, column]) for column in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(found.shape)
