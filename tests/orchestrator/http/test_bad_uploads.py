"""What is refused, with which status and code; the stream and the disk stay as they were."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, free_port, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), upload_limit_bytes=500_000, speech_limit_s=10)
    async with running(settings) as started:
        await started.ready()
        yield started


async def refused(server: RunningServer, answer: httpx.Response, status: int, code: str) -> str:
    """Checks the error and that nothing stays of the upload; returns the message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message"}
    assert list(server.orchestrator.files.incoming.iterdir()) == []
    assert list(server.orchestrator.settings.tasks_dir.glob("*.speech")) == []
    assert (await server.http.get("/v1/tasks")).json()["tasks"] == []
    channel = (await server.http.get("/v1/channels/main")).json()
    assert (channel["state"], channel["restarts"], channel["stream"]["state"]) == ("running", 0, "idle")
    message: str = error["message"]
    return message


@pytest.mark.parametrize("path", ["/generate_video", "/v1/tasks"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_audio"),
        (b"this is no audio at all" * 100, "not_audio"),
        (wav(0), "empty_audio"),
        (wav(1, amplitude=0), "silent_audio"),
        (wav(3)[:20_000], "truncated_audio"),
    ],
    ids=["empty", "text", "zero seconds", "silence", "truncated"],
)
async def test_what_is_no_speech_is_unprocessable(server: RunningServer, path: str, content: bytes, code: str) -> None:
    answer = await server.http.post(path, files={"audio_file": ("speech.wav", content)})
    await refused(server, answer, 422, code)


async def test_speech_beyond_the_duration_limit_is_too_large(server: RunningServer) -> None:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(10.2))})
    assert "10 s" in await refused(server, answer, 413, "audio_too_long")


async def test_upload_beyond_the_size_limit_is_told_so(server: RunningServer) -> None:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", b"\0" * 5_000_000)})
    assert "0.5 MB" in await refused(server, answer, 413, "upload_too_large")


async def test_endless_upload_is_not_read_for_ever(server: RunningServer) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n'
        while True:
            sent += 1_000_000
            yield b"\0" * 1_000_000

    with contextlib.suppress(httpx.TransportError):  # a sender that never listens meets a closed connection
        answer = await server.http.post("/v1/tasks", content=endless(), headers=FORM)
        assert answer.status_code == 413
    while list(server.orchestrator.files.incoming.iterdir()):  # the sender may see the end before it is tidied up
        await asyncio.sleep(0.01)


async def test_large_file_in_a_field_that_nobody_asked_for_is_refused_too(server: RunningServer) -> None:
    files = {"other": ("a.bin", b"\0" * 2_000_000), "audio_file": ("speech.wav", wav(1))}
    await refused(server, await server.http.post("/v1/tasks", files=files), 413, "upload_too_large")


async def test_wrong_field_name_is_named(server: RunningServer) -> None:
    answer = await server.http.post("/generate_video", files={"audio": ("speech.wav", wav(1))})
    message = await refused(server, answer, 422, "audio_file_missing")
    assert "audio (file)" in message and "audio_file" in message


async def test_file_name_sent_as_text_gets_a_hint_at_the_at_sign(server: RunningServer) -> None:
    answer = await server.http.post("/v1/tasks", files={"audio_file": (None, "speech.wav")})
    assert "@" in await refused(server, answer, 422, "audio_file_missing")


async def test_json_is_no_form(server: RunningServer) -> None:
    answer = await server.http.post("/v1/tasks", json={"audio_file": "speech.wav"})
    await refused(server, answer, 415, "not_a_form")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--y\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a"\r\n\r\nRIFF',
        b"--x\r\nno colon here\r\n\r\n--x--\r\n",
    ],
    ids=["empty", "other boundary", "cut off", "bad header"],
)
async def test_broken_form_is_a_bad_request(server: RunningServer, body: bytes) -> None:
    await refused(server, await server.http.post("/v1/tasks", content=body, headers=FORM), 400, "broken_form")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_inference_steps", "0"),
        ("num_inference_steps", "51"),
        ("num_inference_steps", "2.5"),
        ("num_inference_steps", "9" * 500),
        ("guidance_scale", "0.5"),
        ("guidance_scale", "nan"),
        ("guidance_scale", "much"),
        ("seed", "-1"),
    ],
)
async def test_bad_number_is_named_with_its_range(server: RunningServer, field: str, value: str) -> None:
    files = {"audio_file": ("speech.wav", wav(1))}
    answer = await server.http.post("/v1/tasks", files=files, data={field: value})
    assert field in await refused(server, answer, 422, f"bad_{field}")


async def test_queue_that_is_neither_true_nor_false_cancels_nothing(server: RunningServer) -> None:
    answer = await server.http.post("/v1/channels/main/interrupt", params={"queue": "True"})
    assert "true or false" in await refused(server, answer, 422, "bad_queue")


async def test_unknown_channel_task_and_path_are_not_found(server: RunningServer) -> None:
    files = {"audio_file": ("speech.wav", wav(1))}
    answer = await server.http.post("/v1/tasks", files=files, data={"channel": "../etc"})
    await refused(server, answer, 404, "unknown_channel")
    await refused(server, await server.http.get("/v1/tasks/nobody"), 404, "unknown_task")
    await refused(server, await server.http.delete("/v1/tasks/nobody"), 404, "unknown_task")
    await refused(server, await server.http.get("/v1/tasks/nobody/events"), 404, "unknown_task")
    await refused(server, await server.http.post("/v1/channels/nobody/interrupt"), 404, "unknown_channel")
    await refused(server, await server.http.get("/v1/avatars/..%2f..%2fetc/preview.png"), 404, "not_found")
    await refused(server, await server.http.get("/v1/avatars/nobody/preview.png"), 404, "unknown_avatar")
    await refused(server, await server.http.get("/nothing"), 404, "not_found")
    await refused(server, await server.http.get("/generate_video"), 405, "method_not_allowed")


async def test_form_from_another_sites_page_is_forbidden(server: RunningServer) -> None:
    for origin in ("https://elsewhere.example", "null", "http://["):
        files = {"audio_file": ("speech.wav", wav(1))}
        answer = await server.http.post("/v1/tasks", files=files, headers={"Origin": origin})
        await refused(server, answer, 403, "foreign_origin")


async def test_client_that_goes_away_leaves_nothing(server: RunningServer) -> None:
    settings = server.orchestrator.settings
    _, writer = await asyncio.open_connection(settings.http_host, settings.http_port)
    writer.write(b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90000\r\n")
    writer.write(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
    writer.write(b'Content-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\nRIFFRIFF')
    await writer.drain()
    while not list(server.orchestrator.files.incoming.iterdir()):
        await asyncio.sleep(0.01)
    writer.close()
    while list(server.orchestrator.files.incoming.iterdir()):
        await asyncio.sleep(0.01)


async def test_without_triton_uploads_are_refused_for_a_while(server: RunningServer) -> None:
    server.models.ready = False
    try:
        while server.orchestrator.triton.health.ready:
            await asyncio.sleep(0.05)
        answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(1))})
        await refused(server, answer, 503, "triton_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        health = await server.http.get("/health/ready")
        assert health.status_code == 503
        assert health.json()["parts"]["triton"]["ready"] is False
        assert (await server.http.get("/health/live")).status_code == 200
    finally:
        server.models.ready = True
        await server.ready()


async def test_triton_that_never_ran_is_a_named_part_and_not_a_crash(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_in(tmp_path_factory.mktemp("alone"), triton_url=f"127.0.0.1:{free_port()}")
    async with running(settings, real_client=True) as server:
        answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(1))})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "triton_unavailable"
