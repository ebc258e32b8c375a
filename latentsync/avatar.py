"""Prepared avatars on disk: frames, face matrices and the UNet's condition, memory-mapped by whoever plays them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.mask import paste_mask
from latentsync.paste_back import PasteBack

FORMAT_VERSION = 1
CONDITION_CHANNELS = 9
VAE_SCALE = 8
SETTINGS_FILE = "avatar.json"
FRAMES_FILE = "frames.rgb"
MATRICES_FILE = "matrices.npy"
CONDITION_FILE = "condition.npy"
PREVIEW_FILE = "preview.png"


class AvatarError(ValueError):
    """An avatar's folder is missing, damaged, or of another version; the message says which file and why."""


class Loop(str, Enum):
    """How an avatar's clip is repeated."""

    CYCLE = "cycle"  # from the last frame to the first: the clip was made to loop
    PINGPONG = "pingpong"  # forwards, then backwards


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
    fps: int = 25
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for field in ("width", "height", "frame_count", "resolution"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}")
        if self.resolution % VAE_SCALE:
            raise ValueError(f"resolution must be a multiple of {VAE_SCALE}, not {self.resolution}")


@dataclass(frozen=True, eq=False)
class PreparedAvatar:
    """An avatar that is ready to play: all arrays are memory-mapped and read-only."""

    directory: Path
    settings: AvatarSettings
    frames: NDArray[np.uint8]  # [N, H, W, 3] RGB
    matrices: NDArray[np.float64]  # [N, 2, 3], frame pixels to face crop pixels
    condition: NDArray[np.float16]  # [N, 9, h, w]: mask, masked-image latents, reference latents

    @property
    def name(self) -> str:
        """The avatar's name."""
        return self.settings.name

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

    @classmethod
    def open(cls, directory: Path | str) -> PreparedAvatar:
        """Opens a prepared avatar's folder; raises AvatarError when it is missing, damaged, or of another version."""
        folder = Path(directory)
        settings = _read_settings(folder / SETTINGS_FILE)
        frames_shape = (settings.frame_count, settings.height, settings.width, 3)
        side = settings.resolution // VAE_SCALE
        frames_path = folder / FRAMES_FILE
        try:
            if frames_path.stat().st_size != int(np.prod(frames_shape)):
                raise AvatarError(f"{frames_path} must hold {frames_shape} bytes; it has {frames_path.stat().st_size}")
            frames = np.memmap(frames_path, dtype=np.uint8, mode="r", shape=frames_shape)
            matrices = _mapped(folder / MATRICES_FILE, np.float64, (settings.frame_count, 2, 3))
            condition_shape = (settings.frame_count, CONDITION_CHANNELS, side, side)
            condition = _mapped(folder / CONDITION_FILE, np.float16, condition_shape)
        except OSError as error:
            raise AvatarError(f"the avatar in {folder} can't be read: {error}") from error
        return cls(folder, settings, frames, matrices, condition)

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
        """Writes a prepared avatar and opens it.

        Takes as many frames [H, W, 3] RGB uint8 as there are matrices [N, 2, 3] (frame pixels to face crop pixels) and
        conditions [N, 9, h, w]. The folder appears complete or not at all, and replaces one that is there. Raises
        AvatarError for sizes that do not fit.
        """
        target = Path(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            folder = Path(temporary) / target.name
            folder.mkdir()
            count, (height, width) = _write_frames(folder, frames)
            if len(matrices) != count or condition.shape[:2] != (count, CONDITION_CHANNELS):
                raise AvatarError(
                    f"{count} frames need matrices [{count}, 2, 3] and conditions "
                    f"[{count}, {CONDITION_CHANNELS}, h, w]; got {list(matrices.shape)} and {list(condition.shape)}"
                )
            np.save(folder / MATRICES_FILE, np.ascontiguousarray(matrices, dtype=np.float64))
            np.save(folder / CONDITION_FILE, np.ascontiguousarray(condition, dtype=np.float16))
            resolution = condition.shape[-1] * VAE_SCALE
            settings = AvatarSettings(name, width, height, count, resolution, loop, source_sha256)
            (folder / SETTINGS_FILE).write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
            cls.open(folder)  # what can't be opened must not replace what can
            if target.exists():
                shutil.rmtree(target)
            folder.rename(target)
        return cls.open(target)

    def frame_index(self, position: int) -> int:
        """The frame at a position of the avatar's unbounded path; neighbouring positions are neighbouring frames."""
        count = self.frame_count
        if self.settings.loop is Loop.CYCLE or count == 1:
            return position % count
        there = position % (2 * count - 2)
        return there if there < count else 2 * count - 2 - there

    def paste_back(self) -> PasteBack:
        """Prepares pasting of repainted mouths into this avatar's frames (the U of `mask.paste_mask` alone)."""
        return PasteBack(self.matrices, self.frame_size, self.resolution, paste_mask(self.resolution))


def _read_settings(path: Path) -> AvatarSettings:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.get("version") != FORMAT_VERSION:
            raise AvatarError(
                f"{path} is of version {values.get('version')}, this program reads {FORMAT_VERSION}: "
                "add the avatar again"
            )
        known = {field.name for field in fields(AvatarSettings)}
        return AvatarSettings(
            **{**{key: value for key, value in values.items() if key in known}, "loop": Loop(values["loop"])}
        )
    except OSError as error:
        raise AvatarError(f"{path} can't be read ({error.strerror}): is this a prepared avatar?") from error
    except KeyError as error:
        raise AvatarError(f"{path} lacks {error}") from error
    except AvatarError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise AvatarError(f"{path} is damaged: {error}") from error


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise AvatarError(f"{path} is not an array file: {error}") from error
    if array.dtype != dtype or array.shape != shape:
        raise AvatarError(f"{path} must hold {np.dtype(dtype)} {shape}; it has {array.dtype} {array.shape}")
    return array


def _write_frames(folder: Path, frames: Iterable[NDArray[np.uint8]]) -> tuple[int, tuple[int, int]]:
    """Writes the frames one by one, and the first as the preview; returns how many, and height and width."""
    count, shape = 0, (0, 0)
    with (folder / FRAMES_FILE).open("wb") as file:
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise AvatarError(f"frame {count} must be [H, W, 3] uint8; got {list(frame.shape)} {frame.dtype}")
            if count and frame.shape[:2] != shape:
                raise AvatarError(f"frame {count} is {frame.shape[:2]}, those before are {shape} (height, width)")
            if not count:
                shape = (frame.shape[0], frame.shape[1])
                cv2.imwrite(str(folder / PREVIEW_FILE), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            file.write(np.ascontiguousarray(frame).data)
            count += 1
    if not count:
        raise AvatarError("an avatar needs at least one frame")
    return count, shape
