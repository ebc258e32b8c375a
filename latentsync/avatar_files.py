"""The files of a prepared avatar: their names, settings, and memory-mapped content."""

from __future__ import annotations

import json
import mmap
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT

FORMAT_VERSION = 2
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


class AvatarError(ValueError):
    """An avatar's folder is missing, damaged, or of another version; the message says which file and why."""


class DiskFull(AvatarError):
    """An avatar can't be written: the disk has too little space left."""

    code: ClassVar[str] = "disk_full"


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
    """What `avatar.json` holds. Sizes in pixels; resolution is the face crop's side.

    `checkpoint` is the name of the one that it was prepared for; None in older avatars, which fit where sizes do.
    `fit_db` is how well that one's VAE draws the avatar's mouth (PSNR); None where it wasn't measured.
    """

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
    checkpoint: str | None = None
    fit_db: float | None = None

    def __post_init__(self) -> None:
        for field in ("width", "height", "frame_count", "resolution"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}")
        if self.resolution % CONTRACT.pixels_per_latent:
            raise ValueError(f"resolution must be a multiple of {CONTRACT.pixels_per_latent}, not {self.resolution}")

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
        """Drops the pages from this process's memory; the next access maps them again from the page cache."""
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
        """Frame `index`, a read-only view. Earlier views stay valid, but their pages are released."""
        self.release()
        frame: NDArray[np.uint8] = self.array[index]
        return frame
