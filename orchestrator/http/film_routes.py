"""Avatars from a picture: a service makes the video, which becomes an avatar, or a motion of one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from filming.service import LARGEST_PICTURE_BYTES, FilmOrder
from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.landmarks import FaceLandmarker, LandmarkModelError
from orchestrator.avatars.motions import require_no_motion
from orchestrator.avatars.pictures import picture_suffix, require_face
from orchestrator.avatars.preparations import Preparation, PreparationsFull
from orchestrator.avatars.prepare import PrepareOptions
from orchestrator.avatars.store import find_avatar
from orchestrator.http.avatar_routes import avatar_errors
from orchestrator.http.errors import ApiError
from orchestrator.http.forms import UploadForm
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import FilmFields, FilmForm
from orchestrator.http.response_models import AcceptedJson
from orchestrator.http.task_routes import require_ready
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import Settings
from speech.audio.errors import AudioError

_PICTURE = "picture"
_RETRY_FULL_S = 60


@operation(
    "Make an avatar, or a motion of one, from a picture",
    Answer("The order is taken: its avatar task tells how far it is", AcceptedJson),
    *(400, 404, 408, 409, 413, 415, 422, 429, 503, 507),
    status=202,
    form=FilmForm,
)
async def order_film(request: Request) -> Response:
    """Take a picture and a text; a service makes a video of them, which is prepared."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    try:
        preparation = await _accepted(request, orchestrator)
    except (ApiError, AudioError, OSError) as error:
        raise await refused(request, error, LARGEST_PICTURE_BYTES) from None
    body: AcceptedJson = {"status": "processing_started", "task_id": preparation.id}
    return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Location": f"/v1/avatar-tasks/{preparation.id}"})


async def _accepted(request: Request, orchestrator: Orchestrator) -> Preparation:
    require_ready(orchestrator)
    if not orchestrator.films.offered:
        message = "This server makes no videos from pictures: set film_service, or send a video to /v1/avatars."
        raise ApiError(HTTPStatus.NOT_FOUND, "no_film_service", message)
    settings = orchestrator.settings
    form = UploadForm(request, LARGEST_PICTURE_BYTES, settings, _PICTURE, example="person.png")
    folder = Path(tempfile.mkdtemp(prefix="picture-", dir=orchestrator.uploads_dir))
    try:
        sent = folder / _PICTURE
        async for _, block in form.file_blocks():
            await asyncio.to_thread(_append, sent, block)
        fields = checked(FilmFields, form.fields)
        person = None if fields.motion_of is None else await _acting(settings, fields)
        if person is None and fields.name in orchestrator.avatars_in_use:
            message = f"A channel plays {fields.name!r}: it can't be changed now. Use another name."
            raise ApiError(HTTPStatus.CONFLICT, "avatar_in_use", message)
        if fields.checkpoint is not None:
            with avatar_errors():
                orchestrator.checkpoints.require(fields.checkpoint)
        picture = await asyncio.to_thread(_checked_picture, sent, settings.checkpoint_dir.parent / "face", person)
        options = PrepareOptions(
            max_height=fields.max_height, loop=fields.loop, face_at=fields.face, checkpoint=fields.checkpoint
        )
        order = FilmOrder(picture, fields.prompt, fields.seed or 0)
        if person is not None:
            return await orchestrator.films.submit(person.name, picture, order, options, motion=fields.name)
        return await orchestrator.films.submit(fields.name, picture, order, options)
    except PreparationsFull:
        message = "Too many videos are being made. Try again later."
        raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, _RETRY_FULL_S) from None
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _acting(settings: Settings, fields: FilmFields) -> PreparedAvatar:
    """The avatar whose motion is ordered; raises ApiError for what can't become one, before anything is paid."""
    of_avatar = {"max_height": fields.max_height, "face": fields.face, "checkpoint": fields.checkpoint}
    for name, value in of_avatar.items():
        if value is not None:
            message = f"A motion has the size, the face and the checkpoint of its avatar: leave {name} out."
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"bad_{name}", message)
    with avatar_errors():
        avatar = await asyncio.to_thread(find_avatar, settings.avatars_dir, fields.motion_of or "")
        require_no_motion(avatar.directory, fields.name)
    return avatar


def _append(path: Path, block: bytes) -> None:
    with path.open("ab") as file:
        file.write(block)


def _checked_picture(sent: Path, face_models: Path, person: PreparedAvatar | None) -> Path:
    """The picture under a name that tells its format; nobody pays for a video of one without a face.

    Nor for a motion of an avatar, `person`, that shows somebody else.
    """
    try:
        if not sent.is_file():
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_picture", "The picture is empty. Send it again.")
        picture = sent.rename(sent.with_suffix(picture_suffix(sent)))
        require_face(picture, FaceLandmarker(face_models), person)
    except AvatarError as error:
        message = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, getattr(error, "code", "bad_picture"), message) from None
    except LandmarkModelError as error:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_face_models", f"{error}.") from None
    return picture
