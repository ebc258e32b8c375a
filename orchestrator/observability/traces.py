"""The traces of one server: a span for each request that changes something, and one for each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from inference.span import Span, Value, current, enter, within
from orchestrator.tasks.task import Stage, Task

_MOMENTS = {
    Stage.FIRST_FACE: "first face made",
    Stage.HANDED_OVER: "first frame handed to the channel",
    Stage.FIRST_FRAME: "first frame on the stream",
    Stage.ENCODED_OPUS: "first frame encoded, with Opus",
    Stage.ENCODED: "first frame encoded",
}


class Tracer(Protocol):
    """Where traces begin; `orchestrator.observability.otel.OtelTracer` is one."""

    def begin(self, name: str, attributes: Mapping[str, Value], caller: Mapping[str, str] | None = None) -> Span:
        """The first span of ours in a trace, or in that of a caller's headers."""
        ...

    async def aclose(self) -> None:
        """Send what is left."""
        ...


class Traces:
    """Keeps the span of each task from its upload to its end; without a tracer it keeps nothing."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._tasks: dict[str, Span] = {}

    @classmethod
    def to(cls, endpoint: str | None) -> Traces:
        """Traces that are sent to an OTLP/HTTP collector; None makes none."""
        if endpoint is None:
            return cls()
        from orchestrator.observability.otel import OtelTracer  # an import that only those pay who want it

        return cls(OtelTracer(endpoint))

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
        """The span of a request, which goes on with its caller's trace."""
        if self._tracer is None:
            yield None
            return
        span = self._tracer.begin(method, {"http.request.method": method, "url.path": path}, headers)
        enter(span)  # and never left: a fault is logged outside, in the context that uvicorn gave this request alone
        try:
            yield span
        except Exception as error:
            span.fail(str(error) or type(error).__name__)
            raise
        finally:
            span.end()

    def accepted(self, task: Task) -> None:
        """Begin the span of a task, within the request that runs."""
        span = current()
        if span is not None:
            self._tasks[task.id] = span.child("task", _about(task))

    @contextmanager
    def making(self, task: Task) -> Iterator[None]:
        """What runs inside belongs to the task. One that an earlier run of the server accepted gets a trace anew."""
        if self._tracer is not None and task.id not in self._tasks:
            self._tasks[task.id] = self._tracer.begin("task", {**_about(task), "resumed": True})
        span = self._tasks.get(task.id)
        started_at = task.stamps.get(Stage.STARTED.value)
        if span is not None and started_at is not None:
            queued_at = task.stamps.get(Stage.DECODED.value, task.created_at)
            span.child("queue", {"task_attempt": task.attempts}, began_at=queued_at).end(started_at)
        with within(span):
            yield

    def finished(self, task: Task) -> None:
        """End the span of a task that has its final state."""
        span = self._tasks.pop(task.id, None)
        if span is None:
            return
        span.note({"state": task.state.value, "frames": task.frames_total, "frames_played": task.frames_played})
        for stage, moment in _MOMENTS.items():
            if stage.value in task.stamps:
                span.event(moment, task.stamps[stage.value])
        played_from, done = task.stamps.get(Stage.FIRST_FRAME.value), task.stamps.get(Stage.DONE.value)
        if played_from is not None:
            played = {"frames_played": task.frames_played}
            span.child("play", played, began_at=played_from).end(done)
        if task.failure is not None:
            span.note({"error.type": task.failure.code})
            span.fail(task.failure.message)
        span.end(done)

    def trace_id(self, task_id: str) -> str | None:
        """The trace of a task that is not finished, or None."""
        span = self._tasks.get(task_id)
        return None if span is None else span.trace_id

    async def aclose(self) -> None:
        """End what is unfinished, and send what is left."""
        for span in self._tasks.values():
            span.event("the server stopped")
            span.end()
        self._tasks.clear()
        if self._tracer is not None:
            await self._tracer.aclose()


def _about(task: Task) -> dict[str, Value]:
    return {
        "task_id": task.id,
        "channel": task.channel,
        "steps": task.steps,
        "guidance": task.guidance,
        **({} if task.duration_s is None else {"duration_s": task.duration_s}),
    }
