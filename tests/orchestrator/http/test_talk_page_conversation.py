"""The page at /talk in conversations with the real server, which hears, understands and answers."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
import soxr
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.audio_files import write_wav
from tests.support.human_voice import said, silence
from tests.support.running_server import RunningServer
from tests.support.talk_client import LONG, conversation, over, talking_server, until_heard

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
expect.set_options(timeout=30_000)  # of a machine that runs other tests too

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with talking_server(tmp_path_factory.mktemp("talk")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One Chromium whose microphone hears a question again and again."""
    question = np.concatenate([said("What time is it?", 0.85), silence(1.0)]).astype(np.float32)
    file = write_wav(tmp_path_factory.mktemp("voice") / "voice.wav", soxr.resample(question, 16_000, 48_000), 48_000)
    async with async_playwright() as playwright:
        arguments = [*ARGUMENTS, f"--use-file-for-fake-audio-capture={file}"]
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: RunningServer, browser: Browser) -> AsyncIterator[Page]:
    """A conversation that remembers nothing."""
    await server.http.delete("/v1/channels/main/conversation")
    opened = await browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, locale="en-US")
    await opened.goto(f"{server.http.base_url}/talk?player=mp4")
    await opened.click("#begin")
    await expect(opened.locator("#state")).to_have_text("Ready")
    yield opened
    await opened.context.close()
    await over(server)


async def asked(page: Page) -> None:
    """Holds the button for one question, and again while the recogniser has not started yet."""
    question = page.locator("#captions .you")
    while not await question.count():
        await page.hover("#hold")
        await page.mouse.down()
        await asyncio.sleep(3.5)
        await page.mouse.up()
        await expect(page.locator("#captions .you, #message:not([hidden])").first).to_be_visible()


async def test_question_of_the_microphone_is_captioned_and_answered(page: Page, server: RunningServer) -> None:
    await asked(page)
    await expect(page.locator("#captions .you")).to_contain_text("time", ignore_case=True)
    await expect(page.locator("#captions .avatar")).to_contain_text("on this server.")
    await expect(page.locator("#state")).to_have_text("Ready")
    await expect(page.locator("#captions s")).to_have_count(0)
    question, answer = (await conversation(server))["messages"]
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert await page.locator("#captions .you span").text_content() == question["text"]


async def test_tap_cuts_the_answer_where_the_history_ends(page: Page, server: RunningServer) -> None:
    await page.fill("#words", LONG)
    await page.press("#words", "Enter")
    await expect(page.locator("#state")).to_have_text("Speaking")
    await until_heard(server, 15)
    await page.touchscreen.tap(100, 250)
    rest = page.locator("#captions s")
    await expect(rest).to_contain_text("twelve.")
    await expect(page.locator("#state")).to_have_text("Ready")
    heard = (await conversation(server))["messages"][-1]["text"]
    shown = await page.locator("#captions .avatar span").text_content() or ""
    assert shown.removesuffix(await rest.text_content() or "") == heard


async def test_microphone_that_is_opened_and_shut_keeps_what_was_said(page: Page, server: RunningServer) -> None:
    await page.fill("#words", "Say one.")
    await page.press("#words", "Enter")
    await expect(page.locator("#captions .avatar")).to_have_count(1)
    await expect(page.locator("#state")).to_have_text("Ready")
    await page.click("#open")
    await expect(page.locator("#state")).to_have_text("I hear you")
    assert [message["text"] for message in (await conversation(server))["messages"]] == ["Say one.", "one."]
    await page.click("#open")
    await expect(page.locator("#captions .you")).to_have_count(2)


async def test_second_phone_waits_for_the_first(page: Page, server: RunningServer, browser: Browser) -> None:
    second = await browser.new_page(locale="en-US")
    await second.goto(f"{server.http.base_url}/talk?player=mp4")
    await second.click("#begin")
    await expect(second.locator("#message")).to_contain_text("talks with somebody else")
    await page.click("#end")
    await expect(second.locator("#state")).to_have_text("Ready")
    await expect(second.locator("#message")).to_be_hidden()
    await second.context.close()
