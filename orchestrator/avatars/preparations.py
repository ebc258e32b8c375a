"""Avatars requested over HTTP: prepared one after another, with progress; they end with the server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import tempfile
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import TypedDict

from inference.errors import InferenceError, TritonUnavailable
from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.avatar_files import DiskFull
from latentsync.checkpoint import CheckpointError
from latentsync.landmarks import LandmarkModelError
from orchestrator.avatars.fit import as_sentence, fit_warning
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.prepare import PrepareOptions, Progress, Step
from orchestrator.clock import Clock
from orchestrator.observability.notices import Broadcast
from orchestrator.tasks.open_logs import FULL, PASSING
from orchestrator.tasks.task import FailureJson, Moment, Share

_HISTORY = 100
_NOTICE_FRAMES = 10
_FILMED_SHARE = 0.5  # of an avatar whose video is made first
_FAULT = ("internal_error", "The server failed at this video. Its log says why.")
_SHARES = {Step.TRACKING: (0.0, 0.6), Step.ENCODING: (0.6, 0.35), Step.IDLE: (0.95, 0.05)}

logger = logging.getLogger(__name__)


class PreparationState(StrEnum):
    """Where a preparation is; the last three are final."""

    FILMING = "filming"
    QUEUED = "queued"
    PREPARING = "preparing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Nothing follows this state."""
        return self in (PreparationState.DONE, PreparationState.FAILED, PreparationState.CANCELLED)


class PreparedFramesJson(TypedDict):
    """How far the present step is, in frames; `total` where the video says it."""

    done: int
    total: int | None


class AvatarTaskJson(TypedDict):
    """An avatar in the making as the API shows it."""

    task_id: str
    avatar: str
    motion: str | None
    state: PreparationState
    step: Step | None
    frames: PreparedFramesJson
    progress: Share
    created_at: Moment
    warning: str | None
    fit_db: float | None
    error: FailureJson | None


@dataclass(frozen=True)
class Preparation:
    """One avatar, or a motion of it, in the making; `created_at` is Unix seconds, `error` a stable code and a sentence.

    `warning` says why the avatar will speak badly, although it can be prepared; `fit_db` is known at its end.
    `filmed` is the share of its video that a service has made, None where it was sent as a video.
    """

    id: str
    avatar: str
    created_at: float
    warning: str | None = None
    state: PreparationState = PreparationState.QUEUED
    step: Step | None = None
    done: int = 0
    total: int | None = None
    error: tuple[str, str] | None = None
    filmed: float | None = None
    fit_db: float | None = None
    motion: str | None = None

    @property
    def kind(self) -> str:
        """What its notices are called."""
        return "avatar_task"

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        if self.state is PreparationState.DONE:
            return 1.0
        prepared = 0.0
        if self.step is not None and self.total:
            start, share = _SHARES[self.step]
            prepared = start + share * min(self.done / self.total, 1)
        return prepared if self.filmed is None else _FILMED_SHARE * self.filmed + (1 - _FILMED_SHARE) * prepared

    def as_json(self) -> AvatarTaskJson:
        """As the API shows it."""
        return {
            "task_id": self.id,
            "avatar": self.avatar,
            "motion": self.motion,
            "state": self.state,
            "step": self.step,
            "frames": {"done": self.done, "total": self.total},
            "progress": round(self.progress, 3),
            "created_at": datetime.fromtimestamp(self.created_at, UTC).isoformat(timespec="milliseconds"),
            "warning": self.warning,
            "fit_db": self.fit_db,
            "error": None if self.error is None else {"code": self.error[0], "message": self.error[1]},
        }


class Prepare(Protocol):
    """Makes an avatar, or a motion of one that there is, of that name."""

    def __call__(
        self, video: Path, name: str, options: PrepareOptions | MotionOptions, progress: Progress
    ) -> Coroutine[Any, Any, PreparedAvatar]: ...


class Removable(Protocol):
    """What a video lies in."""

    def cleanup(self) -> None:
        """Remove it."""
        ...


@dataclass
class _Job:
    upload: Removable
    video: Path
    options: PrepareOptions | MotionOptions
    outlives_server: bool = False
    cancelled: bool = False
    waits: bool = False


class PreparationsFull(Exception):
    """The queue of preparations is full."""


class Preparations:
    """The queue of avatars to be prepared; one at a time, since each can use all memory and the whole encoder.

    A film is made and paid for: one that can't be prepared now is kept, and prepared again after `retry_s` seconds.
    """

    def __init__(
        self, prepare: Prepare, notices: Broadcast, clock: Clock, limit: int = 8, retry_s: float = 60.0
    ) -> None:
        self._prepare = prepare
        self._notices = notices
        self._clock = clock
        self._limit = limit
        self._retry_s = retry_s
        self._preparations: dict[str, Preparation] = {}
        self._jobs: dict[str, _Job] = {}
        self._running: tuple[str, asyncio.Task[PreparedAvatar]] | None = None
        self._arrived = asyncio.Event()

    def submit(
        self,
        avatar: str,
        video: Path,
        options: PrepareOptions | MotionOptions,
        upload: tempfile.TemporaryDirectory[str],
        warning: str | None = None,
        motion: str | None = None,
    ) -> Preparation:
        """Queue a video; `upload` is the folder that holds it, and is removed afterwards. `warning` is shown with it.

        `motion` names what it becomes of the avatar, with `MotionOptions`.

        Raises PreparationsFull when too many are waiting.
        """
        if sum(not job.waits for job in self._jobs.values()) >= self._limit:
            raise PreparationsFull
        preparation = Preparation(str(uuid.uuid4()), avatar, self._clock(), warning, motion=motion)
        self._preparations[preparation.id] = preparation
        self._jobs[preparation.id] = _Job(upload, video, options)
        self._arrived.set()
        self._notices.send(preparation)
        return preparation

    def announce(self, preparation_id: str, avatar: str, created_at: float, motion: str | None = None) -> Preparation:
        """Show an avatar, or a motion of one, whose video is still being made."""
        preparation = Preparation(
            preparation_id, avatar, created_at, state=PreparationState.FILMING, filmed=0.0, motion=motion
        )
        self._preparations[preparation_id] = preparation
        self._notices.send(preparation)
        return preparation

    def filmed(self, preparation_id: str, share: float | None) -> None:
        """How much of its video is made, where the service says so."""
        if share is not None and share != self._preparations[preparation_id].filmed:
            self._change(preparation_id, filmed=share)

    def submit_film(
        self, preparation_id: str, video: Path, options: PrepareOptions | MotionOptions, folder: Removable
    ) -> None:
        """Queue the video of an announced one; its folder stays where the server ends before the avatar is made."""
        self._jobs[preparation_id] = _Job(folder, video, options, outlives_server=True)
        self._change(preparation_id, state=PreparationState.QUEUED, filmed=1.0)
        self._arrived.set()

    @property
    def films(self) -> int:
        """How many films are queued, are being prepared, or wait until they can be."""
        return sum(job.outlives_server for job in self._jobs.values())

    def fail(self, preparation_id: str, code: str, message: str) -> None:
        """An announced one has no video."""
        self._finish(preparation_id, state=PreparationState.FAILED, error=(code, message))

    def cancelled(self, preparation_id: str) -> None:
        """Nobody wants the video of an announced one."""
        self._finish(preparation_id, state=PreparationState.CANCELLED)

    def get(self, preparation_id: str) -> Preparation | None:
        """One of them, or None."""
        return self._preparations.get(preparation_id)

    def newest(self) -> list[Preparation]:
        """All that are known, newest first."""
        return list(reversed(self._preparations.values()))

    def cancel(self, preparation_id: str) -> None:
        """Stop one that is not over."""
        job = self._jobs.get(preparation_id)
        if job is None:
            return
        job.cancelled = True
        if self._running is not None and self._running[0] == preparation_id:
            self._running[1].cancel()
        else:
            self._end(preparation_id, state=PreparationState.CANCELLED)

    async def run(self) -> None:
        """Prepare queued avatars, until cancelled."""
        try:
            while True:
                self._arrived.clear()
                ready = next(((known, job) for known, job in self._jobs.items() if not job.waits), None)
                if ready is None:
                    await self._arrived.wait()
                else:
                    await self._make(*ready)
        finally:
            for job in self._jobs.values():
                if not job.outlives_server:
                    job.upload.cleanup()

    async def _make(self, preparation_id: str, job: _Job) -> None:
        made = self._preparations[preparation_id]
        # The warning of a film says why it waited.
        warning = None if job.outlives_server else made.warning
        self._change(preparation_id, state=PreparationState.PREPARING, warning=warning)
        loop = asyncio.get_running_loop()

        def progress(step: Step, done: int, total: int | None) -> None:
            if done % _NOTICE_FRAMES == 0 or done == total:
                loop.call_soon_threadsafe(self._progress, preparation_id, step, done, total)

        name = made.motion or made.avatar
        work = asyncio.create_task(self._prepare(job.video, name, job.options, progress))
        self._running = (preparation_id, work)
        try:
            settings = (await work).settings
        except asyncio.CancelledError:
            if not job.cancelled:
                raise  # the server stops
            self._end(preparation_id, state=PreparationState.CANCELLED)
        except (AvatarError, CheckpointError, InferenceError, LandmarkModelError, OSError) as error:
            if job.outlives_server and not job.cancelled and _may_pass(error):
                self._wait(preparation_id, job, error)
            else:
                self._end(preparation_id, state=PreparationState.FAILED, error=_failure(error, name))
        except Exception:  # a bug must not end the queue; the log has its traceback
            logger.exception("avatar %s could not be prepared", name)
            self._end(preparation_id, state=PreparationState.FAILED, error=_FAULT)
        else:
            # What was measured says more than what was known of the checkpoint beforehand.
            warning = as_sentence(fit_warning(settings)) or warning
            self._end(preparation_id, state=PreparationState.DONE, warning=warning, fit_db=settings.fit_db)
        finally:
            self._running = None

    def _wait(self, preparation_id: str, job: _Job, error: Exception) -> None:
        logger.error("the film of %s can't be prepared now: %s", self._preparations[preparation_id].avatar, error)
        job.waits = True
        warning = f"It waits, its film is kept, and it is tried again every {self._retry_s:g} s: {error}."
        self._change(preparation_id, state=PreparationState.QUEUED, step=None, done=0, total=None, warning=warning)
        asyncio.get_running_loop().call_later(self._retry_s, self._try_again, job)

    def _try_again(self, job: _Job) -> None:
        job.waits = False
        self._arrived.set()

    def _progress(self, preparation_id: str, step: Step, done: int, total: int | None) -> None:
        if not self._preparations[preparation_id].state.final:
            self._change(preparation_id, step=step, done=done, total=total)

    def _end(self, preparation_id: str, **changes: Any) -> None:
        self._jobs.pop(preparation_id).upload.cleanup()
        self._finish(preparation_id, **changes)

    def _finish(self, preparation_id: str, **changes: Any) -> None:
        self._change(preparation_id, **changes)
        preparation = self._preparations[preparation_id]
        logger.info("avatar %s is %s", preparation.avatar, preparation.state.value)
        over = [known.id for known in self._preparations.values() if known.state.final]
        for old in over[: max(0, len(over) - _HISTORY)]:
            del self._preparations[old]

    def _change(self, preparation_id: str, **changes: Any) -> None:
        changed = dataclasses.replace(self._preparations[preparation_id], **changes)
        self._preparations[preparation_id] = changed
        self._notices.send(changed)


def _may_pass(error: Exception) -> bool:
    """Whether the same video may be prepared later: there is no room for it, or Triton is away."""
    if isinstance(error, OSError):
        return error.errno in (*FULL, *PASSING)
    return isinstance(error, DiskFull | TritonUnavailable)


def _failure(error: Exception, name: str) -> tuple[str, str]:
    if isinstance(error, LandmarkModelError) or not isinstance(error, OSError):
        return getattr(error, "code", "bad_avatar"), str(error)
    logger.error("avatar %s could not be prepared", name, exc_info=error)
    if error.errno in FULL:
        return DiskFull.code, "The server's disk is full. Free some space there, and send the video again."
    return _FAULT
