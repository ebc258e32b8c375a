"""The page at / in a real Chromium: plays the stream, takes a file and a recording, shows what becomes of them."""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Page, Playwright, async_playwright, expect

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.access.sessions import LASTS_S
from speech.audio import decoder
from tests.support.grey_avatar import add_motion, make_avatar
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.slow_decoder import slow_decoder
from tests.support.speech_samples import wav
from tests.support.synthesisers import ToneSynthesiser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)  # of a machine that runs other tests too

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("page"), queue_limit=20)) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """One Chromium; each page has a context of its own in it, which shares nothing with the others."""
    launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
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
    yield opened
    await opened.close()
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
    await page.goto(f"{page.url}?player=mp4")
    await plays(page)
    behind = "video.buffered.end(video.buffered.length - 1) - video.currentTime"
    await page.wait_for_function(f"() => {behind} >= 0 && {behind} < 3", timeout=WAIT_MS)
    assert await page.evaluate("video.videoWidth") == 160


def sound(name: str) -> FilePayload:
    """A file as a person chooses it; one named as a text holds none."""
    return {"name": name, "mimeType": "audio/wav", "buffer": b"no audio" * 99 if name.endswith("txt") else wav(0.2)}


async def test_chosen_file_is_said_and_shown(page: Page, tmp_path: Path) -> None:
    await plays(page)
    await page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(1)})
    task = page.locator("#tasks .task").first
    await expect(task.locator(".state")).to_have_text("done", timeout=WAIT_MS)
    await expect(task.locator(".what")).to_have_text("speech.wav")
    await expect(task.locator(".detail")).to_contain_text("1.0 s · on the stream after")
    await page.click("#ledger summary")
    await expect(page.locator("#ledger tbody tr").last).to_have_text(re.compile(r"encoded\d+ / \d+"))
    await page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


async def test_speech_that_still_arrives_has_no_length_and_can_be_cancelled(
    page: Page, server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plays(page)
    program = str(slow_decoder(tmp_path / "bin"))
    monkeypatch.setattr(decoder, "ffmpeg_binary", lambda: program)
    server.models.gate.clear()
    await page.set_input_files("#file", sound("first.wav"))
    task = page.locator("#tasks .task").first
    await expect(task.locator(".state")).to_have_text("inferring", timeout=WAIT_MS)
    await page.set_input_files("#file", {"name": "long.wav", "mimeType": "audio/wav", "buffer": wav(60)})
    await expect(task.locator(".what")).to_have_text("long.wav", timeout=WAIT_MS)
    await expect(task.locator(".state")).to_have_text("receiving")
    await expect(task.locator(".detail")).to_contain_text("still arriving")
    assert await task.locator("progress").get_attribute("value") is None
    await task.locator(".cancel").click()
    await expect(task.locator(".state")).to_have_text("cancelled", timeout=WAIT_MS)
    await expect(task.locator(".detail")).not_to_contain_text("arriving")
    server.models.gate.set()


async def test_recording_of_the_microphone_is_said(page: Page, server: RunningServer) -> None:
    before = len((await server.http.get("/v1/tasks")).json()["tasks"])
    await expect(page.locator("#tasks .task")).to_have_count(before, timeout=WAIT_MS)
    await page.click("#record")
    await expect(page.locator("#record span")).to_contain_text("1 s", timeout=WAIT_MS)
    await page.click("#record")
    await expect(page.locator("#tasks .task")).to_have_count(before + 1, timeout=WAIT_MS)
    await expect(page.locator("#tasks .task").first.locator(".state")).to_have_text("done", timeout=WAIT_MS)
    newest = (await server.http.get("/v1/tasks", params={"limit": 1})).json()["tasks"][0]
    assert newest["duration_s"] > 0.5


async def test_recording_is_discarded(page: Page, server: RunningServer) -> None:
    sent: list[str] = []
    await page.goto(page.url + "?player=mp4")  # WebRTC's player posts an offer, as it did before
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    await expect(page.locator("#discard")).to_be_hidden()
    await page.click("#record")
    await expect(page.locator("#record span")).to_contain_text("1 s", timeout=WAIT_MS)
    await page.click("#discard")
    await expect(page.locator("#record span")).to_have_text("Record", timeout=WAIT_MS)
    await expect(page.locator("#discard")).to_be_hidden()
    assert sent == []
    await page.click("#record")
    await expect(page.locator("#record span")).to_contain_text("1 s", timeout=WAIT_MS)
    # Answered, so that it stands before the next test's tasks.
    async with page.expect_response(lambda response: response.request.method == "POST"):
        await page.click("#record")


async def test_all_chosen_files_are_said_in_their_order_and_told_apart(page: Page, server: RunningServer) -> None:
    names = ["first.wav", "notes.txt", "<b>second</b>.wav", "third.wav"]
    await page.set_input_files("#file", [sound(name) for name in names])
    await expect(page.locator("#message")).to_contain_text("notes.txt: ", timeout=WAIT_MS)
    for place, name in enumerate(["third.wav", "b>.wav", "first.wav"]):
        await expect(page.locator("#tasks .task").nth(place).locator(".what")).to_have_text(name)
    newest = (await server.http.get("/v1/tasks", params={"limit": 3})).json()["tasks"]
    assert [task["file_name"] for task in newest] == ["third.wav", "b>.wav", "first.wav"]


async def test_dropped_files_are_all_sent(page: Page, server: RunningServer) -> None:
    data = await page.evaluate_handle(
        """sound => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(sound);
            for (const name of ["left.wav", "right.wav"]) data.items.add(new File([bytes], name));
            return data;
        }""",
        list(wav(0.2)),
    )
    await page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    for place, name in enumerate(["right.wav", "left.wav"]):
        await expect(page.locator("#tasks .task").nth(place).locator(".what")).to_have_text(name, timeout=WAIT_MS)


async def test_dropped_folder_is_explained_and_nothing_of_it_sent(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "speeches"
    folder.mkdir()
    (folder / "one.wav").write_bytes(wav(0.2))
    await page.wait_for_function("document.getElementById('connection').textContent === ''")
    tasks = await page.locator("#tasks .task").count()
    box = await page.locator("#drop").bounding_box()
    assert box is not None
    browser = await page.context.new_cdp_session(page)  # no script can make a folder to be dropped
    for kind in ("dragEnter", "dragOver", "drop"):
        await browser.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": box["x"] + 20,
                "y": box["y"] + 20,
                "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1},
            },
        )
    await expect(page.locator("#message")).to_contain_text("A folder can't be sent: speeches.", timeout=WAIT_MS)
    assert await page.locator("#tasks .task").count() == tasks


async def test_files_after_one_that_finds_the_queue_full_are_not_sent(page: Page, server: RunningServer) -> None:
    server.models.gate.clear()
    try:
        limit = server.orchestrator.settings.queue_limit
        many = [sound(f"{number}.wav") for number in range(limit + 4)]
        await page.set_input_files("#file", many)
        message = page.locator("#message")
        await expect(message).to_contain_text("Too much is waiting", timeout=WAIT_MS)
        await expect(message).to_contain_text("not sent")
    finally:
        server.models.gate.set()
        await server.http.post("/v1/channels/main/interrupt", params={"queue": "true"})


async def test_quality_has_the_limits_of_the_server_and_errors_use_its_words(page: Page, server: RunningServer) -> None:
    defaults = server.orchestrator.defaults
    own = defaults.quality_of(defaults.channel)
    await page.click("summary:has-text('Quality')")
    steps = page.get_by_label("Steps")
    await expect(steps).to_have_attribute("max", str(defaults.max_steps))
    await expect(steps).to_have_attribute("placeholder", f"default {own.steps}")
    await expect(page.get_by_label("Guidance")).to_have_attribute("max", f"{defaults.max_guidance:g}")
    await expect(page.locator("#cost")).to_contain_text("starts later")
    file: FilePayload = {"name": "speech.wav", "mimeType": "audio/wav", "buffer": wav(0.2)}
    message = page.locator("#message")
    for wrong in (str(defaults.max_steps + 1), "2.5", "0"):
        await steps.fill(wrong)
        await page.set_input_files("#file", file)
        await expect(message).to_have_text(f"Steps must be a whole number from 1 to {defaults.max_steps}.")
        await expect(steps).to_be_focused()
        await steps.fill("")
    await page.evaluate("document.getElementById('steps').removeAttribute('max')")
    await steps.fill("9999")
    await page.set_input_files("#file", file)
    await expect(message).to_have_text(f"Steps is '9999' and must be a whole number from 1 to {defaults.max_steps}.")


async def test_page_of_a_channel_speaks_there_and_shows_its_tasks_alone(page: Page, server: RunningServer) -> None:
    await expect(page.locator("#channel")).to_be_hidden()
    created = await server.http.post("/v1/channels", json={"channel": "news", "avatar": "demo", "targets": []})
    assert created.status_code == 201, created.text
    try:
        await server.ready()
        await page.reload()
        await expect(page.locator("#channel option")).to_have_text(["main", "news"])
        await page.select_option("#channel", "news")
        await page.wait_for_url("**/?channel=news")
        await plays(page)
        await expect(page.locator("#channel")).to_have_value("news")
        await expect(page.locator("#none")).to_be_visible()
        await page.set_input_files("#file", {"name": "news.wav", "mimeType": "audio/wav", "buffer": wav(1)})
        await expect(page.locator("#tasks .task .state")).to_have_text("done", timeout=WAIT_MS)
        (task,) = (await server.http.get("/v1/tasks", params={"channel": "news"})).json()["tasks"]
        assert task["file_name"] == "news.wav"
        await server.http.post("/v1/tasks", files={"audio_file": ("main.wav", wav(0.2))})
        await server.http.post("/v1/tasks", files={"audio_file": ("2.wav", wav(0.2))}, data={"channel": "news"})
        await expect(page.locator("#tasks .task .what")).to_have_text(["2.wav", "news.wav"], timeout=WAIT_MS)
    finally:
        await server.http.delete("/v1/channels/news")


async def test_page_on_a_phone_asks_for_a_choice_and_fits(
    server: RunningServer, playwright: Playwright, browser: Browser
) -> None:
    long_name = "a-name-as-long-as-a-name-may-be-"
    created = await server.http.post("/v1/channels", json={"channel": long_name, "avatar": "demo"})
    assert created.status_code == 201, created.text
    phone = playwright.devices["Pixel 7"]
    page = await browser.new_page(**phone)
    await page.goto(str(server.http.base_url))
    await expect(page.locator("#channel")).to_be_visible(timeout=WAIT_MS)
    await expect(page.locator("#drop")).to_contain_text("Choose speech", use_inner_text=True)
    await expect(page.locator("#drop")).not_to_contain_text("Drop", use_inner_text=True)
    await page.click("#record")
    await expect(page.locator("#discard")).to_be_visible()
    await page.click("#discard")
    name = "a long name " * 9 + "x.wav"
    await page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": wav(0.2)})
    await expect(page.locator("#tasks .task .what").first).to_have_text(name, timeout=WAIT_MS)
    # innerWidth would grow with what is too wide.
    assert await page.evaluate("document.documentElement.scrollWidth") <= phone["viewport"]["width"]
    await page.close()
    await server.http.delete(f"/v1/channels/{long_name}")


async def test_refused_file_is_explained(page: Page) -> None:
    await page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no audio" * 99})
    await expect(page.locator("#message")).to_contain_text("not audio", timeout=WAIT_MS)


async def test_written_text_is_said_by_enter(page: Page, server: RunningServer) -> None:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    field, message = page.locator("#words"), page.locator("#message")
    await field.fill("…")
    await field.press("Enter")
    await expect(message).to_contain_text("no word in the text", timeout=WAIT_MS)
    await field.fill("Good morning. How are you?")
    await field.press("Enter")
    await expect(field).to_have_value("", timeout=WAIT_MS)
    await expect(message).to_be_hidden()
    task = page.locator("#tasks .task").first
    await expect(task.locator(".what")).to_have_text("text")
    await expect(task.locator(".state")).to_have_text("done", timeout=WAIT_MS)
    assert [text for text, _ in synthesiser.said] == ["Good morning.", "How are you?"]


async def test_motions_are_buttons_and_the_one_that_is_shown_is_marked(tmp_path: Path, browser: Browser) -> None:
    settings = settings_in(tmp_path)
    add_motion(make_avatar(settings.avatars_dir / settings.avatar, 320, 240, 60), "wave", 40, like=20)
    async with running(settings) as server:
        await server.ready()
        page = await browser.new_page()
        await page.goto(str(server.http.base_url))
        button = page.get_by_role("button", name="wave", exact=True)
        await expect(button).to_have_attribute("aria-pressed", "false", timeout=WAIT_MS)
        # Each change is noted when it comes: a motion is over sooner than a busy machine looks again.
        await button.evaluate(
            """button => {
                window.pressed = ["false"];
                const note = () => {
                    const now = button.getAttribute("aria-pressed");
                    if (now !== pressed.at(-1)) pressed.push(now);
                };
                new MutationObserver(note).observe(button, { attributeFilter: ["aria-pressed"] });
            }"""
        )
        await button.click()
        await page.wait_for_function("() => pressed.join() === 'false,true,false'", timeout=WAIT_MS)
        await page.close()


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


async def test_page_asks_for_the_key_and_works_with_it(tmp_path: Path, browser: Browser) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("viewer", Scope.SPEAK)
    async with running(settings) as server:
        await server.ready()
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
        await page.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []
