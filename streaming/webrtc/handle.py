"""The orchestrator's handle on one channel's process for WebRTC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes.tethered import tethered
from streaming.request_pipe import ChildGone, RequestPipe
from streaming.webrtc.config import WebRtcConfig
from streaming.webrtc.counts import ViewerCounts

_log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 20.0
_REQUEST_TIMEOUT_S = 8.0
_CLOSE_TIMEOUT_S = 5.0


class WebRtcGone(RuntimeError):
    """The process has ended, or doesn't answer."""


class OfferRefused(RuntimeError):
    """The process refused an offer: a stable code, and a message that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WebRtcHandle:
    """A running process; create it with `start`, end it with `aclose`.

    `on_end` is called with each session that has ended by itself, and with all of them when the process dies.
    """

    def __init__(self, process: asyncio.subprocess.Process, channel: str, on_end: Callable[[str], None]) -> None:
        self.counts = ViewerCounts()
        self.alive = True
        self._channel = channel
        self._process = process
        self._on_end = on_end
        self._pipe = RequestPipe(process)
        self._sessions: set[str] = set()
        self._closing = False
        self._reader = asyncio.create_task(self._read(), name=f"webrtc-{channel}-events")

    @classmethod
    async def start(cls, config: WebRtcConfig, log_dir: Path, on_end: Callable[[str], None]) -> WebRtcHandle:
        """Starts the process and returns once viewers may come; raises WebRtcGone."""
        with (log_dir / f"{config.channel}.webrtc.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *tethered(sys.executable, "-m", "streaming.webrtc", "-"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal reaches only the orchestrator
                env={**os.environ, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"},
            )
        handle = cls(process, config.channel, on_end)
        try:
            await handle._request({"config": config.to_json()}, _READY_TIMEOUT_S)
        except BaseException:
            await handle.aclose()
            raise
        return handle

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def offer(self, session: str, owner: str, sdp: str, loopback: bool) -> str:
        """The SDP answer to a viewer of `owner`, on this machine where `loopback`; raises OfferRefused, WebRtcGone."""
        self._sessions.add(session)
        try:
            values = {"session": session, "owner": owner, "sdp": sdp, "loopback": loopback}
            answer = await self._request({"op": "offer", **values})
        except BaseException:
            self._sessions.discard(session)
            raise
        return str(answer["answer"])

    async def close(self, session: str) -> None:
        """Ends a session; nothing happens where it has ended already."""
        self._sessions.discard(session)
        with contextlib.suppress(WebRtcGone):
            await self._request({"op": "close", "session": session})

    async def aclose(self) -> None:
        """Ends the process, and with it all sessions; may be called twice."""
        self._closing = True
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()  # the process ends when this pipe closes
            try:
                await asyncio.wait_for(self._process.wait(), _CLOSE_TIMEOUT_S)
            except TimeoutError:
                _log.warning("the WebRTC process of channel %s did not end: killed", self._channel)
                self._process.kill()
                await self._process.wait()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _request(self, message: dict[str, Any], timeout_s: float = _REQUEST_TIMEOUT_S) -> dict[str, Any]:
        if not self.alive:
            raise WebRtcGone(f"the WebRTC process of channel {self._channel} has ended")
        try:
            answer = await asyncio.wait_for(self._pipe.request(message), timeout_s)
        except TimeoutError:
            self._kill()  # what it holds is of no use to anybody; the next viewer gets a new one
            raise WebRtcGone(f"the WebRTC process of channel {self._channel} does not answer") from None
        except ChildGone as error:
            raise WebRtcGone(str(error)) from None
        if "error" in answer:
            raise OfferRefused(str(answer.get("code", "bad_request")), str(answer["error"]))
        return answer

    async def _read(self) -> None:
        try:
            await self._pipe.read(self._receive)
        except Exception:  # noqa: BLE001  # without its events nobody knows who is there: the next viewer gets a new one
            _log.exception("the WebRTC process of channel %s sends what can't be read: killed", self._channel)
            self._kill()
        code = await self._process.wait()
        self.alive = False
        self._pipe.fail(f"the WebRTC process of channel {self._channel} ended with code {code}")
        if not self._closing:
            _log.error("the WebRTC process of channel %s ended with code %s", self._channel, code)
        self.counts = ViewerCounts()
        for session in list(self._sessions):
            self._ended(session)

    def _receive(self, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "SessionEnded":
                self._ended(event["session"])
            case "ViewerCounts":
                self.counts = ViewerCounts(**event)
            case unknown:
                raise ValueError(f"unknown event {unknown!r}")

    def _ended(self, session: str) -> None:
        self._sessions.discard(session)
        self._on_end(session)

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
