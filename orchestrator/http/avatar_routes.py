"""Avatars over HTTP: prepare, list, look at, rename, remove."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.motions import motion_names
from orchestrator.avatars.errors import (
    AvatarExists,
    AvatarInUse,
    AvatarNotFound,
    AvatarTooLarge,
    MotionExists,
    MotionNotFound,
    NoRoomForAvatar,
)
from orchestrator.avatars.fit import as_sentence, fit_warning
from orchestrator.avatars.made_for import unfitting
from orchestrator.avatars.overlay import overlay_png
from orchestrator.avatars.preparations import AvatarTaskJson, Preparation, PreparationsFull
from orchestrator.avatars.prepare import PrepareOptions, require_room
from orchestrator.avatars.room import DiskRoom
from orchestrator.avatars.store import find_avatar, known_avatars, remove_avatar, rename_avatar
from orchestrator.avatars.store import list_avatars as prepared_avatars
from orchestrator.exclusive import LockRefused, moving_avatar, renaming_avatar
from orchestrator.http.errors import ApiError
from orchestrator.http.forms import UploadForm
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked, checked_body
from orchestrator.http.request_models import AvatarFields, AvatarForm, NewName, OverlayQuery
from orchestrator.http.response_models import AcceptedAvatarJson, AvatarJson, AvatarsJson, AvatarTasksJson
from orchestrator.http.task_routes import require_ready
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator
from speech.audio.errors import AudioError

VIDEO_FIELD, IDLE_FIELD = "video", "idle"
_UNREAD_BYTES = 256_000_000
_RETRY_FULL_S = 60


@operation("All avatars", Answer("The avatars", AvatarsJson))
async def list_avatars(request: Request) -> Response:
    """All prepared avatars."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    avatars = await asyncio.to_thread(prepared_avatars, orchestrator.settings.avatars_dir)
    body: AvatarsJson = {"avatars": [_described(avatar) for avatar in avatars]}
    return JSONResponse(body)


@operation(
    "Prepare an avatar from a video",
    Answer("The video is taken and will be prepared", AcceptedAvatarJson),
    *(400, 408, 409, 413, 415, 422, 503, 507),
    status=202,
    form=AvatarForm,
)
async def add_avatar(request: Request) -> Response:
    """Take a video, and prepare it as a task."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    try:
        preparation = await _accepted(request, orchestrator)
    except (ApiError, AudioError, OSError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    body: AcceptedAvatarJson = {
        "status": "processing_started",
        "task_id": preparation.id,
        "warning": preparation.warning,
    }
    return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Location": f"/v1/avatar-tasks/{preparation.id}"})


@operation("Avatars in the making", Answer("Newest first", AvatarTasksJson))
async def list_preparations(request: Request) -> Response:
    """Avatars in the making, and the last ones that were made, newest first."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    body: AvatarTasksJson = {"avatar_tasks": [known.as_json() for known in orchestrator.preparations.newest()]}
    return JSONResponse(body)


@operation("One avatar in the making", Answer("The avatar task", AvatarTaskJson), 404)
async def show_preparation(request: Request) -> Response:
    """One avatar in the making."""
    return JSONResponse(_preparation(request).as_json())


@operation("Stop making an avatar", Answer("The avatar task, which is over", AvatarTaskJson), 404)
async def cancel_preparation(request: Request) -> Response:
    """Stop making an avatar; one that is over stays as it is."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    preparation = _preparation(request)
    if not orchestrator.films.cancel(preparation.id):
        orchestrator.preparations.cancel(preparation.id)
    return JSONResponse(_preparation(request).as_json())


@operation("Rename an avatar", Answer("The avatar", AvatarJson), 404, 408, 409, 413, 422, body=NewName)
async def rename(request: Request) -> Response:
    """Give an avatar another name."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    name = request.path_params["name"]
    new_name = (
        await checked_body(request, NewName, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_name", '{"name": "new-name"}')
    ).name
    require_unused(orchestrator, name)
    settings = orchestrator.settings
    directory = settings.avatars_dir
    with avatar_errors(), renaming_avatar(settings, name, new_name):
        await asyncio.to_thread(rename_avatar, directory, name, new_name)
        avatar = await asyncio.to_thread(find_avatar, directory, new_name)
    return JSONResponse(_described(avatar))


@operation("Delete an avatar", Answer("It is gone"), 404, 409, 422, status=204)
async def remove(request: Request) -> Response:
    """Delete an avatar."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    name = request.path_params["name"]
    require_unused(orchestrator, name)
    with avatar_errors(), moving_avatar(orchestrator.settings, name):
        await asyncio.to_thread(remove_avatar, orchestrator.settings.avatars_dir, name)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@operation("An avatar's picture", Answer("The picture", media="image/png"), 404)
async def avatar_picture(request: Request) -> Response:
    """An avatar's preview picture."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    name = request.path_params["name"]
    # Compared with the existing names, so that no name from a request becomes a path.
    avatars_dir = orchestrator.settings.avatars_dir
    for avatar in await asyncio.to_thread(prepared_avatars, avatars_dir):
        if avatar.name == name and avatar.preview_path.is_file():
            return FileResponse(avatar.preview_path, media_type="image/png", headers={"Cache-Control": "no-cache"})
    message = f"There is no avatar {name[:64]!r}; {await asyncio.to_thread(known_avatars, avatars_dir)}."
    raise ApiError(HTTPStatus.NOT_FOUND, "unknown_avatar", message)


@operation(
    "How an avatar was understood",
    Answer("A frame with landmarks, crop and mask drawn on it", media="image/png"),
    *(404, 422),
    query=OverlayQuery,
)
async def avatar_overlay(request: Request) -> Response:
    """A frame with what was found in it: landmarks, the face's crop, and where it is repainted."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    frame = checked(OverlayQuery, request.query_params).frame
    with avatar_errors():
        avatar = await asyncio.to_thread(find_avatar, orchestrator.settings.avatars_dir, request.path_params["name"])
    with avatar_errors("bad_frame"):
        picture = await asyncio.to_thread(overlay_png, avatar, frame)
    return Response(picture, media_type="image/png")


def _described(avatar: PreparedAvatar) -> AvatarJson:
    settings = avatar.settings
    return {
        "name": avatar.name,
        "width": settings.width,
        "height": settings.height,
        "frames": settings.frame_count,
        "duration_s": settings.frame_count / settings.fps,
        "face_resolution": settings.resolution,
        "loop": settings.loop,
        "speakable_frames": int(avatar.speakable.sum()),
        "idle_frames": None if settings.idle is None else settings.idle.frame_count,
        "checkpoint": settings.checkpoint,
        "fit_db": settings.fit_db,
        "warning": as_sentence(fit_warning(settings)),
        "motions": motion_names(avatar.directory),
        "preview": f"/v1/avatars/{avatar.name}/preview.png",
    }


async def _accepted(request: Request, orchestrator: Orchestrator) -> Preparation:
    require_ready(orchestrator)
    settings = orchestrator.settings
    form = UploadForm(
        request,
        settings.avatar_upload_limit_bytes,
        settings,
        VIDEO_FIELD,
        (IDLE_FIELD,),
        "person.mp4",
    )
    upload = tempfile.TemporaryDirectory(prefix="upload-", dir=orchestrator.uploads_dir)
    try:
        files = await spooled(form, Path(upload.name))
        fields = checked(AvatarFields, form.fields)
        name = fields.name
        options = PrepareOptions(
            max_height=fields.max_height,
            loop=fields.loop,
            face_at=fields.face,
            idle=files.get(IDLE_FIELD),
            checkpoint=fields.checkpoint,
        )
        with avatar_errors():
            room = DiskRoom(settings.avatar_limit_bytes, settings.avatar_reserve_bytes)
            await asyncio.to_thread(require_room, files[VIDEO_FIELD], options, settings.avatars_dir, room)
            drawn_by = await asyncio.to_thread(orchestrator.checkpoints.choose, files[VIDEO_FIELD], fields.checkpoint)
        require_unused(orchestrator, name)
        warning = as_sentence(await asyncio.to_thread(unfitting, drawn_by, files[VIDEO_FIELD]))
        return orchestrator.preparations.submit(name, files[VIDEO_FIELD], options, upload, warning)
    except PreparationsFull:
        await asyncio.to_thread(shutil.rmtree, upload.name)
        message = "Too many avatars are waiting to be prepared. Try again later."
        raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, _RETRY_FULL_S) from None
    except BaseException:
        await asyncio.to_thread(upload.cleanup)
        raise


async def spooled(form: UploadForm, folder: Path) -> dict[str, Path]:
    """Writes the form's files into `folder`; files, since an mp4's index is often at its end."""
    files: dict[str, Path] = {}
    async for field, block in form.file_blocks():
        path = files.setdefault(field, folder / field)
        await asyncio.to_thread(_append, path, block)
    # An empty file yields no block. An empty idle clip, as browsers send it for an unused field, counts as none.
    if VIDEO_FIELD not in files:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_video", "The video is empty. Send it again.")
    return files


def _append(path: Path, block: bytes) -> None:
    with path.open("ab") as file:
        file.write(block)


def _preparation(request: Request) -> Preparation:
    orchestrator: Orchestrator = request.app.state.orchestrator
    known = orchestrator.preparations.get(request.path_params["task_id"])
    if known is None:
        message = "There is no such avatar task; /v1/avatar-tasks lists those since the server's start."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_task", message)
    return known


def require_unused(orchestrator: Orchestrator, name: str) -> None:
    """Raises ApiError (409) for an avatar that a channel plays."""
    if name in orchestrator.avatars_in_use:
        with avatar_errors():
            raise AvatarInUse(name)


@contextmanager
def avatar_errors(code: str = "bad_name") -> Iterator[None]:
    """Turns an AvatarError inside into an answer; `code` is that of one that has none."""
    try:
        yield
    except LockRefused as error:
        raise ApiError(HTTPStatus.CONFLICT, AvatarInUse.code, f"{error}.") from None
    except AvatarError as error:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if isinstance(error, (AvatarNotFound, MotionNotFound)):
            status = HTTPStatus.NOT_FOUND
        elif isinstance(error, (AvatarExists, AvatarInUse, MotionExists)):
            status = HTTPStatus.CONFLICT
        elif isinstance(error, AvatarTooLarge):
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        elif isinstance(error, NoRoomForAvatar):
            status = HTTPStatus.INSUFFICIENT_STORAGE
        raise ApiError(status, getattr(error, "code", code), f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
