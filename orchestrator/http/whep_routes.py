"""WHEP: a channel's stream over WebRTC (draft-ietf-wish-whep; RFC 9725 has the same for the other direction)."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.access.ice_servers import ice_servers
from orchestrator.access.keys import Scope
from orchestrator.access.loopback import is_loopback
from orchestrator.channels.audience import Session
from orchestrator.http.arriving import small_body
from orchestrator.http.channel_routes import find_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import busy, caller_of, staying, within
from orchestrator.http.operations import Answer, operation
from orchestrator.orchestrator import Orchestrator
from streaming.webrtc.handle import OfferRefused, WebRtcGone
from streaming.webrtc.sdp import MOST_BYTES, BadOffer, checked_fragment

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
_METHODS = "OPTIONS, POST, PATCH, DELETE"
_RETRY_S = 2


@operation(
    "Watch a channel over WebRTC",
    Answer("The SDP answer; Location is the session, Link the ICE servers", media=SDP),
    *(400, 404, 406, 408, 413, 415, 503),
    status=201,
    media=SDP,
)
async def whep_begin(request: Request) -> Response:
    """Take a viewer's SDP offer; the session ends with DELETE at its Location, or when the viewer is gone."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel = find_channel(request)
    caller = caller_of(request).name
    within(orchestrator.offer_rate, caller, "offers")
    offer = await _text(request, SDP)
    if not orchestrator.accepting:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The server is stopping.", _RETRY_S)
    viewers = channel.viewers + orchestrator.audiences.viewers(channel.id)
    if viewers >= orchestrator.settings.preview_viewers:
        raise busy(f"{viewers} viewers are connected, which is the limit")
    nearby = request.client is not None and is_loopback(request.client.host)
    try:
        session = await orchestrator.audiences.admit(channel.id, caller, offer, nearby, staying(request))
    except OfferRefused as refusal:
        _refuse(refusal)
    except WebRtcGone as error:
        message = f"No WebRTC now: {error}. Try again."
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_webrtc", message, _RETRY_S) from None
    response = Response(session.answer, HTTPStatus.CREATED, media_type=SDP)
    response.headers["Location"] = f"/v1/channels/{channel.id}/whep/{session.id}"
    response.headers["ETag"] = session.etag
    response.headers["Accept-Patch"] = FRAGMENT
    _add_links(response, orchestrator)
    return response


@operation("Candidates of a viewer", Answer("Taken"), 400, 404, 408, 412, 413, 415, 422, status=204, media=FRAGMENT)
async def whep_trickle(request: Request) -> Response:
    """Take a viewer's ICE candidates, which are not needed: the viewer's own checks tell where it is."""
    session = _find_session(request)
    fragment = await _text(request, FRAGMENT)
    wanted = request.headers.get("if-match")
    if wanted == "*":
        message = "ICE can't be restarted here: end the session with DELETE, and send a new offer."
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "no_ice_restart", message)
    if wanted is not None and wanted != session.etag:
        message = f"If-Match is {wanted[:60]!r}, and the session's ETag is {session.etag}."
        raise ApiError(HTTPStatus.PRECONDITION_FAILED, "other_session", message)
    try:
        checked_fragment(fragment)
    except BadOffer as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_fragment", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"ETag": session.etag})


@operation("End a viewer's session", Answer("Ended"), 404)
async def whep_end(request: Request) -> Response:
    """End the session; only whoever began it can."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    session = _find_session(request)
    await orchestrator.audiences.end(request.path_params["channel_id"], session)
    return Response(status_code=HTTPStatus.OK)


@operation("What WHEP needs", Answer("ICE servers in Link, for callers that may watch"), status=204)
async def whep_options(request: Request) -> Response:
    """What a player asks before its offer, and a browser before a page of another site may send one."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    response = Response(status_code=HTTPStatus.NO_CONTENT, headers={"Accept-Post": SDP, "Allow": _METHODS})
    scope = caller_of(request).scope
    if scope is not None and scope.allows(Scope.WATCH):
        _add_links(response, orchestrator)
        if (channel := request.path_params["channel_id"]) in orchestrator.channels:
            with contextlib.suppress(WebRtcGone):  # which its offer is told
                await orchestrator.audiences.warm(channel)
    return response


@operation("What WHEP needs", Answer("The methods that there are"), status=204)
async def whep_session_options(request: Request) -> Response:
    """What a browser asks before a page of another site may change its session."""
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Accept-Patch": FRAGMENT, "Allow": _METHODS})


async def _text(request: Request, media: str) -> str:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != media:
        message = f"Content-Type is {sent[:60]!r}; {media} is meant."
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "other_media_type", message)
    body = await small_body(request, MOST_BYTES, f"Send at most {MOST_BYTES} bytes.")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_offer", "The body must be text in UTF-8.") from None


def _refuse(refusal: OfferRefused) -> NoReturn:
    if refusal.code == "busy":
        raise busy(str(refusal)) from None
    status = HTTPStatus.NOT_ACCEPTABLE if refusal.code == "no_common_codec" else HTTPStatus.BAD_REQUEST
    message = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
    raise ApiError(status, refusal.code, message) from None


def _find_session(request: Request) -> Session:
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel, session_id = request.path_params["channel_id"], request.path_params["session_id"]
    session = orchestrator.audiences.find(channel, session_id, caller_of(request).name)
    if session is None:
        message = "There is no such session of yours: it has ended, or another key began it."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_session", message)
    return session


def _add_links(response: Response, orchestrator: Orchestrator) -> None:
    for server in ice_servers(orchestrator.settings.ice_servers, orchestrator.turn_secret):
        response.headers.append("Link", server.link)
