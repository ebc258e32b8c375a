"""The page over WebRTC in a real Chromium: what it plays, when it falls back, and its self-test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from tests.support.packet_source import PacketSource
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.viewer_page import (
    ARGUMENTS,
    CHROMIUM,
    DESKTOP,
    PHONE,
    READ_PICTURES,
    ViewerPage,
    assert_each_once_and_in_order,
)

WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)  # of a machine that runs other tests too

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[RunningServer]:
    async with running(settings_in(folder, webrtc_ports="50350-50399")) as started:
        started.orchestrator.audiences._packet_sockets = lambda: {"main": folder / "packets.sock"}
        await started.ready()
        yield started


@asynccontextmanager
async def opened(
    server: RunningServer, query: str = "", size: dict[str, int] | None = None, script: str = ""
) -> AsyncIterator[Page]:
    """The page; at the end it must have logged no error, as of its Content-Security-Policy."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport=size or DESKTOP)  # type: ignore[arg-type]
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if script:
            await page.add_init_script(script)
        await page.goto(f"{server.http.base_url}{query}")
        yield page
        await browser.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def moves(page: Page) -> None:
    await expect(page.locator("#live")).to_have_text("LIVE", timeout=WAIT_MS)
    await page.wait_for_function("() => document.getElementById('video').currentTime > 0.5", timeout=WAIT_MS)


async def nobody(server: RunningServer) -> None:
    while server.orchestrator.audiences.viewers("main"):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_page_plays_over_webrtc_and_says_goodbye(
    server: RunningServer, folder: Path, size: dict[str, int]
) -> None:
    with PacketSource(folder / "packets.sock"):
        async with opened(server, "/?player=webrtc", size) as page:
            await moves(page)
            await expect(page.locator("#way")).to_have_text("WebRTC")
            await expect(page.locator("#why")).to_be_hidden()
            await page.evaluate(READ_PICTURES)
            await page.evaluate("watch(document.getElementById('video'))")
            pictures = await ViewerPage(page).until(lambda pictures: len(pictures) > 10)
            assert_each_once_and_in_order(pictures)
            assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            await page.screenshot(path=folder / f"webrtc-{size['width']}.png")
            await page.goto("about:blank")
            await nobody(server)


async def test_page_falls_back_to_mp4_and_says_why(server: RunningServer, folder: Path) -> None:
    # Without packets the connection comes about, and nothing arrives.
    async with opened(server) as page:
        await moves(page)
        await expect(page.locator("#way")).to_have_text("MP4")
        await expect(page.locator("#why")).to_contain_text("since WebRTC failed: The connection is there")
        await page.screenshot(path=folder / "mp4.png")
        await nobody(server)


async def test_page_plays_mp4_in_a_browser_without_webrtc(server: RunningServer) -> None:
    async with opened(server, script="delete window.RTCPeerConnection") as page:
        await moves(page)
        await expect(page.locator("#way")).to_have_text("MP4")
        await expect(page.locator("#why")).to_contain_text("This browser has no WebRTC")


async def test_browser_without_media_source_is_told_so_and_tries_webrtc_again(
    server: RunningServer, folder: Path
) -> None:
    """An iPhone before iOS 17.1, which has nothing to fall back to."""
    async with opened(server, script="delete window.MediaSource; delete window.ManagedMediaSource") as page:
        offline = page.locator("#offline")
        await expect(offline).to_contain_text("over WebRTC alone (iPhones do before iOS 17.1)", timeout=WAIT_MS)
        await expect(offline).to_contain_text("The connection is there")
        with PacketSource(folder / "packets.sock"):
            await moves(page)
            await expect(page.locator("#way")).to_have_text("WebRTC")
    await nobody(server)


async def test_picture_is_held_back_by_what_the_sound_is_late(server: RunningServer) -> None:
    """By the statistics of the two streams, once a second; a browser that lacks the control is left to itself."""
    async with opened(server, "/?player=mp4") as page:
        targets = await page.evaluate(
            """async () => {
              const { Lips } = await import("/page/lips.js");
              const held = (receiver, offsets) => {
                const lips = new Lips({ getReceivers: () => [{ track: { kind: "audio" } }, receiver] });
                return offsets.map(([seconds, ahead], index) => {
                  const video = { type: "inbound-rtp", kind: "video", estimatedPlayoutTimestamp: 5000 + ahead,
                                  jitterBufferEmittedCount: 25 * index, jitterBufferTargetDelay: 25 * 0.04 * index };
                  const audio = { type: "inbound-rtp", kind: "audio", estimatedPlayoutTimestamp: 5000 };
                  lips.look(new Map([["a", audio], ["v", video], ["t", { type: "transport" }]]), 1000 * seconds);
                  return receiver.jitterBufferTarget ?? null;
                });
              };
              const receiver = { track: { kind: "video" }, jitterBufferTarget: null };
              const offsets = [[1, 50], [2, 50], [2.4, 90], [3, 3], [4, -30], [5, -90], [6, 50], [7, 2000]];
              return [held(receiver, offsets), held({ track: { kind: "video" } }, offsets.slice(0, 2))];
            }"""
        )
    # The browser itself holds the picture for 40 ms.
    assert targets == [[None, 90, 90, 90, 60, 0, 90, 0], [None, None]]


async def test_a_picture_that_stops_is_played_again_by_itself(server: RunningServer, folder: Path) -> None:
    async with opened(server, "/?player=webrtc") as page:
        with PacketSource(folder / "packets.sock"):
            await moves(page)
        await expect(page.locator("#live")).to_have_text("offline", timeout=WAIT_MS)
        with PacketSource(folder / "packets.sock"):
            await moves(page)


async def test_self_test_names_the_steps_and_the_one_that_fails(server: RunningServer, folder: Path) -> None:
    async with opened(server, "/?player=mp4") as page:
        await page.click("summary:has-text('Connection')")
        steps = page.locator("#selftest-steps li")
        with PacketSource(folder / "packets.sock"):
            await page.click("#selftest")
            await expect(steps.last).to_contain_text("✓ First picture", timeout=WAIT_MS)
            assert await steps.count() == 7
        await page.screenshot(path=folder / "selftest.png")
        await page.click("#selftest")
        await expect(steps.last).to_contain_text("✗ First packet: The connection is there", timeout=WAIT_MS)
        await expect(page.locator("#selftest-steps")).to_contain_text("✓ Encryption (DTLS)")
        # Offers get through, and no UDP: the answer's candidates lead nowhere.
        await page.evaluate(
            """const real = RTCPeerConnection.prototype.setRemoteDescription;
            RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
              return real.call(this, { type, sdp: sdp.replace(/^a=candidate.*$/gm, "a=nothing") });
            };
            null;"""
        )
        await page.click("#selftest")
        await expect(steps.last).to_contain_text("✗ UDP gets through (ICE): No UDP packet got through", timeout=WAIT_MS)
        await nobody(server)
