"""A speech whose sound arrives: into its task's log, no further ahead than a bound, and followed to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import numpy as np

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.http.errors import ApiError, from_os_error
from orchestrator.http.task_routes import new_task, queue_full, require_ready, speech_parameters, unknown_channel
from orchestrator.observability import logs
from orchestrator.observability.notices import Notice
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.board import ChannelGone, QueueFull
from orchestrator.tasks.database import StoreUnavailable
from orchestrator.tasks.open_logs import unwritable
from orchestrator.tasks.task import Failure, Task
from speech.audio.decoder import DecodeLimits
from speech.audio.errors import AudioError, SilentTooLong, TooLong
from speech.audio.frames import FPS
from speech.audio.live_source import LiveSource
from speech.log import LogReader, SoundFrames, SpeechLog
from speech.source import SpeechSource

_RETRY_STORE_S = 5
_MOST_CUES = 8  # for one frame

logger = logging.getLogger(__name__)


class LiveSpeech:
    """One task between its acceptance and its end, with the log that its sound goes into."""

    def __init__(self, orchestrator: Orchestrator, task: Task, log: SpeechLog, source: LiveSource) -> None:
        """Use `begin`."""
        self.task = task
        self._orchestrator = orchestrator
        self._log = log
        self._source = source
        self._silent_frames = 0
        self._moved = asyncio.Event()

    @classmethod
    async def begin(
        cls,
        orchestrator: Orchestrator,
        channel_id: str,
        fields: dict[str, str],
        name: str | None,
        source: LiveSource,
        kind: SpeechSource = SpeechSource.STREAM,
        arrived_at: float | None = None,
    ) -> LiveSpeech:
        """Accept a task whose speech still arrives, with the fields of an upload's form; raises ApiError.

        Its times count from `arrived_at`, else from now.
        """
        require_ready(orchestrator)
        parameters = speech_parameters({**fields, "channel": channel_id}, orchestrator.defaults)
        if channel_id not in orchestrator.channels:
            raise unknown_channel(channel_id, orchestrator)
        task = new_task(parameters, arrived_at or orchestrator.clock(), name, kind)
        logs.task_id.set(task.id)
        try:
            log = await orchestrator.board.begin(task)
        except QueueFull as error:
            raise queue_full(str(error)) from None
        except ChannelGone:
            raise unknown_channel(channel_id, orchestrator) from None
        except StoreUnavailable:
            message = "The list of tasks can't be written now. Try again; the server's log says why."
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise ApiError(status, "store_unavailable", message, _RETRY_STORE_S) from None
        except OSError as error:
            raise from_os_error(error) from None
        orchestrator.traces.accepted(task)
        return cls(orchestrator, task, log, source)

    @property
    def rate_hz(self) -> int:
        """The source's own rate."""
        return self._source.rate_hz

    @property
    def heard_samples(self) -> int:
        """Samples of the source that were heard by now, counted at its own rate."""
        heard = self.task.frames_heard * self._source.rate_hz // FPS - self._source.silent_samples
        return max(0, min(heard, self._source.samples))

    def sound(self) -> LogReader:
        """Its sound as it arrives, for whoever hears it too; close it. To be asked for before the task can be over.

        Raises OSError where no file can be opened: who answers with that cancels the speech.
        """
        return self._log.reader()

    async def cancel(self) -> None:
        """Fade out, and end the task."""
        channel = self._orchestrator.channels.get(self.task.channel)
        if channel is not None:  # else its tasks are cancelled already
            await channel.cancel(self.task.id)

    @property
    def broken_off(self) -> str | None:
        """Why no more sound comes though it isn't complete; None where it is, or where more may come."""
        return None if self._log.end is None else self._log.end.broken_off

    def cue(self, name: str) -> bool:
        """A motion begins with the frame that comes next; False where enough of them begin with it already."""
        cues, frame = self._log.cues, self._log.frames
        if len(cues) >= _MOST_CUES and cues[-_MOST_CUES][0] == frame:
            return False
        cues.append((frame, name))
        return True

    async def receive(
        self,
        frames: AsyncIterator[SoundFrames],
        fault: Callable[[], Failure | None] = lambda: None,
        bounded: bool = True,
    ) -> Failure | None:
        """Append all frames; returns why they broke off, by what `fault` says once they have ended, or None.

        Waits while the log is `live_ahead_s` ahead of what was played, where it is `bounded`, and then needs `follow`
        beside it. Returns early when the task is over.
        """
        failure: Failure | None = None
        try:
            async for part in frames:
                self._check(part)
                if bounded:
                    await self._room()
                if self._log.end is not None:  # cancelled, or failed
                    return None
                await self._log.append(part)
            failure = fault()
        except (AudioError, SynthesisError) as error:
            failure = Failure(error.code, error.message)
        except OSError as error:
            logger.error("the speech of task %s can't be stored: %s", self.task.id, error)
            failure = unwritable(error)
        except Exception as error:  # an unexpected error ends this task, and not what else its client says
            logger.exception("task %s", self.task.id)
            failure = Failure("internal_error", f"The server failed at this speech: {error}")
        if failure is None:
            self._log.seal()
        else:
            self._log.break_off(failure.code)
        self._orchestrator.metrics.speech_s.inc(self._log.frames / FPS)
        await self._orchestrator.board.received(self.task.id, failure.message if failure else None)
        return failure

    async def follow(self, changed: Callable[[Task], Awaitable[None]]) -> Task | None:
        """Call back with the task at each change; returns it once it is over, None when the server stops before."""

        def is_ours(notice: Notice) -> bool:
            return isinstance(notice, Task) and notice.id == self.task.id

        with self._orchestrator.notices.subscribe(is_ours) as subscription:
            now = await self._orchestrator.board.get(self.task.id)  # it may have changed since it began
            while now is not None:
                self.task = now
                self._moved.set()
                await changed(now)
                if now.state.final:
                    return now
                notices = await subscription.next()
                now = next((each for each in reversed(notices or ()) if isinstance(each, Task)), None)
        self._moved.set()
        return None

    async def _room(self) -> None:
        ahead = round(self._orchestrator.settings.live_ahead_s * FPS)
        while self._log.end is None and self._log.frames >= self.task.frames_heard + ahead:
            self._moved.clear()
            await self._moved.wait()

    def _check(self, part: SoundFrames) -> None:
        """Raises TooLong, SilentTooLong."""
        settings = self._orchestrator.settings
        of_silence = -(-self._source.silent_samples * FPS // self._source.rate_hz)
        if self._log.frames + len(part) > settings.live_speech_limit_s * FPS + of_silence:
            raise TooLong(f"This speech lasts for {settings.live_speech_limit_s:g} s already. Begin another one.")
        loud = np.flatnonzero(np.abs(part.heard.astype(np.int32)).max(axis=1) >= 32768 * DecodeLimits.silence_peak)
        self._silent_frames = len(part) - 1 - int(loud[-1]) if len(loud) else self._silent_frames + len(part)
        if self._silent_frames > settings.live_silence_limit_s * FPS:
            raise SilentTooLong(
                f"Nothing was louder than silence for {settings.live_silence_limit_s:g} s. Check the microphone, and "
                "begin another speech."
            )
