"""A channel: supervises its process, and has its tasks said on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import ExitStack

import anyio

from orchestrator.channels.backoff import RestartDelay
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.motions import Motions
from orchestrator.channels.overload import OverloadLog
from orchestrator.channels.setup import ChannelSetup, socket_path
from orchestrator.channels.speeches import ChannelSpeeches, Wait
from orchestrator.channels.target_log import TargetLog
from orchestrator.channels.view import ChannelState, ChannelView
from orchestrator.exclusive import LockRefused, playing_avatar
from orchestrator.observability.ledger import Ledger
from orchestrator.observability.metrics import Metrics
from orchestrator.observability.notices import Broadcast
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.task import Task
from speech.audio.lead_in import Rhythm
from speech.speaking import SpeechMaker
from streaming.events import (
    ChannelDied,
    ChannelEvent,
    MotionEnded,
    MotionStarted,
    Status,
)
from streaming.handle import ChannelError, ChannelHandle

_SILENT_S = 10.0

logger = logging.getLogger(__name__)


class Channel:
    """Runs one channel until its `run` is cancelled; all other methods are called on the same event loop."""

    def __init__(
        self,
        definition: ChannelDefinition,
        setup: ChannelSetup,
        board: TaskBoard,
        inference_ready: Wait,
        notices: Broadcast,
        metrics: Metrics,
        ledger: Ledger,
    ) -> None:
        self.definition = definition
        self.id = definition.channel
        self.preview_socket = socket_path(setup.settings, definition.channel, "preview")
        self.packet_socket = socket_path(setup.settings, definition.channel, "packets")
        self.viewers = 0
        self._setup = setup
        self._board = board
        self._maker: SpeechMaker | None = None
        self.checkpoint: str | None = None
        """Name of the checkpoint that draws the avatar; None for the main one, and until the avatar was opened."""
        self.motions = Motions(self.id, notices, lambda: self.definition)
        self._speeches = ChannelSpeeches(
            self.id, board, inference_ready, setup.traces, metrics, ledger, self._change, self.motions.release
        )
        self._notices = notices
        self._process: ChannelHandle | None = None
        self._avatar_lock = ExitStack()
        self._holds_avatar = False
        self._state = ChannelState.STARTING
        self._status: Status | None = None
        self._targets = TargetLog(self.id)
        self._overload = OverloadLog(self.id, anyio.current_time)
        self._problem: str | None = None
        self._refused: Mapping[str, str] = {}
        self._restarts = 0
        self._silence = anyio.CancelScope()
        self._running = anyio.CancelScope()

    @property
    def view(self) -> ChannelView:
        """How the channel is now."""
        playing = self._speeches.playing
        return ChannelView(
            id=self.id,
            definition=self.definition.as_json(),
            state=self._state,
            playing=playing,
            preparing=tuple(task_id for task_id in self._speeches.active if task_id != playing),
            waiting=self._board.waiting(self.id),
            restarts=self._restarts,
            problem=self._problem,
            status=self._status if self._state is ChannelState.RUNNING else None,
            refused=self._refused,
            motions=self.motions.names,
            motion=self.motions.playing,
        )

    @property
    def active(self) -> list[str]:
        """Ids of the tasks that are in preparation or play."""
        return self._speeches.active

    @property
    def pid(self) -> int | None:
        """Process id of the channel's process, None while there is none."""
        return self._process.pid if self._process is not None else None

    def rhythm(self, steps: int, guidance: float) -> Rhythm | None:
        """That of a speech that somebody begins to speak now; None where nobody knows."""
        process = self._process
        if process is None or process.next_frame_at is None or self._maker is None:
            return None
        takes_s = self._maker.microphone_takes_s(steps, guidance)
        return None if takes_s is None else Rhythm(takes_s, process.next_frame_at)

    async def run(self) -> None:
        """Keep the channel's process running and say its tasks, until `stop`."""
        delay = RestartDelay()
        try:
            with self._running:
                while True:
                    started_at: float | None = None
                    try:
                        process, maker = await self._start()
                        started_at = anyio.current_time()
                        self._problem = await self._serve(process, maker)
                    # OSError includes TimeoutError; ValueError is a missing or damaged avatar.
                    except (ChannelError, LockRefused, OSError, ValueError) as error:
                        self._problem = str(error) or "the channel's process did not start in time"
                    except Exception as error:  # an unexpected error ends this process, and not the other channels
                        logger.exception("channel %s", self.id)
                        self._problem = f"the server failed at this channel: {error}"
                    finally:
                        ran_s = 0.0 if started_at is None else anyio.current_time() - started_at
                        await self._end_process()
                    delay_s = delay.after(ran_s)
                    logger.error("channel %s: %s; again in %.1f s", self.id, self._problem, delay_s)
                    self._restarts += 1
                    self._change(ChannelState.RESTARTING)
                    await anyio.sleep(delay_s)
        finally:
            self._avatar_lock.close()
            # A channel that began with the server is in no garbage collection: its avatar must not wait for one.
            self._maker = None
            self.motions.close()
            self._change(ChannelState.CLOSED)

    def stop(self) -> None:
        """Let `run` end; tasks that were taken are queued again, and the attempt doesn't count."""
        self._speeches.taking = False
        self._running.cancel()

    async def set_targets(self, definition: ChannelDefinition) -> None:
        """Publish to the targets of `definition`, which is the channel's own but for them; nothing is interrupted.

        Raises ChannelError when the channel's process refuses them; then the targets stay as they were.
        """
        addresses = await asyncio.to_thread(self._setup.addresses, definition)
        process = self._process
        if process is not None and process.alive:
            try:
                await process.set_targets(addresses)
            except ChannelError:
                if process.alive:
                    raise
                # The process ended: the next one starts with them.
        self.definition = definition
        self._refused = await asyncio.to_thread(self._setup.refused_targets, definition)
        self._change()

    async def _start(self) -> tuple[ChannelHandle, SpeechMaker]:
        if not self._holds_avatar:  # from the first process on, and also between two of them
            self._avatar_lock.enter_context(playing_avatar(self._setup.settings, self.definition.avatar))
            self._holds_avatar = True
        definition = self.definition
        avatar = await asyncio.to_thread(self._setup.avatar, definition)
        config = await asyncio.to_thread(self._setup.config, definition)
        self._refused = await asyncio.to_thread(self._setup.refused_targets, definition)
        path = await asyncio.to_thread(self.motions.prepare, avatar)
        self.checkpoint = avatar.settings.checkpoint
        self._maker = maker = self._setup.maker(definition, avatar, path)
        with anyio.CancelScope(shield=True):  # a half-started process could not be closed
            self._process = process = await ChannelHandle.start(config)
        self.motions.attach(process)
        while definition is not self.definition:  # its targets were changed meanwhile, by `set_targets`
            definition = self.definition
            await process.set_targets(await asyncio.to_thread(self._setup.addresses, definition))
        return process, maker

    async def cancel(self, task_id: str) -> Task | None:
        """Cancel a task in any state, and return it with what was heard of it; a speech that plays fades to idle.

        None for one that was over already.
        """
        return await self._speeches.cancel(task_id)

    async def interrupt(self, clear_queue: bool) -> list[Task]:
        """Cancel the speech that plays, or the one in preparation; with `clear_queue` everything.

        Returns the tasks that this cancelled, each with what was heard of it.
        """
        return await self._speeches.interrupt(clear_queue)

    async def drain(self) -> None:
        """Take no more tasks, and return once the tasks that were taken are over."""
        await self._speeches.drain()

    async def _serve(self, process: ChannelHandle, maker: SpeechMaker) -> str:
        """Work until the process dies; returns why it did."""
        self._problem = None
        self._overload = OverloadLog(self.id, anyio.current_time)
        self._change(ChannelState.RUNNING)
        logger.info("channel %s is running", self.id)
        reason = "the channel's process closed its end"
        async with anyio.create_task_group() as group:
            group.start_soon(self._speeches.work, process, maker)
            group.start_soon(self._watch, process)
            self.motions.start(group, lambda: not self._speeches.active)
            async for event in process.events():
                self._silence.deadline = anyio.current_time() + _SILENT_S
                if isinstance(event, ChannelDied):
                    reason = event.message
                await self._receive(event)
            group.cancel_scope.cancel()
        return reason

    async def _watch(self, process: ChannelHandle) -> None:
        """The watchdog: kills a process that hangs, since a healthy one reports each second."""
        with anyio.move_on_after(_SILENT_S) as self._silence:
            await anyio.sleep_forever()
        logger.error("channel %s has not reported for %.0f s: killed", self.id, _SILENT_S)
        process.kill()

    async def _receive(self, event: ChannelEvent) -> None:
        if isinstance(event, MotionStarted | MotionEnded):
            await self.motions.note(event)
        elif isinstance(event, Status):
            self._status = self._setup.as_defined(event)
            self._targets.note(self._status.targets)
            self._overload.note(event)
        await self._speeches.receive(event)
        self._change()

    async def _end_process(self) -> None:
        """Close the process and queue its tasks again; raises nothing, so that the next process can start."""
        with anyio.CancelScope(shield=True):
            process, self._process = self._process, None
            self._speeches.detach()
            self._status = None
            if process is not None:
                try:
                    await process.aclose()
                except Exception:  # see above
                    logger.exception("channel %s: its process was not closed in order", self.id)
                    process.kill()
            await self._speeches.requeue()

    def _change(self, state: ChannelState | None = None) -> None:
        self._state = state or self._state
        self._notices.send(self.view)
