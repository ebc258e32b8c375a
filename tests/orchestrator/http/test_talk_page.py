"""The page at /talk on a phone of Chromium's: a scripted far end shows what a real conversation passes too soon."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from orchestrator.access.keys import KeyFile, Scope
from tests.support.audio_files import write_wav
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.scripted_conversation import READY, ScriptedConversation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DEVICE = ["--no-sandbox", "--use-fake-device-for-media-stream"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "locale": "en-US"}
expect.set_options(timeout=30_000)  # of a machine that runs other tests too

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("talk"))) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One Chromium whose microphone hears syllables at 150 Hz, which echo cancellation leaves as they are."""
    at = np.arange(48_000 * 10) / 48_000
    tones = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 12))
    syllables = 6_000 * tones * (np.sin(2 * np.pi * 4 * at) > 0)
    voice = write_wav(tmp_path_factory.mktemp("voice") / "voice.wav", syllables, 48_000)
    arguments = [*DEVICE, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={voice}"]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        await launched.close()


@pytest.fixture
def far() -> ScriptedConversation:
    return ScriptedConversation()


async def opened(browser: Browser, server: RunningServer, far: ScriptedConversation, **changes: Any) -> Page:
    page: Page = await browser.new_page(**{**PHONE, **changes})
    await far.serve(page)
    await page.goto(f"{server.http.base_url}/talk?player=mp4")
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: RunningServer, browser: Browser, far: ScriptedConversation) -> AsyncIterator[Page]:
    """The page in a conversation; at the end it must have logged no error, as of its Content-Security-Policy."""
    complaints: list[str] = []
    page = await opened(browser, server, far)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.click("#begin")
    await far.until("start")
    await expect(page.locator("#state")).to_have_text("Ready")
    yield page
    await page.context.close()
    assert complaints == []


async def hold(page: Page, seconds: float) -> float:
    """Holds the button for at least so long; returns for how long at most."""
    await page.hover("#hold")
    loop = asyncio.get_running_loop()
    began = loop.time()
    await page.mouse.down()
    await asyncio.sleep(seconds)
    await page.mouse.up()
    return loop.time() - began


def captions(page: Page) -> Any:
    return page.locator("#captions p")


async def test_what_is_said_while_the_button_is_held_goes_up_as_16_khz(page: Page, far: ScriptedConversation) -> None:
    start = await far.until("start")
    assert (start["format"], start["sample_rate"], start["channels"], start["mode"]) == ("pcm_s16le", 16_000, 1, "push")
    await asyncio.sleep(0.3)
    assert far.sound == b"", "the microphone is open, and nobody holds the button"
    held_s = await hold(page, 1.2)
    await far.until("release")
    sound = np.frombuffer(bytes(far.sound), np.int16).astype(float)
    assert 1.2 <= len(sound) / 16_000 < held_s + 1.3, "with the tail that the thumb would cut"
    spectrum, hz = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))), np.fft.rfftfreq(len(sound), 1 / 16_000)
    voiced = sum(spectrum[np.abs(hz - 150 * k) < 20].sum() for k in range(1, 12))
    assert voiced > 0.5 * spectrum[hz < 4_000].sum()
    sent = len(far.sound)
    await asyncio.sleep(0.3)
    assert len(far.sound) == sent


async def test_each_state_and_both_sides_words_are_shown(page: Page, far: ScriptedConversation) -> None:
    state = page.locator("#state")
    far.say("state", state="hearing")
    far.say("transcript", turn=1, text="What ti", final=False)
    await expect(state).to_have_text("I hear you")
    await expect(page.locator("#interim")).to_have_text("What ti")
    await expect(captions(page)).to_have_count(0)
    far.say("state", state="thinking")
    far.say("transcript", turn=1, text="What time is it?", final=True)
    await expect(state).to_have_text("Thinking …")
    await expect(page.locator("#interim")).to_be_hidden()
    await expect(captions(page)).to_have_text(["YouWhat time is it?"])
    far.say("state", state="speaking")
    far.say("sentence", turn=1, text="It is four.")
    far.say("sentence", turn=1, text="Do you want to know more?")
    await expect(state).to_have_text("Speaking")
    await expect(captions(page)).to_have_text(["YouWhat time is it?", "AvatarIt is four. Do you want to know more?"])
    far.say("heard", turn=1, text="It is four. Do you want to know more?")
    await expect(page.locator("#captions s")).to_have_count(0)


async def test_tap_on_the_face_interrupts_and_what_nobody_heard_is_struck_out(
    page: Page, far: ScriptedConversation
) -> None:
    await expect(page.locator("#cut")).to_be_disabled()
    far.say("sentence", turn=1, text="It is four in the afternoon.")
    far.say("state", state="speaking")
    await expect(page.locator("#cut")).to_be_enabled()
    await page.touchscreen.tap(100, 250)
    await far.until("interrupt")
    far.say("heard", turn=1, text="It is four")
    far.say("state", state="listening")
    await expect(page.locator("#captions s")).to_have_text("in the afternoon.")
    await expect(page.locator("#cut")).to_be_disabled()


async def test_answer_that_goes_on_after_a_cough_is_captioned_once(page: Page, far: ScriptedConversation) -> None:
    for sentence in ("It is four.", "The sun sets at six.", "Good night."):
        far.say("sentence", turn=1, text=sentence)
    far.say("state", state="speaking")
    far.say("state", state="interrupted")
    await expect(page.locator("#state")).to_have_text("I hear you")
    far.say("state", state="speaking")
    for sentence in ("sets at six.", "Good night.", "Sleep well."):
        far.say("sentence", turn=1, text=sentence)
    said = "AvatarIt is four. The sun sets at six. Good night. Sleep well."
    await expect(captions(page)).to_have_text([said])
    far.say("heard", turn=1, text="It is four. The sun  sets at six. Good night. Sleep well.")
    far.say("state", state="listening")
    await expect(page.locator("#state")).to_have_text("Ready")
    await expect(page.locator("#captions s")).to_have_count(0)


async def test_who_holds_the_button_while_the_avatar_speaks_interrupts_it(
    page: Page, far: ScriptedConversation
) -> None:
    far.say("state", state="speaking")
    await expect(page.locator("#state")).to_have_text("Speaking")
    await hold(page, 0.3)
    await far.until("release")
    kinds = [message["type"] for message in far.received if message["type"] != "start"]
    assert kinds[0] == "interrupt"


async def test_open_microphone_is_heard_until_it_is_shut(page: Page, far: ScriptedConversation) -> None:
    await page.click("#open")
    await expect(page.locator("#open")).to_have_attribute("aria-pressed", "true")
    assert (await far.until("start", 2))["mode"] == "open"
    await expect(page.locator("#state")).to_have_text("Listening")
    while len(far.sound) < 16_000:
        await asyncio.sleep(0.05)
    far.say("state", state="speaking")
    await expect(page.locator("#state")).to_have_text("Speaking")
    await page.click("#open")
    await far.until("release")
    far.say("sentence", turn=1, text="The answer goes on.")
    await expect(captions(page)).to_have_text(["AvatarThe answer goes on."])
    assert far.connections == 2, "another connection would end the answer"
    far.say("state", state="listening")
    assert (await far.until("start", 3))["mode"] == "push"
    await expect(page.locator("#state")).to_have_text("Ready")
    await expect(page.locator("#message")).to_be_hidden()
    assert await page.evaluate("document.getElementById('level').value") == 0
    far.is_ready = False  # else the next connection takes the message away before anybody looks
    await far.lose()
    await expect(page.locator("#message")).to_contain_text("connection was lost")


async def test_keyboard_alone_talks_writes_and_interrupts(page: Page, far: ScriptedConversation) -> None:
    await expect(page.locator("#hold")).to_be_focused()
    await page.keyboard.down(" ")
    await expect(page.locator("#hold")).to_have_text("Release to send")
    await page.keyboard.up(" ")
    await far.until("release")
    await page.keyboard.press("Tab")
    await page.keyboard.type("What time is it?")
    await page.keyboard.press("Enter")
    assert (await far.until("text"))["text"] == "What time is it?"
    await expect(page.locator("#words")).to_have_value("")
    far.say("state", state="speaking")
    await page.focus("#cut")
    await page.keyboard.press("Enter")
    await far.until("interrupt")


async def test_lost_connection_is_told_and_comes_back(page: Page, far: ScriptedConversation) -> None:
    far.say("transcript", turn=1, text="Before.", final=True)
    far.is_ready = False  # else the next connection takes the message away before anybody looks
    await far.lose()
    await expect(page.locator("#message")).to_contain_text("connection was lost")
    await far.until("start", 2)
    far.say("ready", **READY)
    await expect(page.locator("#state")).to_have_text("Ready")
    await expect(page.locator("#message")).to_be_hidden()
    far.say("transcript", turn=1, text="After.", final=True)
    await expect(captions(page)).to_have_text(["YouBefore.", "YouAfter."])


async def test_what_is_written_before_the_server_is_ready_is_said_then(page: Page, far: ScriptedConversation) -> None:
    far.is_ready = False
    await far.lose()
    await far.until("start", 2)
    await page.fill("#words", "Hello!")
    await page.press("#words", "Enter")
    await expect(page.locator("#words")).to_have_value("")
    await page.click("#reset")
    await far.until("reset")
    assert [message["type"] for message in far.received] == ["start", "start", "reset"]
    far.say("ready", **READY)
    assert (await far.until("text"))["text"] == "Hello!"


async def test_errors_are_shown_and_the_end_is_explained(page: Page, far: ScriptedConversation) -> None:
    message = page.locator("#message")
    far.say("error", code="responder_failed", message="The language model does not answer. Ask again.")
    await expect(message).to_have_text("The language model does not answer. Ask again.")
    far.say("ended", reason="limit")
    await expect(message).to_contain_text("reached its limit")
    await page.click("#begin")
    await far.until("start", 2)
    await expect(message).to_be_hidden()


async def test_new_conversation_forgets_and_end_closes_the_microphone(page: Page, far: ScriptedConversation) -> None:
    far.say("transcript", turn=1, text="Hello.", final=True)
    await expect(captions(page)).to_have_count(1)
    await page.click("#reset")
    await far.until("reset")
    await expect(captions(page)).to_have_count(0)
    await page.click("#end")
    await expect(page.locator("#begin")).to_be_focused()
    await expect(page.locator("#state")).to_have_text("Not connected")
    assert await page.evaluate("document.getElementById('video').muted")


@pytest.mark.parametrize("size", [(320, 568), (568, 320), (390, 844), (844, 390)])
async def test_all_that_can_be_pressed_fits_on_a_phone(
    server: RunningServer, browser: Browser, far: ScriptedConversation, size: tuple[int, int]
) -> None:
    width, height = size
    page = await opened(browser, server, far, viewport={"width": width, "height": height})
    await page.click("#begin")
    await far.until("start")
    for turn in range(1, 4):
        far.say("transcript", turn=turn, text="What shall I wear, when it rains all day? " * 3, final=True)
        far.say("sentence", turn=turn, text="Something that keeps you dry, such as a coat with a hood. " * 3)
    far.say("state", state="speaking")
    far.say("error", code="responder_failed", message="The language model does not answer. Ask again.")
    await expect(page.locator("#message")).to_be_visible()
    for language in ("en", "zh"):
        await expect(page.locator("html")).to_have_attribute("lang", language)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("hold", "open", "send", "words", "reset", "end", "language"):
            box = await page.locator(f"#{name}").bounding_box()
            assert box is not None and box["height"] >= 44, name
            assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, (
                name,
                box,
            )
            middle = f"{box['x'] + box['width'] / 2}, {box['y'] + box['height'] / 2}"
            uncovered = f"document.elementFromPoint({middle}).closest('#{name}') !== null"
            assert await page.evaluate(uncovered), f"{name} is covered"
        await page.click("#language")
    await page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    server: RunningServer, browser: Browser, far: ScriptedConversation, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright").Axe()
    page = await opened(browser, server, far, color_scheme=scheme)

    async def check(what: str) -> None:
        violations = (await axe.run(page)).response["violations"]
        found = [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations]
        assert found == [], f"{what}, {scheme}"

    await expect(page.locator("#begin")).to_be_visible()
    await check("before the start")
    await page.click("#begin")
    await far.until("start")
    far.say("transcript", turn=1, text="What time is it?", final=True)
    far.say("sentence", turn=1, text="It is four in the afternoon.")
    far.say("heard", turn=1, text="It is four")
    far.say("transcript", turn=2, text="And the", final=False)
    far.say("state", state="speaking")
    far.say("error", code="responder_failed", message="The language model does not answer. Ask again.")
    await expect(page.locator("#message")).to_be_visible()
    await check("in a conversation")
    await page.context.close()


async def test_page_speaks_the_languages_of_its_texts(
    server: RunningServer, browser: Browser, far: ScriptedConversation
) -> None:
    page = await opened(browser, server, far, locale="zh-CN")
    await expect(page.locator("#begin")).to_have_text("开始")
    assert await page.evaluate("document.documentElement.lang") == "zh"
    await page.click("#language")
    await expect(page.locator("#begin")).to_have_text("Start")
    await page.reload()
    await expect(page.locator("#begin")).to_have_text("Start")
    names = await page.evaluate(
        "import('/page/talk/strings.js').then(({ STRINGS }) => Object.values(STRINGS).map(Object.keys))"
    )
    assert names[0] == names[1]
    html = await page.content()
    used = set(re.findall(r'data-words(?:-label|-hint)?="(\w+)"', html))
    assert used and used <= set(names[0])
    await page.context.close()


@pytest.mark.parametrize(
    ("arguments", "script", "said"),
    [
        ([*DEVICE, "--deny-permission-prompts"], "", "blocked for this page"),
        (DEVICE, "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }",
         "No microphone was found"),
        (DEVICE, "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })", "only to pages with https"),
    ],
)  # fmt: skip
async def test_missing_microphone_is_explained_and_one_can_write(
    server: RunningServer, far: ScriptedConversation, arguments: list[str], script: str, said: str
) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = await browser.new_page(**PHONE)  # type: ignore[arg-type]
        if script:
            await page.add_init_script(script)
        await far.serve(page)
        await page.goto(f"{server.http.base_url}/talk?player=mp4")
        await page.click("#begin")
        await expect(page.locator("#message")).to_contain_text(said)
        await page.fill("#words", "Hello!")
        await page.press("#words", "Enter")
        assert (await far.until("text"))["text"] == "Hello!"
        await browser.close()


@pytest.mark.parametrize("rate", [44_100, 48_000])
async def test_worklet_resamples_what_the_sound_card_has(
    server: RunningServer, browser: Browser, far: ScriptedConversation, rate: int
) -> None:
    page = await opened(browser, server, far)
    sound = await page.evaluate(
        """async (rate) => {
            const context = new OfflineAudioContext(1, 2 * rate, rate);
            await context.audioWorklet.addModule("/page/talk/ear.js");
            const ear = new AudioWorkletNode(context, "ear");
            const samples = [];
            ear.port.onmessage = ({ data }) => samples.push(...new Int16Array(data.buffer));
            for (const hz of [1000, 9500]) {  // the second one can't be at 16 kHz, and would be heard as 6500 Hz
                const tone = new OscillatorNode(context, { frequency: Math.min(hz, rate / 2) });
                tone.connect(new GainNode(context, { gain: 0.4 })).connect(ear);
                tone.start();
            }
            ear.connect(context.destination);
            await context.startRendering();
            while (samples.length < 31_300) await new Promise((resolve) => setTimeout(resolve, 50));
            return samples;
        }""",
        rate,
    )
    assert len(sound) == pytest.approx(2 * 16_000, abs=700)
    middle = np.array(sound[4_000:20_000]) / 32_768
    level = 2 * np.abs(np.fft.rfft(middle * np.hanning(16_000))) / (16_000 / 2)
    assert level[1_000] == pytest.approx(0.4, rel=0.03)
    level[990:1_011] = 0
    assert level.max() < 0.4e-2, "40 dB below what may be heard"
    await page.context.close()


async def test_key_in_the_address_signs_in_and_leaves_it(
    browser: Browser, far: ScriptedConversation, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("phone", Scope.SPEAK)
    async with running(settings) as server:
        page = await browser.new_page(**PHONE)  # type: ignore[arg-type]
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        await far.serve(page)
        await page.goto(f"{server.http.base_url}/talk?channel=main#key={key}")
        await page.click("#begin")
        await far.until("start")
        assert page.url == f"{server.http.base_url}/talk?channel=main"
        assert [url for url in urls[1:] if key in url] == []
        assert key not in await page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
        await page.goto(f"{server.http.base_url}/talk#key=lsr_wrong")
        await page.context.clear_cookies()
        await page.reload()
        await expect(page.locator("#key")).to_be_visible()
        await page.context.close()


async def test_page_is_an_app_whose_shell_alone_is_kept(
    server: RunningServer, browser: Browser, far: ScriptedConversation
) -> None:
    page = await opened(browser, server, far)
    await page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    devtools = await page.context.new_cdp_session(page)
    assert (await devtools.send("Page.getInstallabilityErrors"))["installabilityErrors"] == [
        {"errorId": "in-incognito", "errorArguments": []}  # which all contexts of a test are
    ]
    await page.reload()
    await expect(page.locator("#begin")).to_be_visible()
    kept = await page.evaluate(
        "caches.open('talk-shell').then((cache) => cache.keys())"
        ".then((all) => all.map(({ url }) => new URL(url).pathname))"
    )
    assert "/talk" in kept and all(re.fullmatch(r"/talk|/page/[\w./-]+", path) for path in kept)
    await page.context.set_offline(True)
    await page.reload()
    await expect(page.locator("#state")).to_have_text("Not connected")
    await page.context.close()


async def test_screen_stays_on_while_a_conversation_runs(
    server: RunningServer, browser: Browser, far: ScriptedConversation
) -> None:
    context = await browser.new_context(**PHONE)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.add_init_script(
        """const locks = window.locks = [];
        navigator.wakeLock.request = async (kind) => {
            const lock = { kind, released: false, release() { this.released = true; } };
            locks.push(lock);
            return lock;
        };"""
    )
    await far.serve(page)
    await page.goto(f"{server.http.base_url}/talk?player=mp4")
    await page.click("#begin")
    await far.until("start")
    locks = "JSON.stringify(locks.map(({ kind, released }) => [kind, released]))"
    await page.wait_for_function(f"""() => {locks} === '[["screen",false]]'""")
    await page.click("#end")
    await page.wait_for_function("() => locks[0].released")
    await context.close()
