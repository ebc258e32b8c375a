"""Opacity of the face over the frames of a fade."""

from __future__ import annotations


class FaceFade:
    """Opacity in steps of 1 / (`fade_frames` + 1), one step a frame at most, whenever a fade begins or turns."""

    def __init__(self, fade_frames: int) -> None:
        self._full = fade_frames + 1
        self._level = 0

    @property
    def opacity(self) -> float:
        """Of the latest frame."""
        return self._level / self._full

    @property
    def is_whole(self) -> bool:
        """True while the face covers what is beneath it."""
        return self._level == self._full

    @property
    def is_instant(self) -> bool:
        """True where a fade has no frame."""
        return self._full == 1

    @property
    def is_gone(self) -> bool:
        """True when the next frame may show no face."""
        return self._level <= 1

    def leaves_time(self, remaining: int | None) -> bool:
        """True while the face can be whole in this frame, the first of so many that remain, and gone behind them."""
        return remaining is None or remaining >= self._full

    def speak(self, remaining: int | None) -> float:
        """Opacity of a frame of speech, the first of `remaining`: rises, and falls so that the last one has a step."""
        highest = self._full if self.leaves_time(remaining) else max(remaining or 0, 1)
        self._level = min(self._level + 1, max(highest, self._level - 1))
        return self.opacity

    def fall(self) -> float:
        """Opacity of a face that is held while there is no frame of speech."""
        self._level = max(0, self._level - 1)
        return self.opacity

    def cut(self) -> float:
        """Opacity of the one frame in which an interrupted face goes."""
        opacity, self._level = self.opacity / 2, 0
        return opacity

    def reset(self) -> None:
        """No face is shown."""
        self._level = 0
