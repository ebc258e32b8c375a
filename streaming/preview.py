"""Serves the live fragmented MP4 on a Unix socket to many readers, none of which can block the stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streaming.mp4_fragments import FragmentWriter, InitSegment
from streaming.packet import Description, Packet
from streaming.readers import Part, Readers

_MAX_READERS = 200


class PreviewServer:
    """Muxes packets once, for all readers.

    A reader gets the initialisation segment, the fragments since the latest keyframe, and then each fragment as it
    comes. When the encoder is started again, readers get its new initialisation segment and go on.
    """

    def __init__(self, path: Path, fragment_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.codecs = ""
        self._writer = FragmentWriter(fragment_ms)
        self._readers = Readers(path, "preview", _MAX_READERS, clock=clock)

    @property
    def readers(self) -> int:
        """Connected readers."""
        return len(self._readers)

    def publish(self, message: Description | Packet) -> None:
        """Gives every reader what this message completes; never blocks."""
        for segment in self._writer.feed(message):
            if isinstance(segment, InitSegment):
                self.codecs = segment.codecs
                self._readers.publish(segment.data, Part.HEADER)
            else:
                self._readers.publish(segment.data, Part.GROUP if segment.keyframe else Part.REST)

    def close(self) -> None:
        """Disconnects all readers and removes the socket."""
        self._readers.close()
