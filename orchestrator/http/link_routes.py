"""Ways to a channel from elsewhere: a QR code for the phone."""

from __future__ import annotations

import io
from http import HTTPStatus
from urllib.parse import quote

import segno
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.http.channel_routes import find_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation

_QUIET_ZONE = 4
"""Modules of white around a code, without which cameras don't find it (ISO/IEC 18004)."""


@operation("A QR code for the phone", Answer("The address of the talk page", media="image/svg+xml"), 400, 404)
async def channel_qr(request: Request) -> Response:
    """The address at which a phone talks with the channel, as a QR code; its host is the one that was asked."""
    base = request.url.replace(path="/talk", query=f"channel={quote(find_channel(request).id)}")
    picture = io.BytesIO()
    try:
        code = segno.make(str(base), error="m", micro=False)
    except segno.DataOverflowError:
        message = f"The address has {len(str(base))} characters, which is more than a QR code can hold."
        raise ApiError(HTTPStatus.BAD_REQUEST, "address_too_long", message) from None
    code.save(picture, kind="svg", border=_QUIET_ZONE, light="#fff", xmldecl=False, omitsize=True)
    return Response(picture.getvalue(), media_type="image/svg+xml")
