"""Sends the encoded stream to one target: an ffmpeg that copies packets, watched and restarted when it ends."""

from __future__ import annotations

import logging
import os
import re
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable

from processes.tethered import tethered
from streaming.config import ChannelConfig
from streaming.events import PublisherState, TargetStatus
from streaming.flv_tags import Tag, TagKind
from streaming.outage import Outage
from streaming.push_command import push_command
from streaming.recording import DiskReserve, remove_if_empty
from streaming.targets import KeyMask, local_path, mask, unused
from streaming.timeline import StreamTimeline, TagQueue

_log = logging.getLogger(__name__)

_SPACING_S = (0.3, 0.5, 0.8)
"""Time from the start of one attempt to the next; short, so that a server that is back gets the stream at once."""
_FILE_SPACING_S = (1.0, 5.0, 15.0, 60.0)
"""The same for a recording, where each attempt makes a file and no viewer waits."""
_SHORTEST_PAUSE_S = 0.25
_GOOD_RUN_S = 30.0  # after a connection of this length the back-off begins anew
_OPEN_S = 4.0
"""Limit for opening a connection; the kernel sends a SYN after 0, 1 and 3 s."""
_STALLED_S = 3.0
_CHECK_S = 2.0
"""How often a recording looks at the free space of its disk."""
_CLOSE_S = 2.0
_OPENED = re.compile(r"^\[info\] Output #0")


class TargetPush:
    """One target and the thread that keeps it on the air; it runs from its creation until `close`.

    A target that refuses, hangs or is too slow never blocks the encoder or another target: whole groups of pictures
    are dropped for it, with their sound, and it continues with a keyframe.
    """

    def __init__(
        self, target: str, config: ChannelConfig, timeline: StreamTimeline, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.target = target
        self._config = config
        self._timeline = timeline
        self._clock = clock
        self._mask = KeyMask((target,))
        self._outage = Outage(clock)
        path = local_path(target)
        self._spacing_s = _SPACING_S if path is None else _FILE_SPACING_S
        self._reserve = None if path is None else DiskReserve(path.parent, config.disk_reserve_bytes)
        self._next_check = 0.0
        self._next_part: tuple[bytes, TagQueue] | None = None  # between two files of one recording
        self._continues = False
        self._closing = threading.Event()
        self._lines: deque[str] = deque(maxlen=6)
        self._opened = False
        self._was_on_air = False
        self._connections = 0
        self._problem = ""
        self._dropped = 0
        self._epoch = timeline.epoch
        self._sent_ms = -1  # time of the last tag that this target got
        self._thread = threading.Thread(target=self._run, name=f"push-{mask(target)}")
        self._thread.start()

    @property
    def status(self) -> TargetStatus:
        """The present state of the connection."""
        if self._opened or self._next_part is not None:
            state = PublisherState.ON_AIR
        else:
            state = PublisherState.RECONNECTING if self._was_on_air or self._problem else PublisherState.CONNECTING
        reconnects = max(0, self._connections - 1)
        return TargetStatus(mask(self.target), state, reconnects, self._dropped, "" if self._opened else self._problem)

    def close(self) -> None:
        """Sends what is queued, within a short limit, and closes the connection in order."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            if not self._timeline.ready:
                self._closing.wait(0.02)
                continue
            started = self._clock()
            problem = self._attempt()
            if self._closing.is_set():
                return
            if self._next_part is not None:
                continue
            if self._outage.is_news_that_down():
                _log.warning("%s: %s; trying again", mask(self.target), problem)
            self._problem = problem
            ran_s = self._clock() - started
            failures = 0 if ran_s > _GOOD_RUN_S else failures
            spacing_s = self._spacing_s[min(failures, len(self._spacing_s) - 1)]
            pause_s = max(_SHORTEST_PAUSE_S, spacing_s - ran_s)
            failures += 1
            self._closing.wait(pause_s)

    def _attempt(self) -> str:
        """Runs one connection from its opening to its end; returns why it ended."""
        self._lines.clear()
        if self._reserve is not None and (problem := self._reserve.problem()):
            self._give_up_next_part()
            return problem
        address = unused(self.target)
        try:
            with push_command(address, self._config) as (command, inherited):
                process = subprocess.Popen(
                    tethered(*command), pass_fds=inherited,
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                )  # fmt: skip
        except OSError as error:
            self._give_up_next_part()
            return f"ffmpeg {self._config.ffmpeg} cannot be started: {error.strerror}"
        if self._epoch != self._timeline.epoch:
            self._epoch, self._sent_ms = self._timeline.epoch, -1
        begin, queue = self._next_part or self._timeline.subscribe(self._sent_ms)
        self._continues, self._next_part = self._next_part is not None, None
        reader = threading.Thread(target=self._read_log, args=(process,), name=f"push-log-{process.pid}")
        reader.start()
        try:
            reason = self._pump(process, begin, queue)
        finally:
            if self._next_part is None:
                self._timeline.unsubscribe(queue)
                self._dropped += queue.dropped
            self._end(process)
            reader.join()
            self._opened = False
            self._remove_if_empty(address)
        said = "; ".join(self._lines)
        return reason or said or f"ffmpeg ended with code {process.returncode}"

    def _pump(self, process: subprocess.Popen[bytes], begin: bytes, queue: TagQueue) -> str:
        """Writes tags until ffmpeg ends or stalls, or the target is closed; returns the problem where it is known."""
        assert process.stdin is not None
        fd = process.stdin.fileno()
        os.set_blocking(fd, False)
        started = self._clock()
        opened_by = started + _OPEN_S
        pending, moved = memoryview(begin), self._clock()
        while process.poll() is None:
            now = self._clock()
            if self._opened and self._outage.is_news_that_up():
                _log.info("%s: on the air", mask(self.target))
            if not self._opened and now > opened_by:
                return f"no connection within {_OPEN_S:.0f} s"
            if not pending:
                tag = queue.take(0.1)
                if tag is None:
                    if self._closing.is_set() or queue.ended:
                        return "the stream's timestamps restart" if queue.ended else ""
                    continue
                if self._is_full(tag, now - started):
                    # The next file begins with this keyframe, and the queue keeps what comes meanwhile.
                    queue.put_back(tag)
                    self._next_part = self._timeline.beginning, queue
                    return ""
                pending, moved = memoryview(tag.data), now
                if tag.kind is not TagKind.SCRIPT:
                    self._sent_ms = max(self._sent_ms, tag.time_ms)
            if self._reserve is not None and now >= self._next_check:
                self._next_check = now + _CHECK_S
                if problem := self._reserve.problem():
                    return problem
            written = _write_some(fd, pending)
            if written is None:
                return ""
            pending = pending[written:]
            if written:
                moved = now
            elif now - moved > (_CLOSE_S if self._closing.is_set() else _STALLED_S) and self._opened:
                return f"accepted no data for {now - moved:.0f} s"
        return ""

    def _is_full(self, tag: Tag, age_s: float) -> bool:
        """Whether a recording goes on in another file from this tag on."""
        part_s = self._config.recording_part_s
        if not part_s or self._reserve is None or self.target.endswith(".m3u8"):
            return False
        return tag.keyframe and age_s >= part_s

    def _give_up_next_part(self) -> None:
        if self._next_part is not None:
            self._timeline.unsubscribe(self._next_part[1])
            self._next_part = None

    def _remove_if_empty(self, address: str) -> None:
        if (path := local_path(address)) is not None:
            try:
                remove_if_empty(path)
            except OSError as error:
                _log.warning("%s: an empty file can't be removed: %s", address, error.strerror)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        # A recording is closed in order: an mp4 or flv keeps its last seconds then.
        if not self._closing.is_set() and self._reserve is None:
            process.kill()  # a process that hangs doesn't react to SIGTERM
        process.stdin.close()
        try:
            process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for raw in lines:
                line = self._mask(raw.decode(errors="replace").strip())
                if _OPENED.match(line) and not self._opened:
                    self._opened, self._was_on_air = True, True
                    self._connections += not self._continues
                elif "[error]" in line or "[fatal]" in line or "[warning]" in line:
                    self._lines.append(re.sub(r"^(\[[^]]*\] )+", "", line)[:200])


def _write_some(fd: int, data: memoryview) -> int | None:
    """Writes what the pipe accepts within 0.1 s; returns the bytes written, None when nobody reads the pipe."""
    _, ready, _ = select.select([], [fd], [], 0.1)
    if not ready:
        return 0
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return None
