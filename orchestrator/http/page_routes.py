"""The pages at / and /talk: static files beside this package."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from orchestrator.access.certificate import authority_of
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation
from orchestrator.http.unknown_path import unknown_path
from orchestrator.orchestrator import Orchestrator

FOLDER = Path(__file__).resolve().parent.parent / "page"
_NOWHERE = "frame-ancestors 'none'"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "media-src 'self' blob:",  # MediaSource plays from a blob: address
        "base-uri 'none'",
        "form-action 'none'",
        _NOWHERE,
        "require-trusted-types-for 'script'",
    )
)


@operation("The player alone, for an iframe", Answer("A page", media="text/html"))
async def _embed(request: Request) -> Response:
    """The player alone; the sites that may show it in a frame are the setting `embed_sites`."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    ancestors = " ".join(("'self'", *orchestrator.settings.embed_sites))
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace(_NOWHERE, f"frame-ancestors {ancestors}"),
        # Browsers that know frame-ancestors pass over it; it can't name sites.
        "X-Frame-Options": "SAMEORIGIN",
    }
    return FileResponse(FOLDER / "embed.html", media_type="text/html", headers=headers)


async def _index(request: Request) -> Response:
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"})


@operation("The page for a phone", Answer("A page", media="text/html"))
async def _talk(request: Request) -> Response:
    """The page on which a person talks with a channel."""
    return FileResponse(FOLDER / "talk" / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"})


@operation("The service worker of that page", Answer("A script", media="text/javascript"))
async def _talk_worker(request: Request) -> Response:
    """The service worker, which keeps the page's shell."""
    # Of its own accord a browser lets a worker serve what lies below its folder, and not /talk itself.
    headers = {"Cache-Control": "no-cache", "Service-Worker-Allowed": "/talk"}
    return FileResponse(FOLDER / "talk" / "worker.js", media_type="text/javascript", headers=headers)


@operation("The server's own CA", Answer("A certificate", media="application/x-x509-ca-cert"), 404)
async def _talk_authority(request: Request) -> Response:
    """The CA that a phone may trust, where the server has one of its own; it is public, as all certificates are."""
    chain = request.app.state.orchestrator.settings.https_certificate
    authority = None if chain is None else authority_of(chain)
    if authority is None:
        message = "This server has no CA of its own: what signed its certificate is known to browsers, or it has none."
        raise ApiError(HTTPStatus.NOT_FOUND, "no_authority", message)
    headers = {"Content-Disposition": 'attachment; filename="latentsync-realtime.crt"'}
    return Response(authority, media_type="application/x-x509-ca-cert", headers=headers)


class _Files(StaticFiles):
    """Starlette hands them WebSockets too, and they would fail at one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (super().__call__ if scope["type"] == "http" else unknown_path)(scope, receive, send)


ROUTES = [
    Route("/", _index),
    Route("/embed", _embed, name="embed"),
    Route("/talk", _talk, name="talk"),
    Route("/talk/worker.js", _talk_worker, name="talk_worker"),
    Route("/talk/authority.crt", _talk_authority, name="talk_authority"),
    Mount("/page", _Files(directory=FOLDER)),
]
