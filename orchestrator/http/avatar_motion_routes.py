"""The motions of an avatar over HTTP: prepare, list, look at, rename, remove."""

from __future__ import annotations

import asyncio
import tempfile
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from latentsync.avatar import PreparedAvatar
from latentsync.motions import Motion
from orchestrator.avatars.errors import MotionNotFound
from orchestrator.avatars.motions import (
    MotionOptions,
    list_motions,
    remove_motion,
    rename_motion,
    require_no_motion,
)
from orchestrator.avatars.preparations import Preparation, PreparationsFull
from orchestrator.avatars.store import existing_avatar, find_avatar
from orchestrator.exclusive import changing_avatar
from orchestrator.http.avatar_routes import VIDEO_FIELD, avatar_errors, spooled
from orchestrator.http.errors import ApiError
from orchestrator.http.forms import UploadForm
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked, checked_body
from orchestrator.http.request_models import MotionFields, MotionForm, NewName
from orchestrator.http.response_models import AcceptedAvatarJson, AvatarMotionJson, AvatarMotionsJson
from orchestrator.http.task_routes import require_ready
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator
from speech.audio.errors import AudioError

_UNREAD_BYTES = 256_000_000
_RETRY_FULL_S = 60


@operation("The motions of an avatar", Answer("The motions", AvatarMotionsJson), 404, 422)
async def list_all(request: Request) -> Response:
    """The motions of an avatar."""
    avatar = await _avatar(request)
    body: AvatarMotionsJson = {
        "motions": [_described(avatar, motion) for motion in await asyncio.to_thread(list_motions, avatar)]
    }
    return JSONResponse(body)


@operation(
    "Prepare a motion of an avatar from a video",
    Answer("The video is taken and will be prepared", AcceptedAvatarJson),
    *(400, 404, 408, 409, 413, 415, 422, 503, 507),
    status=202,
    form=MotionForm,
)
async def add(request: Request) -> Response:
    """Take a video, and prepare it as a motion, which channels that play the avatar can show at once."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    try:
        preparation = await _accepted(request, orchestrator)
    except (ApiError, AudioError, OSError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    body: AcceptedAvatarJson = {"status": "processing_started", "task_id": preparation.id, "warning": None}
    return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Location": f"/v1/avatar-tasks/{preparation.id}"})


@operation("Rename a motion", Answer("The motion", AvatarMotionJson), 404, 408, 409, 413, 422, body=NewName)
async def rename(request: Request) -> Response:
    """Give a motion another name, which channels that play its avatar know within seconds."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    avatar, motion = await _avatar(request), request.path_params["motion"]
    new_name = (
        await checked_body(request, NewName, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_name", '{"name": "new-name"}')
    ).name
    with avatar_errors(), changing_avatar(orchestrator.settings, avatar.name):
        await asyncio.to_thread(rename_motion, avatar.directory, motion, new_name)
        renamed = await asyncio.to_thread(Motion.open, avatar, new_name)
    return JSONResponse(_described(avatar, renamed))


@operation("Delete a motion", Answer("It is gone"), 404, 409, 422, status=204)
async def remove(request: Request) -> Response:
    """Delete a motion; a channel that shows it leaves it at the next good place."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    avatar, motion = await _avatar(request), request.path_params["motion"]
    with avatar_errors(), changing_avatar(orchestrator.settings, avatar.name):
        await asyncio.to_thread(remove_motion, avatar.directory, motion)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@operation("A motion's picture", Answer("The picture", media="image/png"), 404, 422)
async def picture(request: Request) -> Response:
    """A motion's preview picture."""
    avatar, name = await _avatar(request), request.path_params["motion"]
    # Compared with the existing names, so that no name from a request becomes a path.
    for motion in await asyncio.to_thread(list_motions, avatar):
        if motion.name == name and motion.clip.preview_path.is_file():
            path = motion.clip.preview_path
            return FileResponse(path, media_type="image/png", headers={"Cache-Control": "no-cache"})
    message = f"Avatar {avatar.name!r} has no motion {name[:64]!r}."
    raise ApiError(HTTPStatus.NOT_FOUND, MotionNotFound.code, message)


async def _avatar(request: Request) -> PreparedAvatar:
    orchestrator: Orchestrator = request.app.state.orchestrator
    with avatar_errors():
        return await asyncio.to_thread(find_avatar, orchestrator.settings.avatars_dir, request.path_params["name"])


async def _accepted(request: Request, orchestrator: Orchestrator) -> Preparation:
    require_ready(orchestrator)
    settings, avatar = orchestrator.settings, request.path_params["name"]
    with avatar_errors():
        folder = await asyncio.to_thread(existing_avatar, settings.avatars_dir, avatar)
    form = UploadForm(request, settings.avatar_upload_limit_bytes, settings, VIDEO_FIELD, example="wave.mp4")
    upload = tempfile.TemporaryDirectory(prefix="upload-", dir=orchestrator.uploads_dir)
    try:
        files = await spooled(form, Path(upload.name))
        fields = checked(MotionFields, form.fields)
        with avatar_errors("bad_frames"):
            await asyncio.to_thread(require_no_motion, folder, fields.name)
            options = MotionOptions(avatar, fields.loop, fields.from_frame, fields.to_frame)
        return orchestrator.preparations.submit(avatar, files[VIDEO_FIELD], options, upload, motion=fields.name)
    except PreparationsFull:
        await asyncio.to_thread(upload.cleanup)
        message = "Too many avatars are waiting to be prepared. Try again later."
        raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, _RETRY_FULL_S) from None
    except BaseException:
        await asyncio.to_thread(upload.cleanup)
        raise


def _described(avatar: PreparedAvatar, motion: Motion) -> AvatarMotionJson:
    clip = motion.clip.settings
    return {
        "name": motion.name,
        "frames": clip.frame_count,
        "duration_s": clip.frame_count / clip.fps,
        "loop": clip.loop,
        "nearest": round(float(motion.difference[:, list(motion.clip.played)].min()), 3),
        "ordinary": round(motion.settings.ordinary, 3),
        "preview": f"/v1/avatars/{avatar.name}/motions/{motion.name}/preview.png",
    }
