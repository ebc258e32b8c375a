"""The files of a prepared avatar: their names, what they hold, and how they are written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.mask import paste_mask
from latentsync.paste_back import place

FORMAT_VERSION = 2
CONDITION_CHANNELS = CONTRACT.condition_channels
VAE_SCALE = CONTRACT.pixels_per_latent
SETTINGS_FILE = "avatar.json"
FRAMES_FILE = "frames.rgb"
MATRICES_FILE = "matrices.npy"
CONDITION_FILE = "condition.npy"
LANDMARKS_FILE = "landmarks.npy"
RECTANGLES_FILE = "rectangles.npy"
MASKS_FILE = "masks.u8"
PREVIEW_FILE = "preview.png"
IDLE_FOLDER = "idle"
SUMS_FILE = "SHA256SUMS"
_ALIVE_FILE = "alive"


class AvatarError(ValueError):
    """An avatar's folder is missing, damaged, or of another version; the message says which file and why."""


class Loop(StrEnum):
    """How an avatar's clip is repeated."""

    CYCLE = "cycle"  # from the last frame to the first: the clip was made to loop
    PINGPONG = "pingpong"  # forwards, then backwards


@dataclass(frozen=True)
class IdleSettings:
    """The clip that plays while nobody speaks: its own size in pixels, length and rate, in `idle/frames.rgb`."""

    width: int
    height: int
    frame_count: int
    loop: Loop
    fps: int = CONTRACT.frames_per_second


@dataclass(frozen=True)
class AvatarSettings:
    """What `avatar.json` holds. Sizes in pixels; resolution is the face crop's side."""

    name: str
    width: int
    height: int
    frame_count: int
    resolution: int
    loop: Loop
    source_sha256: str
    fps: int = CONTRACT.frames_per_second
    version: int = FORMAT_VERSION
    idle: IdleSettings | None = None

    def __post_init__(self) -> None:
        for field in ("width", "height", "frame_count", "resolution"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}")
        if self.resolution % VAE_SCALE:
            raise ValueError(f"resolution must be a multiple of {VAE_SCALE}, not {self.resolution}")

    @classmethod
    def read(cls, path: Path) -> AvatarSettings:
        """Reads `avatar.json`; raises AvatarError when it is missing, damaged, or of another version."""
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if values.get("version") != FORMAT_VERSION:
                raise AvatarError(
                    f"{path} is of version {values.get('version')}, this program reads {FORMAT_VERSION}: "
                    "add the avatar again"
                )
            known = {name: value for name, value in values.items() if name in {field.name for field in fields(cls)}}
            idle = known.pop("idle", None)
            return cls(
                **{**known, "loop": Loop(values["loop"])},
                idle=None if idle is None else IdleSettings(**{**idle, "loop": Loop(idle["loop"])}),
            )
        except OSError as error:
            raise AvatarError(f"{path} can't be read ({error.strerror}): is this a prepared avatar?") from error
        except KeyError as error:
            raise AvatarError(f"{path} lacks {error}") from error
        except AvatarError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise AvatarError(f"{path} is damaged: {error}") from error

    def write(self, path: Path) -> None:
        """The inverse of `read`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class MappedFile:
    """The bytes of a memory-mapped file, which may be larger than memory."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Raises AvatarError when the file doesn't hold an array uint8 of this shape, and OSError."""
        wanted = int(np.prod(shape, dtype=np.int64))
        with path.open("rb") as file:
            if (found := path.stat().st_size) != wanted:
                raise AvatarError(f"{path} must hold {wanted} bytes for {shape}; it has {found}")
            # An empty file can't be mapped.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if wanted else None
        self.array: NDArray[np.uint8] = np.frombuffer(self._map or b"", np.uint8).reshape(shape)

    def release(self) -> None:
        """Takes the read pages off this process's memory; the next access maps them again from the page cache."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)


class FrameFile(MappedFile):
    """Pictures RGB uint8 [H, W, 3] in one memory-mapped file."""

    def __init__(self, path: Path, count: int, size: tuple[int, int]) -> None:
        """`size` is width and height. Raises AvatarError when the file doesn't hold `count` frames, and OSError."""
        width, height = size
        super().__init__(path, (count, height, width, 3))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, a read-only view. What was read before stays valid, and goes back to the page cache."""
        self.release()
        frame: NDArray[np.uint8] = self.array[index]
        return frame


class AvatarWriter:
    """Writes an avatar's folder frame by frame; as a context manager it leaves a whole folder or none.

    The frames that were written can be read back before the rest is known.
    """

    def __init__(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._target = directory
        prefix = f".{directory.name}-"
        _remove_abandoned(directory.parent, prefix)
        self._temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent)
        self._alive = _alive_file(Path(self._temporary.name))
        self.folder = Path(self._temporary.name) / directory.name
        self.folder.mkdir()

    def __enter__(self) -> AvatarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._alive)
        self._temporary.cleanup()

    def frames(self, name: str = "") -> FrameWriter:
        """A writer of the avatar's frames, or of those of the clip in the folder `name`."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return FrameWriter(folder / FRAMES_FILE)

    def finish(
        self,
        settings: AvatarSettings,
        preview: NDArray[np.uint8],
        matrices: NDArray[np.float64],
        condition: NDArray[np.float16],
        landmarks: NDArray[np.float32] | None = None,
    ) -> None:
        """Writes everything else: what `PreparedAvatar` holds. Raises AvatarError for sizes that do not fit."""
        count, side = settings.frame_count, settings.resolution // VAE_SCALE
        if matrices.shape != (count, 2, 3) or condition.shape != (count, CONDITION_CHANNELS, side, side):
            raise AvatarError(
                f"{count} frames need matrices [{count}, 2, 3] and conditions "
                f"[{count}, {CONDITION_CHANNELS}, h, w]; got {list(matrices.shape)} and {list(condition.shape)}"
            )
        np.save(self.folder / MATRICES_FILE, np.ascontiguousarray(matrices, dtype=np.float64))
        np.save(self.folder / CONDITION_FILE, np.ascontiguousarray(condition, dtype=np.float16))
        if landmarks is not None:
            np.save(self.folder / LANDMARKS_FILE, np.ascontiguousarray(landmarks, dtype=np.float32))
        self._write_masks(settings, matrices)
        cv2.imwrite(str(self.folder / PREVIEW_FILE), cv2.cvtColor(preview, cv2.COLOR_RGB2BGR))
        settings.write(self.folder / SETTINGS_FILE)

    def publish(self) -> None:
        """Notes the files' checksums and puts the folder in its place; it replaces one that is there."""
        _write_sums(self.folder)
        if self._target.exists():
            # Renamed first: an avatar that can't be removed whole must not be left half removed.
            self._target.rename(self.folder.with_name("replaced"))
        self.folder.rename(self._target)
        shutil.rmtree(self.folder.with_name("replaced"), ignore_errors=True)

    def _write_masks(self, settings: AvatarSettings, matrices: NDArray[np.float64]) -> None:
        size, side = (settings.width, settings.height), settings.resolution
        mask, rectangles = paste_mask(side), []
        with (self.folder / MASKS_FILE).open("wb") as file:
            for matrix in matrices:  # one at a time: all soft masks of a minute are hundreds of megabytes
                placement = place(matrix, size, (side, side), mask)
                rectangles.append(placement.rectangle)
                file.write(placement.weight.tobytes())
        np.save(self.folder / RECTANGLES_FILE, np.array(rectangles, dtype=np.int32))


def _write_sums(folder: Path) -> None:
    """For `sha256sum --check SHA256SUMS`, since a start would have to read gigabytes to find a flipped bit."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def _alive_file(folder: Path) -> int:
    """A file that is locked for as long as this process writes into `folder`, however it ends."""
    handle = os.open(folder / _ALIVE_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Removes what a writer that was killed has left: it may be gigabytes."""
    for path in parent.glob(f"{prefix}*/{_ALIVE_FILE}"):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # somebody is at work there
        else:
            shutil.rmtree(path.parent, ignore_errors=True)
        finally:
            os.close(handle)


class FrameWriter:
    """Appends frames of one size to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.size = (0, 0)  # width, height
        self._file = path.open("wb")

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Appends a frame RGB uint8 [H, W, 3]; raises AvatarError for another shape, and for a full disk."""
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
            raise AvatarError(
                f"the disk of {self.path.parent} is full after {self.count} frames of {frame.nbytes / 1e6:.1f} MB: "
                "free some space, shorten the clip, or make it smaller with --max-height"
            ) from error

    def truncate(self, count: int) -> None:
        """Cuts the file down to its first `count` frames."""
        self._file.flush()
        self._file.truncate(count * self.size[0] * self.size[1] * 3)
        self.count = count

    def close(self) -> None:
        """Everything is in the file after this."""
        self._file.close()

    def read(self) -> FrameFile:
        """The frames until now; raises AvatarError when there is none."""
        self._file.flush()
        if not self.count:
            raise AvatarError("an avatar needs at least one frame")
        return FrameFile(self.path, self.count, self.size)
