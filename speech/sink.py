"""Who plays speeches, as the one who makes them knows it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Placement(Protocol):
    """The position of a speech's first frame on the stream, and of the one that is shown now."""

    @property
    def position(self) -> int: ...

    @property
    def now(self) -> int: ...


class SpeechSink(Protocol):
    """Plays speeches, one after another; `streaming.handle.ChannelHandle` is one."""

    async def open(
        self, speech_id: str, expected_frames: int | None, lead_s: float, start_after: int | None = None
    ) -> Placement:
        """Find a place for a speech, at the earliest `lead_s` from now; None frames: its end is not known yet."""
        ...

    async def write(
        self, speech_id: str, first: int, faces: NDArray[np.uint8], sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        """Accept frames from `first` on: faces uint8 [k, R, R, 3], sound int16 [k, 1920]; waits while it is full.

        `may_pause` says that the speech may pause behind them: a wait there is no underrun.
        """
        ...

    def unplayed(self, speech_id: str) -> int:
        """How many of the frames that were written are not over yet; the one that is shown now counts."""
        ...

    def waited(self, speech_id: str) -> int:
        """How many frames, of those that were shown since it began, weren't its own, since its next one was late."""
        ...

    async def end(self, speech_id: str) -> None:
        """Mark the speech as complete: all its frames are written."""
        ...
