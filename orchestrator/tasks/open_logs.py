"""The logs of speeches that arrive or are said: each is open once, and closed when nobody needs it any more."""

from __future__ import annotations

import asyncio
import errno
import logging

from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.task import Failure, Task
from speech.log import LogEnd, SpeechLog

SOURCE_LOST = "source_lost"

PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""Errors of files that pass by themselves."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk that has no room."""
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)

logger = logging.getLogger(__name__)


class OpenLogs:
    """The open logs by the ids of their tasks."""

    def __init__(self, files: SpeechFiles) -> None:
        self._files = files
        self._logs: dict[str, SpeechLog] = {}

    def get(self, task_id: str) -> SpeechLog | None:
        """The log, or None where it isn't open."""
        return self._logs.get(task_id)

    def keep(self, task_id: str, log: SpeechLog) -> None:
        """Take over a log that was just begun."""
        self._logs[task_id] = log

    async def opened(self, task: Task) -> SpeechLog:
        """The task's log, which is opened where it isn't; retries while file descriptors or memory are short.

        Raises FileNotFoundError and other OSErrors.
        """
        for pause_s in _PAUSES_S:
            try:
                return self._open(task)
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                logger.warning("the speech of task %s can't be read now: %s", task.id, error)
                await asyncio.sleep(pause_s)
        return self._open(task)

    def close(self, task_id: str, reason: str = SOURCE_LOST) -> None:
        """Close the task's log, if it is open; one that hasn't ended is broken off with `reason`."""
        log = self._logs.pop(task_id, None)
        if log is not None:
            log.break_off(reason)
            log.close()

    def close_all(self) -> None:
        """Close all of them."""
        for task_id in list(self._logs):
            self.close(task_id)

    def _open(self, task: Task) -> SpeechLog:
        # Not in a thread: a log that nobody waits for any more would stay open.
        if task.id not in self._logs:
            end = LogEnd(task.failure.code if task.failure else None)
            self._logs[task.id] = self._files.log(task.id, end)
        return self._logs[task.id]


def unreadable(error: OSError) -> Failure:
    """Why a task fails whose speech can't be read."""
    message = f"The speech's file can't be read ({error.strerror or error}). Upload it again."
    return Failure("speech_unreadable", message)


def unwritable(error: OSError) -> Failure:
    """Why a task fails whose speech can't be stored any further."""
    if error.errno in FULL:
        return Failure("disk_full", "The server's disk is full. Free some space there, and send the speech again.")
    message = f"The speech's file can't be written ({error.strerror or error}). Send the speech again."
    return Failure("speech_unwritable", message)


def why_it_fails(log: SpeechLog | None, message: str | None = None) -> Failure | None:
    """Why a task fails whose speech has ended so, or None where nothing is wrong with its end."""
    if log is None or log.end is None or log.end.broken_off is None:
        return None
    return Failure(log.end.broken_off, message or "The speech's source was lost before its end. Send it again, whole.")
