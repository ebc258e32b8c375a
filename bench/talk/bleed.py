"""A loudspeaker beside the microphone: the channel's sound over WebRTC, softer, back into the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import av
import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from bench.talk.client import RATE_HZ

_MOST = RATE_HZ // 2  # samples that wait: a loudspeaker that fell behind goes on with the newest


class Loudspeaker:
    """Plays what the channel sends, as soon as it comes."""

    def __init__(self, gain_db: float) -> None:
        self.played = 0
        """Samples that were loud."""
        self._gain = 10 ** (gain_db / 20)
        self._waiting = np.zeros(0, np.int16)
        self._reading: set[asyncio.Task[None]] = set()

    def take(self, count: int) -> NDArray[np.int16]:
        """As many samples as the microphone hears of it now."""
        piece, self._waiting = self._waiting[:count], self._waiting[count:]
        self.played += int(np.count_nonzero(np.abs(piece.astype(np.int32)) > 500))
        out = np.zeros(count, np.int16)
        out[: len(piece)] = np.rint(piece * self._gain)
        return out

    @asynccontextmanager
    async def connected(self, url: str, channel: str) -> AsyncIterator[Loudspeaker]:
        """Listens to the channel inside the block; raises httpx.HTTPStatusError where that is refused."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.on("track", self._play)
        try:
            for kind in ("audio", "video"):
                connection.addTransceiver(kind, direction="recvonly")
            await connection.setLocalDescription(await connection.createOffer())
            async with httpx.AsyncClient(base_url=url, timeout=60) as http:
                headers = {"Content-Type": "application/sdp"}
                offer = connection.localDescription.sdp
                answer = await http.post(f"/v1/channels/{channel}/whep", content=offer, headers=headers)
                answer.raise_for_status()
            await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            yield self
        finally:
            await connection.close()
            for task in self._reading:
                task.cancel()
            await asyncio.gather(*self._reading, return_exceptions=True)

    def _play(self, track: MediaStreamTrack) -> None:
        self._reading.add(asyncio.create_task(self._frames(track)))

    async def _frames(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.AudioFrame):
                for each in resampler.resample(frame):
                    samples = each.to_ndarray().reshape(-1).astype(np.int16)
                    self._waiting = np.concatenate([self._waiting, samples])[-_MOST:]
