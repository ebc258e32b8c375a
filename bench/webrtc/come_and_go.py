"""Viewers that come and go, and what is left of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from bench.webrtc.serving import PatternServer

_WHEP = "/v1/channels/main/whep"
_AT_ONCE = 4
_FIRST = 40
"""Visits before the memory is taken as a measure: allocators keep what they once had."""
_SETTLE_S = 15.0


@dataclass(frozen=True)
class Left:
    """What was left after all visits: peers, sockets more than before, and memory over that after the first visits."""

    visits: int
    failed: int
    peers: int
    sockets: int
    memory_mb: tuple[float, float]

    @property
    def memory_growth(self) -> float:
        """The second over the first."""
        return round(self.memory_mb[1] / self.memory_mb[0], 3)


async def come_and_go(server: PatternServer, visits: int) -> Left:
    """Lets so many viewers come, see a picture and go, some of them without a goodbye."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        await server.orchestrator.audiences.warm("main")
        before = _sockets(server.pid)
        failed = await _visit(http, min(_FIRST, visits))
        await _nobody(server)
        memory = _memory_mb(server.pid)
        failed += await _visit(http, max(0, visits - _FIRST))
        await _nobody(server)
        return Left(
            visits=visits,
            failed=failed,
            peers=server.orchestrator.audiences.viewers("main"),
            sockets=max(0, _sockets(server.pid) - before),
            memory_mb=(memory, _memory_mb(server.pid)),
        )


async def _visit(http: httpx.AsyncClient, visits: int) -> int:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> bool:
        async with places:
            return await _watch(http, polite=number % 2 == 0)

    return (await asyncio.gather(*(one(number) for number in range(visits)))).count(False)


async def _watch(http: httpx.AsyncClient, polite: bool) -> bool:
    """One viewer until its first picture; False where it saw none."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tracks: list[MediaStreamTrack] = []
    connection.on("track", tracks.append)
    try:
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        answer = await http.post(
            "/v1/channels/main/whep",
            content=connection.localDescription.sdp,
            headers={"Content-Type": "application/sdp"},
        )
        if answer.status_code != httpx.codes.CREATED:
            return False
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        try:
            await asyncio.wait_for(tracks[0].recv(), 20)
        except TimeoutError:
            return False
        if polite:
            await http.delete(answer.headers["Location"])
        return True
    finally:
        await connection.close()


async def _nobody(server: PatternServer) -> None:
    for _ in range(int(10 * _SETTLE_S)):
        if server.orchestrator.audiences.viewers("main") == 0:
            await asyncio.sleep(1.0)  # sockets close in the background
            return
        await asyncio.sleep(0.1)


def _sockets(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # closed this moment
    return count


def _memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1000, 1)
    raise RuntimeError(f"process {pid} has no memory")
