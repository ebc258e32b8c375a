"""The page's microphone in a real Chromium, which hears a file: it speaks live while a button is held, or is open."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from orchestrator.access.keys import KeyFile, Scope
from speech.log import LogEnd
from tests.support.audio_files import write_wav
from tests.support.running_server import RunningServer, running, settings_in

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DEVICE = ["--no-sandbox", "--use-fake-device-for-media-stream"]
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)  # of a machine that runs other tests too

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("page"), live_idle_limit_s=5.0)) as started:
        await started.ready()
        yield started


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Syllables at 4 Hz of a voice at 150 Hz, which echo cancellation leaves as they are."""
    at = np.arange(48_000 * 10) / 48_000
    tones = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 12))
    return write_wav(
        tmp_path_factory.mktemp("voice") / "voice.wav", 6_000 * tones * (np.sin(2 * np.pi * 4 * at) > 0), 48_000
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(voice: Path) -> AsyncIterator[Browser]:
    """One Chromium whose microphone hears the voice; each page has a context of its own in it."""
    arguments = [*DEVICE, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={voice}"]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: RunningServer, browser: Browser) -> AsyncIterator[Page]:
    """The page, opened; at the end it must have logged no error, as of its Content-Security-Policy."""
    complaints: list[str] = []
    opened = await browser.new_page(viewport={"width": 1280, "height": 860})
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    await opened.goto(str(server.http.base_url))
    await expect(opened.locator("#live")).to_have_text("LIVE", timeout=WAIT_MS)
    yield opened
    await opened.close()
    # A refused connection is logged by the browser itself; the test that provokes one looks at what the page says.
    assert [text for text in complaints if "Unexpected response code" not in text] == []


async def newest(server: RunningServer) -> dict[str, Any]:
    task: dict[str, Any] = (await server.http.get("/v1/tasks", params={"limit": 1})).json()["tasks"][0]
    return task


async def hold(page: Page, seconds: float) -> None:
    await page.hover("#hold")
    await page.mouse.down()
    await expect(page.locator("#talk-state")).to_have_text("listening", timeout=WAIT_MS)
    await asyncio.sleep(seconds)
    await page.mouse.up()


async def test_what_is_said_while_the_button_is_held_goes_on_the_air(page: Page, server: RunningServer) -> None:
    await hold(page, 1.5)
    state = page.locator("#talk-state")
    await expect(state).to_contain_text("s were heard", timeout=WAIT_MS)
    task = await newest(server)
    assert task["state"] == "done" and task["duration_s"] > 1.3
    heard_s = float((await state.text_content() or "").split()[0])
    assert heard_s == pytest.approx(task["duration_s"], abs=0.1)
    await expect(page.locator("#message")).to_be_hidden()


async def test_sound_is_that_of_the_microphone(page: Page, server: RunningServer) -> None:
    server.models.gate.clear()  # so that the speech is still on the disk
    try:
        await hold(page, 2.0)
        while (task := await newest(server))["duration_s"] is None or task["state"] not in ("queued", "inferring"):
            await asyncio.sleep(0.05)
        log = server.orchestrator.files.log(task["task_id"], LogEnd())
        sound = log.read_now(0, log.frames).sound.reshape(-1).astype(float)
        log.close()
    finally:
        server.models.gate.set()
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hz = np.fft.rfftfreq(len(sound), 1 / 48_000)
    voiced = sum(spectrum[np.abs(hz - 150 * k) < 20].sum() for k in range(1, 12))
    assert np.abs(sound).max() > 1_000
    assert voiced > 0.5 * spectrum[hz < 4_000].sum()
    await expect(page.locator("#talk-state")).to_contain_text("were heard", timeout=WAIT_MS)


async def test_open_microphone_speaks_until_it_is_pressed_again_and_shows_its_level(
    page: Page, server: RunningServer
) -> None:
    await page.click("#open")
    await expect(page.locator("#open")).to_have_attribute("aria-pressed", "true")
    while await page.evaluate("document.getElementById('level').value") <= 0.05:  # the page lets no string wait in it
        await asyncio.sleep(0.05)
    await page.wait_for_timeout(1_000)
    await page.click("#open")
    await expect(page.locator("#open")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#talk-state")).to_contain_text("were heard", timeout=WAIT_MS)
    assert await page.evaluate("document.getElementById('level').value") == 0
    assert (await newest(server))["state"] == "done"


async def test_several_segments_use_one_connection(page: Page, server: RunningServer) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    for _ in range(2):
        await hold(page, 0.5)
        await expect(page.locator("#talk-state")).to_contain_text("were heard", timeout=WAIT_MS)
    assert len(sockets) == 1 and sockets[0].endswith("/v1/channels/main/speech")


async def test_key_that_is_pressed_talks_too(page: Page, server: RunningServer) -> None:
    await page.focus("#hold")
    await page.keyboard.down(" ")
    await expect(page.locator("#talk-state")).to_have_text("listening", timeout=WAIT_MS)
    await asyncio.sleep(0.5)
    await page.keyboard.up(" ")
    await expect(page.locator("#talk-state")).to_contain_text("were heard", timeout=WAIT_MS)


async def test_refusal_of_the_server_is_shown(page: Page, server: RunningServer) -> None:
    server.models.ready = False
    try:
        while server.orchestrator.ready:
            await asyncio.sleep(0.05)
        await page.click("#open")
        await expect(page.locator("#message")).to_contain_text("no live speech now", timeout=WAIT_MS)
        await expect(page.locator("#open")).to_have_attribute("aria-pressed", "false")
    finally:
        server.models.ready = True
        await server.ready()


@pytest.mark.parametrize(
    ("arguments", "script", "said"),
    [
        ([*DEVICE, "--deny-permission-prompts"], "", "not allowed"),
        (DEVICE, "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }",
         "There is no microphone"),
        (DEVICE, "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })", "needs https"),
    ],
)  # fmt: skip
async def test_missing_microphone_is_explained(
    server: RunningServer, arguments: list[str], script: str, said: str
) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = await browser.new_page()
        if script:
            await page.add_init_script(script)
        await page.goto(str(server.http.base_url))
        await page.click("#open")
        await expect(page.locator("#message")).to_contain_text(said, timeout=WAIT_MS)
        await expect(page.locator("#open")).to_have_attribute("aria-pressed", "false")
        await browser.close()


async def test_session_of_the_page_opens_its_socket(browser: Browser, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("speaker", Scope.SPEAK)
    async with running(settings) as server:
        await server.ready()
        page = await browser.new_page()
        await page.goto(str(server.http.base_url))
        await page.fill("#key-input", key)
        await page.click("#key button")
        await expect(page.locator("#key")).to_be_hidden(timeout=WAIT_MS)
        await hold(page, 0.5)
        await expect(page.locator("#talk-state")).to_contain_text("were heard", timeout=WAIT_MS)
        await page.close()
