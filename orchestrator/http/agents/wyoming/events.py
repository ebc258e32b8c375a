"""What Wyoming's clients send: framed by the package `wyoming`, within limits that it doesn't have, and checked."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from wyoming.event import async_read_event

LONGEST_LINE_BYTES = 65_536
"""Of an event's first line; the limit of the stream that it is read of."""
LARGEST_PART_BYTES = 1_000_000
"""Of an event's data, and of its sound: 10 s at 48 kHz, where clients send 1024 samples."""
_EVENT_S = 20.0
"""Within which each part of an event that has begun must arrive."""


class BadEvent(ValueError):
    """What was sent is no event, or comes at the wrong time; the text says why."""


class Describe(BaseModel):
    """What is there?"""

    type: Literal["describe"]


class Ping(BaseModel):
    """Is somebody there?"""

    type: Literal["ping"]
    text: str | None = Field(None, max_length=1000)


class SelectProgram(BaseModel):
    """The channel that the rest of the connection means."""

    type: Literal["select-program"]
    name: str


class Voice(BaseModel):
    """Its language and speaker mean nothing here."""

    name: str | None = None


class Synthesize(BaseModel):
    """A whole text; between `synthesize-start` and `synthesize-stop` it only repeats what the chunks say."""

    type: Literal["synthesize"]
    text: str
    voice: Voice | None = None


class SynthesizeStart(BaseModel):
    """A text begins that comes in pieces."""

    type: Literal["synthesize-start"]
    voice: Voice | None = None


class SynthesizeChunk(BaseModel):
    """The next piece of it."""

    type: Literal["synthesize-chunk"]
    text: str


class SynthesizeStop(BaseModel):
    """That was all of it."""

    type: Literal["synthesize-stop"]


class _Sound(BaseModel):
    rate: int
    width: Literal[2]
    channels: int


class AudioStart(_Sound):
    """Sound to be played begins."""

    type: Literal["audio-start"]


class AudioChunk(_Sound):
    """The next of it."""

    type: Literal["audio-chunk"]
    sound: bytes


class AudioStop(BaseModel):
    """That was all of it."""

    type: Literal["audio-stop"]


_Known = (
    Describe | Ping | SelectProgram | Synthesize | SynthesizeStart | SynthesizeChunk | SynthesizeStop
    | AudioStart | AudioChunk | AudioStop
)  # fmt: skip
ClientEvent = Annotated[_Known, Field(discriminator="type")]
_CLIENT: TypeAdapter[ClientEvent] = TypeAdapter(ClientEvent)


class EventReader:
    """The events of one client."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """`reader` with the limit LONGEST_LINE_BYTES."""
        self._parts = _BoundedParts(reader)

    async def next(self) -> ClientEvent | None:
        """The next event that means something here; None once the client has closed, be it amid an event.

        Raises BadEvent. The connection must end then, for where the next event would begin isn't known. That also
        stops browsers: a page can make them send whatever it likes here, but an HTTP request's own line comes first.
        """
        while True:
            try:
                event = await async_read_event(self._parts)  # type: ignore[arg-type, unused-ignore]  # all that it calls
            except TimeoutError:
                raise BadEvent(f"The rest of an event didn't come within {_EVENT_S:g} s.") from None
            except (asyncio.IncompleteReadError, OSError):  # the client is gone
                return None
            except (AttributeError, KeyError, TypeError, RecursionError):  # the package takes what was sent for good
                raise BadEvent(_NO_EVENT) from None
            if event is None:
                if self._parts.ended:
                    return None
                raise BadEvent(_NO_EVENT)
            try:
                return _CLIENT.validate_python({**event.data, "type": event.type, "sound": event.payload or b""})
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                if first["type"] == "union_tag_invalid" and isinstance(event.type, str):
                    continue  # as the protocol wants it of events that one doesn't know
                name = ".".join(str(part) for part in first["loc"][1:])
                raise BadEvent(f"{str(event.type)[:40]!r}: {name}: {first['msg']}.") from None
            except TypeError:
                raise BadEvent(_NO_EVENT) from None


_NO_EVENT = (
    "This is no event of Wyoming: a line with a JSON object that has a type, then data_length and payload_length "
    f"bytes, of each no more than {LARGEST_PART_BYTES}."
)


class _BoundedParts:
    """A stream as the package reads it, which would itself wait for ever for any number of bytes."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.ended = False

    async def readline(self) -> bytes:
        first = await self._reader.read(1)  # between events a client may be silent for as long as it likes
        self.ended = not first
        if first in (b"", b"\n"):
            return first
        async with asyncio.timeout(_EVENT_S):
            return first + await self._reader.readline()

    async def readexactly(self, count: int) -> bytes:
        if count > LARGEST_PART_BYTES:
            raise BadEvent(_NO_EVENT)
        async with asyncio.timeout(_EVENT_S):
            return await self._reader.readexactly(count)
