"""Prepared avatars on disk: frames, face matrices and the UNet's condition, memory-mapped to be played."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar_files import (
    CONDITION_FILE,
    FRAMES_FILE,
    IDLE_FOLDER,
    LANDMARKS_FILE,
    MASKS_FILE,
    MATRICES_FILE,
    PREVIEW_FILE,
    RECTANGLES_FILE,
    SETTINGS_FILE,
    AvatarError,
    AvatarSettings,
    FrameFile,
    IdleSettings,
    Loop,
    MappedFile,
)
from latentsync.avatar_writer import AvatarWriter
from latentsync.contract import CONTRACT
from latentsync.paste_back import PasteBack

__all__ = [
    "AvatarError",
    "AvatarSettings",
    "IdleClip",
    "IdleSettings",
    "Loop",
    "PreparedAvatar",
    "path_index",
    "path_period",
]


def path_index(position: int, count: int, loop: Loop) -> int:
    """The frame of a clip of `count` frames at a position of its unbounded path.

    Neighbouring positions are neighbouring frames, and no frame is repeated where the clip reverses.
    """
    if loop is Loop.CYCLE or count == 1:
        return position % count
    there = position % (2 * count - 2)
    return there if there < count else 2 * count - 2 - there


def path_period(count: int, loop: Loop) -> int:
    """Positions after which the path of a clip of `count` frames repeats."""
    return count if loop is Loop.CYCLE else max(1, 2 * (count - 1))


@dataclass(frozen=True, eq=False)
class IdleClip:
    """A clip of its own that plays while nobody speaks."""

    settings: IdleSettings
    frames: FrameFile  # [N, H, W, 3] RGB

    def frame_index(self, position: int) -> int:
        """The frame at a position of the clip's unbounded path."""
        return path_index(position, self.settings.frame_count, self.settings.loop)


@dataclass(frozen=True, eq=False)
class PreparedAvatar:
    """An avatar that is ready to play: large arrays are memory-mapped, and everything is read-only."""

    directory: Path
    settings: AvatarSettings
    frame_file: FrameFile
    matrices: NDArray[np.float64]  # [N, 2, 3], frame pixels to face crop pixels; NaN where no face can be pasted
    condition: NDArray[np.float16]  # [N, 9, h, w]: mask, masked-image latents, reference latents
    rectangles: NDArray[np.int32]  # [N, 4]: left, top, width, height of the soft mask
    mask_file: MappedFile  # all soft masks, one after another
    landmarks: NDArray[np.float32] | None  # [N, 68, 2] in frame pixels, NaN where no face was found
    idle: IdleClip | None

    @property
    def name(self) -> str:
        """The avatar's name, which is its folder's."""
        return self.directory.name

    @property
    def frames(self) -> NDArray[np.uint8]:
        """All frames [N, H, W, 3] RGB; to play them, take them one by one with `frame`."""
        return self.frame_file.array

    @property
    def frame_count(self) -> int:
        """Number of different frames in the clip."""
        return self.settings.frame_count

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the frames in pixels."""
        return self.settings.width, self.settings.height

    @property
    def resolution(self) -> int:
        """Side of the face crops in pixels."""
        return self.settings.resolution

    @property
    def preview_path(self) -> Path:
        """A picture of the avatar (PNG)."""
        return self.directory / PREVIEW_FILE

    @property
    def speakable(self) -> NDArray[np.bool_]:
        """Which frames [N] show a face that can speak; the others stay as they are."""
        finite: NDArray[np.bool_] = np.isfinite(self.matrices).all(axis=(1, 2))
        return finite

    @cached_property
    def played(self) -> range:
        """The frames that play: all, or if some can't speak the longest run of those that can.

        So speech never reaches a frame without a face, whenever it starts and however long it lasts.
        """
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.speakable, [False]]).astype(np.int8)))
        runs = [range(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
        return max(runs, key=len, default=range(self.frame_count))

    @property
    def loop(self) -> Loop:
        """How the played frames are repeated: a part of a cyclic clip is played forwards and backwards."""
        return self.settings.loop if len(self.played) == self.frame_count else Loop.PINGPONG

    @property
    def period(self) -> int:
        """Positions after which the avatar's path repeats."""
        return path_period(len(self.played), self.loop)

    @classmethod
    def open(cls, directory: Path | str) -> PreparedAvatar:
        """Opens a prepared avatar's folder; raises AvatarError when it is missing, damaged, or of another version."""
        folder = Path(directory)
        settings = AvatarSettings.read(folder / SETTINGS_FILE)
        count, side = settings.frame_count, settings.resolution // CONTRACT.pixels_per_latent
        try:
            frames = FrameFile(folder / FRAMES_FILE, count, (settings.width, settings.height))
            matrices = _loaded(folder / MATRICES_FILE, np.float64, (count, 2, 3))
            condition = _mapped(folder / CONDITION_FILE, np.float16, (count, CONTRACT.condition_channels, side, side))
            rectangles = _loaded(folder / RECTANGLES_FILE, np.int32, (count, 4))
            _check_rectangles(rectangles, (settings.width, settings.height), folder / RECTANGLES_FILE)
            pixels = int((rectangles[:, 2].astype(np.int64) * rectangles[:, 3]).sum())
            masks = MappedFile(folder / MASKS_FILE, (pixels,))
            path = folder / LANDMARKS_FILE
            landmarks = _mapped(path, np.float32, (count, 68, 2)) if path.exists() else None
            idle = None if settings.idle is None else _idle_clip(folder / IDLE_FOLDER, settings.idle)
        except OSError as error:
            raise AvatarError(f"the avatar in {folder} can't be read: {error}") from error
        return cls(folder, settings, frames, matrices, condition, rectangles, masks, landmarks, idle)

    @classmethod
    def create(
        cls,
        directory: Path | str,
        *,
        name: str,
        frames: Iterable[NDArray[np.uint8]],
        matrices: NDArray[np.float64],
        condition: NDArray[np.float16],
        loop: Loop,
        source_sha256: str,
    ) -> PreparedAvatar:
        """Writes a prepared avatar out of its parts, and opens it.

        Takes as many frames [H, W, 3] RGB uint8 as there are matrices [N, 2, 3] (frame pixels to face crop pixels) and
        conditions [N, 9, h, w]. The folder appears complete or not at all, and replaces one that is there. Raises
        AvatarError for sizes that do not fit.
        """
        target = Path(directory)
        with AvatarWriter(target) as writer:
            file = writer.frames()
            for frame in frames:
                file.add(frame)
            first = file.read()[0]
            resolution = condition.shape[-1] * CONTRACT.pixels_per_latent
            settings = AvatarSettings(name, *file.size, file.count, resolution, loop, source_sha256)
            file.close()
            writer.finish(settings, first, matrices, condition)
            cls.open(writer.folder)  # what can't be opened must not replace what can
            writer.publish()
        return cls.open(target)

    def with_own_condition(self) -> PreparedAvatar:
        """The same with the condition in memory, for a process that must survive any change of the files.

        The kernel kills a process that reads a mapped file beyond an end to which it was truncated (SIGBUS). Raises
        AvatarError as `open` does, and for numbers that are not finite.
        """
        path = self.directory / CONDITION_FILE
        try:
            condition = _loaded(path, np.float16, self.condition.shape)
        except OSError as error:
            raise AvatarError(f"the avatar in {self.directory} can't be read: {error}") from error
        if not np.isfinite(condition).all():
            raise AvatarError(f"{path} is damaged: some of its numbers are not finite; add the avatar again")
        return replace(self, condition=condition)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` [H, W, 3], a read-only view; releases the memory of frames and masks that were used before."""
        self.mask_file.release()
        return self.frame_file[index]

    def frame_index(self, position: int) -> int:
        """The frame at a position of the avatar's unbounded path; neighbouring positions are neighbouring frames."""
        return self.played.start + path_index(position, len(self.played), self.loop)

    def paste_back(self) -> PasteBack:
        """Pastes repainted mouths into this avatar's frames (the U of `mask.paste_mask` alone)."""
        return PasteBack.from_masks(
            self.matrices, self.frame_size, self.resolution, self.rectangles, self.mask_file.array
        )


def _idle_clip(folder: Path, settings: IdleSettings) -> IdleClip:
    size = (settings.width, settings.height)
    return IdleClip(settings, FrameFile(folder / FRAMES_FILE, settings.frame_count, size))


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    return _loaded(path, dtype, shape, "r")


def _loaded(
    path: Path, dtype: type[np.generic], shape: tuple[int, ...], mmap_mode: Literal["r"] | None = None
) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy reads the header as Python source, and any error of that can come out
        raise AvatarError(f"{path} is not an array file: {error}") from error
    if array.dtype != dtype or array.shape != shape:
        raise AvatarError(f"{path} must hold {np.dtype(dtype)} {shape}; it has {array.dtype} {array.shape}")
    return array


def _check_rectangles(rectangles: NDArray[np.int32], frame_size: tuple[int, int], path: Path) -> None:
    start, size = rectangles[:, :2].astype(np.int64), rectangles[:, 2:].astype(np.int64)
    if min(start.min(), size.min()) < 0 or (start + size > frame_size).any():
        raise AvatarError(f"{path} is damaged: some of its rectangles are not within the picture; add the avatar again")
