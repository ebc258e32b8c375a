"""One run of the encoder: its process, and a named thread for each of its pipes."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from processes.tethered import tethered
from streaming.config import ChannelConfig
from streaming.encoder_settings import EncoderSettings
from streaming.encoder_steps import EncoderStep
from streaming.packet import Description, Packet
from streaming.packet_stream import PacketParser
from streaming.pair import Pair
from streaming.pair_stream import PairHeader
from streaming.pairs import PairQueue

_log = logging.getLogger(__name__)

_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class EncoderRun:
    """An encoder's process that takes the pairs of one queue run until it ends, or the queue closes."""

    def __init__(
        self,
        config: ChannelConfig,
        size: tuple[int, int],
        queue: PairQueue,
        run: int,
        first_tick: int,
        step: EncoderStep,
        receive: Callable[[Description | Packet], None],
    ) -> None:
        self.number = run
        self.drained = False
        """Whether the encoder was given the whole run: when it ends then, nothing failed."""
        self.begun = False
        """Whether the process has started up, and said what it will give."""
        self._queue = queue
        self._timeline_frames = config.timeline_frames
        self._first_tick = first_tick
        self._frame_step = step.frame_step
        self._keyframe_wanted = threading.Event()
        self._silent = threading.Event()  # its output has ended, as it does where the process ends
        settings = EncoderSettings.of(config, size, run, step)
        program = config.encoder or (sys.executable, "-m", "streaming.encoder_process")
        self.process = subprocess.Popen(
            tethered(*program, settings.to_json()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # a smaller pipe only costs more system calls
            # No larger than a picture: what waits in it can't be taken back.
            fcntl.fcntl(self.process.stdin.fileno(), fcntl.F_SETPIPE_SZ, min(_PIPE_BYTES, size[0] * size[1] * 3))
        self.started = time.monotonic()
        name = f"encoder-{self.process.pid}"
        self._threads = [
            threading.Thread(target=self._write, name=f"{name}-pairs"),
            threading.Thread(target=self._read, args=(receive,), name=f"{name}-packets"),
            threading.Thread(target=self._read_log, name=f"{name}-log"),
        ]
        for thread in self._threads:
            thread.start()

    def request_keyframe(self) -> None:
        """Makes the next picture a keyframe."""
        self._keyframe_wanted.set()

    def wait(self, timeout_s: float) -> int | None:
        """The process's return code, or None when it still runs after `timeout_s`."""
        # `Popen.wait` with a limit asks 20 times a second; the end of the output tells at once, and costs nothing.
        if self._silent.wait(timeout_s):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout_s)
        return self.process.poll()

    def kill(self) -> None:
        """Ends the process at once, also a stopped one."""
        self.process.kill()

    def close(self, timeout_s: float) -> None:
        """Waits for the process to end once its input has ended, then kills it; joins the threads."""
        if self.wait(timeout_s) is None:
            self.process.kill()
        self.process.wait()
        self._queue.end_run(self.number)
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        assert self.process.stdin is not None
        with self.process.stdin as sink:
            fd = sink.fileno()
            try:
                for earlier in self._queue.pre_roll(self._first_tick):
                    self._write_pair(fd, earlier, has_picture=False)
                while (pair := self._queue.take(self.number)) is not None:
                    self._write_pair(fd, pair, (pair.tick - self._first_tick) % self._frame_step == 0)
                self.drained = True
            except BrokenPipeError:
                pass  # the encoder is gone: the publisher sees it end and starts another

    def _write_pair(self, fd: int, pair: Pair, has_picture: bool) -> None:
        keyframe = has_picture and self._keyframe_wanted.is_set()
        if keyframe:
            self._keyframe_wanted.clear()
        header = PairHeader(pair.tick % self._timeline_frames, pair.due_s, has_picture, keyframe)
        _write_all(fd, memoryview(header.to_bytes()))
        if has_picture:
            _write_all(fd, _flat(pair.picture))
        _write_all(fd, memoryview(pair.sound))

    def _read(self, receive: Callable[[Description | Packet], None]) -> None:
        assert self.process.stdout is not None
        parser = PacketParser()
        with self.process.stdout as stdout:
            try:
                while data := os.read(stdout.fileno(), _READ_BYTES):
                    self.begun = True
                    for message in parser.feed(data):
                        receive(message)
            except ValueError as error:
                _log.error("encoder: %s; it is killed", error)
                self.kill()
            finally:
                self._silent.set()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                # Nothing to mask here: the encoder knows no target's address.
                _log.warning("encoder: %s", line.decode(errors="replace").rstrip())


def _flat(picture: NDArray[np.uint8]) -> memoryview:
    return np.ascontiguousarray(picture).reshape(-1).data


def _write_all(fd: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(fd, data) :]
