"""The page in a headless Chromium, with what it shows and plays read back from its video."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.webrtc.relay import Relay
from bench.webrtc.serving import PatternServer

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
_WAIT_MS = 60_000

# Before the page's own scripts: when it sends its offer, and each picture that it shows with its time.
_SCRIPT = """
window.seen = []; window.beeps = []; window.offered = null;
const wall = (t) => performance.timeOrigin + t;
const realFetch = window.fetch;
window.fetch = (url, options) => {
  if (options?.method === "POST" && String(url).endsWith("/whep")) window.offered = wall(performance.now());
  return realFetch(url, options);
};
document.addEventListener("DOMContentLoaded", () => {
  const video = document.getElementById("video");
  if (!video) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [384, 16];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const each = (now, frame) => {
    video.requestVideoFrameCallback(each);
    const share = video.videoWidth / fullWidth;  // an encoder that can't keep up makes smaller pictures
    context.drawImage(video, 0, 0, 384 * share, 16 * share, 0, 0, 384, 16);
    const row = context.getImageData(0, 8, 384, 1).data;
    let number = 0;
    for (let bit = 0; bit < 24; bit++) if (row[(bit * 16 + 8) * 4] > 128) number += 2 ** bit;
    seen.push([number, wall(frame.expectedDisplayTime)]);
  };
  video.requestVideoFrameCallback(each);
});
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.peer ??= this; }
};
// Blocks of sound as they come out of the jitter buffer, on their way to the output. WebAudio would hold them in a
// queue of its own that the video's sound doesn't pass.
const HEAR = `onmessage = async ({ data }) => {
  const reader = data.getReader();
  for (let quiet = true; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const now = performance.timeOrigin + performance.now(), samples = new Float32Array(value.numberOfFrames);
    value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    const first = samples.findIndex((each) => Math.abs(each) > 0.05);
    if (first >= 0 && quiet) postMessage(now + (first / value.sampleRate) * 1000);
    quiet = first < 0;
    value.close();
  }
};`;
window.listen = () => {
  const track = document.getElementById("video").srcObject.getAudioTracks()[0];
  const worker = new Worker(URL.createObjectURL(new Blob([HEAR])));
  worker.onmessage = ({ data }) => beeps.push(data);
  const { readable } = new MediaStreamTrackProcessor({ track });
  worker.postMessage(readable, [readable]);
};
// The seconds that all sound so far took from there to the output, and its samples.
window.playout = async () => {
  const found = [...(await peer.getStats()).values()].find((each) => each.type === "media-playout");
  return [found.totalPlayoutDelay, found.totalSamplesCount];
};
window.more = async (count) => {
  window.others = [];
  for (let i = 0; i < count; i++) {
    const connection = new RTCPeerConnection();
    others.push(connection);
    for (const kind of ["video", "audio"]) connection.addTransceiver(kind, { direction: "recvonly" });
    await connection.setLocalDescription(await connection.createOffer());
    const response = await realFetch("/v1/channels/main/whep", {
      method: "POST", body: connection.localDescription.sdp, headers: { "Content-Type": "application/sdp" } });
    await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
  }
};
"""


@dataclass(frozen=True)
class Seen:
    """A picture: its number, and the wall time in seconds at which it was due on the display."""

    number: int
    at_s: float


@dataclass(frozen=True)
class Watch:
    """What was shown from one wall time to another."""

    began_s: float
    ended_s: float
    seen: list[Seen]

    @property
    def longest_still_s(self) -> float:
        """The longest time without a new picture, all of it where none came."""
        times = [self.began_s, *(each.at_s for each in self.seen if each.at_s < self.ended_s), self.ended_s]
        return max(later - one for one, later in pairwise(times))


class WatchingPage:
    """The page of one viewer."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._output = (0.0, 0)  # seconds that the sound took to the output, and its samples

    async def first_picture_s(self) -> float:
        """Seconds from the offer to the first picture."""
        await self._page.wait_for_function("() => seen.length > 0", timeout=_WAIT_MS)
        offered, first = await self._page.evaluate("[offered, seen[0][1]]")
        return float((first - offered) / 1000)

    async def watch(self, seconds: float) -> Watch:
        """The pictures of the next seconds."""
        await self._page.evaluate("void (seen.length = 0)")
        began_s = time.time()
        await asyncio.sleep(seconds)
        seen = [Seen(number, at / 1000) for number, at in await self._page.evaluate("seen")]
        return Watch(began_s, time.time(), seen)

    async def listen(self) -> None:
        """Hears the beeps from now on."""
        await self._page.evaluate("listen()")
        self._output = await self._page.evaluate("playout()")

    async def beeps(self) -> list[float]:
        """Wall times in seconds at which the beeps since `listen` were heard."""
        seconds, samples = await self._page.evaluate("playout()")
        output_s = (seconds - self._output[0]) / (samples - self._output[1])
        return [at / 1000 + output_s for at in await self._page.evaluate("beeps")]

    async def add_viewers(self, count: int) -> None:
        """More viewers in the same page."""
        await self._page.evaluate("(count) => more(count)", count)

    async def remove_viewers(self) -> None:
        """Lets them go."""
        await self._page.evaluate("others.forEach((each) => each.close())")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser; raises NoChromium."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise NoChromium("playwright is not installed: pip install '.[test]'") from None
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise NoChromium("chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watching(
    browser: Browser, server: PatternServer, player: str, relay: Relay | None = None
) -> AsyncIterator[WatchingPage]:
    """The server's page, which plays by `player` alone, `webrtc` or `mp4`, and through a relay where one is given."""
    # A small one: a browser without a GPU draws each pixel of the page on the cores that are measured.
    # The page's own policy forbids the worker that listens.
    page = await browser.new_page(viewport={"width": 480, "height": 640}, bypass_csp=True)
    await page.add_init_script(f"window.fullWidth = {server.size[0]};{_SCRIPT}")
    if relay is not None:

        async def through_relay(route: Route) -> None:
            response = await route.fetch()
            if route.request.method != "POST" or response.status != 201:
                await route.fulfill(response=response)
                return
            await route.fulfill(response=response, body=await relay.stand_between(await response.text()))

        await page.route("**/whep", through_relay)
    try:
        await page.goto(f"{server.url}/?player={player}")
        yield WatchingPage(page)
    finally:
        await page.goto("about:blank")  # which lets the page say goodbye
        await page.close()


class NoChromium(RuntimeError):
    """There is no browser to measure with; the message says what to install."""
