"""Reads the channel's packets and gives them as units to whoever listens, over restarts of the channel."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from streaming.packet import Packet, Track
from streaming.packet_stream import PacketReader
from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.sound_pacer import OnUnit, SoundPacer
from streaming.webrtc.units import Unit, audio_unit, video_unit

_log = logging.getLogger(__name__)

_RECONNECT_S = 0.2
_KEYFRAME_SPACING_S = 0.5
_BURST_S = 0.6
"""A keyframe of this age still begins a viewer's picture at once; for an older one a new one is asked for."""
_BURST_UNITS = 100


class Feed:
    """One connection to a channel's packet socket, made again whenever it ends."""

    def __init__(
        self, path: Path, clock: CaptureClock, on_unit: OnUnit, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_unit = on_unit
        self._sound = SoundPacer(on_unit, monotonic)
        self._monotonic = monotonic
        self._reader: PacketReader | None = None
        self._group: list[Unit] = []  # pictures since the latest keyframe
        self._group_at = float("-inf")
        self._asked_at = float("-inf")
        self._shift = Fraction(0)
        self._last: tuple[Fraction, float] | None = None
        self._joins = True

    @property
    def connected(self) -> bool:
        """Whether the channel gives packets now."""
        return self._reader is not None

    def burst(self) -> list[Unit]:
        """The pictures since the latest keyframe, with which a viewer begins at once; empty where it is too old."""
        return self._group if self._monotonic() - self._group_at <= _BURST_S else []

    def request_keyframe(self) -> None:
        """Asks the channel for a keyframe, unless it was asked a moment ago."""
        now = self._monotonic()
        if self._reader is not None and now - self._asked_at >= _KEYFRAME_SPACING_S:
            self._asked_at = now
            self._reader.request_keyframe()

    async def run(self) -> None:
        """Reads until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sound.run(), name="webrtc-sound")
            await self._read()

    async def _read(self) -> None:
        while True:
            try:
                self._reader = await PacketReader.connect(self._path)
            except OSError:  # the channel starts, or starts again
                await asyncio.sleep(_RECONNECT_S)
                continue
            self._joins = True
            try:
                async for message in self._reader:
                    if isinstance(message, Packet):
                        await self._take(message)
                _log.info("the channel's packets have ended: connecting again")
            except ValueError as error:
                _log.error("%s: connecting again", error)
            finally:
                self._reader.close()
                self._reader = None
                self._group = []
            await asyncio.sleep(_RECONNECT_S)

    async def _take(self, packet: Packet) -> None:
        if packet.track is Track.AAC:
            return
        if self._joins:
            self._join(packet)
        pts = packet.pts * packet.time_base + self._shift
        if packet.track is Track.OPUS:
            self._sound.put(audio_unit(packet.data, pts), packet.captured_s)
            return
        unit = video_unit(packet.data, pts, packet.keyframe)
        self._last = pts, packet.captured_s
        self._clock.note(unit.time_s, packet.captured_s)
        if unit.keyframe:
            self._group, self._group_at = [], packet.captured_s
        if unit.keyframe or 0 < len(self._group) < _BURST_UNITS:
            self._group.append(unit)
        await self._on_unit(unit)

    def _join(self, packet: Packet) -> None:
        """Lets the times of a channel that began anew go on where the ones before ended: receivers know no way back."""
        self._joins = False
        if self._last is None:
            return
        last, captured_s = self._last
        passed = Fraction(max(0.04, packet.captured_s - captured_s)).limit_denominator(1000)
        begin = packet.pts * packet.time_base
        if begin + self._shift < last or begin + self._shift > last + 2 * passed + 1:
            self._shift = last + passed - begin
