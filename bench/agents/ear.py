"""Listens to what a channel's encoder gives out, and finds a segment's tone in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from bench.agents.tones import AMPLITUDE
from orchestrator.orchestrator import Orchestrator
from streaming.config import SAMPLE_RATE_HZ
from streaming.packet import Description, Packet, Track
from streaming.packet_stream import PacketReader

_AGAIN_S = 0.05
_FIRST_S = 30.0
_ROUNDING_S = 0.005
_STEP = SAMPLE_RATE_HZ // 1000
_AVERAGED = 5 * _STEP
_FULL_SCALE = 32768


@dataclass(frozen=True)
class Heard:
    """What there was of a tone: when it began and ended by the monotonic clock, None where there was nothing of it.

    `seconds` has no pauses in it. `unheard_s` is how much of the stream's sound never came to the ear meanwhile: its
    connection was lost, or the encoder gave nothing.
    """

    first_s: float | None
    last_s: float | None
    seconds: float
    unheard_s: float = 0.0


class Ear:
    """Decodes the sound of a channel's packets over its restarts; `run` is to be running."""

    def __init__(self, packet_socket: Path) -> None:
        self._packet_socket = packet_socket
        self._pieces: deque[tuple[float, NDArray[np.float32]]] = deque()
        self._until_s = 0.0
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Listen until it is cancelled."""
        while True:
            try:
                reader = await PacketReader.connect(self._packet_socket)
            except OSError:  # the channel starts, or starts again
                await asyncio.sleep(_AGAIN_S)
                continue
            try:
                await self._listen(reader)
            finally:
                reader.close()
                await reader.wait_closed()

    async def until(self, at_s: float) -> None:
        """Wait for the sound of this moment."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._until_s > at_s)

    def forget(self, before_s: float) -> None:
        """What was earlier is not asked for any more."""
        while self._pieces and self._pieces[0][0] < before_s:
            self._pieces.popleft()

    def heard(self, hz: int, since_s: float) -> Heard:
        """What there was of a tone since then."""
        pieces = [(at_s, piece) for at_s, piece in self._pieces if at_s >= since_s]
        if not pieces:
            return Heard(None, None, 0.0)
        samples = np.concatenate([piece for _, piece in pieces])
        times = np.concatenate([at_s + np.arange(0, len(piece), _STEP) / SAMPLE_RATE_HZ for at_s, piece in pieces])
        ends = np.array([at_s + len(piece) / SAMPLE_RATE_HZ for at_s, piece in pieces])
        holes = np.array([at_s for at_s, _ in pieces])[1:] - ends[:-1]
        unheard_s = float(holes[holes > _ROUNDING_S].sum())
        loud = np.flatnonzero(_loudness(samples, hz)[: len(times)] > AMPLITUDE / _FULL_SCALE / 2)
        if not len(loud):
            return Heard(None, None, 0.0, unheard_s)
        step_s = _STEP / SAMPLE_RATE_HZ
        return Heard(float(times[loud[0]]), float(times[loud[-1]]) + step_s, len(loud) * step_s, unheard_s)

    async def _listen(self, reader: PacketReader) -> None:
        decoder = _decoder()
        async for message in reader:
            if isinstance(message, Description):
                decoder = _decoder()
            elif isinstance(message, Packet) and message.track is Track.OPUS and message.captured_s > self._until_s:
                for frame in decoder.decode(av.Packet(message.data)):
                    self._pieces.append((message.captured_s, frame.to_ndarray().mean(axis=0, dtype=np.float32)))
                async with self._moved:
                    self._until_s = message.captured_s
                    self._moved.notify_all()


@asynccontextmanager
async def listened(orchestrator: Orchestrator, channel_id: str) -> AsyncIterator[Ear]:
    """An ear that hears a channel already."""
    ear = Ear(orchestrator.channels[channel_id].packet_socket)
    listening = asyncio.create_task(ear.run())
    try:
        async with asyncio.timeout(_FIRST_S):
            await ear.until(0.0)
        yield ear
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _loudness(samples: NDArray[np.float32], hz: int) -> NDArray[np.float64]:
    """The amplitude of a tone, averaged over 5 ms around each millisecond."""
    wave = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / SAMPLE_RATE_HZ)
    sums = np.concatenate([[0], np.cumsum(samples * wave)])
    middles = np.arange(0, len(samples), _STEP)
    first, last = np.maximum(middles - _AVERAGED // 2, 0), np.minimum(middles + _AVERAGED // 2, len(samples))
    return np.asarray(2 * np.abs(sums[last] - sums[first]) / _AVERAGED)


def _decoder() -> AudioCodecContext:
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout = SAMPLE_RATE_HZ, "mono"
    return decoder
