"""The page's views of channels, avatars and tasks in a real Chromium, with keys that may do more and less."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from latentsync.avatar import PreparedAvatar
from orchestrator.access.keys import KeyFile, Scope
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.prepare import PrepareOptions, Progress, Step
from tests.support.running_server import RunningServer, free_port, running, settings_in
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar, write_avatar_of
from tests.support.viewer_page import ARGUMENTS, CHROMIUM, DESKTOP

WAIT_MS = 30_000
VIEWS = ("live", "channels", "avatars", "tasks")
SITE_PORT = free_port()
SECRET = "s3cr3t-k3y"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
]


class HeldPreparation:
    """Prepares an avatar when it is told to, so that its progress is seen; the real one needs a Triton."""

    def __init__(self, avatars_dir: Path) -> None:
        self.avatars_dir = avatars_dir
        self.gate = asyncio.Event()

    async def __call__(
        self, video: Path, name: str, options: PrepareOptions | MotionOptions, progress: Progress
    ) -> PreparedAvatar:
        progress(Step.TRACKING, 30, 100)
        await self.gate.wait()
        return await asyncio.to_thread(write_avatar, self.avatars_dir, name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(
        tmp_path_factory.mktemp("console"), require_key=True, embed_sites=(f"http://localhost:{SITE_PORT}",)
    )
    for scope in (Scope.ADMINISTER, Scope.VIEW):
        secret = KeyFile(settings.keys_path).add(scope.value, scope)
        settings.keys_path.with_name(scope.value).write_text(secret)
    write_avatar_of("tiny", settings.avatars_dir, "anna")
    async with running(settings) as started:
        started.http.headers["Authorization"] = f"Bearer {secret_of(started, Scope.ADMINISTER)}"
        await started.ready()
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        await launched.close()


def secret_of(server: RunningServer, scope: Scope) -> str:
    return server.orchestrator.settings.keys_path.with_name(scope.value).read_text()


@asynccontextmanager
async def opened(
    server: RunningServer, browser: Browser, view: str, scope: Scope = Scope.ADMINISTER, **context: Any
) -> AsyncIterator[Page]:
    """The page at a view, signed in; at the end it must have logged no error, as of its Content-Security-Policy."""
    complaints: list[str] = []
    shared = await browser.new_context(**{"viewport": DESKTOP, **context})
    try:
        url = str(server.http.base_url)
        assert (await shared.request.post(f"{url}/v1/session", data={"key": secret_of(server, scope)})).ok
        page = await shared.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{url}/#{view}")
        await expect(page.locator(f"#view-{view}")).to_be_visible(timeout=WAIT_MS)
        await seen(page, view)
        yield page
    finally:
        await shared.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def seen(page: Page, view: str) -> None:
    """Waits for what the view shows first."""
    first = {
        "live": "#figures dd",
        "channels": "#channel-cards .pill.good",
        "avatars": "#avatar-cards li",
        "tasks": "#view-tasks .none, #all-tasks li",
    }[view]
    await expect(page.locator(f"{first} >> visible=true").first).to_be_visible(timeout=WAIT_MS)


@pytest_asyncio.fixture(loop_scope="module")
async def without_news(server: RunningServer) -> AsyncIterator[None]:
    """Also where the test fails before it has removed the channel, so that others don't fail by it."""
    yield
    await server.http.delete("/v1/channels/news")


@pytest.mark.usefixtures("without_news")
async def test_a_channel_is_made_published_changed_and_removed(server: RunningServer, browser: Browser) -> None:
    async with opened(server, browser, "channels") as page:
        await page.click("#new-channel")
        dialog, card = page.locator("dialog[open]"), page.locator(".channel-card", has_text="news")
        await dialog.get_by_label("Name").fill("main")
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog.locator(".message")).to_contain_text("There is a channel 'main'")
        await dialog.get_by_label("Name").fill("news")
        await dialog.get_by_label("Avatar").select_option("demo")
        await dialog.get_by_role("button", name="Create").click()
        await expect(card.locator(".head .pill")).to_have_text("live")
        await expect(card.locator("[data-figure=rate]")).to_have_text(re.compile(r"\d+\.\d"))

        field = card.get_by_label("New target of news")
        await field.fill(f"gopher://h/{SECRET}")
        await field.press("Enter")
        await expect(card.get_by_role("alert")).to_contain_text("an address must begin with")
        await field.fill(f"rtmp://127.0.0.1:9/live/{SECRET}")
        await field.press("Enter")
        target = card.locator(".targets li")
        await expect(target).to_contain_text("rtmp://127.0.0.1:9/live/***")
        await expect(target.locator(".pill")).to_have_text("reconnecting")
        await expect(card.locator(".head .pill")).to_have_text("off air")
        await expect(card.get_by_role("alert")).to_be_hidden()
        assert SECRET not in await page.content()
        await target.get_by_role("button").click()
        await dialog.get_by_role("button", name="Remove").click()
        await expect(target).to_have_count(0)

        await card.get_by_role("button", name="Change").click()
        await dialog.get_by_label("Avatar").select_option("anna")
        await dialog.get_by_label("Width").fill("320")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.locator(".message")).to_have_text("Give width and height, or neither.")
        await dialog.get_by_label("Height").fill("240")
        await dialog.get_by_role("button", name="Save").click()
        await expect(card.locator(".about")).to_contain_text("anna")
        await expect(card.locator(".head .pill")).to_have_text("live")
        definition = server.orchestrator.channels["news"].definition
        assert (definition.avatar, definition.picture_size, definition.targets) == ("anna", (320, 240), ())

        await card.get_by_role("button", name="Remove").click()
        await dialog.get_by_role("button", name="Remove").click()
        await expect(card).to_have_count(0)
        assert list(server.orchestrator.channels) == ["main"]


async def test_an_avatar_is_uploaded_inspected_renamed_and_deleted(server: RunningServer, browser: Browser) -> None:
    preparations = server.orchestrator.preparations
    preparations._prepare = held = HeldPreparation(server.orchestrator.settings.avatars_dir)
    video = Path(__file__).parents[3] / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    async with opened(server, browser, "avatars") as page:
        await page.set_input_files("#video-file", video)
        name = page.locator("#upload").get_by_label("Name")
        await expect(name).to_have_value("idle")
        await name.fill("person")
        await page.get_by_role("button", name="Upload and prepare").click()
        preparation = page.locator("#preparations li")
        try:
            await expect(preparation.locator(".detail")).to_contain_text("finding the face · 18 %")
        finally:
            held.gate.set()  # else the next tests' avatars wait behind this one
        await expect(preparation.locator(".pill")).to_have_text("done")
        cards, dialog = page.locator(".avatar-card"), page.locator("dialog[open]")
        await cards.get_by_role("button", name="Inspect: person").click()
        await page.wait_for_function("document.querySelector('img.overlay').naturalWidth === 160")
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await cards.get_by_role("button", name="Rename: person").click()
        await dialog.get_by_label("New name").fill("anna")
        await dialog.get_by_role("button", name="Rename").click()
        await expect(dialog.locator(".message")).to_contain_text("there is an avatar 'anna' already", ignore_case=True)
        await dialog.get_by_label("New name").fill("someone")
        await dialog.get_by_role("button", name="Rename").click()
        await cards.get_by_role("button", name="Delete: someone").click()
        await dialog.get_by_role("button", name="Delete").click()
        await expect(cards.locator("h3")).to_have_text(["anna", "demo"])
        await expect(cards.filter(has_text="anna").locator(".about")).to_contain_text("of 50 frames · tiny")
        # One that a channel plays can be neither renamed nor deleted.
        await expect(cards.filter(has_text="on main").get_by_role("button")).to_have_text(["Show", "Inspect"])


async def test_an_upload_shows_how_far_it_is_and_can_be_stopped(
    server: RunningServer, browser: Browser, tmp_path: Path
) -> None:
    """Over a line that takes long until all was seen; what was sent in the end is the file, byte for byte."""
    preparations, received = server.orchestrator.preparations, asyncio.Event()
    video = (Path(__file__).parents[3] / "checkpoints" / "demo" / "avatar" / "idle.mp4").read_bytes()
    padded = tmp_path / "long.mp4"
    padded.write_bytes(video + (8 + 4_000_000).to_bytes(4, "big") + b"free" + bytes(4_000_000))
    kept: list[bytes] = []

    async def prepare(
        video: Path, name: str, options: PrepareOptions | MotionOptions, progress: Progress
    ) -> PreparedAvatar:
        kept.append(await asyncio.to_thread(video.read_bytes))
        received.set()
        return await asyncio.to_thread(write_avatar, server.orchestrator.settings.avatars_dir, name)

    preparations._prepare = prepare
    async with opened(server, browser, "avatars") as page:
        line = await page.context.new_cdp_session(page)
        await line.send("Network.enable")

        async def upload_at(bytes_per_s: int) -> None:
            conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
            await line.send("Network.emulateNetworkConditions", conditions)

        form, sending = page.locator("#upload"), page.locator("#upload .sending")
        under_way = "() => Math.abs(document.querySelector('#upload progress').value - 0.5) < 0.4"
        for stopped in (True, False):
            await upload_at(200_000)
            await page.set_input_files("#video-file", padded)
            await form.get_by_label("Name").fill("person")
            await form.get_by_role("button", name="Upload and prepare").click()
            await page.wait_for_function(under_way)
            await expect(sending).to_be_visible()
            await expect(sending.locator(".detail")).to_have_text(re.compile(r"[0-4]\.\d of 5\.3 MB"))
            if stopped:
                await sending.get_by_role("button").click()
                await expect(form.locator(".message")).to_have_text("The upload was stopped.")
                assert kept == []
        await upload_at(-1)
        await received.wait()
        await expect(sending).to_be_hidden()
        assert kept == [padded.read_bytes()]
        await expect(page.locator(".avatar-card h3").filter(has_text="person")).to_be_visible()
    await server.http.delete("/v1/avatars/person")


async def test_an_upload_that_is_refused_says_why(server: RunningServer, browser: Browser) -> None:
    async with opened(server, browser, "avatars") as page:
        await page.get_by_role("textbox", name="Name").fill("nobody")
        await page.get_by_role("button", name="Upload and prepare").click()
        message = page.locator("#upload .message")
        await expect(message).to_have_text("Choose a video first.")
        await page.set_input_files("#video-file", {"name": "x.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
        await page.get_by_role("button", name="Upload and prepare").click()
        await expect(message).to_contain_text("video")
        await expect(message).not_to_have_text("Choose a video first.")
        await expect(page.get_by_role("button", name="Upload and prepare")).to_be_enabled()


async def test_a_viewers_key_is_offered_nothing_that_it_may_not_do(server: RunningServer, browser: Browser) -> None:
    server.models.gate.clear()
    sent = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(0.2))})
    offered = {"live": ["Turn sound on"], "channels": ["Links"], "avatars": ["Inspect", "Inspect"], "tasks": []}
    try:
        for view, buttons in offered.items():
            async with opened(server, browser, view, Scope.VIEW) as page:
                if view in ("live", "tasks"):
                    await expect(page.locator(f"#view-{view} .task")).to_have_count(1)
                shown = page.locator(f"#view-{view} :is(button, input, textarea):visible")
                await expect(shown).to_have_text(buttons)
        async with opened(server, browser, "tasks") as page:
            await page.get_by_role("button", name="Cancel this task").click()
            await expect(page.locator("#all-tasks .state")).to_have_text("cancelled")
    finally:
        server.models.gate.set()
    assert (await server.http.get(sent.headers["Location"])).json()["state"] == "cancelled"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(server: RunningServer, browser: Browser, scheme: str) -> None:
    async with opened(server, browser, "live", color_scheme=scheme) as page:

        async def check(what: str) -> None:
            results = await Axe().run(page)
            found = [each for each in results.response["violations"] if each["impact"] in ("serious", "critical")]
            told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
            assert told == [], f"{what}, {scheme}"

        for view in VIEWS:
            await page.click(f"nav a[href='#{view}']")
            await seen(page, view)
            for summary in await page.locator(f"#view-{view} summary:visible").all():
                await summary.click()
            await check(view)
        for view, button in (("channels", "New channel"), ("channels", "Links"), ("avatars", "Inspect: anna")):
            await page.click(f"nav a[href='#{view}']")
            await page.get_by_role("button", name=button).first.click()
            await check(button)
            await page.keyboard.press("Escape")


async def test_views_are_reached_by_keyboard_and_tell_where_they_begin(server: RunningServer, browser: Browser) -> None:
    async with opened(server, browser, "live") as page:
        await page.locator("nav a").first.focus()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#view-channels h2")).to_be_focused()
        await expect(page.locator("nav a[aria-current=page]")).to_have_text("Channels")
        assert await page.title() == "Channels · latentsync-realtime"
        await page.get_by_role("button", name="New channel").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog[open]")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="New channel")).to_be_focused()
        await page.go_back()
        await expect(page.locator("#view-live")).to_be_visible()


async def test_page_is_chinese_for_a_chinese_browser_and_fits_a_narrow_phone(
    server: RunningServer, browser: Browser
) -> None:
    phone = {"width": 360, "height": 740}
    # Names, which nobody translates: of channels, avatars and checkpoints, of formats and programs.
    kept = r"latentsync|realtime|main|demo|anna|tiny|person|English|WebRTC|MP4|OBS|VLC|WHEP|https?://\S+|embed_sites|webm|flac|speech|m3u8"
    async with opened(server, browser, "live", viewport=phone, locale="zh-CN") as page:
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        for view in VIEWS:
            await page.click(f"nav a[href='#{view}']")
            await seen(page, view)
            assert await page.evaluate("document.documentElement.scrollWidth") == phone["width"], view
            for text in await page.locator(f"header, #view-{view}").all_inner_texts():
                assert not re.search(r"[a-z]{4,}", re.sub(kept, "", text)), text
        await page.click("nav a[href='#channels']")
        await page.get_by_role("button", name="链接").click()
        text = await page.locator("dialog[open]").inner_text()
        assert not re.search(r"[a-z]{4,}", re.sub(kept + r"|bearer token|key", "", text)), text
        await page.keyboard.press("Escape")
        refusal = (
            "import('/page/api.js').then(({ ask }) => ask('/v1/channels/nothing')).catch((error) => error.message)"
        )
        assert re.match("没有这个频道（.*'nothing'.*）$", await page.evaluate(refusal))
        await page.select_option("#language", "en")
        await expect(page.locator("#view-channels h2")).to_have_text("Channels")
        await page.reload()
        await expect(page.locator("#view-channels h2")).to_have_text("Channels")


async def test_colours_follow_the_system_until_others_are_chosen(server: RunningServer, browser: Browser) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((a, b) => a + +b, 0)"
    async with opened(server, browser, "tasks", color_scheme="dark") as page:
        assert await page.evaluate(brightness) < 200
        await page.select_option("#theme", "light")
        assert await page.evaluate(brightness) > 600
        await page.reload()
        await seen(page, "tasks")
        assert await page.evaluate(brightness) > 600


async def test_links_lead_to_the_channel(server: RunningServer, browser: Browser) -> None:
    async with opened(server, browser, "channels") as page:
        await page.get_by_role("button", name="Links").click()
        dialog, base = page.locator("dialog[open]"), str(server.http.base_url)
        await expect(dialog.get_by_label("WHEP (WebRTC players)", exact=True)).to_have_value(
            f"{base}/v1/channels/main/whep"
        )
        await expect(dialog.get_by_label("OBS: browser source", exact=True)).to_have_value(f"{base}/embed?channel=main")
        await page.wait_for_function("document.querySelector('img.qr').naturalWidth > 0")
        await expect(dialog).to_contain_text("This server asks for a key.")


async def test_a_frame_gets_a_key_that_may_watch_and_nothing_else(server: RunningServer, browser: Browser) -> None:
    async with opened(server, browser, "channels") as page:
        await page.get_by_role("button", name="Links").click()
        dialog = page.locator("dialog[open]")
        await dialog.get_by_label("Name of the key").fill("shop")
        await dialog.get_by_role("button", name="Make a key").click()
        snippet = dialog.get_by_label("Embed in a site", exact=True)
        await expect(snippet).to_have_value(re.compile("#key=lsr_"))
        html = await snippet.input_value()
        framed, key = await browser.new_page(), html.partition("#key=")[2].partition('"')[0]
        async with site_with(html, SITE_PORT) as site:
            await framed.goto(site)
            await expect(framed.frame_locator("iframe").locator("#live")).to_have_text("LIVE")
        await framed.close()
        watches = {"Authorization": f"Bearer {key}"}
        assert (await server.http.get("/v1/channels", headers=watches)).status_code == 403
        await dialog.get_by_role("button", name="Remove the key shop").click()
        await expect(dialog.get_by_role("button", name="Remove the key shop")).to_have_count(0)
        assert (await server.http.get("/v1/channels", headers=watches)).status_code == 401


async def test_key_that_may_watch_sees_the_stream_alone(server: RunningServer, browser: Browser) -> None:
    """Over MP4 too, whose codecs the answer tells: such a key may not ask for the channel."""
    file = KeyFile(server.orchestrator.settings.keys_path)
    key = file.add("window", Scope.WATCH, "main")
    page = await browser.new_page()
    await page.goto(f"{server.http.base_url}/?player=mp4")
    await page.fill("#key-input", key)
    await page.press("#key-input", "Enter")
    await expect(page).to_have_url(re.compile("/embed"))
    await expect(page.locator("#live")).to_have_text("LIVE")
    await expect(page.locator("#way")).to_have_text("MP4")
    await page.close()
    file.remove("window")


@asynccontextmanager
async def site_with(html: str, port: int) -> AsyncIterator[str]:
    """Another site, whose page is `html`; Chromium lets only pages of this machine frame what is on it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(html)}\r\nConnection: close\r\n\r\n"
        writer.write((head + html).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield f"http://localhost:{port}/"


@pytest.mark.parametrize("named", [True, False], ids=["named", "stranger"])
async def test_player_is_framed_by_the_sites_that_are_named(
    server: RunningServer, browser: Browser, named: bool
) -> None:
    """The key comes with the frame's address: a page of another site has no session."""
    source = f"{server.http.base_url}/embed?channel=main#key={secret_of(server, Scope.VIEW)}"
    html = f'<iframe src="{source}" width="640" height="480" allow="autoplay"></iframe>'
    page, refused = await browser.new_page(), asyncio.Event()
    page.on("console", lambda message: refused.set() if "frame-ancestors" in message.text else None)
    async with site_with(html, SITE_PORT if named else free_port()) as site:
        await page.goto(site)
        badge = page.frame_locator("iframe").locator("#live")
        if named:
            await expect(badge).to_have_text("LIVE")
            assert await page.context.cookies() == []
            async with opened(server, browser, "channels") as console:
                await expect(console.locator("[data-figure=viewers]")).to_have_text("1")
        else:
            await refused.wait()
            await expect(badge).to_have_count(0)
    await page.close()
