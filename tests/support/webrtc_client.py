"""A viewer by aiortc, which is no browser: it counts and decodes what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from streaming.pattern import read_stamp

_LOUD = 3000


class WebRtcClient:
    """One connection that receives; `numbers` are those of the pictures that it decoded, `beeps` counts loud sound."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.numbers: list[int] = []
        self.beeps = 0
        self._reading: list[asyncio.Task[None]] = []
        self.connection.on("track", self._read)

    async def offer(self, *kinds: str) -> str:
        """An SDP offer that would receive these kinds."""
        for kind in kinds:
            self.connection.addTransceiver(kind, direction="recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        """Connects."""
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def pictures(self, count: int) -> list[int]:
        """The numbers of all pictures, once there are so many."""
        while len(self.numbers) < count:
            await asyncio.sleep(0.02)
        return self.numbers

    async def close(self) -> None:
        """Hangs up."""
        await self.connection.close()
        for task in self._reading:  # a track that never began doesn't end either
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def _read(self, track: MediaStreamTrack) -> None:
        self._reading.append(asyncio.create_task(self._frames(track)))

    async def _frames(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                luma = np.asarray(frame.to_ndarray(format="gray"), np.uint8)
                self.numbers.append(read_stamp(luma)[0])
            elif isinstance(frame, av.AudioFrame):
                self.beeps += int(np.abs(frame.to_ndarray()).max() > _LOUD)


@asynccontextmanager
async def webrtc_client() -> AsyncIterator[WebRtcClient]:
    """A client that hangs up at the end."""
    client = WebRtcClient()
    try:
        yield client
    finally:
        await client.close()
