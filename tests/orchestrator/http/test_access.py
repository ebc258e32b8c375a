"""Keys, scopes and limits at a running server, and the headers that its answers carry."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.routing import Route

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.http.app import ROUTES
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

OPEN = {"/", "/embed", "/openapi.json", "/health/live", "/health/ready", "/v1/session"}
# The page for a phone holds nothing of the server; an agent's session shows the token that its key got.
OF_PHONE = {"/talk", "/talk/worker.js", "/talk/authority.crt"}
BY_TOKEN = {"/v1/sessions/start", "/v1/sessions/stop"}
BY_TOKEN_IN_BODY = {"/agents/integrations/livekit/agents"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), require_key=True)
    KeyFile(settings.keys_path).add("first", Scope.ADMINISTER)
    async with running(settings) as started:
        await started.ready()
        yield started


def bearer(server: RunningServer, scope: Scope) -> dict[str, str]:
    keys = KeyFile(server.orchestrator.settings.keys_path)
    if any(key.name == scope.value for key in keys.all()):
        keys.remove(scope.value)
    return {"Authorization": f"Bearer {keys.add(scope.value, scope)}"}


async def test_every_route_but_the_open_ones_needs_a_key(server: RunningServer) -> None:
    asked, cookie = 0, f"latentsync_session_{server.orchestrator.settings.http_port}"
    for route in ROUTES:
        if isinstance(route, Route) and route.path not in OPEN | OF_PHONE | BY_TOKEN | BY_TOKEN_IN_BODY:
            for method in (route.methods or {"GET"}) - {"HEAD", "OPTIONS"}:
                path = route.path.replace("{channel_id}", "main").replace("{name}", "demo").replace("{task_id}", "x")
                for headers, code in (
                    ({}, "key_required"),
                    ({"Authorization": "Bearer lsr_wrong"}, "unknown_key"),
                    ({"Cookie": f"{cookie}=wrong"}, "key_required"),
                ):
                    answer = await server.http.request(method, path, headers=headers)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), (method, path)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
                    asked += 1
    assert asked > 50


async def test_session_of_an_agent_needs_its_token(server: RunningServer) -> None:
    for path in BY_TOKEN:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = await server.http.post(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unknown_session")
    for path in BY_TOKEN_IN_BODY:
        body = {"session_token": "wrong", "livekit_url": "wss://rooms.example", "livekit_token": "t"}
        answer = await server.http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unknown_session")


async def test_open_routes_tell_nothing_of_channels(server: RunningServer) -> None:
    for path in OPEN:
        answer = await server.http.get(path)
        assert answer.status_code == 200
        assert "channel main" not in answer.text
    assert (await server.http.get("/health/ready")).json() == {"status": "ready", "parts": {}}
    seen = await server.http.get("/health/ready", headers=bearer(server, Scope.VIEW))
    assert "channel main" in seen.json()["parts"]
    # Everybody can read the key of a frame.
    assert (await server.http.get("/health/ready", headers=bearer(server, Scope.WATCH))).json()["parts"] == {}


async def test_how_conversations_are_held_is_told_to_those_who_may_hold_one(server: RunningServer) -> None:
    own = {"responder": "openai", "url": "http://10.0.0.5:8000/v1", "prompt": "You know the secret."}
    whole = {**own, "greeting": "Hello."}
    channel = {"channel": "guide", "avatar": "demo", "conversation": whole}
    answer = await server.http.post("/v1/channels", json=channel, headers=bearer(server, Scope.ADMINISTER))
    assert answer.status_code == 201 and answer.json()["conversation"] == whole, answer.text
    for scope, seen in ((Scope.VIEW, {"responder": "openai"}), (Scope.SPEAK, whole)):
        headers = bearer(server, scope)
        listed = (await server.http.get("/v1/channels", headers=headers)).json()["channels"]
        assert next(each for each in listed if each["channel"] == "guide")["conversation"] == seen
        assert (await server.http.get("/v1/channels/guide", headers=headers)).json()["conversation"] == seen
        async with server.http.stream("GET", "/v1/events?channel=guide", headers=headers) as events:
            told = [line async for line in first_events(events, 3)]
        assert {json.dumps(each["conversation"], sort_keys=True) for each in told} == {json.dumps(seen, sort_keys=True)}
    await server.http.delete("/v1/channels/guide", headers=bearer(server, Scope.ADMINISTER))


async def first_events(answer: httpx.Response, count: int) -> AsyncIterator[dict[str, Any]]:
    """The first events of a channel that lives: its present state, and changes."""
    lines = (line async for line in answer.aiter_lines() if line.startswith("data: "))
    for _ in range(count):
        yield json.loads((await anext(lines)).removeprefix("data: "))


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        (Scope.WATCH, "POST", "/v1/channels/main/whep", 415),
        (Scope.WATCH, "DELETE", "/v1/channels/main/whep/x", 404),
        (Scope.WATCH, "GET", "/v1/channels/main", 403),
        (Scope.WATCH, "GET", "/v1/channels/main/qr.svg", 403),
        (Scope.WATCH, "GET", "/v1/avatars/demo/preview.png", 403),
        (Scope.WATCH, "GET", "/v1/events", 403),
        (Scope.WATCH, "GET", "/v1/tasks", 403),
        (Scope.WATCH, "GET", "/metrics", 403),
        (Scope.VIEW, "POST", "/v1/channels/main/whep", 415),
        (Scope.VIEW, "GET", "/v1/tasks", 200),
        (Scope.VIEW, "GET", "/metrics", 200),
        (Scope.VIEW, "POST", "/v1/tasks", 403),
        (Scope.VIEW, "GET", "/v1/channels/main/conversation", 403),
        (Scope.VIEW, "POST", "/v1/channels/main/chat", 403),
        (Scope.SPEAK, "GET", "/v1/channels/main/conversation", 200),
        (Scope.VIEW, "POST", "/v1/channels/main/interrupt", 403),
        (Scope.VIEW, "DELETE", "/v1/tasks/x", 403),
        (Scope.SPEAK, "GET", "/v1/channels", 200),
        (Scope.SPEAK, "POST", "/v1/channels/main/interrupt", 200),
        (Scope.SPEAK, "POST", "/v1/tasks", 415),
        (Scope.SPEAK, "POST", "/v1/channels", 403),
        (Scope.SPEAK, "DELETE", "/v1/avatars/demo", 403),
        (Scope.SPEAK, "POST", "/v1/avatars", 403),
        (Scope.SPEAK, "GET", "/v1/channels/main/keys", 403),
        (Scope.SPEAK, "POST", "/v1/channels/main/keys", 403),
        (Scope.SPEAK, "DELETE", "/v1/channels/main/keys/x", 403),
        (Scope.ADMINISTER, "GET", "/v1/channels/main/keys", 200),
        (Scope.ADMINISTER, "POST", "/v1/channels/other/keys", 400),
        (Scope.ADMINISTER, "DELETE", "/v1/channels/main/keys/administer", 404),
        (Scope.ADMINISTER, "POST", "/v1/channels", 400),
        (Scope.ADMINISTER, "DELETE", "/v1/avatars/demo", 409),
    ],
)
async def test_key_may_do_what_its_scope_says(
    server: RunningServer, scope: Scope, method: str, path: str, status: int
) -> None:
    answer = await server.http.request(method, path, headers=bearer(server, scope))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["code"] == "scope_missing"


async def test_key_that_may_watch_one_channel_opens_no_other(server: RunningServer) -> None:
    administers = bearer(server, Scope.ADMINISTER)
    made = await server.http.post("/v1/channels/main/keys", json={"name": "window"}, headers=administers)
    assert made.status_code == 201
    watches = {"Authorization": f"Bearer {made.json()['key']}"}
    session = (await server.http.get("/v1/session", headers=watches)).json()
    assert (session["scope"], session["channel"]) == ("watch", "main")
    while not (await server.http.get("/v1/channels/main", headers=administers)).json()["preview_codecs"]:
        await asyncio.sleep(0.05)
    async with server.http.stream("GET", "/v1/channels/main/preview.mp4", headers=watches) as stream:
        assert stream.status_code == 200
        assert stream.headers["Content-Type"].startswith('video/mp4; codecs="avc1.')
    for method, path in (("GET", "preview.mp4"), ("POST", "whep"), ("DELETE", "whep/x")):
        refused = await server.http.request(method, f"/v1/channels/other/{path}", headers=watches)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "other_channel")
    listed = (await server.http.get("/v1/channels/main/keys", headers=administers)).json()["keys"]
    assert [key["name"] for key in listed] == ["window"]
    twice = await server.http.post("/v1/channels/main/keys", json={"name": "window"}, headers=administers)
    assert (twice.status_code, twice.json()["error"]["code"]) == (422, "bad_key")
    assert (await server.http.delete("/v1/channels/main/keys/window", headers=administers)).status_code == 204
    assert (await server.http.post("/v1/channels/main/whep", headers=watches)).status_code == 401


async def test_a_removed_channel_takes_the_keys_along_that_watch_it_alone(server: RunningServer) -> None:
    administers = bearer(server, Scope.ADMINISTER)
    defined = {"channel": "shop", "avatar": "demo", "targets": ["shop.flv"]}
    assert (await server.http.post("/v1/channels", json=defined, headers=administers)).status_code == 201
    made = await server.http.post("/v1/channels/shop/keys", json={"name": "old-window"}, headers=administers)
    assert (await server.http.delete("/v1/channels/shop", headers=administers)).status_code == 200
    watches = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await server.http.get("/v1/session", headers=watches)).json()["scope"] is None


async def test_viewers_by_one_key_are_callers_by_their_address(server: RunningServer) -> None:
    gate = server.orchestrator.gate
    key = bearer(server, Scope.WATCH)["Authorization"].removeprefix("Bearer ")
    names = {gate.caller(key, address).name for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2")}
    assert len(names) == 2
    views = bearer(server, Scope.VIEW)["Authorization"].removeprefix("Bearer ")
    assert len({gate.caller(views, address).name for address in ("192.0.2.1", "192.0.2.2")}) == 1


async def test_speech_with_a_key_is_said(server: RunningServer) -> None:
    headers = bearer(server, Scope.SPEAK)
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.5))}, headers=headers)
    assert answer.status_code == 200
    while (await server.http.get(answer.headers["Location"], headers=headers)).json()["state"] != "done":
        await asyncio.sleep(0.05)


async def test_session_stands_for_the_key_where_no_script_reads_it(server: RunningServer) -> None:
    assert (await server.http.get("/v1/session")).json() == {
        "key_required": True,
        "scope": None,
        "channel": None,
        "speech": None,
    }
    assert (await server.http.post("/v1/session", json={"key": "lsr_wrong"})).status_code == 401
    key = bearer(server, Scope.VIEW)["Authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(base_url=server.http.base_url) as page:
        begun = await page.post("/v1/session", json={"key": key})
        assert (begun.json()["key_required"], begun.json()["scope"]) == (True, "view")
        cookie = begun.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
        assert key not in cookie and key.removeprefix("lsr_") not in cookie
        assert f"_{server.orchestrator.settings.http_port}=" in cookie
        kept = {"Cookie": cookie.partition(";")[0]}
        assert (await page.get("/v1/channels")).status_code == 200
        foreign = {"Origin": "https://elsewhere.example"}
        assert (await page.post("/v1/channels/main/interrupt", headers=foreign)).status_code == 403
        assert (await page.delete("/v1/session")).status_code == 204
        assert (await page.get("/v1/channels")).status_code == 401
        assert (await page.get("/v1/channels", headers=kept)).status_code == 401, "a copy of the cookie"
    secure = await server.http.post("/v1/session", json={"key": key}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in secure.headers["Set-Cookie"] and secure.headers["Set-Cookie"].startswith("__Host-")
    assert secure.headers["Strict-Transport-Security"].startswith("max-age=")
    server.http.cookies.clear()


async def test_refused_upload_is_not_read_to_its_end(server: RunningServer) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 100_000
            yield b"\0" * 100_000

    try:
        answer = await server.http.post("/v1/tasks", content=endless())
        assert answer.status_code == 401
    except httpx.TransportError:
        pass  # a sender that never listens meets a closed connection
    assert read < 50_000_000
    assert list(server.orchestrator.files.incoming.iterdir()) == []


async def test_page_and_answers_carry_strict_headers(server: RunningServer) -> None:
    for path in ("/", "/page/main.js", "/v1/session", "/v1/tasks", "/nothing"):
        headers = (await server.http.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Server" not in headers and "Access-Control-Allow-Origin" not in headers
    assert (await server.http.get("/v1/session")).headers["Cache-Control"] == "no-store"
