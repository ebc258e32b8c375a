"""Milliseconds of pasting a face back, beside a plain way that works on the whole picture as LatentSync 1.0 does."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.machine import Machine, this_machine
from latentsync.alignment import CROP_SIZE, crop_size, face_matrix
from latentsync.avatar import PreparedAvatar
from latentsync.mask import paste_mask
from latentsync.paste_back import PasteBack
from speech.audio.decoder import ffmpeg_binary

RESOLUTION = 256
# Picture sizes with the width of the face's crop in them, both as in usual portrait clips.
_SYNTHETIC = (((832, 1248), 220.0), ((1080, 1920), 300.0))
_FRAMES = 16


@dataclass(frozen=True)
class PasteBackTimes:
    """One picture size: median and 95th percentile in ms a frame, of ours and of the whole-picture way."""

    width: int
    height: int
    rectangle: tuple[int, int]
    paste_ms: float
    paste_p95_ms: float
    whole_picture_ms: float
    whole_picture_p95_ms: float
    ratio: float


@dataclass(frozen=True)
class PasteBackBench:
    """A measurement on one core."""

    date: str
    machine: Machine
    resolution: int
    repeats: int
    sizes: tuple[PasteBackTimes, ...]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


def bench_paste_back(
    date: datetime,
    avatar: PreparedAvatar | None = None,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
    resolution: int = RESOLUTION,
) -> PasteBackBench:
    """Times `repeats` rounds over some frames of an avatar, or of drawn pictures of two sizes, on one core.

    The drawn pictures' faces have `resolution` pixels a side.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if avatar is None:
            cases = [_drawn(size, crop_width, resolution) for size, crop_width in _SYNTHETIC]
        else:
            rows = np.flatnonzero(avatar.speakable)[:_FRAMES]
            cases = [(np.array(avatar.frames[rows]), np.array(avatar.matrices[rows]), avatar.resolution)]
        sizes = tuple(_timed(frames, matrices, side, repeats, clock) for frames, matrices, side in cases)
    finally:
        cv2.setNumThreads(threads)
    resolution = resolution if avatar is None else avatar.resolution
    return PasteBackBench(date.isoformat(timespec="seconds"), this_machine(ffmpeg_binary()), resolution, repeats, sizes)


def whole_picture_paste(
    frame: NDArray[np.uint8],
    face: NDArray[np.uint8],
    affine: NDArray[np.float64],
    size: tuple[int, int] = CROP_SIZE,
) -> NDArray[np.uint8]:
    """The frame [H, W, 3] with the face crop [R, R, 3] pasted in, computed on the whole picture for every frame.

    `affine` [2, 3] leads from the frame to the face template, whose `size` is width and height. The steps are those
    that LatentSync 1.0 takes for each frame: the crop back to the template's size, picture, face and mask each resized
    or warped as a whole, the mask eroded twice and blurred, all blended in floating point.
    """
    height, width = frame.shape[:2]
    crop = cv2.resize(face, size, interpolation=cv2.INTER_AREA if len(face) > size[0] else cv2.INTER_LINEAR)
    picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LANCZOS4)
    inverse = cv2.invertAffineTransform(affine)
    warped = cv2.warpAffine(crop, inverse, (width, height))
    covered = cv2.warpAffine(np.ones(size[::-1], np.float32), inverse, (width, height))
    inner = cv2.erode(covered, np.ones((2, 2), np.uint8))
    edge = int(float(inner.sum()) ** 0.5) // 20
    centre = cv2.erode(inner, np.ones((2 * edge, 2 * edge), np.uint8))
    soft = cv2.GaussianBlur(centre, (2 * edge + 1, 2 * edge + 1), 0)[..., None]
    blended = soft * (inner[..., None] * warped) + (1 - soft) * picture
    return np.asarray(blended, dtype=np.uint8)


def _drawn(
    size: tuple[int, int], crop_width: float, resolution: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], int]:
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (_FRAMES, height // 8, width // 8, 3), np.uint8)
    frames = np.stack([cv2.resize(picture, size) for picture in noise])
    affines = []
    for index in range(_FRAMES):
        scale, angle = crop_size(resolution)[0] / crop_width, 0.01 * index
        matrix = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corner = np.array([width / 2 - crop_width / 2 + index, height / 4])
        affines.append(face_matrix(np.column_stack([matrix, -matrix @ corner]), resolution))
    return frames, np.stack(affines), resolution


def _timed(
    frames: NDArray[np.uint8], matrices: NDArray[np.float64], side: int, repeats: int, clock: Callable[[], float]
) -> PasteBackTimes:
    height, width = frames.shape[1:3]
    paste_back = PasteBack(matrices, (width, height), side, paste_mask(side))
    face = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    size = crop_size(side)
    scale = np.array(size) / side
    affines = [matrix * scale[:, None] for matrix in matrices]  # half a pixel doesn't matter to a duration
    times, whole_times = [], []
    for _ in range(repeats):
        for index, frame in enumerate(frames):
            picture = frame.copy()
            began = clock()
            paste_back.paste(picture, face, index)
            times.append(1000 * (clock() - began))
    for index in range(max(3, min(repeats, len(frames)))):
        frame, affine = frames[index % len(frames)], affines[index % len(frames)]
        began = clock()
        whole_picture_paste(frame, face, affine, size)
        whole_times.append(1000 * (clock() - began))
    paste_ms, whole_ms = statistics.median(times), statistics.median(whole_times)
    return PasteBackTimes(
        width=width,
        height=height,
        rectangle=paste_back.rectangle(0)[2:],
        paste_ms=round(paste_ms, 3),
        paste_p95_ms=round(float(np.quantile(times, 0.95)), 3),
        whole_picture_ms=round(whole_ms, 2),
        whole_picture_p95_ms=round(float(np.quantile(whole_times, 0.95)), 2),
        ratio=round(whole_ms / paste_ms, 1),
    )
