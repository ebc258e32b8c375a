"""Avatars over HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from latentsync.avatar import PreparedAvatar
from orchestrator.avatars.store import list_avatars as prepared_avatars
from orchestrator.http.errors import ApiError
from orchestrator.service import Service


async def list_avatars(request: Request) -> Response:
    """All prepared avatars."""
    service: Service = request.app.state.service
    avatars = await asyncio.to_thread(prepared_avatars, service.settings.avatars_dir)
    return JSONResponse({"avatars": [_described(avatar) for avatar in avatars]})


async def avatar_picture(request: Request) -> Response:
    """An avatar's preview picture."""
    service: Service = request.app.state.service
    name = request.path_params["name"]
    # Compared with the names that exist: a name from outside never becomes a path.
    for avatar in await asyncio.to_thread(prepared_avatars, service.settings.avatars_dir):
        if avatar.name == name:
            return FileResponse(avatar.preview_path, media_type="image/png", headers={"Cache-Control": "no-cache"})
    raise ApiError(HTTPStatus.NOT_FOUND, "unknown_avatar", f"There is no avatar {name[:64]!r}; /v1/avatars lists them.")


def _described(avatar: PreparedAvatar) -> dict[str, Any]:
    settings = avatar.settings
    return {
        "name": avatar.name,
        "width": settings.width,
        "height": settings.height,
        "frames": settings.frame_count,
        "duration_s": settings.frame_count / settings.fps,
        "face_resolution": settings.resolution,
        "preview": f"/v1/avatars/{avatar.name}/preview.png",
    }
