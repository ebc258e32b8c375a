"""Sound that arrives block by block, as a source of frames."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from speech.log import SoundFrames


class LiveSource(Protocol):
    """Turns one stream of bytes into frames; `rate_hz` is its own rate, in which its samples are counted."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def samples(self) -> int:
        """Samples of its own rate that have arrived, of each channel."""
        ...

    @property
    def silent_samples(self) -> int:
        """Samples of silence that its frames hold before those."""
        ...

    def frames(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[SoundFrames, None]:
        """The frames, as they are complete; takes a block only when it needs one. Close it (`aclosing`).

        Raises an AudioError, after the frames of what came before the fault.
        """
        ...
