"""What a listener hears, and what waits for one that doesn't listen."""

import dataclasses
from typing import Any

import pytest

from orchestrator.observability import notices
from orchestrator.observability.notices import Broadcast


@dataclasses.dataclass(frozen=True)
class Change:
    id: str
    value: int = 0
    kind: str = "thing"

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


async def test_slow_listener_hears_the_newest_state_of_each_thing() -> None:
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        for value in range(5):
            broadcast.send(Change("a", value))
            broadcast.send(Change("b", value))
        assert await subscription.next() == [Change("a", 4), Change("b", 4)]


async def test_listener_that_is_too_far_behind_is_ended_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_MOST_PENDING", 10)
    broadcast = Broadcast()
    with broadcast.subscribe() as behind, broadcast.subscribe() as reading:
        for number in range(11):
            broadcast.send(Change(str(number)))
            assert await reading.next() == [Change(str(number))]
        assert await behind.next() is None
        broadcast.send(Change("later"))
        assert await behind.next() is None
        assert await reading.next() == [Change("later")]


async def test_listener_keeps_only_what_it_wants() -> None:
    broadcast = Broadcast()
    with broadcast.subscribe(lambda notice: notice.id == "a") as subscription:
        broadcast.send(Change("b"))
        broadcast.send(Change("a"))
        assert await subscription.next() == [Change("a")]
