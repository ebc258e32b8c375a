"""What is said in conversations, written to files where a setting says so, and deleted after its time."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from conversation.message import Message, Role
from conversation.turn.actions import TellHeard, TellTranscript
from orchestrator.clock import Clock
from orchestrator.conversations.retention import Retention
from orchestrator.conversations.session_events import SessionEvent

_MOST_WAITING = 1000
_LOOKED_AFTER_S = 600.0

logger = logging.getLogger(__name__)


class ConversationLog:
    """One file a day, of a JSON object a line, readable by its owner alone; its name is the day in UTC."""

    def __init__(self, folder: Path, days: int, clock: Clock, is_on: bool = True) -> None:
        """One that isn't on writes nothing, and still deletes what was written while it was."""
        self._is_on = is_on
        self._folder = folder
        self._retention = Retention(folder, days, clock)
        self._clock = clock
        self._waiting: deque[tuple[Path, str]] = deque(maxlen=_MOST_WAITING)
        self._came = asyncio.Event()

    def note(self, channel: str, event: SessionEvent) -> None:
        """Write what a person said, and what of an answer was heard."""
        if not self._is_on:
            return
        match event:
            case TellTranscript(_, text, True):
                self._add(channel, Message(Role.PERSON, text))
            case TellHeard(_, text) if text:
                self._add(channel, Message(Role.AVATAR, text))

    def _add(self, channel: str, message: Message) -> None:
        """Nobody waits for the disk. Of more than 1000 that wait the oldest are lost."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        if len(self._waiting) == _MOST_WAITING:
            logger.error("%s: a message could not be written in time and is lost", self._folder)
        entry = {
            "at": now.isoformat(timespec="milliseconds"),
            "channel": channel,
            "role": message.role.value,
            "text": message.text,
        }
        line = json.dumps(entry, ensure_ascii=False)
        self._waiting.append((self._folder / f"{now:%Y-%m-%d}.jsonl", line))
        self._came.set()

    async def run(self) -> None:
        """Write what comes, and delete what is too old, until this is cancelled."""
        while True:
            await asyncio.to_thread(self._retention.delete_old)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOKED_AFTER_S):
                    await self._came.wait()
            self._came.clear()
            await self.flush()

    async def flush(self) -> None:
        """Return once all that came by now is written; what can't be waits for the next time."""
        lines = list(self._waiting)
        self._waiting.clear()
        try:
            await asyncio.to_thread(self._write, lines)
        except OSError as error:
            logger.error("%s: %d messages can't be written now (%s)", self._folder, len(lines), error.strerror)
            room = _MOST_WAITING - len(self._waiting)
            self._waiting.extendleft(reversed(lines[-room:] if room else ()))

    def _write(self, lines: list[tuple[Path, str]]) -> None:
        """Those that were written are taken out of the list, also where the rest can't be. Raises OSError."""
        if lines:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while lines:
            path, line = lines[0]
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                _append(file, line)
            finally:
                os.close(file)
            del lines[0]


def _append(file: int, line: str) -> None:
    """Append a line to a file, whose last one may have been cut off by a full disk; raises OSError."""
    size = os.fstat(file).st_size
    begun = b"" if not size or os.pread(file, 1, size - 1) == b"\n" else b"\n"
    data = begun + line.encode("utf-8", "replace") + b"\n"
    if os.write(file, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
