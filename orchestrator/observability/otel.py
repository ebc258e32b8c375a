"""Spans of OpenTelemetry, sent to an OTLP/HTTP collector by a thread of their own. Imported only with an endpoint."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inference.span import Value
from orchestrator.observability.logs import without_secrets

_PREFIX = "latentsync."
_SERVICE = "latentsync-realtime"
_LAST_SPANS_S = 3.0
_TELL_EVERY_S = 60.0

_context = TraceContextTextMapPropagator()


class OtelSpan:
    """A span of ours; see `inference.span.Span`."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    @property
    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        # Triton records whatever names a parent, also where its trace is not recorded.
        if self._span.is_recording():
            _context.inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    def child(
        self, name: str, attributes: Mapping[str, Value], calls: bool = False, began_at: float | None = None
    ) -> OtelSpan:
        kind = SpanKind.CLIENT if calls else SpanKind.INTERNAL
        parent = trace.set_span_in_context(self._span)
        began = _nanoseconds(began_at)
        return OtelSpan(self._tracer, self._tracer.start_span(name, parent, kind, _named(attributes), start_time=began))

    def note(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(_named(attributes))

    def event(self, name: str, at: float | None = None) -> None:
        self._span.add_event(name, timestamp=_nanoseconds(at))

    def fail(self, reason: str) -> None:
        self._span.set_status(StatusCode.ERROR, without_secrets(reason))

    def end(self, at: float | None = None) -> None:
        self._span.end(_nanoseconds(at))


class OtelTracer:
    """Begins traces, or goes on with those of callers; `aclose` sends what is left."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's base address; everything else is set by OpenTelemetry's own variables."""
        tell_seldom(logging.getLogger("opentelemetry"), logging.getLogger(__name__))
        resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        # In a thread, and what finds no place in its queue is dropped: a collector that is away costs no task anything.
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
        self._tracer = self._provider.get_tracer("orchestrator")

    def begin(self, name: str, attributes: Mapping[str, Value], caller: Mapping[str, str] | None = None) -> OtelSpan:
        """The first span of ours in a trace; `caller` are the headers of a request, whose `traceparent` is followed."""
        kind = SpanKind.INTERNAL if caller is None else SpanKind.SERVER
        parent = _context.extract(caller or {}, context=trace.set_span_in_context(trace.INVALID_SPAN))
        return OtelSpan(self._tracer, self._tracer.start_span(name, parent, kind, _named(attributes)))

    async def aclose(self) -> None:
        """Send what is left, for at most some seconds: nobody waits for a collector that is away."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, _LAST_SPANS_S)


def tell_seldom(source: logging.Logger, target: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
    """Have `target` say what `source` and its children warn of, once a minute; they do for each batch and span."""
    source.propagate = False
    source.handlers = [_Seldom(target, clock)]


class _Seldom(logging.Handler):
    def __init__(self, target: logging.Logger, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._target = target
        self._clock = clock
        self._quiet_until: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if self._quiet_until is None or now >= self._quiet_until:
            self._quiet_until = now + _TELL_EVERY_S
            self._target.warning("traces don't reach the collector, tasks go on without: %s", record.getMessage())


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Our own attributes get our prefix; those with a dot have a name in OpenTelemetry's conventions."""
    return {
        name if "." in name else _PREFIX + name: without_secrets(value) if isinstance(value, str) else value
        for name, value in attributes.items()
    }


def _nanoseconds(at: float | None) -> int | None:
    return None if at is None else round(at * 1e9)
