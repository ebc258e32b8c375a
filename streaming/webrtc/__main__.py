"""`python -m streaming.webrtc -`: sends one channel to its viewers; requests and events are JSON lines on its pipes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from processes.garbage import freeze_what_is_there
from streaming.control import ControlPort, Request
from streaming.webrtc.config import WebRtcConfig
from streaming.webrtc.ports import NoPort
from streaming.webrtc.sdp import BadOffer, NoCommonCodec
from streaming.webrtc.viewers import TooManyViewers, Viewers

_STATUS_S = 1.0
_OFFER = ("session", "owner", "sdp", "loopback")
_REFUSALS: dict[type[Exception], str] = {
    BadOffer: "bad_offer",
    NoCommonCodec: "no_common_codec",
    NoPort: "busy",
    TooManyViewers: "busy",
}


class WebRtcProcess:
    """Answers the parent's requests until it is gone."""

    def __init__(self, config: WebRtcConfig, port: ControlPort) -> None:
        self._port = port
        self._viewers = Viewers(config, self._tell_end)
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self, ready: Request) -> None:
        """Replies to `ready` once viewers may come."""
        try:
            async with asyncio.TaskGroup() as group:
                work = [group.create_task(self._viewers.run()), group.create_task(self._report())]
                self._port.reply(ready)
                while request := await asyncio.to_thread(self._port.wait_request):
                    task = group.create_task(self._answer(request))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                for task in (*work, *self._answering):
                    task.cancel()
        finally:
            self._port.stop()  # ends the thread that waits for requests, also where this failed

    async def _answer(self, request: Request) -> None:
        try:
            self._port.reply(request, **await self._perform(request.values))
        except (BadOffer, NoCommonCodec, NoPort, TooManyViewers) as error:
            self._port.reply(request, error=str(error), code=_REFUSALS[type(error)])
        except (KeyError, ValueError) as error:
            self._port.reply(request, error=f"{type(error).__name__}: {error}", code="bad_request")

    async def _perform(self, values: dict[str, Any]) -> dict[str, Any]:
        match values["op"]:
            case "offer":
                return {"answer": await self._viewers.answer(**{name: values[name] for name in _OFFER})}
            case "close":
                return {"closed": self._viewers.close(values["session"])}
            case unknown:
                raise ValueError(f"unknown operation {unknown!r}")

    def _tell_end(self, session: str, reason: str) -> None:
        self._port.send_event({"event": "SessionEnded", "session": session, "reason": reason})

    async def _report(self) -> None:
        while True:
            self._port.send_event({"event": "ViewerCounts", **asdict(self._viewers.counts)})
            await asyncio.sleep(_STATUS_S)


def main(arguments: list[str]) -> int:
    """Runs until the parent closes its end or a signal arrives; returns the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    logging.getLogger("aioice").setLevel(logging.WARNING)  # it tells each connectivity check
    if arguments != ["-"]:
        print("usage: python -m streaming.webrtc -", file=sys.stderr)
        return 2
    port = ControlPort(os.fdopen(sys.stdin.fileno(), "rb", closefd=False), sys.stdout.buffer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: port.stop())
    request = port.wait_request()
    if request is None:
        return 0 if port.problem is None else 1
    try:
        process = WebRtcProcess(WebRtcConfig.from_json(request.values["config"]), port)
    except (KeyError, TypeError, ValueError) as error:
        port.reply(request, error=str(error))
        port.close()
        return 1
    freeze_what_is_there()
    asyncio.run(process.run(request))
    port.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
