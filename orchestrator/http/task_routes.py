"""Tasks over HTTP: upload, list, look, cancel."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.http.errors import ApiError
from orchestrator.http.forms import SpeechUpload
from orchestrator.http.guard import busy
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import SpeechFields, SpeechForm, TasksQuery
from orchestrator.http.response_models import AcceptedJson, TasksJson
from orchestrator.http.unread import refused
from orchestrator.observability import logs
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.board import ChannelGone, QueueFull
from orchestrator.tasks.file_name import shown_name
from orchestrator.tasks.parameters import SpeechDefaults, SpeechParameters
from orchestrator.tasks.task import Task, TaskJson, TaskState
from speech.audio.errors import AudioError
from speech.audio.spool import spool_upload
from speech.source import SpeechSource

_FORM_BYTES = 1_000_000  # the most that a form may hold beside its audio
_UNREAD_BYTES = 256_000_000  # read and discarded after a refusal, so that the client can read the answer
_RETRY_TRITON_S = 5
_RETRY_STOPPING_S = 30
_RETRY_FULL_S = 10
_DECODER_WAIT_S = 40.0


@operation(
    "Say a speech",
    Answer("The task is stored and will be said", AcceptedJson),
    *(400, 404, 408, 413, 415, 422, 503, 507),
    form=SpeechForm,
)
async def submit(request: Request) -> Response:
    """Take an upload as a task."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    try:
        task = await _accepted(request, orchestrator)
    except (ApiError, AudioError, OSError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    body: AcceptedJson = {"status": "processing_started", "task_id": task.id}
    return JSONResponse(body, headers={"Location": f"/v1/tasks/{task.id}"})


@operation("The latest tasks", Answer("Newest first", TasksJson), 422, query=TasksQuery)
async def list_tasks(request: Request) -> Response:
    """The newest tasks, newest first; a channel that was removed may still have some."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    asked = checked(TasksQuery, request.query_params)
    tasks = await orchestrator.board.newest(asked.limit, asked.channel)
    body: TasksJson = {"tasks": [task.as_json() for task in tasks]}
    return JSONResponse(body)


@operation("One task", Answer("The task", TaskJson), 404)
async def show_task(request: Request) -> Response:
    """One task."""
    return JSONResponse((await find_task(request)).as_json())


@operation("Cancel a task", Answer("The task, which is over", TaskJson), 404)
async def cancel_task(request: Request) -> Response:
    """Cancel a task; one that is over already stays as it is."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    task = await find_task(request)
    if not task.state.final:
        channel = orchestrator.channels.get(task.channel)
        if channel is not None:
            await channel.cancel(task.id)
        else:  # its channel is gone: nobody plays it
            await orchestrator.board.finish(task.id, TaskState.CANCELLED)
        task = await find_task(request)
    return JSONResponse(task.as_json())


async def find_task(request: Request) -> Task:
    """The task that the path names; raises ApiError (404)."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    task_id = request.path_params["task_id"]
    task = await orchestrator.board.get(task_id)
    if task is None:
        message = f"There is no task {task_id[:64]!r}; /v1/tasks lists the latest {orchestrator.settings.task_history}."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_task", message)
    return task


async def _accepted(request: Request, orchestrator: Orchestrator) -> Task:
    require_ready(orchestrator)
    settings = orchestrator.settings
    form = SpeechUpload(request, settings.upload_limit_bytes + _FORM_BYTES, settings)
    blocks = form.audio_blocks()
    async with AsyncExitStack() as held:
        spooled = spool_upload(blocks, orchestrator.files.incoming, settings.upload_limit_bytes)
        path = await held.enter_async_context(spooled)
        arrived_at = orchestrator.clock()
        orchestrator.metrics.upload_bytes.inc(path.stat().st_size)
        parameters = speech_parameters(form.fields, orchestrator.defaults)
        if parameters.channel not in orchestrator.channels:
            raise unknown_channel(parameters.channel, orchestrator)
        await held.enter_async_context(_core_to_decode_on(orchestrator))
        if full := orchestrator.board.full(parameters.channel):
            raise queue_full(full)  # before decoding what would be refused anyway
        task = new_task(parameters, arrived_at, shown_name(form.audio_name))
        logs.task_id.set(task.id)
        try:
            await orchestrator.decodings.accept(task, path, held)
        except QueueFull as error:
            raise queue_full(str(error)) from None
        except ChannelGone:
            raise unknown_channel(parameters.channel, orchestrator) from None
        orchestrator.traces.accepted(task)  # before anything is awaited: no channel has taken it yet
    return task


def speech_parameters(fields: Mapping[str, str], defaults: SpeechDefaults) -> SpeechParameters:
    """What the fields ask for, and the defaults where it doesn't; raises ApiError (422)."""
    most = {"num_inference_steps": defaults.max_steps, "guidance_scale": defaults.max_guidance}
    asked = checked(SpeechFields, fields, most)
    channel = asked.channel or defaults.channel
    own = defaults.quality_of(channel)
    return SpeechParameters(
        steps=asked.num_inference_steps or own.steps,
        guidance=asked.guidance_scale or own.guidance,
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        channel=channel,
    )


@asynccontextmanager
async def _core_to_decode_on(orchestrator: Orchestrator) -> AsyncIterator[None]:
    # More decoders than cores would only slow down each other and the stream.
    try:
        await asyncio.wait_for(orchestrator.decoding.acquire(), _DECODER_WAIT_S)
    except TimeoutError:
        raise busy("other uploads are being decoded") from None
    try:
        yield
    finally:
        orchestrator.decoding.release()


def unknown_channel(name: str, orchestrator: Orchestrator) -> ApiError:
    """The 404 answer that lists the channels there are."""
    message = f"There is no channel {name[:64]!r}; there is {', '.join(orchestrator.channels)}."
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_channel", message)


def queue_full(reason: str) -> ApiError:
    """The 429 answer of a channel that has too many tasks."""
    message = f"Too much is waiting: {reason}. Try again later."
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, _RETRY_FULL_S)


def require_ready(orchestrator: Orchestrator) -> None:
    """Raises ApiError (503) while no speech can be taken."""
    if not orchestrator.accepting:
        message = "The server is stopping and takes no more tasks."
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", message, _RETRY_STOPPING_S)
    health = orchestrator.triton.health
    if not health.ready:
        message = f"No speech can be generated now: {health.message}."
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "triton_unavailable", message, _RETRY_TRITON_S)


def new_task(
    parameters: SpeechParameters,
    arrived_at: float,
    file_name: str | None,
    source: SpeechSource = SpeechSource.UPLOAD,
) -> Task:
    """A task that nobody knows yet."""
    return Task(
        id=str(uuid.uuid4()),
        channel=parameters.channel,
        steps=parameters.steps,
        guidance=parameters.guidance,
        seed=parameters.seed,
        duration_s=None,
        created_at=arrived_at,
        file_name=file_name,
        source=source,
    )
