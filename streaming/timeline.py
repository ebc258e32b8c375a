"""The encoded stream inside the channel: the packets of all encoder runs as one stream, fanned out to every output."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from streaming.flv_tags import HEADER, Tag, TagKind
from streaming.flv_writer import configuration_tags, packet_tag
from streaming.packet import Description, Packet, Track

_LONGEST_QUEUE_MS = 4_000
"""Longest backlog of a target; a slower target skips to the next keyframe."""


class TagQueue:
    """The tags that one target has still to send; bounded in time, and complete from a keyframe on."""

    def __init__(self, skipping: bool = False) -> None:
        self.dropped = 0
        self.ended = False
        self._tags: deque[Tag] = deque()
        self._skipping = skipping  # until the next keyframe
        self._changed = threading.Condition()

    def put(self, tag: Tag) -> None:
        """Appends a tag; a queue that is too long is emptied and continues with the next keyframe."""
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

    def put_back(self, tag: Tag) -> None:
        """Makes `tag` the next one again."""
        with self._changed:
            self._tags.appendleft(tag)

    def take(self, timeout_s: float) -> Tag | None:
        """The next tag; None when none arrived within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._tags, timeout_s)
            return self._tags.popleft() if self._tags else None


class StreamTimeline:
    """Joins the encoder runs; timestamps never go back.

    Listeners get packets, subscribers FLV tags of them, which are made once. The current group of pictures is kept, so
    that a target that connects can start at once.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._lock = threading.Lock()
        self._queues: set[TagQueue] = set()
        self._configuration: dict[TagKind, Tag] = {}
        self._group: list[Tag] = []
        self._listeners: tuple[Callable[[Description | Packet], None], ...] = ()
        self._last_pts: dict[Track, int] = {}
        self._last_ms = {TagKind.PICTURE: -1, TagKind.SOUND: -1}
        self._skew_ms = 0.0

    @property
    def ready(self) -> bool:
        """True once there is a keyframe to start with."""
        return bool(self._group)

    @property
    def av_offset_s(self) -> float:
        """Timestamp of the newest picture minus that of the newest sound, averaged over about a second."""
        return self._skew_ms / 1000

    def subscribe(self, after_ms: int = -1) -> tuple[bytes, TagQueue]:
        """The beginning of an FLV, and a queue of the tags that follow.

        `after_ms` is the last timestamp that this target was sent. The queue starts with the latest keyframe when
        that is later than `after_ms`, otherwise with the next keyframe.
        """
        with self._lock:
            begin = self._beginning()
            current = self._group if self._group and self._group[0].time_ms > after_ms else []
            queue = TagQueue(skipping=not current)
            for tag in current:
                queue.put(tag)
            self._queues.add(queue)
        return begin, queue

    @property
    def beginning(self) -> bytes:
        """The beginning of an FLV: header and decoder parameters."""
        with self._lock:
            return self._beginning()

    def _beginning(self) -> bytes:
        return HEADER + b"".join(tag.data for tag in self._configuration.values())

    def unsubscribe(self, queue: TagQueue) -> None:
        """Ends a subscription."""
        with self._lock:
            self._queues.discard(queue)

    def begin_epoch(self) -> None:
        """Ends all subscriptions: the timestamps restart at zero, which a running FLV can't contain."""
        with self._lock:
            for queue in self._queues:
                queue.ended = True
            self._queues.clear()
            self._configuration.clear()
            self._group = []
            self._last_ms = dict.fromkeys(self._last_ms, -1)
            self._last_pts.clear()
            self.epoch += 1

    def listen(self, listener: Callable[[Description | Packet], None]) -> None:
        """Calls `listener` with each message from now on, in the thread that reads the encoder."""
        self._listeners = (*self._listeners, listener)

    def receive(self, message: Description | Packet) -> None:
        """Adds the next message of the encoder."""
        if isinstance(message, Description):
            tags = configuration_tags(message)
        else:
            if message.pts <= self._last_pts.get(message.track, -1):
                return  # the priming of a new run's sound overlaps the end of the run before
            self._last_pts[message.track] = message.pts
            tag = packet_tag(message)
            tags = [] if tag is None else [tag]
        for listener in self._listeners:
            listener(message)
        with self._lock:
            for tag in tags:
                self._add(tag)

    def _add(self, tag: Tag) -> None:
        if tag.configuration:
            known = self._configuration.get(tag.kind)
            if known is not None and known.data == tag.data:
                return  # the same parameters as the run before: the targets need no new header
            self._configuration[tag.kind] = tag
        else:
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
            self._skew_ms += ((picture - sound) - self._skew_ms) / 64  # 72 tags a second
