"""What a route takes and answers, declared at its endpoint; `openapi` makes the API's description of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

Endpoint = TypeVar("Endpoint", bound=Callable[[Request], Awaitable[Response]])


@dataclass(frozen=True)
class Answer:
    """A body that an operation answers with: of a type that becomes JSON, of a media type, or none at all."""

    description: str
    type: Any = None
    media: str | None = None


@dataclass(frozen=True)
class Operation:
    """One route with one method. `errors` are statuses with the body that every error has."""

    summary: str
    answers: Mapping[HTTPStatus, Answer]
    errors: tuple[HTTPStatus, ...] = ()
    body: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = field(default=None)
    media: str | None = None
    """The media type of a body that is no JSON and no form; beside those where both are named."""


def operation(
    summary: str,
    answer: Answer,
    *errors: int,
    status: int = 200,
    otherwise: Mapping[int, Answer] | None = None,
    body: type[BaseModel] | None = None,
    form: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    media: str | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Declares what an endpoint takes and answers; `otherwise` are answers that are no errors, by their status."""
    answers = {HTTPStatus(number): each for number, each in {status: answer, **(otherwise or {})}.items()}

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["operation"] = Operation(
            summary, answers, tuple(HTTPStatus(number) for number in errors), body, form, query, media
        )
        return endpoint

    return declare


def operation_of(endpoint: object) -> Operation | None:
    """What was declared, also at an endpoint that something was wrapped around with `functools.wraps`."""
    declared = getattr(endpoint, "operation", None)
    return declared if isinstance(declared, Operation) else None
