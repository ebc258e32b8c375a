"""The sound of one speech on the disk: appended while it arrives, read from any frame, ended once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.log_tail import LogTail

T = TypeVar("T")

# Both sounds of a frame lie side by side, so that a file that was cut off anywhere holds whole frames of both.
_FRAME = np.dtype([("heard", "<i2", (CONTRACT.samples_per_frame,)), ("sound", "<i2", (SOUND_FRAME_SAMPLES,))])
# What the longest window of Whisper's reaches back.
_TAIL_FRAMES = CONTRACT.window_s * CONTRACT.frames_per_second


@dataclass(frozen=True)
class SoundFrames:
    """Whole frames of a speech: `heard` int16 [k, 640] at 16 kHz is for Whisper, `sound` int16 [k, 1920] for viewers.

    `may_pause` says that the speech may pause behind them unnoticed, as between two sentences: what comes next may be
    long in coming. `cues` name motions, each with the frame that it begins with, counted from the first of these.
    Raises ValueError for other shapes.
    """

    heard: NDArray[np.int16]
    sound: NDArray[np.int16]
    may_pause: bool = False
    cues: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        k = len(self.heard)
        expected = (k, CONTRACT.samples_per_frame), (k, SOUND_FRAME_SAMPLES)
        if (self.heard.shape, self.sound.shape) != expected:
            raise ValueError(f"expected frames of the shapes {expected}, got {self.heard.shape}, {self.sound.shape}")

    def __len__(self) -> int:
        return len(self.heard)


@dataclass(frozen=True)
class LogEnd:
    """Why no more frames come: None where the speech is complete, else a code such as `source_lost`."""

    broken_off: str | None = None


class LogUnreadable(OSError):
    """Frames that were appended can't be read."""


class SpeechLog:
    """One writer appends frames and says the end; any number of readers follow. Belongs to one event loop.

    Frames that were appended survive the death of the process, since the file has them; a loss of power may cost the
    last seconds unless `sync` was awaited.
    """

    def __init__(self, path: Path, end: LogEnd | None = None, changed: Callable[[], None] = lambda: None) -> None:
        """Open or create the file; `end` is given for one that nobody appends to any more. Raises OSError.

        `changed` is called when the first frames are there, and at the end.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._frames = os.fstat(self._file).st_size // _FRAME.itemsize
        self._end = end
        self._tail: LogTail | None = None  # once somebody reads: many speeches may wait that nobody says yet
        self._pauses: set[int] = set()
        self.cues: list[tuple[int, str]] = []
        """Motions that are to begin while it is said: the frame, and the name. They are not on the disk."""
        self._tell = changed
        self._busy = 0
        self._closing = False
        self._changed = asyncio.Event()

    @property
    def frames(self) -> int:
        """Whole frames that are there."""
        return self._frames

    @property
    def end(self) -> LogEnd | None:
        """None while more frames may come."""
        return self._end

    @property
    def at_pause(self) -> bool:
        """Whether the frames that are there end where the speech may pause."""
        return self.may_pause_at(self._frames)

    def may_pause_at(self, frame: int) -> bool:
        """Whether the speech may pause before this frame."""
        return frame in self._pauses

    async def append(self, frames: SoundFrames) -> None:
        """Append frames; raises OSError, then none of them counts, and RuntimeError after the end."""
        if self._end is not None:
            raise RuntimeError("the speech has ended: no frame can follow")
        records, offset = _records_of(frames), self._frames * _FRAME.itemsize
        await self._in_thread(lambda file: _write_all(file, records.tobytes(), offset))
        if self._tail is not None:
            self._tail.add(records)
        first = self._frames == 0
        self.cues += [(self._frames + frame, name) for frame, name in frames.cues]
        self._frames += len(frames)
        if frames.may_pause and self._frames:
            self._pauses.add(self._frames)
        self._notify()
        if first and self._frames:
            self._tell()

    async def sync(self) -> None:
        """Return once everything that was appended is on the disk; raises OSError."""
        await self._in_thread(os.fsync)

    def seal(self) -> None:
        """The speech is complete."""
        self._finish(LogEnd())

    def break_off(self, reason: str) -> None:
        """No more comes though the speech may not be complete; `reason` is a code. Ignored after the end."""
        self._finish(LogEnd(reason))

    async def wait_beyond(self, frames: int) -> int:
        """Wait until there are more than `frames` frames, or the end was said; returns how many there are."""
        while self._frames <= frames and self._end is None:
            await self._changed.wait()
        return self._frames

    async def read(self, first: int, count: int) -> SoundFrames:
        """Frames `first` … `first` + `count` - 1, fewer where the log ends before; raises LogUnreadable.

        Those of the last 30 s come at once while more may follow: each frame on the way of live speech is read often.
        """
        if self._closing:
            raise RuntimeError("the log is closed")
        if self._tail is None and self._end is None:
            await self._begin_tail()
        if self._tail is not None:
            held = self._tail.read(first, max(0, min(count, self._frames - first)))
            if held is not None:
                return _sound_of(held)
        return await self._in_thread(lambda file: self.read_now(first, count))

    async def _begin_tail(self) -> None:
        """Keep what is appended from now on, and what was just before it."""
        there = self._frames
        first = max(0, there - _TAIL_FRAMES)
        begun = self._tail = LogTail(_TAIL_FRAMES, there)
        before = await self._in_thread(lambda file: _records_in(file, first, there - first))
        # Else the log has ended, or so much came meanwhile that this is old.
        if self._tail is begun and begun.first == there:
            self._tail = begun.behind(before)

    def read_now(self, first: int, count: int) -> SoundFrames:
        """The same, in the caller's thread."""
        return _frames_of(self._file, first, max(0, min(count, self._frames - first)))

    def reader(self) -> LogReader:
        """One that reads from the first frame on, at its own pace; raises OSError, RuntimeError after `close`."""
        if self._closing:
            raise RuntimeError("the log is closed")
        return LogReader(self, os.dup(self._file))

    def close(self) -> None:
        """Close the file, once what is under way is done; may be called twice."""
        self._closing = True
        self._close_unused()

    async def _in_thread(self, work: Callable[[int], T]) -> T:
        if self._closing:
            raise RuntimeError("the log is closed")
        self._busy += 1
        # Shielded: a write that is half done when its caller is cancelled must not meet the next one.
        running = asyncio.get_running_loop().run_in_executor(None, work, self._file)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def _done(self, _: object) -> None:
        self._busy -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        # Not under the hands of a thread: its descriptor could be another file's by then.
        if self._closing and not self._busy and self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _finish(self, end: LogEnd) -> None:
        if self._end is None:
            self._end = end
            self._tail = None
            self._notify()
            self._tell()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LogReader:
    """Follows a log with a descriptor of its own: it may lag behind, also when the log is closed and its file gone."""

    def __init__(self, log: SpeechLog, file: int) -> None:
        """Use `SpeechLog.reader`; takes over the descriptor `file`."""
        self._log = log
        self._file = file
        self._next = 0

    async def read(self, most: int) -> SoundFrames:
        """The next frames, at most `most`, once there are some; none of them is the end. Raises LogUnreadable."""
        there = await self._log.wait_beyond(self._next)
        # In this thread: what was just written is in the page cache, and a close can't meet a read.
        frames = _frames_of(self._file, self._next, min(most, there - self._next))
        self._next += len(frames)
        return frames

    def close(self) -> None:
        """Close the descriptor; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def as_stored(frames: SoundFrames) -> bytes:
    """Frames as a log's file holds them."""
    return _records_of(frames).tobytes()


def _records_of(frames: SoundFrames) -> NDArray[Any]:
    records = np.empty(len(frames), _FRAME)
    records["heard"], records["sound"] = frames.heard, frames.sound
    return records


def _sound_of(records: NDArray[Any]) -> SoundFrames:
    return SoundFrames(records["heard"].astype(np.int16), records["sound"].astype(np.int16))


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _frames_of(file: int, first: int, count: int) -> SoundFrames:
    """Raises LogUnreadable."""
    return _sound_of(_records_in(file, first, count))


def _records_in(file: int, first: int, count: int) -> NDArray[Any]:
    """Raises LogUnreadable."""
    try:
        raw = _read_all(file, count * _FRAME.itemsize, first * _FRAME.itemsize)
    except OSError as error:
        raise LogUnreadable(error.errno, error.strerror or str(error)) from error
    return np.frombuffer(raw, _FRAME)


def _read_all(file: int, size: int, offset: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.pread(file, size - len(data), offset + len(data))
        if not part:
            raise OSError(f"the speech's file ends after {offset + len(data)} bytes, expected {offset + size}")
        data += part
    return bytes(data)
