"""`probe webrtc`: watches a channel as a viewer does, and tells at which step it fails and what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import av
import httpx
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from orchestrator.access.ice_servers import parsed_links
from orchestrator.access.loopback import is_loopback
from orchestrator.probe import ProbeFailed
from orchestrator.speak_client import LiveServer

_HTTP_S = 10.0


class Step(StrEnum):
    """The steps to a picture, in their order."""

    SECURE = "https"
    OFFER = "offer"
    ICE = "ice"
    DTLS = "dtls"
    PACKET = "first packet"
    DECODE = "first picture"


_ADVICE = {
    Step.ICE: "no UDP packet got through to {addresses}. Open webrtc_ports for UDP in every firewall on the way; name "
    "the server's outer address in webrtc_announced where NAT stands before it; or give viewers a TURN server in "
    "ice_servers (docs/webrtc.md)",
    Step.DTLS: "UDP gets through, and the encrypted connection doesn't come about: the channel's .webrtc.log tells why",
    Step.PACKET: "the connection is there, and the channel sends nothing: GET /v1/channels/{channel} tells how it is",
    Step.DECODE: "packets arrive, and no picture can be decoded: the channel's log tells what its encoder does",
}


@dataclass(frozen=True)
class StepDone:
    """A step that succeeded, the seconds since the beginning, and what there is to say of it."""

    step: Step
    after_s: float
    remark: str = ""


Tell = Callable[[StepDone], None]


async def probe_webrtc(server: LiveServer, limit_s: float, tell: Tell) -> None:
    """Watches until the first picture; tells each step that succeeds, and raises ProbeFailed at the one that fails."""
    began = time.monotonic()

    def done(step: Step, remark: str = "") -> None:
        tell(StepDone(step, time.monotonic() - began, remark))

    done(Step.SECURE, _security(server.url))
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=_HTTP_S) as http:
        whep = f"/v1/channels/{server.channel}/whep"
        connection = RTCPeerConnection(RTCConfiguration(iceServers=await _ice_servers(http, whep)))
        try:
            watch = _Watch(connection)
            for kind in ("video", "audio"):
                connection.addTransceiver(kind, direction="recvonly")
            await connection.setLocalDescription(await connection.createOffer())
            async with _session(http, whep, connection.localDescription.sdp) as answer:
                done(Step.OFFER)
                await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
                for step, reached in watch.steps:
                    try:
                        await asyncio.wait_for(_until(reached), max(0.0, limit_s - (time.monotonic() - began)))
                    except TimeoutError:
                        text = _ADVICE[step].format(addresses=_addresses(answer), channel=server.channel)
                        raise ProbeFailed(f"{step.value}: {text}") from None
                    done(step)
        finally:
            await connection.close()
            await watch.aclose()


class _Watch:
    """What the connection has come to."""

    def __init__(self, connection: RTCPeerConnection) -> None:
        self._connection = connection
        self._pictures = 0
        self._readers: list[asyncio.Task[None]] = []
        connection.on("track", self._read)

    @property
    def steps(self) -> list[tuple[Step, Callable[[], bool]]]:
        return [
            (Step.ICE, lambda: self._connection.iceConnectionState == "completed"),
            (Step.DTLS, lambda: self._connection.connectionState == "connected"),
            (Step.PACKET, self._received),
            (Step.DECODE, lambda: self._pictures > 0),
        ]

    async def aclose(self) -> None:
        for reader in self._readers:  # a track that never began doesn't end either
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _received(self) -> bool:
        receivers = (each.receiver for each in self._connection.getTransceivers() if each.kind == "video")
        return any(receiver.getSynchronizationSources() for receiver in receivers)

    def _read(self, track: MediaStreamTrack) -> None:
        self._readers.append(asyncio.create_task(self._frames(track)))

    async def _frames(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self._pictures += isinstance(frame, av.VideoFrame)


@asynccontextmanager
async def _session(http: httpx.AsyncClient, whep: str, offer: str) -> AsyncIterator[str]:
    """The answer to the offer; the session ends with the block."""
    try:
        response = await http.post(whep, content=offer, headers={"Content-Type": "application/sdp"})
    except httpx.TransportError as error:
        raise ProbeFailed(f"offer: {http.base_url} doesn't answer ({error}). Is the server running there?") from None
    if response.status_code != httpx.codes.CREATED:
        raise ProbeFailed(f"offer: the server answered {response.status_code}: {_message(response)}")
    try:
        yield response.text
    finally:
        await http.delete(response.headers["Location"])


async def _ice_servers(http: httpx.AsyncClient, whep: str) -> list[RTCIceServer]:
    try:
        response = await http.options(whep)
    except httpx.TransportError:
        return []  # the offer tells what is wrong
    found = parsed_links(response.headers.get_list("Link"))
    return [RTCIceServer(each.url, each.username or None, each.credential or None) for each in found]


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  # aiortc has no event for most of them
        await asyncio.sleep(0.01)


def _security(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return "browsers give such a page the microphone"
    return "without HTTPS browsers show the picture, and give the page no microphone"


def _addresses(answer: str) -> str:
    lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    return ", ".join(dict.fromkeys(f"{line[4]} port {line[5]}" for line in lines)) or "no address at all"


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
