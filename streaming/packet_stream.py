"""The wire form of packets: a length and a kind before each message, the description first.

| bytes | |
|---|---|
| 4 | length of what follows, big-endian |
| 1 | 0: description, 1: packet |
| … | a description as JSON, or a packet: track, flags, pts, time base, when it was captured and given out, its data |

A run of the encoder that begins sends a new description.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path

from streaming.packet import Description, Packet, Track, TrackDescription

KEYFRAME_WANTED = b"K"
"""The byte by which a reader asks for a keyframe."""

_LENGTH = struct.Struct(">I")
_PACKET = struct.Struct(">BBqIIdd")
_DESCRIPTION_KIND, _PACKET_KIND = 0, 1
_KEYFRAME = 1
_MAX_BYTES = 16 << 20
_TRACKS = (Track.H264, Track.AAC, Track.OPUS)


def encode(message: Description | Packet) -> bytes:
    """One message with its length before it."""
    if isinstance(message, Description):
        body = bytes([_DESCRIPTION_KIND]) + json.dumps(_to_json(message)).encode()
    else:
        base = message.time_base
        header = _PACKET.pack(
            _TRACKS.index(message.track), _KEYFRAME if message.keyframe else 0, message.pts,
            base.numerator, base.denominator, message.captured_s, message.given_s,
        )  # fmt: skip
        body = bytes([_PACKET_KIND]) + header + message.data
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Description | Packet:
    """The message without its length; raises ValueError for anything else."""
    try:
        match body[0]:
            case 0:
                return _from_json(json.loads(body[1:]))
            case 1:
                track, flags, pts, numerator, denominator, captured_s, given_s = _PACKET.unpack_from(body, 1)
                data = body[1 + _PACKET.size :]
                time_base, is_keyframe = Fraction(numerator, denominator), bool(flags & _KEYFRAME)
                return Packet(_TRACKS[track], pts, time_base, is_keyframe, data, captured_s, given_s)
            case kind:
                raise ValueError(f"kind {kind}")
    except (IndexError, KeyError, TypeError, struct.error, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"no message of a packet stream: {error}") from error


class PacketParser:
    """Takes bytes as they come and yields the messages that they complete; raises ValueError on anything else."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Description | Packet]:
        """Messages completed by `data`."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _length(self._buffer)
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield decode(body)


class PacketReader:
    """Reads the packets of a channel from its Unix socket; an asynchronous iterator that ends with the stream.

    Begins with the description and the packets since the latest keyframe. Who reads too slowly is disconnected.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> PacketReader:
        """Connects to a channel's `packet_socket`; raises OSError where none listens."""
        return cls(*await asyncio.open_unix_connection(path))

    def request_keyframe(self) -> None:
        """Asks for a keyframe; the channel makes at most two a second."""
        self._writer.write(KEYFRAME_WANTED)

    def close(self) -> None:
        """Disconnects."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """Waits until it is disconnected."""
        with contextlib.suppress(ConnectionError):  # the channel was first
            await self._writer.wait_closed()

    def __aiter__(self) -> AsyncIterator[Description | Packet]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Description | Packet]:
        try:
            while True:
                head = await self._reader.readexactly(_LENGTH.size)
                yield decode(await self._reader.readexactly(_length(head)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return


async def packets(path: Path) -> AsyncGenerator[Description | Packet, None]:
    """The messages of a channel's `packet_socket` until the stream ends; raises OSError where none listens."""
    reader = await PacketReader.connect(path)
    try:
        async for message in reader:
            yield message
    finally:
        reader.close()
        await reader.wait_closed()


def _length(head: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack_from(head)[0]
    if not 0 < length <= _MAX_BYTES:
        raise ValueError(f"no message of a packet stream: {length} bytes")
    return length


def _to_json(description: Description) -> dict[str, object]:
    tracks = [
        {**vars(each), "track": each.track.value, "extradata": base64.b64encode(each.extradata).decode()}
        for each in description.tracks
    ]
    return {"run": description.run, "tracks": tracks}


def _from_json(values: dict[str, object]) -> Description:
    tracks = values["tracks"]
    run = values["run"]
    if not isinstance(tracks, list) or not isinstance(run, int):
        raise ValueError("a description needs a run and tracks")
    return Description(
        run,
        tuple(
            TrackDescription(
                **{**each, "track": Track(each["track"]), "extradata": base64.b64decode(each["extradata"])}
            )
            for each in tracks
        ),
    )
