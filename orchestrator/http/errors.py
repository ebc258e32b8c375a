"""Errors as clients see them: `{"error": {"code", "message"}}` with the right status."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket
from typing_extensions import TypedDict

from conversation.synthesis.synthesiser import AWAY, FAILED, SynthesisError
from orchestrator.tasks.database import StoreUnavailable
from orchestrator.tasks.open_logs import FULL, PASSING
from orchestrator.tasks.task import FailureJson
from speech.audio.errors import AudioError, DecodeTimeout, TooLarge, TooLong

_RETRY_STORE_S = 5
_RETRY_PASSING_S = 5
_RETRY_SYNTHESIS_S = 5
_FAULT = "The server failed at this request. Its log says why."
_FAILING = (errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.ESTALE)
_CLOSE_CODES = 4000  # a status as a WebSocket's close code

logger = logging.getLogger(__name__)


class ErrorJson(TypedDict):
    """The body that every error has."""

    error: FailureJson


class ApiError(Exception):
    """A request that is refused: status, a stable code, and a message that says what to do."""

    def __init__(self, status: HTTPStatus, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        # The rest of a body that timed out must not be parsed as the next request.
        self.closes = status is HTTPStatus.REQUEST_TIMEOUT
        self.headers: dict[str, str] = {}


def from_audio_error(error: AudioError) -> ApiError:
    """The answer to an upload that is no speech."""
    large = isinstance(error, (TooLarge, TooLong))
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if large else HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, DecodeTimeout):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    return ApiError(status, error.code, error.message)


def from_synthesis_error(error: SynthesisError) -> ApiError:
    """The answer to a text that can't be said, or not now."""
    if error.code == AWAY:
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message, _RETRY_SYNTHESIS_S)
    status = HTTPStatus.BAD_GATEWAY if error.code == FAILED else HTTPStatus.UNPROCESSABLE_ENTITY
    return ApiError(status, error.code, error.message)


def from_os_error(error: OSError) -> ApiError:
    """The answer when what was sent can't be kept: the disk is full or fails, or files or memory are short.

    An error of another kind is a fault of the server.
    """
    reason = error.strerror or str(error)
    if error.errno in FULL:
        logger.error("the disk is full: %s", error)
        message = "The server's disk is full, and what you sent was not kept. Free some space there, and send it again."
        return ApiError(HTTPStatus.INSUFFICIENT_STORAGE, "disk_full", message)
    if error.errno in _FAILING:
        logger.error("the disk fails: %s", error)
        message = f"The server's disk fails ({reason}), and what you sent was not kept. Its log names the file."
        return ApiError(HTTPStatus.INSUFFICIENT_STORAGE, "disk_failed", message)
    if error.errno in PASSING:
        logger.error("no file can be used now: %s", error)
        message = f"The server has no files or memory left now ({reason}), and what you sent was not kept. Try again."
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, _RETRY_PASSING_S)
    logger.error("a fault of the server", exc_info=error)
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", _FAULT)


def refusal_of(error: ApiError | AudioError | SynthesisError | OSError) -> ApiError:
    """What an upload, or a text, is refused with."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, SynthesisError):
        return from_synthesis_error(error)
    return from_audio_error(error) if isinstance(error, AudioError) else from_os_error(error)


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as clients see it."""
    body: ErrorJson = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status, headers=headers)


async def denied(socket: WebSocket, error: ApiError) -> None:
    """Refuse a WebSocket that was not accepted yet, with the answer that a request would get.

    An ASGI server that can't answer so accepts it, and closes it with 4000 + the status.
    """
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(_answer(error))
        return
    await socket.accept()
    await socket.close(_CLOSE_CODES + error.status, error.code)


def _answer(error: ApiError) -> Response:
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.closes:
        headers["Connection"] = "close"  # else the server would go on reading what is refused
    return error_response(error.status, error.code, error.message, headers)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _answer(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_response(404, "not_found", f"There is nothing at {request.url.path}; /openapi.json lists the API.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.method} is not possible at {request.url.path}; {allowed} is."
        return error_response(405, "method_not_allowed", message, error.headers)
    code = HTTPStatus(error.status_code).name.lower()
    return error_response(error.status_code, code, error.detail, error.headers)


async def _on_os_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return await _on_api_error(request, from_os_error(error))


async def _on_store_unavailable(request: Request, error: Exception) -> Response:
    logger.error("%s", error)
    message = "The list of tasks can't be read or written now. Try again; the server's log says why."
    return await _on_api_error(
        request, ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "store_unavailable", message, _RETRY_STORE_S)
    )


async def _on_disconnect(request: Request, error: Exception) -> Response:
    # Nobody reads this answer; it keeps a client that went away from counting as a fault of the server.
    return error_response(400, "client_disconnected", "The request was not sent to its end.")


async def _on_fault(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback; clients must not see internals.
    return error_response(500, "internal_error", _FAULT)


EXCEPTION_HANDLERS = {
    ApiError: _on_api_error,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
    OSError: _on_os_error,
    StoreUnavailable: _on_store_unavailable,
    Exception: _on_fault,
}
