"""The description of the API is that of the API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.http.app import ROUTES
from orchestrator.http.openapi import described
from orchestrator.http.operations import Answer, operation
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav

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
    known = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    for route in ROUTES:
        if isinstance(route, Route) and route.path not in _NOT_DESCRIBED:
            for method in (route.methods or {"GET"}) - {"HEAD"}:
                assert (route.path, method) in known
    channel = document["components"]["schemas"]["ChannelJson"]
    assert set(view) == set(channel["properties"])
    assert set(view["stream"]) == set(resolved(document, channel["properties"]["stream"])["properties"])


async def test_ranges_that_are_described_are_those_that_are_checked(tmp_path: Path) -> None:
    form = described(ROUTES)["components"]["schemas"]["SpeechForm"]["properties"]
    parameters = described(ROUTES)["paths"]["/v1/tasks"]["get"]["parameters"]
    (limit,) = (each for each in parameters if each["name"] == "limit")
    beyond = [
        (name, schema[bound] + step)
        for name, schema in {**form, "limit": limit["schema"]}.items()
        for bound, step in (("minimum", -1), ("maximum", 1))
        if bound in schema
    ]
    assert len(beyond) == 6
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        for name, value in beyond:
            if name == "limit":
                answer = await server.http.get("/v1/tasks", params={name: value})
            else:
                files = {"audio_file": ("a.wav", wav(0.2))}
                answer = await server.http.post("/v1/tasks", data={name: str(value)}, files=files)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, f"bad_{name}")
            assert f"{value}" in answer.json()["error"]["message"]


async def test_session_tells_the_limits_that_are_checked(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, max_steps=7, max_guidance=2.5, channel_id="studio")) as server:
        await server.ready()
        speech = (await server.http.get("/v1/session")).json()["speech"]
        assert speech["channel"] == "studio"
        for name in ("num_inference_steps", "guidance_scale"):
            for value, status in ((speech[name]["maximum"], 200), (speech[name]["maximum"] + 1, 422)):
                files = {"audio_file": ("a.wav", wav(0.2))}
                answer = await server.http.post("/v1/tasks", data={name: f"{value:g}"}, files=files)
                assert answer.status_code == status, answer.text
        unset = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.2))})
        task = (await server.http.get(unset.headers["Location"])).json()
        for name in ("num_inference_steps", "guidance_scale"):
            assert task[name] == speech[name]["default"]


def test_endpoint_that_declares_nothing_is_not_described() -> None:
    async def endpoint(request: Request) -> Response:
        raise AssertionError

    assert described([Route("/a", endpoint)])["paths"] == {}
    declared = operation("Say hello", Answer("A word", str), 404)(endpoint)
    hello = described([Route("/a/{b}", declared, name="hello")])["paths"]["/a/{b}"]["get"]
    assert hello["operationId"] == "hello"
    assert hello["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "string"}}}
    assert {"401", "404"} < set(hello["responses"])
    assert [each["name"] for each in hello["parameters"]] == ["b"]
