"""Keeps one WHIP target on the air: a process that sends the channel's packets, watched and started again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from processes.tethered import tethered
from streaming.address import Address
from streaming.config import ChannelConfig
from streaming.events import PublisherState, TargetStatus
from streaming.outage import Outage
from streaming.targets import mask

_log = logging.getLogger(__name__)

_SPACING_S = (0.5, 1.0, 2.0, 4.0)
"""Time from the start of one attempt to the next."""
_GOOD_RUN_S = 30.0
_STARTS_S = 10.0
_SILENT_S = 5.0
"""The process tells once a second that it is alive."""
_CLOSE_S = 3.0


class WhipPush:
    """One WHIP target and the thread that keeps it on the air; it runs from its creation until `close`."""

    def __init__(self, target: str, config: ChannelConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = target
        self._config = config
        self._clock = clock
        self._outage = Outage(clock)
        self._closing = threading.Event()
        self._on_air = False
        self._was_on_air = False
        self._connections = 0
        self._problem = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"push-{mask(target)}")
        self._thread.start()

    @property
    def status(self) -> TargetStatus:
        """The present state of the connection."""
        if self._on_air:
            state = PublisherState.ON_AIR
        else:
            state = PublisherState.RECONNECTING if self._was_on_air or self._problem else PublisherState.CONNECTING
        problem = "" if self._on_air else self._problem
        return TargetStatus(mask(self.target), state, max(0, self._connections - 1), problem=problem)

    def close(self) -> None:
        """Ends the session in order, within a short limit."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            started = self._clock()
            problem = self._attempt()
            self._on_air = False
            if self._closing.is_set():
                return
            if self._outage.is_news_that_down():
                _log.warning("%s: %s; trying again", mask(self.target), problem)
            self._problem = problem
            ran_s = self._clock() - started
            failures = 0 if ran_s > _GOOD_RUN_S else failures
            spacing_s = _SPACING_S[min(failures, len(_SPACING_S) - 1)]
            failures += 1
            self._closing.wait(max(0.25, spacing_s - ran_s))

    def _attempt(self) -> str:
        """Runs one session from its beginning to its end; returns why it ended."""
        if self._config.packet_socket is None:
            return "the channel gives its packets to nobody"
        try:
            process = subprocess.Popen(
                tethered(sys.executable, "-m", "streaming.webrtc.whip"),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                env={**os.environ, "MALLOC_ARENA_MAX": "2"},
            )  # fmt: skip
        except OSError as error:
            return f"the process for WHIP can't be started: {error.strerror}"
        assert process.stdin is not None
        problem = ""
        try:
            # The address with its token is on no command line.
            process.stdin.write(json.dumps(whip_config(self.target, self._config)).encode() + b"\n")
            process.stdin.flush()
            for message in self._messages(process):
                problem = str(message.get("problem", problem))
                if "on_air" in message:
                    self._on_air = self._was_on_air = True
                    self._connections += 1
                    if self._outage.is_news_that_up():
                        _log.info("%s: on the air", mask(self.target))
        except (OSError, ValueError) as error:
            problem = f"the process for WHIP can't be understood: {error}"
        finally:
            _end(process)
        return problem or f"the process for WHIP ended with code {process.returncode}"

    def _messages(self, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
        """What the process tells, until it ends, hangs, or the target is closed."""
        assert process.stdout is not None
        fd, rest, heard_by = process.stdout.fileno(), b"", self._clock() + _STARTS_S
        while not self._closing.is_set() and self._clock() < heard_by:
            if not select.select([fd], [], [], 0.1)[0]:
                continue
            data = os.read(fd, 65_536)
            if not data:
                return
            heard_by = self._clock() + _SILENT_S
            *lines, rest = (rest + data).split(b"\n")
            yield from map(json.loads, lines)
        if not self._closing.is_set():
            process.kill()
            yield {"problem": f"the process for WHIP told nothing for {_SILENT_S:.0f} s"}


def whip_config(target: str, config: ChannelConfig) -> dict[str, Any]:
    """What the process needs to know of a whip:// or whips:// address; a user in it is the bearer token."""
    address = Address.parse(target)
    scheme = "https" if address.scheme == "whips" else "http"
    unverified = any(fnmatchcase(address.host, pattern.lower()) for pattern in config.tls_unverified_hosts)
    return {
        "packet_socket": config.packet_socket,
        "url": f"{scheme}://{address.authority}{address.rest}",
        "token": address.credentials,
        "verify": False if unverified else config.tls_ca_file or True,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):  # it has ended
        process.stdin.close()  # else it says goodbye now
    try:
        process.wait(_CLOSE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
