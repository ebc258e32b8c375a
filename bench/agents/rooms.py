"""LiveKit rooms in memory, at the boundary of the package `livekit`: no server of it can be installed here.

A room has what agents and avatars use of `rtc.Room`: participants, byte streams, calls and publications. Tracks and
their sources are the package's own.
"""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from livekit import api, rtc
from livekit.rtc.event_emitter import EventEmitter

URL = "wss://rooms.example"


def token(identity: str, room: str = "room", **attributes: str) -> str:
    """A token as agents make them; nobody checks its signature."""
    made = api.AccessToken("key", "a secret of more than thirty-two characters")
    grants = api.VideoGrants(room_join=True, room=room)
    made = made.with_kind("agent").with_identity(identity).with_grants(grants).with_attributes(attributes)
    return str(made.to_jwt())


@dataclass(eq=False)
class Hall:
    """All rooms of one server; `unreachable` fails who joins, and `lost_calls` lists methods that fail once each."""

    rooms: dict[str, list["MemoryRoom"]] = field(default_factory=dict)
    unreachable: bool = False
    lost_calls: list[str] = field(default_factory=list)

    def room(self) -> "MemoryRoom":
        return MemoryRoom(self)


@dataclass(eq=False)
class Publication:
    kind: Any
    track: Any
    options: Any
    sid: str = "TR_1"


class Participant:
    """As others see it, and with what its own room does."""

    def __init__(self, room: "MemoryRoom", identity: str, attributes: dict[str, str]) -> None:
        self.identity = identity
        self.attributes = attributes
        self.kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        self.state = rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE
        self.track_publications: dict[str, Publication] = {}
        self._rpc_handlers: dict[str, Callable[[Any], Any]] = {}
        self._room = room

    def register_rpc_method(self, method: str, handler: Callable[[Any], Any]) -> None:
        self._rpc_handlers[method] = handler

    async def perform_rpc(self, *, destination_identity: str, method: str, payload: str) -> str:
        await asyncio.sleep(0)
        if method in self._room.hall.lost_calls:
            self._room.hall.lost_calls.remove(method)
            raise rtc.RpcError._built_in(rtc.RpcError.ErrorCode.SEND_FAILED)
        other = self._room.remote_participants.get(destination_identity)
        if other is None:
            raise rtc.RpcError._built_in(rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND)
        handler = other._rpc_handlers.get(method)
        if handler is None:
            raise rtc.RpcError._built_in(rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD)
        result = handler(rtc.RpcInvocationData("1", self.identity, payload, 10.0, method))
        return str(await result if inspect.isawaitable(result) else result)

    async def stream_bytes(
        self, name: str, *, topic: str, destination_identities: list[str], attributes: dict[str, str]
    ) -> "Writer":
        reader = Reader(attributes)
        for identity in destination_identities:
            other = self._room.remote_participants[identity]
            other._room.streams[topic](reader, self.identity)
        self._room.written.append(reader)
        return Writer(reader)

    async def publish_track(self, track: Any, options: Any) -> Publication:
        publication = Publication(track.kind, track, options, f"TR_{len(self.track_publications)}")
        self.track_publications[publication.sid] = publication
        for other in self._room.others:
            other.emit("track_published", publication, self)
        return publication


@dataclass(eq=False)
class Info:
    attributes: dict[str, str]
    stream_id: str = "stream"


class Reader:
    def __init__(self, attributes: dict[str, str]) -> None:
        self.info = Info(attributes)
        self.closed = False
        self._chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def put(self, chunk: bytes | Exception | None) -> None:
        self._chunks.put_nowait(chunk)

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> bytes:
        chunk = None if self.closed else await self._chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Writer:
    reader: Reader

    async def write(self, data: bytes) -> None:
        self.reader.put(data)

    async def aclose(self) -> None:
        self.reader.put(None)


class MemoryRoom(EventEmitter[str]):  # type: ignore[misc]
    """One participant's connection to a room."""

    def __init__(self, hall: Hall) -> None:
        super().__init__()
        self.hall = hall
        self.name = ""
        self.streams: dict[str, Callable[[Reader, str], None]] = {}
        self.written: list[Reader] = []
        self._local: Participant | None = None

    @property
    def local_participant(self) -> Participant:
        assert self._local is not None, "not connected"
        return self._local

    @property
    def others(self) -> list["MemoryRoom"]:
        return [room for room in self.hall.rooms.get(self.name, []) if room is not self]

    @property
    def remote_participants(self) -> dict[str, Participant]:
        return {room.local_participant.identity: room.local_participant for room in self.others}

    def isconnected(self) -> bool:
        return self in self.hall.rooms.get(self.name, [])

    async def connect(self, url: str, token: str, options: Any = None) -> None:
        if self.hall.unreachable:
            raise rtc.ConnectError("no server")
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.name = claims["video"]["room"]
        self._local = Participant(self, claims["sub"], claims.get("attributes", {}))
        self.hall.rooms.setdefault(self.name, []).append(self)
        self.emit("connection_state_changed", rtc.ConnectionState.CONN_CONNECTED)
        for other in self.others:
            other.emit("participant_active", self._local)

    async def disconnect(self) -> None:
        if not self.isconnected():
            return
        others = self.others
        self.hall.rooms[self.name].remove(self)
        for reader in self.written:  # of an agent that goes away in the middle
            reader.put(rtc.StreamError("Disconnected while receiving"))
        for other in others:
            other.emit("participant_disconnected", self.local_participant)
        self.emit("connection_state_changed", rtc.ConnectionState.CONN_DISCONNECTED)
        self.emit("disconnected", None)

    def register_byte_stream_handler(self, topic: str, handler: Callable[[Reader, str], None]) -> None:
        self.streams[topic] = handler

    def unregister_byte_stream_handler(self, topic: str) -> None:
        self.streams.pop(topic, None)
