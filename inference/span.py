"""The current span of a trace. Where tracing is off there is none, and every function here does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Value = str | int | float | bool


class Span(Protocol):
    """A timed operation within a trace; `orchestrator.observability.otel` implements it."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """W3C trace context for the called program; empty where the trace is not sampled."""
        ...

    def child(
        self, name: str, attributes: Mapping[str, Value], calls: bool = False, began_at: float | None = None
    ) -> Span:
        """A span within this one; `calls`: it calls another program; `began_at` in Unix seconds, else now."""
        ...

    def note(self, attributes: Mapping[str, Value]) -> None:
        """Set attributes."""
        ...

    def event(self, name: str, at: float | None = None) -> None:
        """Mark a moment, in Unix seconds, else now."""
        ...

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        ...

    def end(self, at: float | None = None) -> None:
        """End it, in Unix seconds, else now."""
        ...


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current() -> Span | None:
    """The current span; an asyncio task inherits that of the code that created it."""
    return _current.get()


def headers() -> Mapping[str, str]:
    """Headers for a request to another program, so that its spans belong to this trace."""
    span = _current.get()
    return {} if span is None else span.headers


def note(**attributes: Value) -> None:
    """Set attributes of the current span."""
    span = _current.get()
    if span is not None:
        span.note(attributes)


def event(name: str) -> None:
    """Mark a moment in the current span."""
    span = _current.get()
    if span is not None:
        span.event(name)


def enter(span: Span) -> None:
    """Make a span the current one for as long as this context lives."""
    _current.set(span)


@contextmanager
def within(span: Span | None) -> Iterator[None]:
    """Run in a span that the caller ends; None changes nothing."""
    if span is None:
        yield
        return
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def child(name: str, *, calls: bool = False, **attributes: Value) -> Iterator[None]:
    """Run the block in a new span within the current one; an exception marks the span as failed."""
    parent = _current.get()
    if parent is None:
        yield
        return
    span = parent.child(name, attributes, calls)
    try:
        with within(span):
            yield
    except asyncio.CancelledError:
        span.event("cancelled")
        raise
    except BaseException as error:
        span.fail(str(error) or type(error).__name__)
        raise
    finally:
        span.end()
