"""The messages of the socket, both ways: one JSON object each; sound is PCM of 16 bits at 24 kHz as base64."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

RATE_HZ = 24_000
LARGEST_AUDIO_BYTES = 1_400_000
"""As base64: some 20 s, where clients send about one."""


class Speak(BaseModel):
    """The next sound of the segment, which the first one begins."""

    type: Literal["agent.speak"]
    audio: str = Field(max_length=LARGEST_AUDIO_BYTES)
    event_id: str = Field("", max_length=100)

    def sound(self) -> bytes:
        """The samples; raises BadMessage."""
        try:
            return base64.b64decode(self.audio, validate=True)
        except (binascii.Error, ValueError):
            raise BadMessage("audio is no base64") from None


class SpeakEnd(BaseModel):
    """All of the segment was sent."""

    type: Literal["agent.speak_end"]


class Interrupt(BaseModel):
    """Cut short whatever is said or waits."""

    type: Literal["agent.interrupt"]


class Listening(BaseModel):
    """How the avatar is to look while it doesn't speak; it is told back, and changes nothing else."""

    type: Literal["agent.start_listening", "agent.stop_listening"]


class KeepAlive(BaseModel):
    """The client is there."""

    type: Literal["session.keep_alive"]


ClientMessage = Annotated[Speak | SpeakEnd | Interrupt | Listening | KeepAlive, Field(discriminator="type")]
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


class BadMessage(ValueError):
    """What was sent is no message; the text says why."""


def read_message(text: str) -> ClientMessage:
    """What a client says; raises BadMessage."""
    try:
        message: ClientMessage = _CLIENT.validate_json(text)
    except (ValidationError, RecursionError):
        raise BadMessage(f"no message of a session: {text[:80]!r}") from None
    return message


def event(kind: str, **values: Any) -> str:
    """What the server says."""
    return json.dumps({"type": kind, "event_id": str(uuid.uuid4()), **values})
