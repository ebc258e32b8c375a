"""Who wants to hear of changes, and what they haven't heard yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import anyio

# Far more than the things that change between two sends to a client that reads.
_MOST_PENDING = 2000


class Notice(Protocol):
    """Something that changed: what kind of thing, which one, and how it is now."""

    @property
    def kind(self) -> str: ...

    @property
    def id(self) -> str: ...

    def as_json(self) -> Mapping[str, object]: ...


class Subscription:
    """The newest notice of each changed thing. A slow listener misses steps in between and never the last one.

    A listener that is too far behind is ended instead: one that subscribes again begins with the present state.
    """

    def __init__(self, wanted: Callable[[Notice], bool] = lambda notice: True) -> None:
        self._wanted = wanted
        self._pending: dict[tuple[str, str], Notice] = {}
        self._changed = anyio.Event()
        self._closed = False

    def put(self, notice: Notice) -> None:
        """Note a change."""
        if self._closed or not self._wanted(notice):
            return
        key = (notice.kind, notice.id)
        self._pending.pop(key, None)
        self._pending[key] = notice
        if len(self._pending) > _MOST_PENDING:
            self._pending.clear()
            self._closed = True
        self._changed.set()

    def close(self) -> None:
        """End after what is pending."""
        self._closed = True
        self._changed.set()

    async def next(self) -> list[Notice] | None:
        """What has changed since the last call, waiting for it if need be; None after the end."""
        while not self._pending:
            if self._closed:
                return None
            await self._changed.wait()
            if not self._closed:
                self._changed = anyio.Event()
        pending, self._pending = self._pending, {}
        return list(pending.values())


class Broadcast:
    """Hands each notice to all subscriptions, whose memory is bounded."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @contextmanager
    def subscribe(self, wanted: Callable[[Notice], bool] = lambda notice: True) -> Iterator[Subscription]:
        """A subscription to what changes from now on, as far as it is `wanted`."""
        subscription = Subscription(wanted)
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def send(self, notice: Notice) -> None:
        """Tell everyone."""
        for subscription in self._subscriptions:
            subscription.put(notice)

    def close(self) -> None:
        """End all subscriptions, and those to come."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()
