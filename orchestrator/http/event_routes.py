"""Changes as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.channels.motions import MotionNotice
from orchestrator.channels.view import ChannelView
from orchestrator.http.guard import busy
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import EventsQuery
from orchestrator.http.shown_channel import sees_all, shown
from orchestrator.http.task_routes import find_task
from orchestrator.observability.notices import Notice, Subscription
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Task

_KEEPALIVE_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_BACKLOG = 20


@operation("One task's changes", Answer("Events named task, each with a task", media="text/event-stream"), 404, 503)
async def task_events(request: Request) -> Response:
    """One task's changes from now on, its present state first; the stream ends with the final state."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    task_id = (await find_task(request)).id  # an unknown one is refused before the stream begins
    caller = _with_place(request)

    def is_of_task(notice: Notice) -> bool:
        return isinstance(notice, Task) and notice.id == task_id

    async def messages() -> AsyncIterator[bytes]:
        with orchestrator.listeners.one(caller), orchestrator.notices.subscribe(is_of_task) as subscription:
            task = await find_task(request)
            yield _message(task)
            if task.state.final:
                return
            async for notice in _with_keepalive(subscription):
                if notice is None:
                    yield b": still here\n\n"
                else:
                    yield _message(notice)
                    if isinstance(notice, Task) and notice.state.final:
                        return

    return StreamingResponse(messages(), media_type="text/event-stream", headers=_HEADERS)


@operation(
    "All changes, or those of one channel",
    Answer("Events named task, avatar_task, channel and motion", media="text/event-stream"),
    503,
    query=EventsQuery,
)
async def all_events(request: Request) -> Response:
    """Changes of all tasks and channels, beginning with the channels and the latest tasks as they are.

    Avatars in the making too. With `?channel=` those of one channel alone, which need not exist yet.
    """
    orchestrator: Orchestrator = request.app.state.orchestrator
    only = checked(EventsQuery, request.query_params).channel
    whole = sees_all(request)
    caller = _with_place(request)

    def is_of_channel(notice: Notice) -> bool:
        return (isinstance(notice, Task | MotionNotice) and notice.channel == only) or (
            isinstance(notice, ChannelView) and notice.id == only
        )

    async def messages() -> AsyncIterator[bytes]:
        wanted = orchestrator.notices.subscribe() if only is None else orchestrator.notices.subscribe(is_of_channel)
        with orchestrator.listeners.one(caller), wanted as subscription:
            for channel in orchestrator.channels.values():
                if only in (None, channel.id):
                    yield _message(channel.view, whole)
            for task in reversed(await orchestrator.board.newest(_BACKLOG, only)):
                yield _message(task)
            for preparation in reversed(orchestrator.preparations.newest()[:_BACKLOG]) if only is None else ():
                yield _message(preparation)
            async for notice in _with_keepalive(subscription):
                yield b": still here\n\n" if notice is None else _message(notice, whole)

    return StreamingResponse(messages(), media_type="text/event-stream", headers=_HEADERS)


def _with_place(request: Request) -> str:
    """The caller's name, when there is a place for it; raises ApiError (503)."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    caller: str = request.state.caller
    if full := orchestrator.listeners.refusal(caller, "connections to events"):
        raise busy(full)
    return caller


async def _with_keepalive(subscription: Subscription) -> AsyncIterator[Notice | None]:
    """The notices, and None after a while without any, so that dead connections are noticed."""
    while True:
        with anyio.move_on_after(_KEEPALIVE_S) as scope:
            notices = await subscription.next()
        if scope.cancelled_caught:
            yield None
            continue
        if notices is None:
            return
        for notice in notices:
            yield notice


def _message(notice: Notice, whole: bool = False) -> bytes:
    told = shown(notice, whole) if isinstance(notice, ChannelView) else notice.as_json()
    return f"event: {notice.kind}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
