"""The orchestrator: its parts, which start in the order given here and stop in the reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from inference.capacity import Capacity
from inference.client import TritonClient
from inference.served_contract import served_contract
from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.landmarks import FaceLandmarker
from orchestrator.access.gate import Gate
from orchestrator.access.limits import Places, RateLimit
from orchestrator.access.open_by_key import OpenByKey
from orchestrator.avatars.films import Films
from orchestrator.avatars.motions import MotionOptions, add_motion
from orchestrator.avatars.preparations import Preparations
from orchestrator.avatars.prepare import PrepareOptions, Progress, prepare_avatar
from orchestrator.avatars.room import DiskRoom
from orchestrator.avatars.store import find_avatar, remove_leftovers
from orchestrator.background import keep_running
from orchestrator.channels.audience import Audiences
from orchestrator.channels.audience_metrics import AudienceCollector
from orchestrator.channels.channel import Channel
from orchestrator.channels.definition import ChannelDefinition, DefinitionError
from orchestrator.channels.disk_limits import DiskLimits
from orchestrator.channels.lineup import Lineup
from orchestrator.channels.metrics import ChannelCollector
from orchestrator.channels.on_air import OnAirWatch
from orchestrator.channels.setup import ChannelSetup, open_avatar
from orchestrator.channels.shared_path import CHUNKS_WITH_MOTIONS
from orchestrator.channels.store import ChannelStore
from orchestrator.channels.view import ChannelState
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.clock import Clock, anchored_clock
from orchestrator.conversations.local_parts import open_local_parts
from orchestrator.conversations.log import ConversationLog
from orchestrator.conversations.register import Conversations
from orchestrator.conversations.session_events import SessionEvent, TurnPassed
from orchestrator.encoder_costs import EncoderCosts
from orchestrator.exclusive import LockRefused, changing_avatar
from orchestrator.filming import film_limits, open_film_service
from orchestrator.observability.ledger import Ledger, Passage
from orchestrator.observability.metrics import CHANNEL_STORE, TASK_STORE, Metrics
from orchestrator.observability.notices import Broadcast
from orchestrator.observability.traces import Traces
from orchestrator.readiness import PartHealth, TritonReadiness
from orchestrator.settings import Settings, SettingsError
from orchestrator.synthesis import open_synthesiser
from orchestrator.tasks import speech_events
from orchestrator.tasks.arrivals import Arrivals
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.decodings import Decodings
from orchestrator.tasks.parameters import Quality, SpeechDefaults
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Task
from orchestrator.triton_secret import triton_settings
from processes.service_manager import ServiceManager
from speech.audio.decoder import DecodeLimits
from speech.audio.frames import SilentFrames
from speech.live import LiveSettings
from speech.pacing import Pace
from speech.request import GenerationSettings, SpokenPath
from speech.speaking import SpeechMaker
from speech.urgency import UrgentFirst

logger = logging.getLogger(__name__)


class Orchestrator:
    """Everything that the HTTP routes work with."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        client: TritonClient | None = None,
        test_pattern: bool = False,
    ) -> None:
        """Checks that the avatar and the checkpoint are there. `test_pattern` numbers the frames of all channels.

        Raises SettingsError, ContractMismatch, AvatarError, CheckpointError, NoKeys or KeyFileError; each says what to
        do.
        """
        self.settings = settings
        self.clock = clock or anchored_clock()
        self.metrics = Metrics()
        self.ledger = Ledger(self.metrics.registry, self.clock)
        self.traces = Traces.to(settings.otlp_endpoint)
        self.notices = Broadcast()
        self.files = SpeechFiles(settings.tasks_dir)
        store = TaskStore(settings.tasks_dir / TASK_STORE, self.metrics.set_aside.labels(TASK_STORE).inc)
        self.metrics.unwritten.set_function(lambda: store.unwritten)
        self.board = TaskBoard(
            store,
            self.files,
            self.notices.send,
            self.clock,
            settings.queue_limit,
            settings.task_history,
            self._count_finished,
            lambda channel: channel in self.channels,
        )
        self.checkpoints = ServedCheckpoints.open(settings)
        self.defaults = SpeechDefaults(self._quality_of, settings.max_steps, settings.max_guidance, settings.channel_id)
        limits = DecodeLimits(max_duration_s=settings.speech_limit_s)
        self.decodings = Decodings(self.board, limits, self.metrics.speech_s.inc)
        self.arrivals = Arrivals()
        self.synthesiser = open_synthesiser(settings)
        self.conversations = Conversations(
            self.clock,
            settings.conversation_kept_s,
            open_local_parts(settings),
            self._note_conversation,
            self._show_state,
            lambda channel: self.channels[channel].packet_socket if channel in self.channels else None,
        )
        self.conversation_log = ConversationLog(
            settings.data_dir / "conversations",
            settings.conversation_log_days,
            self.clock,
            settings.conversation_log,
        )
        self.gate = open_gate(settings)
        self.open_by_key = OpenByKey()
        self.requests = RateLimit(settings.requests_per_minute)
        self.upload_rate = RateLimit(settings.uploads_per_minute)
        self.uploads = Places(settings.uploads_at_once)
        self.decoding = asyncio.Semaphore(len(os.sched_getaffinity(0)))
        self.listeners = Places(settings.event_listeners)
        self.sockets = Places(settings.live_sockets)
        self.offer_rate = RateLimit(settings.webrtc_offers_per_minute)
        self.turn_secret = _turn_secret(settings)
        self.audiences = Audiences(
            settings, lambda: {channel.id: channel.packet_socket for channel in self.channels.values()}
        )
        self.stopping = asyncio.Event()
        self.streams_open = True
        if settings.triton_url is None:  # else Triton's repository may lie on another machine
            served_contract(settings.model_repository)
        avatar = open_avatar(settings, settings.avatar)
        self._client = client or TritonClient(triton_settings(settings))
        self._urgent = UrgentFirst(settings.chunks_in_flight or 1)
        self.triton = TritonReadiness(
            self._client, settings.triton_grpc_url, avatar.settings, self.metrics, self._size_queue
        )
        self.preparations = Preparations(self._prepare_avatar, self.notices, self.clock)
        self.film_service = open_film_service(settings)
        self.films = Films(
            settings.data_dir / "films", self.film_service, film_limits(settings), self.preparations, self.clock,
            time.monotonic,
        )  # fmt: skip
        self.disk_limits = DiskLimits(settings)
        self.setup = ChannelSetup(settings, self._speech_maker, test_pattern, self.traces)
        self.channels = Lineup(
            _configured_channel(settings),
            ChannelStore(settings.data_dir / CHANNEL_STORE, self.metrics.set_aside.labels(CHANNEL_STORE).inc),
            self._new_channel,
            self.board,
            settings.channel_limit,
            self._forget_channel,
        )
        self.encoder_costs = EncoderCosts(settings)
        self.service_manager = ServiceManager()
        self.on_air = OnAirWatch(
            lambda: [channel.view for channel in self.channels.values()], self.service_manager, time.monotonic
        )
        self.metrics.registry.register(AudienceCollector(lambda: self.audiences.counts))
        self.metrics.registry.register(ChannelCollector(lambda: [channel.view for channel in self.channels.values()]))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all parts inside the block; unfinished tasks are kept for the next start.

        When a part fails that can't be restarted, the block is cancelled and the part's error raised.
        """
        shutil.rmtree(self.uploads_dir, ignore_errors=True)  # of a server that was killed
        for folder in (self.settings.run_dir, self.settings.log_dir, self.settings.avatars_dir, self.uploads_dir):
            folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(remove_leftovers, self.settings.avatars_dir)
        async with self._client:
            await self.board.open()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(keep_running, "the watchdog of Triton", self.triton.watch)
                    group.start_soon(keep_running, "the preparation of avatars", self.preparations.run)
                    group.start_soon(keep_running, "the films of avatars", self.films.run)
                    group.start_soon(keep_running, "the disk limits", self.disk_limits.run)
                    if self.synthesiser is not None:
                        group.start_soon(keep_running, "the synthesiser", self.synthesiser.run)
                    group.start_soon(keep_running, "the conversations", self.conversations.run)
                    group.start_soon(keep_running, "the log of conversations", self.conversation_log.run)
                    group.start_soon(keep_running, "the WebRTC viewers", self.audiences.run)
                    if self.gate.required:
                        group.start_soon(keep_running, "what is open by keys", self.open_by_key.run)
                    await self.channels.open(group)
                    group.start_soon(keep_running, "the watch on frames", self.on_air.run)
                    yield
                    self.stop_accepting()
                    group.cancel_scope.cancel()
            finally:
                self.end_streams()
                with anyio.CancelScope(shield=True):
                    await self.conversations.aclose()
                    await self.conversation_log.flush()
                    await self.decodings.aclose()
                    await self.arrivals.aclose()
                    await self.board.aclose()
                    await self.traces.aclose()
                    if self.film_service is not None:
                        await self.film_service.aclose()

    @property
    def uploads_dir(self) -> Path:
        """Videos that are to become avatars."""
        return self.settings.data_dir / "uploads"

    @property
    def avatars_in_use(self) -> set[str]:
        """Names of the avatars that channels play."""
        return {channel.view.avatar for channel in self.channels.values()}

    @property
    def accepting(self) -> bool:
        """Whether new tasks are taken."""
        return not self.stopping.is_set()

    def stop_accepting(self) -> None:
        """Refuse new tasks from now on, and end the conversations."""
        self.stopping.set()
        self.conversations.stop()

    def end_streams(self) -> None:
        """End all event streams and previews, which have no end of their own."""
        self.streams_open = False
        self.notices.close()

    async def drain(self, limit_s: float) -> None:
        """Let what was accepted arrive, and the speeches that have begun play to their end, for at most `limit_s`."""
        with anyio.move_on_after(limit_s) as scope:
            async with anyio.create_task_group() as group:
                for channel in self.channels.values():
                    group.start_soon(channel.drain)
                await self.decodings.drain()
                await self.arrivals.drain()
        cut_off = [task_id for channel in self.channels.values() for task_id in channel.active]
        if scope.cancelled_caught and cut_off:
            logger.warning("cut off after %.0f s, said again after the next start: %s", limit_s, ", ".join(cut_off))

    @property
    def ready(self) -> bool:
        """Whether speeches are accepted; channels that are off the air have metrics and alerts of their own."""
        return self.accepting and self.triton.health.ready

    def health(self) -> Mapping[str, PartHealth]:
        """Every part by its name, also those that don't count for `ready`."""
        parts = {
            "accepting": PartHealth(self.accepting, "takes tasks" if self.accepting else "the server is stopping"),
            "triton": self.triton.health,
        }
        for channel in self.channels.values():
            view = channel.view
            parts[f"channel {view.id}"] = PartHealth(view.state is ChannelState.RUNNING, view.summary)
        return parts

    def _forget_channel(self, name: str) -> None:
        self.ledger.forget(name)
        self.conversations.forget(name)

    def _note_conversation(self, channel: str, event: SessionEvent) -> None:
        if isinstance(event, TurnPassed):
            self.ledger.note(channel, "typed_turn" if event.typed else "turn", Passage(event.stages_s))
        self.conversation_log.note(channel, event)

    def _show_state(self, channel_id: str, state: str | None) -> None:
        channel = self.channels.get(channel_id)
        if channel is not None:
            channel.motions.follow(state)

    def _new_channel(self, definition: ChannelDefinition) -> Channel:
        return Channel(definition, self.setup, self.board, self.triton.wait, self.notices, self.metrics, self.ledger)

    def _speech_maker(
        self, avatar: PreparedAvatar, silence: SilentFrames, pace: Pace, path: SpokenPath | None
    ) -> SpeechMaker:
        settings = self.settings
        generation = GenerationSettings(overlap_frames=settings.chunk_overlap_frames)
        if path is not None and path.has_motions:
            generation = replace(generation, chunks_ahead=CHUNKS_WITH_MOTIONS)
        return SpeechMaker(
            self._client.drawing_with(avatar.settings.checkpoint),
            avatar,
            partial(speech_events.note, self.board),
            silence,
            self.clock,
            generation,
            self._urgent,
            pace,
            LiveSettings(settings.live_look_ahead_frames, settings.live_chunk_frames, settings.live_window),
            path,
        )

    def _quality_of(self, channel_id: str) -> Quality:
        channel = self.channels.get(channel_id)
        checkpoint = self.checkpoints.named(None if channel is None else channel.checkpoint)
        settings = self.settings
        return Quality.of(checkpoint or self.checkpoints.main, settings.default_steps, settings.default_guidance)

    def _size_queue(self, capacity: Capacity) -> None:
        # One batch that is computed, one that waits, and one chunk in transit; chunks that are sent keep their order.
        self._urgent.resize(self.settings.chunks_in_flight or 2 * capacity.chunks + 1, capacity)

    async def _prepare_avatar(
        self, video: Path, name: str, options: PrepareOptions | MotionOptions, progress: Progress
    ) -> PreparedAvatar:
        settings = self.settings
        finder = await asyncio.to_thread(FaceLandmarker, settings.checkpoint_dir.parent / "face")
        room = DiskRoom(settings.avatar_limit_bytes, settings.avatar_reserve_bytes)
        avatar_name = options.avatar if isinstance(options, MotionOptions) else name
        try:
            with changing_avatar(settings, avatar_name):
                if isinstance(options, MotionOptions):
                    avatar = await asyncio.to_thread(find_avatar, settings.avatars_dir, avatar_name)
                    checkpoint = self.checkpoints.of(avatar)
                    coder = self._client.drawing_with(checkpoint.name)
                    motion = await add_motion(video, name, avatar, options, checkpoint, coder, finder, progress, room)
                    return motion.clip
                checkpoint = await asyncio.to_thread(self.checkpoints.choose, video, options.checkpoint)
                return await prepare_avatar(
                    video,
                    name,
                    settings.avatars_dir,
                    checkpoint,
                    self._client.drawing_with(checkpoint.name),
                    finder,
                    options,
                    progress,
                    in_use=lambda: name in self.avatars_in_use,
                    room=room,
                )
        except LockRefused as error:
            raise AvatarError(str(error)) from None

    def _count_finished(self, task: Task) -> None:
        self.metrics.tasks.labels(task.state.value).inc()
        self.traces.finished(task)


def _configured_channel(settings: Settings) -> ChannelDefinition:
    """The channel that the settings define."""
    rtmp = settings.rtmp_url
    values = {
        "channel": settings.channel_id,
        "avatar": settings.avatar,
        "targets": [] if rtmp is None else [rtmp.get_secret_value()],
        **settings.channel_defaults(),
    }
    try:
        return ChannelDefinition.parse(values)
    except DefinitionError as error:
        raise SettingsError(str(error)) from None


def open_gate(settings: Settings) -> Gate:
    """The keys of a server with these settings; raises NoKeys where one is required and there is none."""
    return Gate(settings.keys_path, settings.key_required, settings.http_host)


def _turn_secret(settings: Settings) -> str | None:
    path = settings.turn_secret_file
    try:
        secret = None if path is None else path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"turn_secret_file={path}: {error.strerror}") from None
    if secret == "":
        raise SettingsError(f"turn_secret_file={path} is empty: `openssl rand -hex 32` makes a secret")
    return secret
