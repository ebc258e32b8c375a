"""Serves the channel's packets on a Unix socket to a few local processes, as the one for WebRTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streaming.packet import Description, Packet, Track
from streaming.packet_stream import KEYFRAME_WANTED, encode
from streaming.readers import Part, Readers

_MAX_READERS = 16
_KEYFRAME_SPACING_S = 0.5
"""A keyframe costs ten times the bits of another picture: viewers that lose packets must not get one for each loss."""


class PacketServer:
    """Gives each reader the description, the packets since the latest keyframe, and then each one as it comes.

    `request_keyframe` is called where a reader asks for a keyframe, at most once in half a second.
    """

    def __init__(
        self, path: Path, request_keyframe: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._request_keyframe = request_keyframe
        self._clock = clock
        self._requested_at = float("-inf")
        self._readers = Readers(path, "packets", _MAX_READERS, self._receive, clock)

    @property
    def readers(self) -> int:
        """Connected readers."""
        return len(self._readers)

    def publish(self, message: Description | Packet) -> None:
        """Gives every reader the next message; never blocks."""
        if isinstance(message, Description):
            part = Part.HEADER
        else:
            message = replace(message, given_s=self._clock())
            part = Part.GROUP if message.track is Track.H264 and message.keyframe else Part.REST
        self._readers.publish(encode(message), part)

    def close(self) -> None:
        """Disconnects all readers and removes the socket."""
        self._readers.close()

    def _receive(self, data: bytes) -> None:
        now = self._clock()
        if KEYFRAME_WANTED in data and now - self._requested_at >= _KEYFRAME_SPACING_S:
            self._requested_at = now
            self._request_keyframe()
