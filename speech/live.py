"""How live speech is heard and cut: what a channel trades between the delay of its lips and how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speech.chunking import ChunkPlan, live_chunks
from speech.windows import WindowPolicy, growing_window, short_window


class WindowKind(StrEnum):
    """How much of what was said Whisper hears again for each chunk."""

    AUTO = "auto"
    """`growing` where Whisper runs on a GPU, else `short`."""
    GROWING = "growing"
    SHORT = "short"


@dataclass(frozen=True)
class LiveSettings:
    """Frames of look-ahead, of a chunk, and of backlog above which a microphone's pauses are shortened.

    A frame's lips are made once `look_ahead_frames` beyond the sound that it hears have arrived, and the rest of its
    chunk of at least `chunk_frames`. Raises ValueError for numbers that no window or chunk has.
    """

    look_ahead_frames: int = 5
    chunk_frames: int = 8
    window: WindowKind = WindowKind.AUTO

    def __post_init__(self) -> None:
        if self.look_ahead_frames < 0:
            raise ValueError(f"look_ahead_frames must not be negative, got {self.look_ahead_frames}")
        for on_gpu in (True, False):
            self.windows(on_gpu)
        live_chunks(self.chunk_frames)

    def windows(self, on_gpu: bool) -> WindowPolicy:
        """What Whisper hears."""
        growing = on_gpu if self.window is WindowKind.AUTO else self.window is WindowKind.GROWING
        return growing_window(self.look_ahead_frames) if growing else short_window(self.look_ahead_frames)

    @property
    def chunks(self) -> ChunkPlan:
        """The lengths of its chunks."""
        return live_chunks(self.chunk_frames)

    @property
    def backlog_frames(self) -> int:
        """Frames that always wait: a chunk and its look-ahead, and one more chunk while the first is made."""
        return 2 * self.chunk_frames + self.look_ahead_frames
