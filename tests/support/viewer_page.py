"""A page of Chromium's that watches a channel over WebRTC and reads the numbers that the test pattern paints."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from playwright.async_api import Page, async_playwright

from streaming.config import FPS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
_FRAME = 90_000 // FPS

READ_PICTURES = """
window.pictures = [];
window.watch = (video) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [384, 16];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const each = () => {
    video.requestVideoFrameCallback(each);
    // On a busy machine the callback of one picture comes when the video shows the next one already. What is read here
    // is one picture with its own time, whichever it is; one that was read by the callback before is not read again.
    const picture = new VideoFrame(video);
    const { rtpTimestamp } = picture.metadata();
    if (rtpTimestamp !== pictures.at(-1)?.[1]) {
      context.drawImage(picture, 0, 0, 384, 16, 0, 0, 384, 16);
      const row = context.getImageData(0, 8, 384, 1).data;
      let number = 0;
      for (let bit = 0; bit < 24; bit++) if (row[(bit * 16 + 8) * 4] > 128) number += 2 ** bit;
      pictures.push([number, rtpTimestamp]);
    }
    picture.close();
  };
  video.requestVideoFrameCallback(each);
};
null;
"""

_CONNECT = """
window.offer = async (kinds) => {
  window.connection = new RTCPeerConnection();
  for (const kind of kinds) connection.addTransceiver(kind, { direction: "recvonly" });
  window.video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  video.srcObject = new MediaStream();
  connection.ontrack = ({ track }) => video.srcObject.addTrack(track);
  watch(video);
  await connection.setLocalDescription(await connection.createOffer());
  return connection.localDescription.sdp;
};
window.accept = async (sdp) => {
  await connection.setRemoteDescription({ type: "answer", sdp });
  await video.play();
};
window.stats = async () => {
  const found = {};
  (await connection.getStats()).forEach((each) => { if (each.type === "inbound-rtp") found[each.kind] = each; });
  return found;
};
null;
"""


class Picture(NamedTuple):
    """One that was shown: the number that is painted on it, and the time of its packets, at 90 kHz."""

    number: int
    rtp_timestamp: int


def assert_each_once_and_in_order(pictures: Sequence[Picture]) -> None:
    """No picture came twice or after a later one, and each came with the time of its own packets.

    Some may be missing: a browser without a core leaves pictures out.
    """
    for one, later in pairwise(pictures):
        passed = (later.rtp_timestamp - one.rtp_timestamp) % (1 << 32)
        assert later.number > one.number and passed == (later.number - one.number) * _FRAME, (one, later)


class ViewerPage:
    """A viewer without a server: whoever tests carries offer and answer."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def offer(self, *kinds: str) -> str:
        """An SDP offer that would receive these kinds."""
        await self.page.evaluate(READ_PICTURES)
        await self.page.evaluate(_CONNECT)
        sdp: str = await self.page.evaluate("(kinds) => offer(kinds)", list(kinds))
        return sdp

    async def accept(self, answer: str) -> None:
        """Connects, and plays what comes."""
        await self.page.evaluate("(sdp) => accept(sdp)", answer)

    async def pictures(self) -> list[Picture]:
        """All pictures that were shown and read so far."""
        return [Picture(*read) for read in await self.page.evaluate("pictures")]

    async def until(self, enough: Callable[[list[Picture]], bool]) -> list[Picture]:
        """The pictures so far, once they are enough."""
        while not enough(pictures := await self.pictures()):
            await asyncio.sleep(0.05)
        return pictures

    async def stats(self) -> dict[str, Any]:
        """The browser's `inbound-rtp` statistics by kind."""
        found: dict[str, Any] = await self.page.evaluate("stats()")
        return found


@asynccontextmanager
async def viewer_page(size: dict[str, int] | None = None) -> AsyncIterator[ViewerPage]:
    """A page in a Chromium of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport=size or DESKTOP)  # type: ignore[arg-type]
        try:
            yield ViewerPage(page)
        finally:
            await browser.close()
