"""WHEP: what players ask and get, what each key may, and what wrong offers are told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.access.keys import KeyFile, Scope
from tests.support.packet_source import PacketSource
from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.webrtc_client import WebRtcClient, webrtc_client

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

WHEP = "/v1/channels/main/whep"
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
TURN = "turn:turn.example.com:3478?transport=udp"
SECRET = "known to coturn"
OFFERS = 40
BAD_OFFER = "v=0\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whep")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """The secrets of keys by their names; all but one may view alone."""
    file = KeyFile(folder / "keys.json")
    scopes = {"viewer": Scope.VIEW, "other": Scope.VIEW, "flood": Scope.VIEW, "owner": Scope.ADMINISTER}
    return {name: file.add(name, scope) for name, scope in scopes.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path, keys: dict[str, str]) -> AsyncIterator[RunningServer]:
    (folder / "turn").write_text(SECRET)
    settings = settings_in(
        folder, require_key=True, keys_file=folder / "keys.json", webrtc_ports="50450-50499",
        webrtc_offers_per_minute=OFFERS, ice_servers=(TURN, "stun:stun.example.com"), turn_secret_file=folder / "turn",
    )  # fmt: skip
    with PacketSource(folder / "packets.sock"):
        async with running(settings) as started:
            started.orchestrator.audiences._packet_sockets = lambda: {"main": folder / "packets.sock"}
            yield started


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def offer(server: RunningServer, key: str, sdp: str | bytes, **headers: str) -> httpx.Response:
    return await server.http.post(WHEP, content=sdp, headers={**SDP, **bearer(key), **headers})


async def watching(server: RunningServer, key: str, client: WebRtcClient) -> str:
    """The address of a session whose viewer has seen something."""
    answer = await offer(server, key, await client.offer("video", "audio"))
    assert answer.status_code == 201, answer.text
    await client.accept(answer.text)
    await client.pictures(3)
    return answer.headers["Location"]


async def nobody(server: RunningServer) -> None:
    """Waits until no session is left."""
    while server.orchestrator.audiences.viewers("main"):
        await asyncio.sleep(0.05)


async def test_a_player_watches_and_leaves(server: RunningServer, keys: dict[str, str]) -> None:
    async with webrtc_client() as client:
        answer = await offer(server, keys["viewer"], await client.offer("video", "audio"))
        assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/sdp")
        assert answer.headers["ETag"].strip('"')
        await client.accept(answer.text)
        await client.pictures(10)
        session = answer.headers["Location"]
        assert session.startswith(f"{WHEP}/")
        assert server.orchestrator.audiences.viewers("main") == 1
        assert (await server.http.delete(session, headers=bearer(keys["viewer"]))).status_code == 200
        assert server.orchestrator.audiences.viewers("main") == 0
        again = await server.http.delete(session, headers=bearer(keys["viewer"]))
        assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_session")


async def test_viewers_are_counted_in_the_metrics(server: RunningServer, keys: dict[str, str]) -> None:
    server.http.headers.update(bearer(keys["viewer"]))
    try:
        async with webrtc_client() as client:
            session = await watching(server, keys["viewer"], client)
            while await metric(server, 'latentsync_webrtc_viewers{channel="main"}') != 1:
                await asyncio.sleep(0.1)
            while await metric(server, 'latentsync_webrtc_sent_bytes_total{channel="main"}') < 1000:
                await asyncio.sleep(0.1)
            await server.http.delete(session)
        while await metric(server, 'latentsync_webrtc_viewers{channel="main"}') != 0:
            await asyncio.sleep(0.1)
    finally:
        del server.http.headers["Authorization"]


async def test_a_session_belongs_to_the_key_that_began_it(server: RunningServer, keys: dict[str, str]) -> None:
    async with webrtc_client() as client:
        session = await watching(server, keys["viewer"], client)
        for name in ("other", "owner"):
            refused = await server.http.delete(session, headers=bearer(keys[name]))
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_session")
        assert (await server.http.delete(session)).status_code == 401
        seen = len(client.numbers)
        await client.pictures(seen + 5)
    await nobody(server)


async def test_a_viewer_leaves_with_its_key(server: RunningServer, keys: dict[str, str], folder: Path) -> None:
    file = KeyFile(folder / "keys.json")
    async with webrtc_client() as stays, webrtc_client() as leaves:
        session = await watching(server, keys["viewer"], stays)
        await watching(server, file.add("leaver", Scope.WATCH), leaves)
        file.remove("leaver")
        while server.orchestrator.audiences.viewers("main") != 1:
            await asyncio.sleep(0.05)
        await stays.pictures(len(stays.numbers) + 5)
        await server.http.delete(session, headers=bearer(keys["viewer"]))
    await nobody(server)


async def test_trickled_candidates_are_taken_and_ice_is_not_restarted(
    server: RunningServer, keys: dict[str, str]
) -> None:
    async with webrtc_client() as client:
        answer = await offer(server, keys["viewer"], await client.offer("video"))
        session, etag = answer.headers["Location"], answer.headers["ETag"]
        fragment = "a=mid:0\r\na=candidate:1 1 udp 2130706431 10.0.0.5 53 typ host\r\n"

        async def patch(body: str, **headers: str) -> int:
            sent = {**FRAGMENT, **bearer(keys["viewer"]), **headers}
            return (await server.http.patch(session, content=body, headers=sent)).status_code

        assert await patch(fragment) == 204
        assert await patch(fragment, **{"If-Match": etag}) == 204
        assert await patch(fragment, **{"If-Match": '"another"'}) == 412
        assert await patch(fragment, **{"If-Match": "*"}) == 422
        assert await patch("<html>") == 400
        assert await patch(fragment, **SDP) == 415
        await server.http.delete(session, headers=bearer(keys["viewer"]))


async def test_ice_servers_are_told_to_those_who_may_watch(server: RunningServer, keys: dict[str, str]) -> None:
    options = await server.http.options(WHEP, headers=bearer(keys["viewer"]))
    assert (options.status_code, options.headers["Accept-Post"]) == (204, "application/sdp")
    turn, stun = options.headers.get_list("Link")
    assert stun == '<stun:stun.example.com>; rel="ice-server"'
    assert turn.startswith(f'<{TURN}>; rel="ice-server"; ')
    values = dict(part.split("=", 1) for part in turn.split("; ")[2:])
    user, password = values["username"].strip('"'), values["credential"].strip('"')
    assert password == base64.b64encode(hmac.digest(SECRET.encode(), user.encode(), hashlib.sha1)).decode()
    assert time.time() < int(user.partition(":")[0]) < time.time() + 24 * 3600
    assert "Link" not in (await server.http.options(WHEP)).headers


async def test_other_methods_are_refused(server: RunningServer, keys: dict[str, str]) -> None:
    answer = await server.http.get(WHEP, headers=bearer(keys["viewer"]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_a_page_of_another_site_may_watch_with_a_key_of_its_own(
    server: RunningServer, keys: dict[str, str]
) -> None:
    site = {"Origin": "https://player.example.com"}
    preflight = await server.http.options(WHEP, headers={**site, "Access-Control-Request-Method": "POST"})
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = await offer(server, keys["viewer"], BAD_OFFER, **site)
    assert answer.status_code == 400
    assert answer.headers["Access-Control-Expose-Headers"] == "Location, Link, ETag"
    without_key = await server.http.post(WHEP, content=BAD_OFFER, headers={**SDP, **site})
    assert (without_key.status_code, without_key.json()["error"]["code"]) == (403, "foreign_origin")
    elsewhere = await server.http.get("/v1/channels", headers={**site, **bearer(keys["viewer"])})
    assert "Access-Control-Allow-Origin" not in elsewhere.headers


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "bad_offer"),
        (b"\xff\xfe", {}, 400, "bad_offer"),
        (b"v=0\r\nm=video\r\n", {}, 400, "bad_offer"),
        (b"v=0\r\nm=application 9 x y\r\n", {}, 400, "bad_offer"),
        (b"v=0\r\n" + b"a=x\r\n" * 20_000, {}, 413, "body_too_large"),
        (b'{"type": "offer"}', {"Content-Type": "application/json"}, 415, "other_media_type"),
    ],
)
async def test_what_is_no_offer_is_told_so(
    server: RunningServer, keys: dict[str, str], body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await offer(server, keys["other"], body, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert server.orchestrator.audiences.viewers("main") == 0


async def test_an_offer_that_nobody_could_connect_by_is_refused(server: RunningServer, keys: dict[str, str]) -> None:
    async with webrtc_client() as client:
        good = await client.offer("video")
        for broken in (
            good.replace("a=fingerprint", "a=nothing"),
            good.replace("a=ice-ufrag", "a=nothing"),
            good.replace("a=fingerprint:sha-256 ", "a=fingerprint:"),
            good.replace("a=rtcp:9 ", "a=rtcp:nine "),
        ):
            answer = await offer(server, keys["other"], broken)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_offer"), answer.text
        vp8 = good.replace("H264", "VP9")
        answer = await offer(server, keys["other"], vp8)
        assert (answer.status_code, answer.json()["error"]["code"]) == (406, "no_common_codec")
    await nobody(server)


async def test_an_unknown_channel_is_named(server: RunningServer, keys: dict[str, str]) -> None:
    headers = {**SDP, **bearer(keys["viewer"])}
    answer = await server.http.post("/v1/channels/none/whep", content=BAD_OFFER, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_channel")


async def test_a_flood_of_offers_is_refused_and_leaves_nothing(server: RunningServer, keys: dict[str, str]) -> None:
    async with webrtc_client() as client:
        sdp = await client.offer("video")
        answers = [await offer(server, keys["flood"], sdp) for _ in range(OFFERS)]
        assert [answer.status_code for answer in answers[:9]] == [201] * 8 + [503], "half of the places for those"
        while answers[-1].status_code != 429:  # more are allowed as time goes on
            answers.append(await offer(server, keys["flood"], sdp))
        assert {answer.status_code for answer in answers} == {201, 503, 429}
        assert all("Retry-After" in answer.headers for answer in answers if answer.status_code != 201)
    async with webrtc_client() as client:  # the others' places are free meanwhile
        session = await watching(server, keys["viewer"], client)
        await server.http.delete(session, headers=bearer(keys["viewer"]))
    await nobody(server)
