"""A collector: takes OTLP over HTTP, as protobuf or as JSON, and keeps the spans."""

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Received:
    """A span, of whom, and its attributes as plain values."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return _plain(self.span.attributes)


@dataclass
class Collector:
    """What has come until now."""

    endpoint: str
    spans: list[Received] = field(default_factory=list)

    def named(self, name: str) -> list[Received]:
        return [each for each in self.spans if each.name == name]

    def parent(self, of: Received) -> Received:
        """The span's parent; fails where it never came."""
        (found,) = [each for each in self.spans if each.span.span_id == of.span.parent_span_id]
        assert found.trace_id == of.trace_id
        return found

    def children(self, of: Received) -> list[Received]:
        """Those spans of its children that came."""
        return [each for each in self.spans if each.span.parent_span_id == of.span.span_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.spans += _spans(_parsed(body, self.headers["Content-Type"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _parsed(body: bytes, kind: str) -> ExportTraceServiceRequest:
    if kind == "application/x-protobuf":
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(body)
        return request
    assert kind == "application/json", kind
    # OTLP's JSON has ids in hexadecimal, and protobuf's own has bytes in base64.
    request = ExportTraceServiceRequest()
    json_format.ParseDict(json.loads(body, object_hook=_with_base64_ids), request)
    return request


def _with_base64_ids(entries: dict[str, Any]) -> dict[str, Any]:
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        name: base64.b64encode(bytes.fromhex(value)).decode() if name in ids else value
        for name, value in entries.items()
    }


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        service = _plain(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(service, span)


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
