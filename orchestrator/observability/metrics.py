"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.tasks.task import TaskState

PREFIX = "latentsync"
TASK_STORE, CHANNEL_STORE = "tasks.sqlite3", "channels.json"


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.request_s = Histogram(
            f"{PREFIX}_http_request_seconds",
            "Time to the first byte of the answer",
            ["route"],
            registry=self.registry,
        )
        self.upload_bytes = Counter(f"{PREFIX}_upload_bytes", "Bytes of uploads read", registry=self.registry)
        self.tasks = Counter(f"{PREFIX}_tasks", "Tasks by final state", ["state"], registry=self.registry)
        for state in TaskState:
            if state.final:  # from the start, or the first failure would be no increase
                self.tasks.labels(state.value)
        self.unwritten = Gauge(
            f"{PREFIX}_task_states_unwritten",
            "Tasks whose state is in memory alone, since the task store can't be written",
            registry=self.registry,
        )
        self.set_aside = Counter(
            f"{PREFIX}_files_set_aside", "Damaged files that were set aside", ["file"], registry=self.registry
        )
        for file in (TASK_STORE, CHANNEL_STORE):
            self.set_aside.labels(file)
        self.speech_s = Counter(f"{PREFIX}_speech_seconds", "Seconds of speech accepted", registry=self.registry)
        self.first_frame_s = Histogram(
            f"{PREFIX}_first_frame_seconds",
            "From the end of the upload to the first spoken frame on the stream",
            buckets=(0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 20, 40, 80),
            registry=self.registry,
        )
        self.text_first_sound_s = Histogram(
            f"{PREFIX}_text_first_sound_seconds",
            "From a text to its first sound on the stream",
            buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 40, 80),
            registry=self.registry,
        )
        self.triton_up = Gauge(f"{PREFIX}_triton_up", "1 while Triton is ready for speech", registry=self.registry)
        self.triton_server_up = Gauge(
            f"{PREFIX}_triton_server_up",
            "1 while this Triton could make a speech; others may, where there are several",
            ["server"],
            registry=self.registry,
        )
        self._servers: set[str] = set()
        self.model_up = Gauge(
            f"{PREFIX}_model_up",
            "1 while the model's own process answers at every Triton",
            ["model"],
            registry=self.registry,
        )
        self.model_failures = Counter(
            f"{PREFIX}_model_failures",
            "Times that a model's process was found dead or hanging",
            ["model"],
            registry=self.registry,
        )
        self.model_reloads = Counter(
            f"{PREFIX}_model_reloads",
            "Models loaded again, and refusals of that",
            ["model", "result"],
            registry=self.registry,
        )

    def tell_servers(self, ready: Mapping[str, bool]) -> None:
        """Report the Tritons that there are, by their addresses, and no others any more."""
        for gone in self._servers - ready.keys():
            self.triton_server_up.remove(gone)
        self._servers = set(ready)
        for address, is_ready in ready.items():
            self.triton_server_up.labels(address).set(is_ready)


def triton_restarts(registry: CollectorRegistry) -> Counter:
    """The counter of whoever runs a tritonserver; where it is run elsewhere a 0 would say too much."""
    return Counter(f"{PREFIX}_triton_restarts", "Restarts of the tritonserver that runs here", registry=registry)
