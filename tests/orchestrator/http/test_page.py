"""The page at / in a real Chromium: plays the stream, takes a file and a recording, shows what becomes of them."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.access.sessions import LASTS_S
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WAIT_MS = 30_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("page"))) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: RunningServer) -> AsyncIterator[Page]:
    """The page, opened; at the end it must have logged no error, as of its Content-Security-Policy."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = await browser.new_page(viewport={"width": 1280, "height": 860})
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        await opened.goto(str(server.http.base_url))
        yield opened
        await browser.close()
    # A refused request is logged by the browser itself; the tests that provoke one look at what the page says.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def plays(page: Page) -> None:
    """Waits until the video has moved on by half a second."""
    await expect(page.locator("#live")).to_have_text("LIVE", timeout=WAIT_MS)
    before = await page.evaluate("document.getElementById('video').currentTime")
    await page.wait_for_function(
        "before => document.getElementById('video').currentTime > before + 0.5", arg=before, timeout=WAIT_MS
    )


async def test_page_plays_the_stream_near_its_live_edge(page: Page) -> None:
    await plays(page)
    behind = await page.evaluate("(v => v.buffered.end(v.buffered.length - 1) - v.currentTime)(video)")
    assert 0 <= behind < 3
    assert await page.evaluate("video.videoWidth") == 160


async def test_chosen_file_is_said_and_shown(page: Page, tmp_path: Path) -> None:
    await plays(page)
    await page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(1)})
    task = page.locator("#tasks .task").first
    await expect(task.locator(".state")).to_have_text("done", timeout=WAIT_MS)
    await expect(task.locator(".detail")).to_contain_text("on the stream after")
    await page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


async def test_recording_of_the_microphone_is_said(page: Page, server: RunningServer) -> None:
    before = await page.locator("#tasks .task").count()
    await page.click("#record")
    await expect(page.locator("#record span")).to_contain_text("1 s", timeout=WAIT_MS)
    await page.click("#record")
    await expect(page.locator("#tasks .task")).to_have_count(before + 1, timeout=WAIT_MS)
    await expect(page.locator("#tasks .task").first.locator(".state")).to_have_text("done", timeout=WAIT_MS)
    newest = (await server.http.get("/v1/tasks", params={"limit": 1})).json()["tasks"][0]
    assert newest["duration_s"] > 0.5


async def test_refused_file_is_explained(page: Page) -> None:
    await page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no audio" * 99})
    await expect(page.locator("#message")).to_contain_text("not audio", timeout=WAIT_MS)


async def test_interrupt_button_works_while_something_is_said(page: Page) -> None:
    button = page.locator("#interrupt")
    await expect(button).to_be_disabled()
    await page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(20)})
    await expect(button).to_be_enabled(timeout=WAIT_MS)
    await button.click()
    state = page.locator("#tasks .task").first.locator(".state")
    await expect(state).to_have_text("cancelled", timeout=WAIT_MS)


async def test_page_comes_back_by_itself_after_the_channel_was_restarted(page: Page, server: RunningServer) -> None:
    await plays(page)
    channel = server.orchestrator.channels["main"]
    restarts = channel.view.restarts
    assert channel.pid is not None
    os.kill(channel.pid, signal.SIGKILL)
    while channel.view.restarts == restarts or channel.view.status is None:
        await asyncio.sleep(0.05)
    await plays(page)


async def test_page_asks_for_the_key_and_works_with_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("viewer", Scope.SPEAK)
    async with running(settings) as server, async_playwright() as playwright:
        await server.ready()
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 860})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(str(server.http.base_url))
        await page.fill("#key-input", "lsr_wrong")
        await page.click("#key button")
        await expect(page.locator("#key-message")).to_contain_text("no such key", timeout=WAIT_MS)
        await page.screenshot(path=tmp_path / "key.png")
        await page.fill("#key-input", key)
        await page.click("#key button")
        await plays(page)
        await page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(1)})
        await expect(page.locator("#tasks .task .state").first).to_have_text("done", timeout=WAIT_MS)
        assert key not in await page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
        (cookie,) = await page.context.cookies()
        assert key.removeprefix("lsr_") not in cookie["value"]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert cookie["name"].endswith(f"_{settings.http_port}")
        assert 0 < cookie["expires"] - time.time() <= LASTS_S
        await page.reload()
        await plays(page)
        await page.evaluate("fetch('/v1/session', {method: 'DELETE'})")
        await page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(1)})
        await expect(page.locator("#key")).to_be_visible(timeout=WAIT_MS)
        await page.fill("#key-input", key)
        await page.click("#key button")
        await expect(page.locator("#tasks .task")).to_have_count(2, timeout=WAIT_MS)
        KeyFile(settings.keys_path).remove("viewer")
        await page.reload()
        await expect(page.locator("#key")).to_be_visible(timeout=WAIT_MS)
        await browser.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []
