"""The API key that a request or a WebSocket brings with it."""

from __future__ import annotations

from starlette.requests import HTTPConnection

SUBPROTOCOL = "latentsync"
"""What the server answers to a WebSocket that offers it; browsers want an answer to what they offer."""
KEY_HEADERS = ("x-api-key", "x-simli-api-key")
"""What clients of avatar services send."""
_KEY_ITEM = "bearer."


def sent_key(connection: HTTPConnection) -> str | None:
    """The key of `Authorization: Bearer KEY`, of one of KEY_HEADERS, or of a WebSocket's protocol `bearer.KEY`.

    A browser lets a page set no header of a WebSocket but its protocols.
    """
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    for header in KEY_HEADERS:
        if given := connection.headers.get(header):
            return given.strip()
    offered = connection.scope.get("subprotocols", ())
    return next((each.removeprefix(_KEY_ITEM) for each in offered if each.startswith(_KEY_ITEM)), None)


def answered_subprotocol(connection: HTTPConnection) -> str | None:
    """The protocol to accept a WebSocket with; never the one that is a key."""
    return SUBPROTOCOL if SUBPROTOCOL in connection.scope.get("subprotocols", ()) else None
