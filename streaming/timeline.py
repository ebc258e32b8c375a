"""The encoded stream inside the channel: what each encoder run gives, joined into one and fanned out to the targets."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

from streaming.flv_tags import HEADER, FlvParser, Tag, TagKind

_log = logging.getLogger(__name__)

_READ_BYTES = 1 << 16
_LONGEST_QUEUE_MS = 4_000
"""What a target may be behind; a slower one is taken on to the next keyframe."""


class TagQueue:
    """The tags that one target has yet to send; bounded in time, and complete from a keyframe on."""

    def __init__(self, skipping: bool = False) -> None:
        self.dropped = 0
        self.ended = False
        self._tags: deque[Tag] = deque()
        self._skipping = skipping  # until the next keyframe
        self._changed = threading.Condition()

    def put(self, tag: Tag) -> None:
        """Appends a tag; a queue that is too long is emptied and goes on with the next keyframe."""
        with self._changed:
            if self._tags and tag.time_ms - self._tags[0].time_ms > _LONGEST_QUEUE_MS:
                self.dropped += len(self._tags)
                self._tags.clear()
                self._skipping = True
            if self._skipping and not tag.keyframe and not tag.configuration:
                self.dropped += 1
                return
            self._skipping = self._skipping and not tag.keyframe
            self._tags.append(tag)
            self._changed.notify()

    def take(self, timeout_s: float) -> Tag | None:
        """The next tag; None when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._tags, timeout_s)
            return self._tags.popleft() if self._tags else None


class StreamTimeline:
    """Joins the runs of the encoder and hands each tag to every subscriber; its times never go back.

    The group of pictures in progress is kept, so that a target that connects is on the air at once.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._lock = threading.Lock()
        self._queues: set[TagQueue] = set()
        self._configuration: dict[TagKind, Tag] = {}
        self._group: list[Tag] = []
        self._last_ms = {TagKind.PICTURE: -1, TagKind.SOUND: -1}
        self._skew_ms = 0.0

    @property
    def ready(self) -> bool:
        """True once there is a keyframe to begin with."""
        return bool(self._group)

    @property
    def av_offset_s(self) -> float:
        """By how much the newest picture's time is ahead of the newest sound's, averaged over about a second."""
        return self._skew_ms / 1000

    def subscribe(self, after_ms: int = -1) -> tuple[bytes, TagQueue]:
        """The beginning of an FLV and a queue with what follows.

        The queue begins with the latest keyframe where that is later than `after_ms`, the last time that this target
        has got already, and else with the next one.
        """
        with self._lock:
            begin = HEADER + b"".join(tag.data for tag in self._configuration.values())
            current = self._group if self._group and self._group[0].time_ms > after_ms else []
            queue = TagQueue(skipping=not current)
            for tag in current:
                queue.put(tag)
            self._queues.add(queue)
        return begin, queue

    def unsubscribe(self, queue: TagQueue) -> None:
        """Ends a subscription."""
        with self._lock:
            self._queues.discard(queue)

    def read(self, fd: int) -> None:
        """Takes one run's FLV from a pipe to its end, and closes it; blocks."""
        parser = FlvParser()
        try:
            while data := os.read(fd, _READ_BYTES):
                for tag in parser.feed(data):
                    self.receive(tag)
        except ValueError as error:
            _log.error("encoder: %s; waiting for the next one", error)
        finally:
            os.close(fd)

    def begin_epoch(self) -> None:
        """What comes next begins at zero again: it has nothing to do with what was subscribed to."""
        with self._lock:
            for queue in self._queues:
                queue.ended = True
            self._queues.clear()
            self._configuration.clear()
            self._group = []
            self._last_ms = dict.fromkeys(self._last_ms, -1)
            self.epoch += 1

    def receive(self, tag: Tag) -> None:
        """Takes the next tag."""
        with self._lock:
            if tag.configuration:
                known = self._configuration.get(tag.kind)
                if known is not None and known.data[11:-4] == tag.data[11:-4]:
                    return  # the next run encodes as the one before: for the targets it is one stream
                self._configuration[tag.kind] = tag
            else:
                if tag.time_ms <= self._last_ms[tag.kind]:
                    return  # the priming of a new run's sound lies under the end of the run before
                self._last_ms[tag.kind] = tag.time_ms
                self._note_skew()
                if tag.keyframe:
                    self._group = []
                if self._group or tag.keyframe:
                    self._group.append(tag)
            for queue in self._queues:
                queue.put(tag)

    def _note_skew(self) -> None:
        picture, sound = self._last_ms[TagKind.PICTURE], self._last_ms[TagKind.SOUND]
        if picture >= 0 and sound >= 0:
            self._skew_ms += ((picture - sound) - self._skew_ms) / 64  # 68 tags a second
