"""Traces from upload to frame, joined with Triton's, at a real collector; and none of that unless it is asked for."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.launcher import TritonOptions, TritonServer
from latentsync.checkpoint import Checkpoint
from orchestrator.settings import SettingsError, load_settings
from tests.support.otlp_receiver import Received, collecting
from tests.support.running_server import RunningServer, free_port, running, settings_in
from tests.support.speech_samples import wav

CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
TRACEPARENT = {"traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01"}


async def speak(server: RunningServer, seconds: float, headers: dict[str, str] | None = None) -> str:
    await server.ready()
    files = {"audio_file": ("a.wav", wav(seconds))}
    task_id: str = (await server.http.post("/v1/tasks", files=files, headers=headers)).json()["task_id"]
    return task_id


def events(span: Received) -> list[str]:
    return [event.name for event in span.span.events]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(300)
async def test_one_trace_from_the_callers_request_to_the_played_frames_with_tritons_spans_in_it(
    checkpoint: Checkpoint,
    exported: Callable[..., Path],
    options_for: Callable[..., TritonOptions],
    tmp_path: Path,
) -> None:
    exported(tmp_path / "models")
    with collecting() as collector:
        options = options_for(
            tmp_path / "models",
            exit_timeout_s=3,
            otlp_endpoint=collector.endpoint,
            extra_arguments=("--trace-config=opentelemetry,bsp_schedule_delay=200",),
        )
        triton = await TritonServer.start(options)
        try:
            settings = settings_in(
                tmp_path, triton_url=f"127.0.0.1:{options.grpc_port}", otlp_endpoint=collector.endpoint
            )
            async with running(settings, real_client=True, resolution=checkpoint.resolution) as server:
                task_id = await speak(server, 0.9, TRACEPARENT)
                task = await server.task(task_id, "done")
            calls = [span for span in collector.spans if span.name.startswith("infer ")]
            for _ in range(200):  # not all may come, see below
                if len(collector.named("InferRequest")) == len(calls):
                    break
                await asyncio.sleep(0.1)
        finally:
            await triton.aclose()
    assert {span.trace_id for span in collector.spans} == {CALLER[0]}, "the watchdog's requests make no traces"

    (upload,) = collector.named("POST")
    assert upload.span.parent_span_id.hex() == CALLER[1]
    assert (upload.attributes["http.route"], upload.attributes["http.response.status_code"]) == ("/v1/tasks", 200)
    (said,), (decode,), (queue,), (play,) = (collector.named(name) for name in ("task", "decode", "queue", "play"))
    assert collector.parent(said) == collector.parent(decode) == upload
    assert said.attributes["latentsync.task_id"] == task_id and said.attributes["latentsync.state"] == "done"
    (features,), chunks = collector.named("features"), collector.named("chunk")
    assert {collector.parent(each).name for each in (queue, play, features, *chunks)} == {"task"}
    assert events(said) == [
        "first face made", "first frame handed to the channel", "first frame on the stream",
        "first frame encoded, with Opus", "first frame encoded",
    ]  # fmt: skip
    assert play.attributes["latentsync.frames_played"] == task["frames"]["total"]

    chunks.sort(key=lambda chunk: chunk.attributes["latentsync.chunk"])
    frames = [chunk.attributes["latentsync.frames"] for chunk in chunks]
    assert sum(frames) == task["frames"]["total"] and frames[:2] == [4, 8], "short ones first"
    for chunk in chunks:
        assert chunk.attributes["latentsync.attempt"] == 1
        assert chunk.attributes["latentsync.steps"] == task["num_inference_steps"]
        assert isinstance(chunk.attributes["latentsync.due_in_s"], float)  # negative on a machine that is too slow

    for model, parent, count in (("whisper", "features", 1), ("unet", "chunk", len(chunks))):
        requests = collector.named(f"infer {model}")
        assert [collector.parent(request).name for request in requests] == [parent] * count

    # Triton's own: the request over gRPC → the model → its computation. Triton reads the header `traceparent` past its
    # end (`GrpcServerCarrier::Get`), and doesn't trace a request where a byte other than zero follows it in memory.
    served = collector.named("InferRequest")
    assert served, f"Triton traced none of {[call.name for call in calls]}, see {options.log_path}"
    for request in served:
        call = collector.parent(request)
        (model_span,) = collector.children(request)
        assert call in calls and call.name == f"infer {model_span.name}"
        assert [span.name for span in collector.children(model_span)] == ["compute"]
        assert {span.service for span in (request, model_span)} == {"triton"}
    assert len({collector.parent(request).span.span_id for request in served}) == len(served), "traced once each"


async def test_refused_and_failed_say_so_and_their_log_lines_carry_the_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from orchestrator.observability.logs import JsonFormatter

    lines: list[dict[str, str]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Lines()
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.INFO)
    try:
        with collecting() as collector:
            async with running(settings_in(tmp_path, otlp_endpoint=collector.endpoint)) as server:
                await server.ready()
                await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", b"no audio")})
                server.models.failing = True
                task_id = await speak(server, 0.5)
                await server.task(task_id, "failed")
                assert not server.orchestrator.traces._tasks
    finally:
        logging.getLogger().removeHandler(handler)
    refused, accepted = collector.named("POST")
    assert refused.trace_id != accepted.trace_id
    assert refused.attributes["http.response.status_code"] == 422
    (failed,) = collector.named("task")
    assert failed.attributes["error.type"] == "inference_failed"
    assert failed.span.status.code == failed.span.status.STATUS_CODE_ERROR
    assert "the model said no" in failed.span.status.message
    (line,) = [line for line in lines if line["message"].startswith(f"task {task_id} is failed")]
    assert line["trace_id"] == failed.trace_id == accepted.trace_id
    assert all("trace_id" in line for line in lines if "chunk 0 failed" in line["message"])


async def test_task_of_an_earlier_run_gets_a_trace_of_its_own(tmp_path: Path) -> None:
    with collecting() as collector:
        settings = settings_in(tmp_path, otlp_endpoint=collector.endpoint, drain_limit_s=0.0)
        async with running(settings) as server:
            server.models.gate.clear()
            task_id = await speak(server, 0.5)
            await server.task(task_id, "inferring")
        (cut,) = collector.named("task")
        assert "the server stopped" in events(cut)
        async with running(settings) as server:
            await server.task(task_id, "done")
    _, resumed = collector.named("task")
    assert resumed.attributes["latentsync.resumed"] is True
    assert resumed.attributes["latentsync.task_id"] == cut.attributes["latentsync.task_id"] == task_id


@pytest.mark.parametrize("kind", ["closed", "silent"])
async def test_collector_that_is_away_costs_no_task_anything(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")  # whoever waits for it fails by the test's own limit
    # The SDK itself is silent about what it has said in the same 20 s, be it in another test.
    monkeypatch.setattr(logging.getLogger("opentelemetry.sdk._shared_internal"), "filters", [])
    connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: connections.append(writer), "127.0.0.1", 0)
    port = free_port() if kind == "closed" else silent.sockets[0].getsockname()[1]
    try:
        async with running(settings_in(tmp_path, otlp_endpoint=f"http://127.0.0.1:{port}")) as server:
            for _ in range(3):  # many more spans than the queue has places
                task = await server.task(await speak(server, 0.5), "done")
                assert task["frames"]["played"] == task["frames"]["total"] and task["attempts"] == 1
                assert (await server.http.get("/v1/channels")).json()["channels"][0]["restarts"] == 0
    finally:
        silent.close()
        for connection in connections:
            connection.close()
    warnings = [record for record in caplog.records if "traces don't reach the collector" in record.message]
    assert len(warnings) == 1, "said once, not for each span"


def test_nothing_is_imported_without_an_endpoint() -> None:
    program = "import sys, orchestrator.orchestrator, orchestrator.server; sys.exit('opentelemetry' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_standard_variable_is_followed_and_ours_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().otlp_endpoint is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")
    assert load_settings().otlp_endpoint == "http://collector:4318"
    monkeypatch.setenv("LATENTSYNC_OTLP_ENDPOINT", "")
    assert load_settings().otlp_endpoint is None
    monkeypatch.setenv("LATENTSYNC_OTLP_ENDPOINT", "https://other:4318/base")
    assert load_settings().otlp_endpoint == "https://other:4318/base"


@pytest.mark.parametrize("value", ["collector:4318", "grpc://collector:4317", "http://me:s3cret@collector:4318"])
def test_wrong_endpoints_are_refused_without_repeating_a_password(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_OTLP_ENDPOINT", value)
    with pytest.raises(SettingsError, match="otlp_endpoint") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)
