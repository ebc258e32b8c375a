"""Who wants to hear of changes, and what they haven't heard yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import anyio


class Notice(Protocol):
    """Something that changed: what kind of thing, which one, and how it is now."""

    @property
    def kind(self) -> str: ...

    @property
    def id(self) -> str: ...

    def as_json(self) -> dict[str, Any]: ...


class Subscription:
    """The newest notice of each changed thing. A slow listener misses steps in between and never the last one."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str], Notice] = {}
        self._changed = anyio.Event()
        self._closed = False

    def put(self, notice: Notice) -> None:
        """Note a change."""
        key = (notice.kind, notice.id)
        self._pending.pop(key, None)
        self._pending[key] = notice
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
    """Hands each notice to all subscriptions; memory is bounded by the number of things."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """A subscription to what changes from now on."""
        subscription = Subscription()
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
