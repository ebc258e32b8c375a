"""Targets of a channel one by one: their keys are masked in answers, so nobody can send the whole list back."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.channels.definition import MAX_TARGETS, ChannelDefinition
from orchestrator.channels.lineup import ChannelChanged
from orchestrator.channels.view import ChannelJson
from orchestrator.http.channel_routes import find_channel, refusals, require_accepting
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked, checked_body
from orchestrator.http.request_models import NewTarget, TargetQuery
from orchestrator.orchestrator import Orchestrator
from streaming.targets import mask

_EXAMPLE = '{"target": "rtmp://live.example/app/stream-key"}'


@operation(
    "Add a target",
    Answer("The channel", ChannelJson),
    *(400, 404, 408, 409, 413, 422, 503, 507),
    status=201,
    body=NewTarget,
)
async def add_target(request: Request) -> Response:
    """Publish to one more target; those that are there go on undisturbed."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_accepting(orchestrator)
    find_channel(request)
    target = (await checked_body(request, NewTarget, HTTPStatus.BAD_REQUEST, "broken_json", _EXAMPLE)).target.strip()
    while True:
        before = find_channel(request).definition
        # Alone: a target that was allowed once, and is no more, must not keep others from being added.
        alone = before.model_copy(update={"targets": (target,)})
        if refused := await asyncio.to_thread(orchestrator.setup.refused_targets, alone):
            raise _refused(f"{refused[target]}.")
        if target in before.targets:
            raise _refused("the channel has this target already.")
        if len(before.targets) >= MAX_TARGETS:
            raise _refused(f"a channel has at most {MAX_TARGETS}. Remove one first.")
        if changed := await _changed(request, before, (*before.targets, target)):
            return JSONResponse(changed, HTTPStatus.CREATED)


@operation("Remove a target", Answer("The channel", ChannelJson), 404, 409, 422, 503, 507, query=TargetQuery)
async def remove_target(request: Request) -> Response:
    """Stop publishing to one target, by its place among the channel's `targets`, from 0 on."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_accepting(orchestrator)
    shown = checked(TargetQuery, request.query_params).target
    while True:
        before = find_channel(request).definition
        number = _number(request, len(before.targets))
        if shown is not None and mask(before.targets[number]) != shown:
            message = f"Target {number} is another one by now: {mask(before.targets[number])}. Look at the list again."
            raise ApiError(HTTPStatus.CONFLICT, "other_target", message)
        kept = before.targets[:number] + before.targets[number + 1 :]
        if changed := await _changed(request, before, kept):
            return JSONResponse(changed)


async def _changed(request: Request, before: ChannelDefinition, targets: tuple[str, ...]) -> ChannelJson | None:
    """The channel with other targets; None where it was changed since `before`."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    with refusals(request):
        try:
            definition = before.model_copy(update={"targets": targets})
            return (await orchestrator.channels.change(definition, instead_of=before)).view.as_json()
        except ChannelChanged:
            return None


def _number(request: Request, count: int) -> int:
    text: str = request.path_params["number"]
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) < count:
        return int(text)
    message = f"The channel has {count} targets, which are counted from 0 on, and no target {text[:40]!r}."
    raise ApiError(HTTPStatus.NOT_FOUND, "unknown_target", message)


def _refused(reason: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_channel", f"targets: {reason}")
