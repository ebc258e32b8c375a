"""Writes a prepared avatar's folder: complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar_files import (
    CONDITION_FILE,
    FRAMES_FILE,
    LANDMARKS_FILE,
    MASKS_FILE,
    MATRICES_FILE,
    PREVIEW_FILE,
    RECTANGLES_FILE,
    SETTINGS_FILE,
    SUMS_FILE,
    AvatarError,
    AvatarSettings,
    DiskFull,
    FrameFile,
)
from latentsync.contract import CONTRACT
from latentsync.mask import paste_mask
from latentsync.paste_back import place

_ALIVE_FILE = "alive"
_REPLACED = ".replaced"  # no avatar has such a name


class FrameWriter:
    """Appends frames of one size to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.size = (0, 0)  # width, height
        self._file = path.open("wb")

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Appends a frame RGB uint8 [H, W, 3]; raises AvatarError for another shape, DiskFull for a full disk."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise AvatarError(f"frame {self.count} must be [H, W, 3] uint8; got {list(frame.shape)} {frame.dtype}")
        size = (frame.shape[1], frame.shape[0])
        if self.count and size != self.size:
            raise AvatarError(f"frame {self.count} is {size}, those before are {self.size} (width, height)")
        self.size = size
        try:
            self._file.write(np.ascontiguousarray(frame).data)
            self.count += 1
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFull(
                f"the disk of {self.path.parent} is full after {self.count} frames of {frame.nbytes / 1e6:.1f} MB: "
                "free some space, shorten the clip, or make it smaller with --max-height"
            ) from error

    def truncate(self, count: int) -> None:
        """Cuts the file down to its first `count` frames."""
        self._file.flush()
        self._file.truncate(count * self.size[0] * self.size[1] * 3)
        self.count = count

    def close(self) -> None:
        """Flushes and closes the file."""
        self._file.close()

    def read(self) -> FrameFile:
        """The frames written so far; raises AvatarError if there are none."""
        self._file.flush()
        if not self.count:
            raise AvatarError("an avatar needs at least one frame")
        return FrameFile(self.path, self.count, self.size)


class AvatarWriter:
    """Writes an avatar's folder frame by frame; as a context manager it leaves a complete folder or none.

    Written frames can be read back before the rest is known.
    """

    def __init__(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._target = directory
        prefix = f".{directory.name}-"
        remove_abandoned(directory.parent, prefix)
        self._temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent)
        self._alive = _alive_file(Path(self._temporary.name))
        self.folder = Path(self._temporary.name) / directory.name
        self.folder.mkdir()
        self._sealed = self._published = False
        self._frame_writers: list[FrameWriter] = []

    def __enter__(self) -> AvatarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._frame_writers:
            writer.close()
        if self._published:
            _sync(self._target.parent)  # the renaming itself
        os.close(self._alive)
        self._temporary.cleanup()  # also of what was replaced

    def frames(self, name: str = "") -> FrameWriter:
        """A writer of the avatar's frames, or of those of the clip in the folder `name`."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self._frame_writers.append(FrameWriter(folder / FRAMES_FILE))
        return self._frame_writers[-1]

    def finish(
        self,
        settings: AvatarSettings,
        preview: NDArray[np.uint8],
        matrices: NDArray[np.float64],
        condition: NDArray[np.float16],
        landmarks: NDArray[np.float32] | None = None,
    ) -> None:
        """Writes all other files of a `PreparedAvatar`. Raises AvatarError for sizes that do not fit."""
        count, side = settings.frame_count, settings.resolution // CONTRACT.pixels_per_latent
        if matrices.shape != (count, 2, 3) or condition.shape != (count, CONTRACT.condition_channels, side, side):
            raise AvatarError(
                f"{count} frames need matrices [{count}, 2, 3] and conditions "
                f"[{count}, {CONTRACT.condition_channels}, h, w]; got {list(matrices.shape)} and "
                f"{list(condition.shape)}"
            )
        np.save(self.folder / MATRICES_FILE, np.ascontiguousarray(matrices, dtype=np.float64))
        np.save(self.folder / CONDITION_FILE, np.ascontiguousarray(condition, dtype=np.float16))
        if landmarks is not None:
            np.save(self.folder / LANDMARKS_FILE, np.ascontiguousarray(landmarks, dtype=np.float32))
        self._write_masks(settings, matrices)
        cv2.imwrite(str(self.folder / PREVIEW_FILE), cv2.cvtColor(preview, cv2.COLOR_RGB2BGR))
        settings.write(self.folder / SETTINGS_FILE)

    def seal(self) -> None:
        """Notes the files' checksums and waits until everything is on the disk: what is published survives a crash."""
        _write_sums(self.folder)
        for path in (*self.folder.rglob("*"), self.folder):
            _sync(path)
        self._sealed = True

    def publish(self) -> None:
        """Puts the folder in its place; it replaces one that is there. Takes a moment when `seal` was called before.

        A process that is killed in that moment leaves one of the two, or `remove_abandoned` puts the new one there.
        """
        if not self._sealed:
            self.seal()
        if self._target.exists():
            # Renamed first: an avatar that can't be removed whole must not be left half removed.
            self._target.rename(self.folder.with_name(_REPLACED))
        self.folder.rename(self._target)
        self._published = True

    def _write_masks(self, settings: AvatarSettings, matrices: NDArray[np.float64]) -> None:
        size, side = (settings.width, settings.height), settings.resolution
        mask, rectangles = paste_mask(side), []
        with (self.folder / MASKS_FILE).open("wb") as file:
            for matrix in matrices:  # one by one: the soft masks of a minute are hundreds of megabytes
                placement = place(matrix, size, (side, side), mask)
                rectangles.append(placement.rectangle)
                file.write(placement.weight.tobytes())
        np.save(self.folder / RECTANGLES_FILE, np.array(rectangles, dtype=np.int32))


def _write_sums(folder: Path) -> None:
    """For `sha256sum --check SHA256SUMS`; checking at each start would read gigabytes."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def _sync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive_file(folder: Path) -> int:
    """Opens a file that is locked while this process writes into `folder`; the lock ends with the process."""
    handle = os.open(folder / _ALIVE_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def remove_abandoned(parent: Path, prefix: str = ".") -> None:
    """Removes the folders below `parent` that killed writers have left, which may be gigabytes.

    Where one was killed while it replaced an avatar, the new one gets its place first.
    """
    for path in parent.glob(f"{prefix}*/{_ALIVE_FILE}"):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another process is writing there
        else:
            _finish_replacement(path.parent)
            shutil.rmtree(path.parent, ignore_errors=True)
        finally:
            os.close(handle)


def _finish_replacement(abandoned: Path) -> None:
    """Publishes what a killed writer had sealed, where what it replaces has left its place already."""
    if not (abandoned / _REPLACED).is_dir():
        return
    for sealed in abandoned.glob("[!.]*"):
        target = abandoned.parent / sealed.name
        if sealed.is_dir() and not target.exists():
            sealed.rename(target)
            _sync(target.parent)
