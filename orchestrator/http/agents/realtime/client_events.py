"""What clients of Realtime send, as far as it means something here."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

LARGEST_AUDIO_BYTES = 1_400_000
"""As base64: some 20 s."""
LONGEST_TEXT = 20_000


class _Event(BaseModel):
    event_id: str | None = Field(None, max_length=512)


class SessionUpdate(_Event):
    """Instructions, and whether a pause ends a turn; taken up to the first sound or text."""

    type: Literal["session.update"]
    session: dict[str, Any]


class Append(_Event):
    """The microphone's next sound: PCM of 16 bits at 24 kHz, as base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str = Field(max_length=LARGEST_AUDIO_BYTES)

    def sound(self) -> bytes:
        """The samples; raises BadEvent."""
        try:
            return base64.b64decode(self.audio, validate=True)
        except (binascii.Error, ValueError):
            raise BadEvent("audio is no base64", self.event_id) from None


class Commit(_Event):
    """The utterance is over."""

    type: Literal["input_audio_buffer.commit"]


class Clear(_Event):
    """Forget the sound that was not committed; here it was heard already."""

    type: Literal["input_audio_buffer.clear"]


class Content(BaseModel):
    """A part of a message."""

    type: str
    text: str | None = Field(None, max_length=LONGEST_TEXT)


class Item(BaseModel):
    """A message of the conversation."""

    type: str = "message"
    role: str = "user"
    id: str | None = Field(None, max_length=64)
    content: list[Content] = Field(default_factory=list, max_length=32)


class ItemCreate(_Event):
    """A text that the person typed; answered once a response is asked for."""

    type: Literal["conversation.item.create"]
    item: Item


class Truncate(_Event):
    """The client stopped playing there. What was heard of the avatar is known here, so it only falls silent."""

    type: Literal["conversation.item.truncate"]
    item_id: str = Field(max_length=64)
    content_index: int = 0
    audio_end_ms: int = Field(ge=0)


class ResponseCreate(_Event):
    """Answer what was typed."""

    type: Literal["response.create"]


class ResponseCancel(_Event):
    """Fall silent."""

    type: Literal["response.cancel"]


ClientEvent = Annotated[
    SessionUpdate | Append | Commit | Clear | ItemCreate | Truncate | ResponseCreate | ResponseCancel,
    Field(discriminator="type"),
]
_CLIENT: TypeAdapter[ClientEvent] = TypeAdapter(ClientEvent)


class BadEvent(ValueError):
    """What was sent is no event that means something here; `event_id` is that of the client."""

    def __init__(self, message: str, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id


def read_event(text: str) -> ClientEvent:
    """What a client says; raises BadEvent."""
    try:
        values = json.loads(text)
        event: ClientEvent = _CLIENT.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        sent = values.get("event_id") if isinstance(values, dict) else None
        name = values.get("type") if isinstance(values, dict) else None
        message = f"{str(name)[:60]}{f', {where[:60]}' if where else ''}: {first['msg']}"
        raise BadEvent(message, sent if isinstance(sent, str) else None) from None
    except (ValueError, RecursionError):
        raise BadEvent("An event is a JSON object.") from None
    return event
