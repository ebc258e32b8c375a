"""A viewer that never gives up: receives the stream, keeps it in parts, and notes when each picture came."""

from __future__ import annotations

import subprocess
import threading
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from streaming.flv_tags import HEADER, FlvParser, Tag, TagKind

_READ_BYTES = 1 << 16
_AGAIN_S = 0.1
_CLOSE_S = 3.0


@dataclass
class Part:
    """What was received without a break, as it came: an FLV file, times of its tags, and when pictures arrived."""

    path: Path
    picture_ms: array[int] = field(default_factory=lambda: array("q"))
    sound_ms: array[int] = field(default_factory=lambda: array("q"))
    arrived_s: array[float] = field(default_factory=lambda: array("d"))


class Receiver:
    """One connection after another in a thread; `close` ends it. Parts longer than `roll_s` are split at a keyframe.

    One that `listens` is the RTMP server itself, to which the stream is published: nobody else is between.
    """

    def __init__(
        self, url: str, folder: Path, ffmpeg: str, roll_s: float = float("inf"), listens: bool = False
    ) -> None:
        self._url = url
        self._folder = folder
        self._ffmpeg = ffmpeg
        self._roll_s = roll_s
        self._listens = listens
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._finished: list[Part] = []
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="receiver")
        self._thread.start()

    def take_finished(self) -> list[Part]:
        """The parts that came to their end since the last call."""
        with self._lock:
            finished, self._finished = self._finished, []
        return finished

    def reconnect(self) -> None:
        """Leaves the present connection for a new one, whose times may begin at zero again."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Ends the reception."""
        self._closing.set()
        if self._process is not None:
            self._process.terminate()
            self._thread.join(_CLOSE_S)
            self._process.kill()  # where nothing comes any more, ffmpeg does not heed the first signal
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._receive()
            self._closing.wait(_AGAIN_S)

    def _receive(self) -> None:
        command = [
            self._ffmpeg, "-v", "error", "-nostdin", "-fpsprobesize", "0", "-analyzeduration", "500000",
            *(("-listen", "1") if self._listens else ()),
            "-i", self._url, "-c", "copy", "-copyts", "-flush_packets", "1", "-f", "flv", "pipe:1",
        ]  # fmt: skip
        process = self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        parser, parameters, part, file = FlvParser(), {}, None, None
        with process:
            while data := process.stdout.read1(_READ_BYTES):  # type: ignore[attr-defined]
                now = time.monotonic()
                for tag in parser.feed(data):
                    if tag.configuration:
                        parameters[tag.kind] = tag
                    elif part is None and not tag.keyframe:
                        continue
                    elif part is None or (tag.keyframe and _length_s(part) > self._roll_s):
                        if file is not None:
                            file.close()
                            self._finish(part)
                        part = self._new_part()
                        file = part.path.open("wb")
                        file.write(HEADER + b"".join(each.data for each in parameters.values()))
                    if part is not None and file is not None:
                        file.write(tag.data)
                        _note(part, tag, now)
        if file is not None:
            file.close()
            self._finish(part)

    def _new_part(self) -> Part:
        self._made += 1
        return Part(self._folder / f"part-{self._made:03}.flv")

    def _finish(self, part: Part | None) -> None:
        with self._lock:
            if part is not None and part.picture_ms:
                self._finished.append(part)


def _length_s(part: Part) -> float:
    return (part.picture_ms[-1] - part.picture_ms[0]) / 1000


def _note(part: Part, tag: Tag, now: float) -> None:
    if tag.configuration:
        return
    if tag.kind is TagKind.PICTURE:
        part.picture_ms.append(tag.time_ms)
        part.arrived_s.append(now)
    elif tag.kind is TagKind.SOUND:
        part.sound_ms.append(tag.time_ms)
