"""Keeps an encoder running: hands it pairs, starts it again when it dies or hangs, and feeds every target."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable

from streaming.config import FPS, ChannelConfig
from streaming.encoded import EncodedWatch
from streaming.encoder import EncoderRun
from streaming.encoder_steps import EncoderStep, StepPolicy, ladder
from streaming.events import PublisherState, TargetStatus
from streaming.frame_pool import FramePool
from streaming.packet import Description, Packet, Track
from streaming.pair import IdleInstead, Pair, TakenBack
from streaming.pairs import PairQueue
from streaming.push import TargetPush
from streaming.targets import check_target, is_whip
from streaming.timeline import StreamTimeline
from streaming.whip_push import WhipPush

_log = logging.getLogger(__name__)

_BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 3.0)
"""Viewers wait for the next encoder: only one that fails again and again waits itself."""
_GOOD_RUN_S = 30.0  # after a run this long the back-off begins anew
_HUNG_S = 5.0
_STARTING_S = 20.0
"""What a start may take: 0.1 s of a core, which a machine that is overloaded doesn't have."""
_LOOK_S = 0.2
_START_FRAMES = 10
"""Frames that may come while an encoder starts: behind one that hung the queue is full, and would drop some of them."""
_CLOSE_S = 3.0
_SPEED_S = 1.0
"""Over how long the encoder's speed is taken."""
_WORST_FIRST = (PublisherState.RECONNECTING, PublisherState.CONNECTING, PublisherState.ON_AIR)


class Publisher:
    """Takes one pair per frame and publishes for ever; never blocks the caller.

    Timestamps are those of the frame clock: a new encoder goes on at the frame that it starts with, and the targets
    stay connected meanwhile. An encoder that can't keep up is started again with a step that costs less; the pairs wait
    in the queue meanwhile. Raises ValueError for a target of no known kind.
    """

    def __init__(self, config: ChannelConfig, size: tuple[int, int]) -> None:
        for target in config.targets:
            check_target(target)
        self.pool = FramePool(size[1], size[0])
        self.restarts = 0
        self.speed = 0.0
        self._config = config
        self._size = size
        self._queue = PairQueue(config.queue_frames, self.pool, config.timeline_frames)
        self.encoded = EncodedWatch(time.monotonic)
        self._timeline = StreamTimeline()
        self._timeline.listen(self.encoded.receive)
        self._policy = StepPolicy(ladder(config, config.picture_size or size))
        self._step = self._policy.step
        self._running: EncoderRun | None = None
        self._closing = threading.Event()
        self._encoded: tuple[float, float] | None = None  # times in the stream and on the clock
        self._lost_connections = 0  # of targets that were removed meanwhile
        self._pushes: dict[str, TargetPush | WhipPush] = {}
        self._retired: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._supervise, name="publisher")
        self._thread.start()
        self.set_targets(config.targets)

    def listen(self, listener: Callable[[Description | Packet], None]) -> None:
        """Calls `listener` with each description and packet from now on, in a thread that it must not block."""
        self._timeline.listen(listener)

    def request_keyframe(self) -> None:
        """Makes the next picture a keyframe."""
        if (run := self._running) is not None:
            run.request_keyframe()

    def submit(self, pair: Pair) -> None:
        """Queues a frame; when the encoder is so far behind that the queue is full, an older one is dropped for it."""
        self._queue.put(pair)

    def take_back(self, speeches: Collection[str], idle_instead: IdleInstead) -> TakenBack:
        """Puts idle in the place of what waits of these speeches; the encoder gets no more of them than it must."""
        return self._queue.take_back(speeches, idle_instead)

    def set_targets(self, targets: Iterable[str]) -> None:
        """Publishes to these targets from now on; those that stay are not interrupted.

        Raises ValueError for an address of no known kind, and changes nothing then.
        """
        wanted = list(targets)
        for target in wanted:
            check_target(target)
        for target in [target for target in self._pushes if target not in wanted]:
            push = self._pushes.pop(target)
            self._lost_connections += push.status.reconnects
            # Closing takes seconds where the remote server hangs, and the frame clock must not wait for it.
            thread = threading.Thread(target=push.close, name="push-retires")
            thread.start()
            self._retired = [*(t for t in self._retired if t.is_alive()), thread]
        for target in wanted:
            if target not in self._pushes:
                self._pushes[target] = self._new_push(target)

    @property
    def sent(self) -> int:
        """Pairs that the encoder was given since the start."""
        return self._queue.sent

    @property
    def dropped(self) -> int:
        """Pairs dropped since the start."""
        return self._queue.dropped

    @property
    def dropped_speech(self) -> int:
        """Those of the dropped pairs that belonged to a speech."""
        return self._queue.dropped_speech

    def dropped_of(self, speech: str) -> int:
        """Pairs of this speech that were dropped; forgets the number."""
        return self._queue.dropped_of(speech)

    def has_passed(self, tick: int) -> bool:
        """Whether every frame up to this one went to the encoder or was dropped."""
        return self._queue.has_passed(tick)

    @property
    def step(self) -> EncoderStep:
        """How the encoder runs now."""
        return self._step

    @property
    def steps_down(self) -> int:
        """Steps between the configured way to encode and the present one."""
        return self._policy.steps.index(self._step)

    @property
    def queue_s(self) -> float:
        """Seconds of stream that wait for the encoder."""
        return len(self._queue) / FPS

    @property
    def state(self) -> PublisherState:
        """The worst state of the encoder and all targets."""
        if self._closing.is_set():
            return PublisherState.CLOSED
        if self._running is None or not self._timeline.ready:
            return PublisherState.RECONNECTING if self.restarts > 0 else PublisherState.CONNECTING
        states = {status.state for status in self.targets}
        return next((state for state in _WORST_FIRST if state in states), PublisherState.ON_AIR)

    @property
    def targets(self) -> tuple[TargetStatus, ...]:
        """State of each target, its key masked."""
        return tuple(push.status for push in self._pushes.values())

    @property
    def reconnects(self) -> int:
        """Connections to targets that were made again."""
        return self._lost_connections + sum(status.reconnects for status in self.targets)

    @property
    def av_offset_s(self) -> float:
        """By how much the pictures' time is ahead of the sound's in the encoded stream."""
        return self._timeline.av_offset_s

    def close(self) -> None:
        """Publishes what is queued, ends the stream properly and waits for every child to end."""
        self._closing.set()
        self._queue.close()
        self._thread.join()
        closers = [threading.Thread(target=push.close) for push in self._pushes.values()]
        for thread in closers:
            thread.start()
        for thread in (*closers, *self._retired):
            thread.join()

    def _new_push(self, target: str) -> TargetPush | WhipPush:
        return WhipPush(target, self._config) if is_whip(target) else TargetPush(target, self._config, self._timeline)

    def _supervise(self) -> None:
        failures, room = 0, 0
        while not self._closing.is_set():
            begun = self._queue.begin_run(timeout_s=0.5, room=room)
            if begun is None:
                continue
            self._encoded = None
            if begun[1] // self._config.timeline_frames > self._timeline.epoch:
                self._timeline.begin_epoch()
            self._step = self._policy.step
            try:
                run = EncoderRun(self._config, self._size, self._queue, *begun, self._step, self._receive)
            except OSError as error:
                _log.error("the encoder can't be started: %s", error)
                self._closing.wait(_BACK_OFF_S[-1])
                continue
            self._running = run
            code = self._watch(run)
            drained = run.drained  # before `close`, which ends the writer of a killed one too
            if not drained:
                self._running = None
            run.close(_CLOSE_S)
            if self._closing.is_set():
                break
            room = 0 if drained else _START_FRAMES
            if drained:
                continue  # the queue ended this run; the next one goes on where it ended
            self.restarts += 1
            failures = 0 if time.monotonic() - run.started > _GOOD_RUN_S else failures
            delay = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            failures += 1
            _log.error("the encoder ended with code %s: another one in %.1f s", code, delay)
            self._closing.wait(delay)

    def _watch(self, run: EncoderRun) -> int | None:
        """Waits until the encoder ends, hangs or the publisher closes; its return code where it has ended."""
        taken, since = self._queue.taken, time.monotonic()
        self._policy.begin(since)
        while not self._closing.is_set():
            code = run.wait(_LOOK_S)
            if code is not None:
                return code
            now = time.monotonic()
            if self._queue.taken != taken or not len(self._queue):
                taken, since = self._queue.taken, now
            elif now - since > (_HUNG_S if run.begun else _STARTING_S):
                _log.error("the encoder took no frame for %.0f s: killed", now - since)
                run.kill()
            if self._policy.step is self._step:
                self._choose_step(run, now)
        return None

    def _choose_step(self, run: EncoderRun, now: float) -> None:
        waiting_s = self.queue_s
        step = self._policy.observe(now, waiting_s, self._queue.taken / FPS)
        if step is self._step:
            return
        if self._policy.index > self.steps_down:
            _log.warning("the encoder can't keep up, %.1f s wait for it: now %s", waiting_s, step.name)
        else:
            _log.warning("the encoder has kept up for a while: now %s", step.name)
        self._queue.finish_run(run.number)

    def _receive(self, message: Description | Packet) -> None:
        self._timeline.receive(message)
        if isinstance(message, Packet) and message.track is Track.H264:
            self._note_speed(message.time_s)

    def _note_speed(self, encoded_s: float) -> None:
        now = time.monotonic()
        if self._encoded is None:
            self._encoded = (encoded_s, now)
        elif now - self._encoded[1] >= _SPEED_S:
            self.speed = (encoded_s - self._encoded[0]) / (now - self._encoded[1])
            self._encoded = (encoded_s, now)
