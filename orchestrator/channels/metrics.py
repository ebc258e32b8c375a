"""The channels' own counters, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.channels.view import ChannelState, ChannelView
from orchestrator.observability.metrics import PREFIX
from streaming.events import PublisherState
from streaming.targets import mask

_STATUS_COUNTERS = (
    "frames_sent",
    "late_waits",
    "late_frames",
    "repeated_frames",
    "dropped_pairs",
    "dropped_speech_pairs",
    "stalls",
    "reconnects",
    "encoder_restarts",
)
_STATUS_GAUGES = (
    "queue_s",
    "buffered_frames",
    "encoder_speed",
    "encoder_steps_down",
    "av_offset_s",
    "preview_readers",
)


class ChannelCollector(Collector):
    """Reads the channels' last status at each scrape; register it with a registry of Prometheus' client."""

    def __init__(self, views: Callable[[], Iterable[ChannelView]]) -> None:
        self._views = views

    def collect(self) -> Iterable[Metric]:
        views = list(self._views())
        running = GaugeMetricFamily(f"{PREFIX}_channel_running", "1 while the process runs", labels=["channel"])
        # From the view, where it is 0 at first: a counter that begins at 1 would hide the first restart.
        restarts = CounterMetricFamily(
            f"{PREFIX}_channel_restarts", "Restarts of a channel's process", labels=["channel"]
        )
        waiting = GaugeMetricFamily(f"{PREFIX}_channel_waiting_tasks", "Tasks that wait", labels=["channel"])
        state = GaugeMetricFamily(f"{PREFIX}_channel_state", "1 for the present state", labels=["channel", "state"])
        for view in views:
            running.add_metric([view.id], view.state is ChannelState.RUNNING)
            restarts.add_metric([view.id], view.restarts)
            waiting.add_metric([view.id], view.waiting)
            if view.status is not None:
                state.add_metric([view.id, view.status.state.value], 1)
        yield from (running, restarts, waiting, state, *_target_metrics(views))
        for name in (*_STATUS_COUNTERS, *_STATUS_GAUGES):
            family = CounterMetricFamily if name in _STATUS_COUNTERS else GaugeMetricFamily
            full_name = f"{PREFIX}_channel_{name.removesuffix('_s')}" + ("_seconds" if name.endswith("_s") else "")
            metric = family(full_name, f"The channel's own {name.replace('_', ' ')}", labels=["channel"])
            for view in views:
                if view.status is not None:
                    metric.add_metric([view.id], float(getattr(view.status, name)))
            yield metric


def _target_metrics(views: list[ChannelView]) -> Iterable[Metric]:
    publisher = GaugeMetricFamily(
        f"{PREFIX}_channel_publisher",
        "1 for the present state of encoder and targets",
        labels=["channel", "state"],
    )
    labels = ["channel", "number", "target"]
    up = GaugeMetricFamily(f"{PREFIX}_channel_target_up", "1 while the target is on the air", labels=labels)
    reconnects = CounterMetricFamily(
        f"{PREFIX}_channel_target_reconnects", "Connections to the target that were made again", labels=labels
    )
    dropped = CounterMetricFamily(
        f"{PREFIX}_channel_target_dropped_packets", "Packets that the target was too slow for", labels=labels
    )
    for view in views:
        if view.status is None:
            continue
        publisher.add_metric([view.id, view.status.publisher.value], 1)
        # The number tells masked addresses apart that differ only in their keys.
        for number, target in enumerate(view.status.targets):
            values = [view.id, str(number), target.target]
            up.add_metric(values, target.state is PublisherState.ON_AIR)
            reconnects.add_metric(values, target.reconnects)
            dropped.add_metric(values, target.dropped_packets)
        for number, target_address in enumerate(view.refused, start=len(view.status.targets)):
            up.add_metric([view.id, str(number), mask(target_address)], 0)
    yield from (publisher, up, reconnects, dropped)
