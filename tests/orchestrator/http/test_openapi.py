"""The description of the API is that of the API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from orchestrator.http.app import ROUTES
from tests.support.running_server import running, settings_in

pytestmark = pytest.mark.timeout(60)
_NOT_DESCRIBED = {"/", "/openapi.json"}


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, its null alternative left out."""
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


async def test_every_route_is_described_and_answers_look_as_they_are_described(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        document = (await server.http.get("/openapi.json")).json()
        while (view := (await server.http.get("/v1/channels/main")).json())["stream"] is None:
            await asyncio.sleep(0.05)
    described = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    for route in ROUTES:
        if isinstance(route, Route) and route.path not in _NOT_DESCRIBED:
            for method in (route.methods or {"GET"}) - {"HEAD"}:
                assert (route.path, method) in described
    channel = document["components"]["schemas"]["Channel"]
    assert set(view) == set(channel["properties"])
    assert set(view["stream"]) == set(resolved(document, channel["properties"]["stream"])["properties"])
