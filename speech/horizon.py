"""How far ahead of the stream faces are made where what it shows may change: no further than an underrun is far."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.contract import CONTRACT

_FPS = CONTRACT.frames_per_second


@dataclass(frozen=True)
class Horizon:
    """A chunk is requested so long before its first frame is shown that `chunks` of them could be made, and `slack_s`.

    Faces that are made can't be changed, so each second that they are ahead is one that whoever asks for a motion
    waits. Where fewer than `least_speed` times as many faces are made as are shown, there is no horizon: what is ahead
    is all that bridges a slow moment, and takes long to grow again.
    """

    slack_s: float = 0.5
    chunks: float = 2.0
    least_speed: float = 1.5

    def seconds(self, frames_per_s: float | None) -> float | None:
        """The horizon at a measured rate, in seconds; None: as far ahead as there is room."""
        if frames_per_s is None or frames_per_s < self.least_speed * _FPS:
            return None
        return self.slack_s + self.chunks * CONTRACT.chunk_frames / frames_per_s
