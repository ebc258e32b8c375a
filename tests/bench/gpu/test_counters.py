"""Triton's counters between two moments, and its metrics by GPU."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from bench.gpu.counters import ModelCounters, ModelTimes, inferences_by_gpu, times_between

METRICS = """\
# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{gpu_uuid="GPU-a",model="unet",version="1"} 30
nv_inference_count{gpu_uuid="GPU-b",model="unet",version="1"} 10
nv_inference_count{gpu_uuid="GPU-a",model="vae_decoder",version="1"} 7
nv_inference_count{model="lipsync",version="1"} 40
"""


@pytest.fixture
def metrics_port() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_queue_counts_by_request_and_computing_by_batch() -> None:
    before = ModelCounters(10, 10, 5, 1_000_000, 0, 50_000_000, 0, {2: 5})
    after = ModelCounters(18, 18, 7, 9_000_000, 4_000_000, 250_000_000, 2_000_000, {2: 5, 4: 2})
    times = ModelTimes.between(before, after)
    assert (times.inferences, times.executions, times.average_batch, times.batches) == (8, 2, 4.0, {4: 2})
    assert (times.queue_ms, times.input_ms, times.infer_ms, times.output_ms) == (1.0, 2.0, 100.0, 1.0)


def test_models_that_did_nothing_are_left_out() -> None:
    still = ModelCounters(1, 1, 1, 5, 5, 5, 5, {1: 1})
    times = times_between({"whisper": still}, {"whisper": still, "unet": still})
    assert list(times) == ["unet"]


def test_inferences_are_told_by_gpu_where_the_metrics_do(metrics_port: int) -> None:
    assert inferences_by_gpu("127.0.0.1", metrics_port, "unet") == {"GPU-a": 30, "GPU-b": 10}
    assert inferences_by_gpu("127.0.0.1", metrics_port, "lipsync") == {}
