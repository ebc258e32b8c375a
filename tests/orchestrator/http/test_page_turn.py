"""The page behind a real coturn: a viewer who can reach the relay alone, as where a network blocks UDP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.support.packet_source import PacketSource
from tests.support.running_server import free_port, running, settings_in
from tests.support.turn_server import COTURN, turn_server
from tests.support.viewer_page import ARGUMENTS, CHROMIUM, DESKTOP

WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)  # of a machine that runs other tests too
RELAY_PORTS = (50500, 50549)
SECRET = "known-to-coturn"

# The browser uses what it is told by the server, and no address of its own; the test looks at the way it went.
RELAY_ONLY = """
const Connection = RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor(configuration) {
    super({ ...configuration, iceTransportPolicy: "relay" });
    window.connection = this;
  }
};
window.way = async () => {
  const stats = await connection.getStats();
  for (const each of stats.values()) {
    if (each.type === "candidate-pair" && each.nominated) return stats.get(each.localCandidateId).candidateType;
  }
  return null;
};
"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(COTURN is None, reason="coturn is not installed"),
    pytest.mark.asyncio,
]


@asynccontextmanager
async def watched(folder: Path, query: str, coturns_secret: str, transport: str) -> AsyncIterator[tuple[Page, Path]]:
    """The page of a server that names a coturn, and coturn's log."""
    port = free_port()
    (folder / "turn").write_text(SECRET)
    settings = settings_in(
        folder, webrtc_ports="50550-50599", turn_secret_file=folder / "turn",
        ice_servers=(f"turn:127.0.0.1:{port}?transport={transport}",),
    )  # fmt: skip
    with (
        turn_server(folder, port, RELAY_PORTS, coturns_secret) as log,
        PacketSource(folder / "packets.sock"),
    ):
        async with running(settings) as server, async_playwright() as playwright:
            server.orchestrator.audiences._packet_sockets = lambda: {"main": folder / "packets.sock"}
            await server.ready()
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = await browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
            await page.add_init_script(RELAY_ONLY)
            await page.goto(f"{server.http.base_url}{query}")
            yield page, log
            await browser.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_viewer_who_reaches_the_relay_alone_sees_the_channel(tmp_path: Path, transport: str) -> None:
    async with watched(tmp_path, "/?player=webrtc", SECRET, transport) as (page, _):
        await expect(page.locator("#live")).to_have_text("LIVE", timeout=WAIT_MS)
        await page.wait_for_function("() => document.getElementById('video').currentTime > 0.5", timeout=WAIT_MS)
        assert await page.evaluate("way()") == "relay"


async def test_credentials_of_another_secret_are_refused_and_the_page_plays_mp4(tmp_path: Path) -> None:
    async with watched(tmp_path, "/", "another-secret", "udp") as (page, log):
        await expect(page.locator("#way")).to_have_text("MP4", timeout=WAIT_MS)
        await expect(page.locator("#why")).to_contain_text("No UDP packet got through")
        assert "401" in log.read_text(errors="replace")
