"""The API's description for machines, made of what the routes declare and of the models that check requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from orchestrator.http.errors import ErrorJson
from orchestrator.http.operations import Answer, Operation, operation_of

Json = dict[str, Any]

# Any request may lack a key, be for another host, or be one too many.
_ERRORS_OF_ALL = (401, 403, 421, 429)
_ERROR = {"$ref": "#/components/responses/Error"}


class _Schemas(GenerateJsonSchema):
    """Without defaults: what a request leaves out is as the settings say, or as it was."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        """The schema of the value alone."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        """Titles would only repeat the names."""
        return False


def described(routes: Iterable[BaseRoute]) -> Json:
    """OpenAPI 3.1 of all routes that declare an operation."""
    operations = [
        (route, method.lower(), declared)
        for route in routes
        if isinstance(route, Route) and (declared := operation_of(route.endpoint)) is not None
        for method in sorted((route.methods or {"GET"}) - {"HEAD"})
    ]
    schemas, components = _schemas(declared for _, _, declared in operations)
    paths: Json = {}
    for route, method, declared in operations:
        paths.setdefault(route.path, {})[method] = _operation(route, declared, schemas)
    error = {"description": "What was wrong, and what to do", "content": _content(schemas[ErrorJson])}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "latentsync-realtime",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        # Asked for by a server that others than this machine reach.
        "security": [{}, {"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
            "responses": {"Error": error},
        },
    }


async def document(request: Request) -> Response:
    """OpenAPI 3.1 of this server."""
    return JSONResponse(described(request.app.routes))


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Json], Json]:
    """The schema of each type by the type, and those that they refer to by their names."""
    types: dict[Any, JsonSchemaMode] = {ErrorJson: "serialization"}
    for each in operations:
        types |= {answer.type: "serialization" for answer in each.answers.values() if answer.type is not None}
        types |= {taken: "validation" for taken in (each.body, each.form) if taken is not None}
    inputs = [(kind, mode, TypeAdapter(kind)) for kind, mode in types.items()]
    made, rest = TypeAdapter.json_schemas(
        inputs, ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    return {kind: schema for (kind, _), schema in made.items()}, rest["$defs"]


def _operation(route: Route, declared: Operation, schemas: dict[Any, Json]) -> Json:
    answers = {str(int(status)): _answer(answer, schemas) for status, answer in declared.answers.items()}
    refusals = sorted({*declared.errors, *_ERRORS_OF_ALL} - set(declared.answers))
    found: Json = {
        "summary": declared.summary,
        "operationId": route.name,
        "responses": {**answers, **{str(int(status)): _ERROR for status in refusals}},
    }
    parameters = [*_path_parameters(route), *_query_parameters(declared.query)]
    if parameters:
        found["parameters"] = parameters
    content: Json = {}
    for model, media in ((declared.body, "application/json"), (declared.form, "multipart/form-data")):
        if model is not None:
            content |= _content(schemas[model], media)
    if declared.media is not None:
        content[declared.media] = {}
    if content:
        found["requestBody"] = {"required": True, "content": content}
    return found


def _answer(answer: Answer, schemas: dict[Any, Json]) -> Json:
    content = _content({}, answer.media) if answer.media is not None else {}
    if answer.type is not None:
        content = _content(schemas[answer.type])
    return {"description": answer.description, **({"content": content} if content else {})}


def _content(schema: Json, media: str = "application/json") -> Json:
    return {media: {"schema": schema} if schema else {}}


def _path_parameters(route: Route) -> Iterator[Json]:
    for name in route.param_convertors:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(query: type[BaseModel] | None) -> Iterator[Json]:
    if query is not None:
        for name, schema in query.model_json_schema(schema_generator=_Schemas)["properties"].items():
            yield {"name": name, "in": "query", "schema": schema}
