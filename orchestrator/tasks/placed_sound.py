"""How far into a speech's sound the frames are that were played: its silence and what was left out don't count."""

from __future__ import annotations


class PlacedSound:
    """Where on the stream each part of one speech's log begins."""

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []

    def place(self, shown: int, heard: int) -> None:
        """From frame `shown` of the stream's speech on, frame `heard` … of the log is played; below 0 is silence."""
        self._places.append((shown, heard))

    def heard(self, played: int, arrived: int) -> int:
        """Frames of the log's `arrived` that are over when `played` frames of the stream's speech were played."""
        for shown, heard in reversed(self._places):
            if shown < played:
                return max(0, min(heard + played - shown, arrived))
        return 0
