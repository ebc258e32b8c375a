"""What happens and what is to be done with a Realtime server, beside the events and actions of every conversation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.realtime.messages import Sent
from conversation.response.responder import ToolCall
from conversation.turn.actions import Action
from conversation.turn.events import Event


@dataclass(frozen=True)
class Connected:
    """The server is there, and knows nothing."""

    at_s: float


@dataclass(frozen=True)
class Lost:
    """The server isn't there any more, or can't be reached."""

    at_s: float
    code: str
    message: str


@dataclass(frozen=True)
class Received:
    """An event of the server, as JSON has it."""

    at_s: float
    event: Sent


@dataclass(frozen=True)
class Send:
    """Send it to the server."""

    message: Sent


@dataclass(frozen=True)
class Play:
    """The next sound of a speech, mono int16 at 24 kHz; the first one begins it."""

    turn: int
    speech: int
    samples: NDArray[np.int16]


RealtimeEvent = Event | Connected | Lost | Received
RealtimeAction = Action | Send | Play | ToolCall
