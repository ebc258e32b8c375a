"""What WebRTC's viewers count, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.observability.metrics import PREFIX
from streaming.webrtc.counts import ViewerCounts

_GAUGES = {
    "viewers": ("viewers", "Viewers over WebRTC"),
    "pending": ("viewers_connecting", "Viewers whose offer was answered and who have not connected yet"),
    "worst_fraction_lost": ("worst_loss_ratio", "Share of the packets that the worst connection loses"),
    "worst_rtt_s": ("worst_rtt_seconds", "Round trip of the worst connection"),
}
_COUNTERS = {
    "bytes_sent": ("sent_bytes", "Bytes of media to all viewers"),
    "packets_resent": ("resent_packets", "Packets that viewers had lost and got again"),
    "keyframe_requests": ("keyframe_requests", "Keyframes that viewers asked for"),
}


class AudienceCollector(Collector):
    """Reads the last counts of each channel's process at each scrape; they begin anew with each process."""

    def __init__(self, counts: Callable[[], Mapping[str, ViewerCounts]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """A metric with a sample for each channel that has a process for WebRTC."""
        counts = self._counts()
        families = [(GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)]
        for family, fields in families:
            for field, (name, text) in fields.items():
                metric = family(f"{PREFIX}_webrtc_{name}", text, labels=["channel"])
                for channel, each in counts.items():
                    metric.add_metric([channel], float(getattr(each, field)))
                yield metric
