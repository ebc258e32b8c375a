"""Ways to a channel from elsewhere: the QR code for a phone, and the player in other sites' frames."""

import re
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from orchestrator.settings import SettingsError, load_settings
from tests.support.running_server import RunningServer, running, settings_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

LONG = "studio." * 400 + "example"
SITES = ("https://www.example.com", "https://*.example.org:8443")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(
        settings_in(tmp_path_factory.mktemp("links"), embed_sites=SITES, allowed_hosts=(LONG,))
    ) as started:
        await started.ready()
        yield started


def drawn(svg: str) -> NDArray[np.uint8]:
    """A code's picture, eight pixels a module: its dark modules are horizontal strokes of one path."""
    side = int(re.findall(r'viewBox="0 0 (\d+) \d+"', svg)[0])
    picture = np.full((side, side), 255, np.uint8)
    (path,) = re.findall(r'class="qrline"[^>]* d="([^"]+)"|d="([^"]+)" class="qrline"', svg)
    x = y = 0.0
    for step, first, second in re.findall(r"([Mmh])(-?[0-9.]+)(?: ?(-?[0-9.]+))?", "".join(path)):
        if step == "M":
            x, y = float(first), float(second)
        elif step == "m":
            x, y = x + float(first), y + float(second)
        else:
            picture[int(y), int(x) : int(x + float(first))] = 0
            x += float(first)
    return np.asarray(np.kron(picture, np.ones((8, 8), np.uint8)))


async def test_code_leads_a_phone_to_the_talk_page_at_the_host_that_was_asked(server: RunningServer) -> None:
    answer = await server.http.get("/v1/channels/main/qr.svg", headers={"Host": "192.168.1.20:8080"})
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    text, *_ = cv2.QRCodeDetector().detectAndDecode(drawn(answer.text))
    assert text == "http://192.168.1.20:8080/talk?channel=main"
    unknown = await server.http.get("/v1/channels/nobody/qr.svg")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_channel")
    long = await server.http.get("/v1/channels/main/qr.svg", headers={"Host": LONG})
    assert (long.status_code, long.json()["error"]["code"]) == (400, "address_too_long")


async def test_only_the_player_may_be_framed_and_only_by_the_sites_that_are_named(server: RunningServer) -> None:
    page, player = [(await server.http.get(path)).headers for path in ("/", "/embed?channel=main")]
    assert (page["X-Frame-Options"], player["X-Frame-Options"]) == ("DENY", "SAMEORIGIN")
    policies = [headers["Content-Security-Policy"].split("; ") for headers in (page, player)]
    assert f"frame-ancestors 'self' {' '.join(SITES)}" in policies[1]
    assert [each for each in policies[0] if each not in policies[1]] == ["frame-ancestors 'none'"]


@pytest.mark.parametrize(
    "site", ["*", "https://a.b; script-src *", "https://a.b/path", "'unsafe-inline'", "javascript:x"]
)
async def test_a_site_is_an_origin_and_nothing_else(site: str) -> None:
    with pytest.raises(SettingsError, match="embed_sites"):
        load_settings(embed_sites=(site,))
