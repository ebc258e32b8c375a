"""Hears what a channel sends: the reference for the avatar's echo in a microphone."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from conversation.recognition.recogniser import RATE_HZ
from latentsync.sound import SOUND_RATE_HZ
from orchestrator.clock import Clock
from orchestrator.conversations.sent_sound import SentSound
from streaming.packet import Description, Packet, Track
from streaming.packet_stream import PacketParser

_LOOK_S = 0.2
_READ_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class ChannelEar:
    """Decodes the sound of a channel's packets when they come, over restarts of the channel.

    So it knows what the encoder gave out and when, also where that is seconds behind the frame clock, or leaves frames
    out. It has a thread of its own, since an event loop that has much to do would have it too late.
    """

    def __init__(self, packet_socket: Path, clock: Clock) -> None:
        self._packet_socket = packet_socket
        self._clock = clock
        self._lock = threading.Lock()
        self._sent = SentSound()

    def sounding(self, until_s: float, count: int) -> NDArray[np.int16] | None:
        """The `count` samples at 16 kHz that the channel sent up to a moment of the clock; None for silence."""
        with self._lock:
            return self._sent.until(until_s, count)

    async def run(self) -> None:
        """Hear until it is cancelled."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        over: asyncio.Future[None] = loop.create_future()

        def listen() -> None:
            try:
                self._listen(stop)
            except Exception as error:  # noqa: BLE001  # whoever runs this is told, and begins again
                with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    loop.call_soon_threadsafe(_fail, over, error)

        threading.Thread(target=listen, name="channel-ear", daemon=True).start()
        try:
            await over
        finally:
            stop.set()

    def _listen(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with socket.socket(socket.AF_UNIX) as packets:
                packets.settimeout(_LOOK_S)
                try:
                    packets.connect(str(self._packet_socket))
                    self._hear(packets, stop)
                except OSError:  # the channel starts, or starts again
                    pass
                except ValueError as error:
                    logger.error("the sound of %s can't be read: %s; connecting again", self._packet_socket, error)
            stop.wait(_LOOK_S)

    def _hear(self, packets: socket.socket, stop: threading.Event) -> None:
        """Until the channel's process ends. Raises OSError, and ValueError for what is no packet."""
        since_s = time.monotonic()  # packets that are older come at once, and are over
        decoder, parser = _Decoder(), PacketParser()
        while not stop.is_set():
            try:
                data = packets.recv(_READ_BYTES)
            except TimeoutError:
                continue
            if not data:
                return
            began_s = self._clock() - time.monotonic()
            for message in parser.feed(data):
                if isinstance(message, Description):
                    decoder = _Decoder()
                elif message.track is Track.OPUS and message.captured_s >= since_s:
                    samples = decoder.decode(message)
                    with self._lock:
                        self._sent.came(samples, began_s + message.given_s)


def _fail(over: asyncio.Future[None], error: Exception) -> None:
    if not over.done():
        over.set_exception(error)


class _Decoder:
    """From Opus to mono int16 at 16 kHz."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("opus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate, codec.layout = SOUND_RATE_HZ, "mono"
        self._codec = codec
        self._resampler = AudioResampler("s16", "mono", RATE_HZ)

    def decode(self, packet: Packet) -> NDArray[np.int16]:
        """The samples that it completes."""
        decoded = self._codec.decode(av.Packet(packet.data))
        frames = [part for frame in decoded for part in self._resampler.resample(frame)]
        samples: list[NDArray[np.int16]] = [frame.to_ndarray()[0].astype(np.int16) for frame in frames]
        return np.concatenate([np.zeros(0, np.int16), *samples])
