"""Keeps an encoder running: hands it pairs, starts it again when it dies or hangs, and knows what its targets do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from streaming.config import FPS, ChannelConfig
from streaming.encoder import EncoderRun
from streaming.encoder_log import EncoderLog
from streaming.events import PublisherState, TargetStatus
from streaming.pairs import FramePool, Pair, PairQueue
from streaming.targets import KeyMask, tee_slave

_log = logging.getLogger(__name__)

_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 3.0)
_GOOD_RUN_S = 30.0  # a run this long makes the next failure a first one again
_HUNG_S = 5.0
_CLOSE_S = 3.0
_QUIET_LINES = ("Dropping non-", "FIFO queue full")  # one per packet during an outage


class Publisher:
    """Takes one pair per frame and publishes for ever; never blocks the caller.

    Timestamps are those of the frame clock: a new ffmpeg goes on at the frame that it starts with.
    """

    def __init__(self, config: ChannelConfig, size: tuple[int, int], on_preview: Callable[[int, float], None]) -> None:
        for target in config.targets:
            tee_slave(target)  # a wrong address is refused at start
        self.pool = FramePool(size[1], size[0])
        self.restarts = -1
        self.speed = 0.0
        self._config = config
        self._size = size
        self._on_preview = on_preview
        self._queue = PairQueue(config.queue_frames, self.pool)
        self._mask = KeyMask(config.targets)
        self._states = EncoderLog(config.targets)
        self._lock = threading.Lock()
        self._running = False
        self._closing = threading.Event()
        self._encoded: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._supervise, name="publisher")
        self._thread.start()

    def submit(self, pair: Pair) -> bool:
        """Queues a frame; False when the queue is full and the pair was dropped."""
        return self._queue.put(pair)

    @property
    def dropped(self) -> int:
        """Pairs dropped since the start."""
        return self._queue.dropped

    @property
    def queue_s(self) -> float:
        """Seconds of stream that wait for the encoder."""
        return len(self._queue) / FPS

    @property
    def state(self) -> PublisherState:
        """The worst state of all targets."""
        if self._closing.is_set():
            return PublisherState.CLOSED
        with self._lock:
            return self._states.state(self._running)

    @property
    def targets(self) -> tuple[TargetStatus, ...]:
        """State of each target, its key masked."""
        with self._lock:
            return self._states.targets(self._running)

    @property
    def reconnects(self) -> int:
        """Connections to targets that were made again."""
        return self._states.reconnects

    def close(self) -> None:
        """Publishes what is queued, ends the stream properly and waits for ffmpeg to end."""
        self._closing.set()
        self._queue.close()
        self._thread.join()

    def _supervise(self) -> None:
        failures = 0
        while not self._closing.is_set():
            begun = self._queue.begin_run(timeout_s=0.5)
            if begun is None:
                continue
            with self._lock:
                self._states.begin_run()
                self._encoded = None
            self.restarts += 1
            try:
                run = EncoderRun(self._config, self._size, self._queue, *begun, self._on_line, self._on_progress)
            except OSError as error:
                _log.error("ffmpeg %s cannot be started: %s", self._config.ffmpeg, error)
                self._closing.wait(_BACK_OFF_S[-1])
                continue
            self._running = True
            self._on_preview(run.preview, begun[1] / FPS)
            code = self._watch(run)
            self._running = False
            run.close(_CLOSE_S)
            if self._closing.is_set():
                break
            failures = 0 if time.monotonic() - run.started > _GOOD_RUN_S else failures
            delay = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            failures += 1
            _log.error("ffmpeg ended with code %s: another one in %.1f s", code, delay)
            self._closing.wait(delay)

    def _watch(self, run: EncoderRun) -> int | None:
        """Waits until ffmpeg ends, hangs or the publisher closes; ffmpeg's return code where it has ended."""
        taken, since = self._queue.taken, time.monotonic()
        while not self._closing.is_set():
            code = run.wait(0.2)
            if code is not None:
                return code
            if self._queue.taken != taken or not len(self._queue):
                taken, since = self._queue.taken, time.monotonic()
            elif time.monotonic() - since > _HUNG_S:
                _log.error("ffmpeg took no frame for %.0f s: killed", _HUNG_S)
                run.kill()
        return None

    def _on_line(self, line: str) -> None:
        with self._lock:
            changed = self._states.line(line)
        if any(quiet in line for quiet in _QUIET_LINES):
            return
        if changed or "[error]" in line or "[fatal]" in line or "[warning]" in line:
            _log.warning("ffmpeg: %s", self._mask(line))
        else:
            _log.debug("ffmpeg: %s", self._mask(line))

    def _on_progress(self, values: dict[str, str]) -> None:
        now = time.monotonic()
        try:
            frames = int(values["frame"])
        except (KeyError, ValueError):
            return  # ffmpeg writes N/A before its first frame
        encoded_s = frames / FPS
        with self._lock:
            self._states.progress(encoded_s)
            if self._encoded is not None and now > self._encoded[1]:
                self.speed = (encoded_s - self._encoded[0]) / (now - self._encoded[1])
            self._encoded = (encoded_s, now)
