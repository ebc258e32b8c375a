"""One run of ffmpeg: its process, its pipes, and a named thread for each of them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from processes.tethered import tethered
from streaming.config import ChannelConfig
from streaming.encoder_steps import EncoderStep
from streaming.ffmpeg_command import EncoderPipes, encoder_command
from streaming.pair import Lane
from streaming.pairs import PairQueue
from streaming.timeline import StreamTimeline

_log = logging.getLogger(__name__)

_PIPE_BYTES = 1 << 20


class EncoderRun:
    """An ffmpeg that takes the pairs of one queue run until it ends, or the queue closes."""

    def __init__(
        self,
        config: ChannelConfig,
        size: tuple[int, int],
        queue: PairQueue,
        run: int,
        first_tick: int,
        step: EncoderStep,
        timeline: StreamTimeline,
        on_line: Callable[[str], None],
        on_progress: Callable[[dict[str, str]], None],
    ) -> None:
        self.number = run
        self._queue = queue
        self._first_tick = first_tick
        self._frame_step = step.frame_step
        self._drained: set[Lane] = set()
        video_read, self._video = os.pipe()
        audio_read, self._audio = os.pipe()
        flv_read, flv_write = os.pipe()
        self.preview, preview_write = os.pipe()
        progress, progress_write = os.pipe()
        with contextlib.suppress(OSError):  # a smaller pipe only costs more system calls
            fcntl.fcntl(self._video, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        theirs = (video_read, audio_read, flv_write, preview_write, progress_write)
        try:
            command = encoder_command(config, *size, EncoderPipes(*theirs), first_tick, step)
            self.process = subprocess.Popen(
                tethered(*command),
                pass_fds=theirs, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        except BaseException:
            for fd in (self._video, self._audio, flv_read, self.preview, progress):
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self.started = time.monotonic()
        name = f"ffmpeg-{self.process.pid}"
        self._threads = [
            threading.Thread(target=self._write, args=(Lane.VIDEO, self._video), name=f"{name}-video"),
            threading.Thread(target=self._write, args=(Lane.AUDIO, self._audio), name=f"{name}-audio"),
            threading.Thread(target=timeline.read, args=(flv_read,), name=f"{name}-flv"),
            threading.Thread(target=self._read_log, args=(on_line,), name=f"{name}-log"),
            threading.Thread(target=_read_progress, args=(progress, on_progress), name=f"{name}-progress"),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def drained(self) -> bool:
        """Whether ffmpeg was given the whole run: when it ends then, nothing failed."""
        return len(self._drained) == len(Lane)

    def wait(self, timeout_s: float) -> int | None:
        """ffmpeg's return code, or None when it still runs after `timeout_s`."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Ends ffmpeg at once, also a stopped one."""
        self.process.kill()

    def close(self, timeout_s: float) -> None:
        """Waits for ffmpeg to end once its input has ended, then terminates it, then kills it; joins the threads."""
        if self.wait(timeout_s) is None:
            self.process.terminate()
            if self.wait(1.0) is None:
                self.process.kill()
        self.process.wait()
        self._queue.end_run(self.number)
        for thread in self._threads:
            thread.join()

    def _write(self, lane: Lane, fd: int) -> None:
        try:
            while (pair := self._queue.take(lane, self.number)) is not None:
                if lane is Lane.AUDIO:
                    _write_all(fd, memoryview(pair.sound))
                elif (pair.tick - self._first_tick) % self._frame_step == 0:
                    _write_all(fd, _flat(pair.picture))
            self._drained.add(lane)
        except BrokenPipeError:
            pass  # ffmpeg is gone: the publisher sees it end and starts another
        finally:
            os.close(fd)

    def _read_log(self, on_line: Callable[[str], None]) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                on_line(line.decode(errors="replace").rstrip())


def _read_progress(fd: int, on_progress: Callable[[dict[str, str]], None]) -> None:
    values: dict[str, str] = {}
    with os.fdopen(fd) as lines:
        for line in lines:
            key, _, value = line.strip().partition("=")
            values[key] = value.strip()
            if key == "progress":
                on_progress(values)
                values = {}


def _flat(picture: NDArray[np.uint8]) -> memoryview:
    return np.ascontiguousarray(picture).reshape(-1).data


def _write_all(fd: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(fd, data) :]
