"""The orchestrator's handle on one channel: starts its process, feeds it speech and yields its events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentsync.clip_path import ClipPath, Detour, Priority
from latentsync.switching import DEFAULT_BOUND
from processes.tethered import tethered
from streaming.config import FRAME_SAMPLES, ChannelConfig
from streaming.events import (
    ChannelDied,
    ChannelEvent,
    PathChanged,
    SpeechEnded,
    SpeechResumed,
    Status,
    event_from_json,
)
from streaming.request_pipe import ChildGone, RequestPipe
from streaming.ring import FrameRing
from streaming.ring_writer import RingWriter

_log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 20.0
_CLOSE_TIMEOUT_S = 8.0
_EVENTS = 512
_ENDED = 16


class ChannelError(RuntimeError):
    """The channel process refused a request, or is gone."""


@dataclass(frozen=True)
class Reservation:
    """Position of a speech's first frame, and of the one that is shown now, which may be over in a moment."""

    position: int
    now: int


@dataclass(frozen=True)
class PlannedMotion:
    """Position of a motion's first frame and the one behind its last (None: not known), and the channel's own now."""

    position: int
    end: int | None
    now: int


class ChannelHandle:
    """A running channel; create it with `start`, end it with `aclose`.

    Speeches play one after another in the order in which they were opened. All methods belong to one event loop.
    """

    def __init__(self, config: ChannelConfig, process: asyncio.subprocess.Process, ring: FrameRing) -> None:
        self.config = config
        self._process = process
        self._ring = ring
        self._writer = RingWriter(ring)
        self._events: asyncio.Queue[ChannelEvent | None] = asyncio.Queue(_EVENTS)
        self._pipe = RequestPipe(process)
        self._ended: dict[str, int] = {}  # the speeches that ended last, with their frames that are heard
        self.detours: tuple[Detour, ...] = ()
        """The motions on the channel's path."""
        self.next_frame_at: float | None = None
        """When a frame was due, by the monotonic clock; those before and behind it are whole frames away."""
        self._path_changed: Callable[[tuple[Detour, ...]], None] = lambda detours: None
        self._died: ChannelDied | None = None
        self._deaf = False
        self._closing = False
        self._reader = asyncio.create_task(self._read(), name=f"channel-{config.id}-events")

    @classmethod
    async def start(cls, config: ChannelConfig) -> ChannelHandle:
        """Starts the process and returns once its frame clock runs.

        Raises ChannelError when it ends before that, with what it said.
        """
        resolution = _avatar_resolution(Path(config.avatar_dir))
        ring = FrameRing.create(config.ring_frames, resolution)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(_open_log(config)) if config.log_dir else None
            process = await asyncio.create_subprocess_exec(
                *tethered(sys.executable, "-m", "streaming.process", "-"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=(ring.fd,),
                start_new_session=True,  # a Ctrl-C at the terminal reaches only the orchestrator
                # By default malloc makes a heap of megabytes for each thread, and each encoder and target has several.
                env={**os.environ, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"},
            )  # fmt: skip
        channel = cls(config, process, ring)
        try:
            message = {"config": config.to_json(), "ring_fd": ring.fd, "slots": ring.slots, "resolution": resolution}
            await asyncio.wait_for(channel._request_raw(message), _READY_TIMEOUT_S)
        except BaseException:
            await channel.aclose()
            raise
        return channel

    def follow_path(self, changed: Callable[[tuple[Detour, ...]], None]) -> None:
        """Calls back with the motions on the channel's path, now and at each change."""
        self._path_changed = changed
        changed(self.detours)

    @property
    def pid(self) -> int:
        """Process id of the channel process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the process ended, for whatever reason, or takes no requests any more."""
        return self._died is None and not self._deaf

    async def open(
        self, speech_id: str, expected_frames: int | None, lead_s: float, start_after: int | None = None
    ) -> Reservation:
        """Queues a speech; the position of its first frame, and the channel's own now.

        It has at most `expected_frames` frames; None says that its end isn't known yet. Idle heads for its position, at
        the earliest `lead_s` from now and after all speeches opened before, and lingers there until `start_after`
        frames (default: the channel's `prebuffer_frames`) are written or the speech is ended. Opening the same id again
        before its first frame moves it to a new position. Raises ChannelError for fewer than one frame, for an id that
        has frames already, and behind a speech whose end isn't known.
        """
        frames_needed = min(start_after or self.config.prebuffer_frames, self.config.ring_frames)
        number, is_new = self._writer.register(speech_id)
        try:
            reply = await self._request(
                "open", speech=speech_id, number=number, expected_frames=expected_frames,
                lead_s=lead_s, start_after=frames_needed,
            )  # fmt: skip
        except BaseException:
            if is_new:
                self._writer.forget(speech_id)
            raise
        return Reservation(int(reply["position"]), int(reply["now"]))

    async def write(
        self, speech_id: str, first: int, faces: NDArray[np.uint8], sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        """Hands over frames `first`, `first` + 1 …: faces uint8 [k, R, R, 3] and sound int16 [k, 1920] at 48 kHz.

        Waits for room in the ring, and for all speeches opened before to be ended or over. Frames of a speech that was
        cancelled are discarded silently. A wait for what follows doesn't count as late where the speech `may_pause`
        behind them. Raises ValueError for a wrong shape or a gap.
        """
        R = self._ring.resolution
        if faces.shape[1:] != (R, R, 3) or sound.shape != (len(faces), FRAME_SAMPLES):
            raise ValueError(
                f"faces must be [k, {R}, {R}, 3] and sound [k, {FRAME_SAMPLES}], got {faces.shape} and {sound.shape}"
            )
        self._check_alive()
        await self._writer.write(speech_id, first, faces, sound, may_pause)
        self._check_alive()

    def unplayed(self, speech_id: str) -> int:
        """How many of a speech's written frames are not over yet; the one that is shown now counts."""
        return self._writer.unplayed(speech_id)

    def waited(self, speech_id: str) -> int:
        """How many frames were shown without the speech since it began, since its next one was late."""
        return self._writer.waited(speech_id)

    async def end(self, speech_id: str) -> None:
        """Says that everything of a speech is written; it plays to its end and the next may be written."""
        frames = self._writer.end(speech_id)
        if frames is not None:
            await self._request("end", speech=speech_id, frames=frames)

    async def cancel(self, speech_id: str) -> int:
        """Ends one speech early: a waiting one never starts, the playing one fades to idle at once.

        Returns how many of its frames are heard, counted from its first one: 0 for a speech that never began. One that
        is over is no longer known to the process; its SpeechEnded has told, though it may not have been read yet.
        """
        self._writer.cancel(speech_id)
        reply = await self._request("cancel", speech=speech_id)
        return self._ended.get(speech_id, int(reply["heard"]))

    async def interrupt(self) -> dict[str, int]:
        """Cancels every speech of the channel, playing or waiting; by its id, how many frames of each are heard."""
        self._writer.cancel_all()
        reply = await self._request("interrupt")
        return {str(speech): int(heard) for speech, heard in reply["heard"].items()}

    async def play_motion(
        self,
        name: str,
        not_before: int = 0,
        repeat: int | None = 1,
        priority: Priority = Priority.REQUEST,
        delay_frames: int = 0,
        bound: int = DEFAULT_BOUND,
    ) -> PlannedMotion:
        """Shows a motion from position `not_before` on, and so many frames from now, at the earliest.

        `repeat` None shows it until `stop_motion`. When this returns, `detours` has it. Raises ChannelError for a name
        that the avatar hasn't, and where too many wait.
        """
        reply = await self._request(
            "motion", name=name, not_before=not_before, repeat=repeat, priority=int(priority),
            delay_frames=delay_frames, bound=bound,
        )  # fmt: skip
        return PlannedMotion(int(reply["position"]), reply["end"], int(reply["now"]))

    async def stop_motion(self, not_before: int = 0, priority: Priority = Priority.REQUEST) -> int | None:
        """Leaves the motion that plays, and takes back those that wait; frames until it ends, None where none plays."""
        reply = await self._request("stop_motion", not_before=not_before, priority=int(priority))
        return None if reply["end"] is None else int(reply["end"]) - int(reply["now"])

    async def add_motion(self, name: str) -> None:
        """Says that the avatar has another motion; raises ChannelError where it can't be played."""
        await self._request("add_motion", name=name)

    async def remove_motion(self, name: str, not_before: int = 0) -> None:
        """Says that the avatar hasn't a motion any more: it is shown until a good place behind `not_before`.

        Its files may be gone already. Raises ChannelError for one that the process doesn't know.
        """
        await self._request("remove_motion", name=name, not_before=not_before)

    async def set_targets(self, targets: tuple[str, ...]) -> None:
        """Publishes to these targets from now on; those that stay are not interrupted.

        Raises ChannelError for an address of no known kind.
        """
        await self._request("targets", targets=list(targets))
        self.config = replace(self.config, targets=targets)

    async def events(self) -> AsyncIterator[ChannelEvent]:
        """Yields events until the channel is closed; `ChannelDied` is the last when it ended by itself.

        For one reader. When too many events wait for it, the oldest Status is discarded.
        """
        while (event := await self._events.get()) is not None:
            yield event

    def kill(self) -> None:
        """Ends the process at once, also one that hangs; `ChannelDied` follows."""
        if self._process.returncode is None:
            self._process.kill()

    async def aclose(self) -> None:
        """Closes the stream in order and ends the process; may be called twice."""
        self._closing = True
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()  # the channel ends when this pipe closes
            try:
                await asyncio.wait_for(self._process.wait(), _CLOSE_TIMEOUT_S)
            except TimeoutError:
                _log.warning("channel %s did not close in %.0f s: killed", self.config.id, _CLOSE_TIMEOUT_S)
                self._process.kill()
                await self._process.wait()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._writer.close()
        self._ring.close()
        self._path_changed = lambda detours: None

    async def _request(self, operation: str, **values: Any) -> dict[str, Any]:
        return await self._request_raw({"op": operation, **values})

    async def _request_raw(self, message: dict[str, Any]) -> dict[str, Any]:
        self._check_alive()
        try:
            answer = await self._pipe.request(message)
        except ChildGone as error:
            # A killed process breaks the pipe before its exit code is known: who asks `alive` now must hear of it.
            self._deaf = True
            raise ChannelError(self._died.message if self._died else f"channel {self.config.id} is gone") from error
        if "error" in answer:
            raise ChannelError(str(answer["error"]))
        return answer

    async def _read(self) -> None:
        try:
            await self._pipe.read(lambda message: self._receive(event_from_json(message)))
        except Exception:  # noqa: BLE001  # without its events nobody knows what it plays: it must start anew
            _log.exception("channel %s: its events can't be read: killed", self.config.id)
            self.kill()
        code = await self._process.wait()
        self._died = ChannelDied(code, f"channel {self.config.id} ended with {_describe(code)}")
        self._writer.close()
        self._pipe.fail(self._died.message)
        if not self._closing:
            self._put(self._died)
        self._put(None)

    def _receive(self, event: ChannelEvent) -> None:
        if isinstance(event, PathChanged):
            self.detours = ClipPath.detours_from_json(event.detours)
            self._path_changed(self.detours)
        if isinstance(event, Status):
            self.next_frame_at = event.next_frame_at
        if isinstance(event, SpeechResumed):
            self._writer.resumed(event.speech_id, event.late_frames)
        if isinstance(event, SpeechEnded):
            self._writer.ended(event.speech_id)
            self._ended[event.speech_id] = event.played_frames
            if len(self._ended) > _ENDED:
                del self._ended[next(iter(self._ended))]
        self._put(event)

    def _put(self, event: ChannelEvent | None) -> None:
        if self._events.full():
            kept = [self._events.get_nowait() for _ in range(self._events.qsize())]
            oldest_status = next((i for i, e in enumerate(kept) if isinstance(e, Status)), 0)
            del kept[oldest_status]
            for e in kept:
                self._events.put_nowait(e)
        self._events.put_nowait(event)

    def _check_alive(self) -> None:
        if self._died is not None:
            raise ChannelError(self._died.message)


def _avatar_resolution(directory: Path) -> int:
    try:
        return int(json.loads((directory / "avatar.json").read_text())["resolution"])
    except (OSError, KeyError, ValueError) as error:
        raise ChannelError(f"{directory} holds no prepared avatar: {error}") from error


def _open_log(config: ChannelConfig) -> Any:
    assert config.log_dir is not None
    folder = Path(config.log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{config.id}.log").open("ab")


def _describe(return_code: int) -> str:
    return f"signal {-return_code}" if return_code < 0 else f"exit code {return_code}"
