"""A channel as a caller may see it: how its conversations are held is no part of what viewers watch."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from orchestrator.access.keys import Scope
from orchestrator.channels.view import ChannelJson, ChannelView
from orchestrator.http.guard import caller_of

_OF_CONVERSATION = ("responder", "recogniser")
"""What a viewer is told of it. A prompt may hold what nobody outside should read, an address names an inner host."""


def sees_all(connection: HTTPConnection) -> bool:
    """Whether the caller may see how conversations are held, since it may hold one."""
    scope = caller_of(connection).scope
    return scope is not None and scope.allows(Scope.SPEAK)


def shown(view: ChannelView, whole: bool) -> ChannelJson:
    """The channel, `whole` or as a viewer sees it."""
    found = view.as_json()
    own = found["conversation"]
    if not whole and own is not None:
        found["conversation"] = {name: value for name, value in own.items() if name in _OF_CONVERSATION}
    return found
