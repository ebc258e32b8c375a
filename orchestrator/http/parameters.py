"""The text fields of forms and queries, and small JSON bodies, checked and typed by pydantic models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails
from starlette.requests import Request

from latentsync.avatar import AvatarError
from orchestrator.http.arriving import small_json
from orchestrator.http.errors import ApiError

# No longer than any number in range: int() refuses thousands of digits with an error of its own.
_WHOLE = re.compile(r"[0-9]{1,12}")
_BODY_BYTES = 10_000

Model = TypeVar("Model", bound=BaseModel)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("no whole number")
    return int(text)


DIGITS = BeforeValidator(_whole)
"""Reads a whole number that is written with the digits 0 to 9 alone; stands behind the range in an annotation."""
UploadedFile = Annotated[bytes, WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})]
"""A file of a form, which is described here and read block by block."""


def checked(model: type[Model], sent: Mapping[str, str], most: Mapping[str, float] | None = None) -> Model:
    """The fields of the model as they were sent; others mean nothing, and a blank one that isn't required is not sent.

    `most` are limits of this server, which the model gets as its context. Raises ApiError (422, `bad_NAME`) that names
    the first wrong field, its value and what is allowed.
    """
    values = {
        name: text
        for name, field in model.model_fields.items()
        if (text := sent.get(name, "").strip()) or field.is_required()
    }
    try:
        return model.model_validate(values, context=most)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    message = _message(model, name, values.get(name, ""), first, (most or {}).get(name))
    raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"bad_{name}", message)


async def checked_body(request: Request, model: type[Model], status: HTTPStatus, code: str, example: str) -> Model:
    """The request's JSON body; raises ApiError with `status` and `code` for another one, and as `small_json`."""
    values = await small_json(request, _BODY_BYTES, f"Send {example}.")
    try:
        return model.model_validate(values)
    except ValidationError:
        raise ApiError(status, code, f"The body must be {example} as JSON.") from None


def _message(model: type[BaseModel], name: str, value: str, error: ErrorDetails, most: float | None) -> str:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, AvatarError):  # it says itself what is allowed
        return f"{str(cause)[:1].upper()}{str(cause)[1:]}."
    described = model.model_json_schema()
    schema: dict[str, Any] = described["properties"][name]
    schema = described.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    if "enum" in schema:
        return f"{name} is {value[:40]!r}; {' or '.join(schema['enum'])} is meant."
    if "maxLength" in schema:
        least = schema.get("minLength", 0)
        return f"{name} has {len(value)} characters and must have {least} to {schema['maxLength']}."
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    low, high = schema["minimum"], schema.get("maximum") if most is None else most
    written = "{}" if schema["type"] == "integer" else "{:g}"
    return f"{name} is {value[:40]!r} and must be {kind} from {written.format(low)} to {written.format(high)}."
