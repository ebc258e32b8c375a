"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.channels.view import ChannelState, ChannelView
from orchestrator.tasks.task import TaskState
from streaming.events import PublisherState

_PREFIX = "latentsync"
_STATUS_COUNTERS = (
    "frames_sent",
    "late_waits",
    "late_frames",
    "repeated_frames",
    "dropped_pairs",
    "stalls",
    "reconnects",
    "encoder_restarts",
)
_STATUS_GAUGES = ("queue_s", "buffered_frames", "encoder_speed", "av_offset_s", "preview_readers")


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.request_s = Histogram(
            f"{_PREFIX}_http_request_seconds", "Time to the first byte of the answer", ["route"], registry=self.registry
        )
        self.upload_bytes = Counter(f"{_PREFIX}_upload_bytes", "Bytes of uploads read", registry=self.registry)
        self.tasks = Counter(f"{_PREFIX}_tasks", "Tasks by final state", ["state"], registry=self.registry)
        for state in TaskState:
            if state.final:  # from the start, or the first failure would be no increase
                self.tasks.labels(state.value)
        self.speech_s = Counter(f"{_PREFIX}_speech_seconds", "Seconds of speech accepted", registry=self.registry)
        self.first_frame_s = Histogram(
            f"{_PREFIX}_first_frame_seconds",
            "From the end of the upload to the first spoken frame on the stream",
            buckets=(0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 20, 40, 80),
            registry=self.registry,
        )
        self.triton_up = Gauge(f"{_PREFIX}_triton_up", "1 while Triton is ready for speech", registry=self.registry)
        self.triton_server_up = Gauge(
            f"{_PREFIX}_triton_server_up",
            "1 while this Triton could make a speech; others may, where there are several",
            ["server"],
            registry=self.registry,
        )
        self._servers: set[str] = set()
        self.model_up = Gauge(
            f"{_PREFIX}_model_up",
            "1 while the model's own process answers at every Triton",
            ["model"],
            registry=self.registry,
        )
        self.model_failures = Counter(
            f"{_PREFIX}_model_failures",
            "Times that a model's process was found dead or hanging",
            ["model"],
            registry=self.registry,
        )
        self.model_reloads = Counter(
            f"{_PREFIX}_model_reloads",
            "Models loaded again, and refusals of that",
            ["model", "result"],
            registry=self.registry,
        )
        self.channel_restarts = Counter(
            f"{_PREFIX}_channel_restarts", "Restarts of a channel's process", ["channel"], registry=self.registry
        )

    def tell_servers(self, well: Mapping[str, bool]) -> None:
        """Report the Tritons that there are, by their addresses, and no others any more."""
        for gone in self._servers - well.keys():
            self.triton_server_up.remove(gone)
        self._servers = set(well)
        for address, is_well in well.items():
            self.triton_server_up.labels(address).set(is_well)

    def watch_channels(self, views: Callable[[], Iterable[ChannelView]]) -> None:
        """Report what the channels themselves count."""
        self.registry.register(_ChannelCollector(views))


def triton_restarts(registry: CollectorRegistry) -> Counter:
    """The counter of whoever runs a tritonserver; where it is run elsewhere a 0 would say too much."""
    return Counter(f"{_PREFIX}_triton_restarts", "Restarts of the tritonserver that runs here", registry=registry)


class _ChannelCollector(Collector):
    """Reads the channels' last status at each scrape."""

    def __init__(self, views: Callable[[], Iterable[ChannelView]]) -> None:
        self._views = views

    def collect(self) -> Iterable[Metric]:
        views = list(self._views())
        running = GaugeMetricFamily(f"{_PREFIX}_channel_running", "1 while the process runs", labels=["channel"])
        # From the view, where it is 0 at first: a counter that begins at 1 would hide the first restart.
        restarts = CounterMetricFamily(
            f"{_PREFIX}_channel_restarts", "Restarts of a channel's process", labels=["channel"]
        )
        waiting = GaugeMetricFamily(f"{_PREFIX}_channel_waiting_tasks", "Tasks that wait", labels=["channel"])
        state = GaugeMetricFamily(f"{_PREFIX}_channel_state", "1 for the present state", labels=["channel", "state"])
        for view in views:
            running.add_metric([view.id], view.state is ChannelState.RUNNING)
            restarts.add_metric([view.id], view.restarts)
            waiting.add_metric([view.id], view.waiting)
            if view.status is not None:
                state.add_metric([view.id, view.status.state.value], 1)
        yield from (running, restarts, waiting, state, *_target_metrics(views))
        for name in (*_STATUS_COUNTERS, *_STATUS_GAUGES):
            family = CounterMetricFamily if name in _STATUS_COUNTERS else GaugeMetricFamily
            full_name = f"{_PREFIX}_channel_{name.removesuffix('_s')}" + ("_seconds" if name.endswith("_s") else "")
            metric = family(full_name, f"The channel's own {name.replace('_', ' ')}", labels=["channel"])
            for view in views:
                if view.status is not None:
                    metric.add_metric([view.id], float(getattr(view.status, name)))
            yield metric


def _target_metrics(views: list[ChannelView]) -> Iterable[Metric]:
    publisher = GaugeMetricFamily(
        f"{_PREFIX}_channel_publisher", "1 for the present state of encoder and targets", labels=["channel", "state"]
    )
    labels = ["channel", "number", "target"]
    up = GaugeMetricFamily(f"{_PREFIX}_channel_target_up", "1 while the target is on the air", labels=labels)
    reconnects = CounterMetricFamily(
        f"{_PREFIX}_channel_target_reconnects", "Connections to the target that were made again", labels=labels
    )
    dropped = CounterMetricFamily(
        f"{_PREFIX}_channel_target_dropped_packets", "Packets that the target was too slow for", labels=labels
    )
    for view in views:
        if view.status is None:
            continue
        publisher.add_metric([view.id, view.status.publisher.value], 1)
        # Addresses that differ in their key alone look the same.
        for number, target in enumerate(view.status.targets):
            values = [view.id, str(number), target.target]
            up.add_metric(values, target.state is PublisherState.ON_AIR)
            reconnects.add_metric(values, target.reconnects)
            dropped.add_metric(values, target.dropped_packets)
    yield from (publisher, up, reconnects, dropped)
