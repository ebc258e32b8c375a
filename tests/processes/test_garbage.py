"""What is there when a process has begun is looked at by no collection, and what comes later still is."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from processes.garbage import freeze_what_is_there


class Node:
    """One of a cycle."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_collections_look_at_what_comes_later_alone() -> None:
    there = Node()
    freeze_what_is_there()
    assert gc.get_freeze_count() > 10_000
    assert not any(each is there for each in gc.get_objects())
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None


def test_what_was_garbage_before_is_not_kept() -> None:
    gc.disable()
    try:
        before = weakref.ref(Node())
        freeze_what_is_there()
    finally:
        gc.enable()
    assert before() is None
