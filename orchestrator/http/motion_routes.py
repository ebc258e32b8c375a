"""`/v1/channels/{id}/motions`: a channel shows a motion of its avatar, in idle and in speech."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.channels.motions import UnknownMotion
from orchestrator.http.arriving import small_json
from orchestrator.http.channel_routes import find_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation
from orchestrator.http.request_models import PlayMotionBody
from orchestrator.http.response_models import PlannedMotionJson, StoppedMotionJson
from streaming.config import FPS
from streaming.handle import ChannelError

_BODY_BYTES = 10_000
_RETRY_S = 1


@operation(
    "Show a motion",
    Answer("When it begins", PlannedMotionJson),
    *(400, 404, 408, 409, 413, 422),
    status=202,
    body=PlayMotionBody,
)
async def play(request: Request) -> Response:
    """Show a motion of the channel's avatar, from the first frame on that no face is made for yet."""
    channel = find_channel(request)
    body = await _body(request)
    with _refusals():
        planned = await channel.motions.play(body.name, body.repeat or None, body.at)
    answer: PlannedMotionJson = {
        "motion": body.name,
        "at_position": planned.position,
        "starts_in_s": (planned.position - planned.now) / FPS,
        "duration_s": None if planned.end is None else (planned.end - planned.position) / FPS,
    }
    return JSONResponse(answer, HTTPStatus.ACCEPTED)


@operation("End the motion that is shown", Answer("When it is over", StoppedMotionJson), 404, 409)
async def stop(request: Request) -> Response:
    """Go back to idle, and take back the motions that wait."""
    channel = find_channel(request)
    with _refusals():
        ends_in = await channel.motions.stop()
    answer: StoppedMotionJson = {"ends_in_s": None if ends_in is None else ends_in / FPS}
    return JSONResponse(answer)


async def _body(request: Request) -> PlayMotionBody:
    values = await small_json(request, _BODY_BYTES, f"Send at most {_BODY_BYTES} bytes.")
    if not isinstance(values, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", 'Send a JSON object: {"name": "wave"}.')
    try:
        return PlayMotionBody.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        shown = "" if first["type"] == "missing" else f" (it is {str(first['input'])[:40]!r})"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"bad_{name}", f"{name}: {first['msg']}{shown}.") from None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except UnknownMotion as error:
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_motion", f"{_sentence(error)}.") from None
    except ChannelError as error:
        raise ApiError(HTTPStatus.CONFLICT, "motion_refused", f"{_sentence(error)}.", _RETRY_S) from None


def _sentence(error: ChannelError) -> str:
    return f"{str(error)[:1].upper()}{str(error)[1:]}"
