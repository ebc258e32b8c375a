"""Speech as the body of a request, said while it arrives: by curl from a growing file, and by any HTTP client."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio

from orchestrator.access.keys import KeyFile, Scope
from tests.support.audio_files import children, convert, write_wav
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

PATH = "/v1/channels/main/speech"
PCM = {"Content-Type": "audio/L16;rate=24000;channels=1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), live_idle_limit_s=5.0, live_speech_limit_s=5.0)
    async with running(settings) as started:
        await started.ready()
        yield started


def tone(seconds: float) -> bytes:
    return bytes(np.rint(9_000 * np.sin(np.arange(round(24_000 * seconds)) / 20)).astype("<i2").tobytes())


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


async def the_only_task(server: RunningServer, state: str) -> str:
    """The newest task, once it is in that state."""
    while True:
        newest = (await server.http.get("/v1/tasks", params={"limit": 1})).json()["tasks"][0]
        if newest["state"] == state:
            return str(newest["task_id"])
        await asyncio.sleep(0.02)


async def unfinished(server: RunningServer) -> AsyncIterator[bytes]:
    """Half a second of speech whose source then sends nothing; it ends, for httpx, once the server has answered."""
    yield tone(0.5)
    while not server.orchestrator.sockets.taken:
        await asyncio.sleep(0.01)
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.01)


async def curl(server: RunningServer, *arguments: str) -> asyncio.subprocess.Process:
    url = str(server.http.base_url).rstrip("/") + PATH
    return await asyncio.create_subprocess_exec(
        "curl", "-sS", *arguments, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )


async def test_curl_sends_what_grows_and_its_task_is_there_before_its_end(server: RunningServer) -> None:
    process = await curl(server, "-T", "-", "-H", "Content-Type: audio/L16;rate=24000;channels=1")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(tone(1.0))
    await process.stdin.drain()
    while not (server.orchestrator.board.queued("main") or server.orchestrator.board.taken("main")):
        await asyncio.sleep(0.02)
    process.stdin.write(tone(0.5))
    process.stdin.close()
    answer = json.loads(await process.stdout.read())
    assert await process.wait() == 0
    assert answer["status"] == "processing_started"
    task = await server.task(answer["task_id"], "done")
    assert task["duration_s"] == pytest.approx(1.5, abs=0.04)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(("suffix", "options"), [("wav", ()), ("mp3", ()), ("webm", ("-c:a", "libopus"))])
async def test_any_container_that_a_pipe_can_carry_is_said(
    server: RunningServer, tmp_path: Path, method: str, suffix: str, options: tuple[str, ...]
) -> None:
    sound = 9_000 * np.sin(np.arange(32_000) / 20)
    path = convert(write_wav(tmp_path / "a.wav", sound, 16_000), tmp_path / f"b.{suffix}", *options)
    answer = await server.http.request(
        method, PATH, content=path.read_bytes(), params={"name": f"b.{suffix}", "seed": 7, "num_inference_steps": 3}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Location"] == f"/v1/tasks/{answer.json()['task_id']}"
    task = await server.task(answer.json()["task_id"], "done")
    assert task["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert (task["file_name"], task["seed"], task["num_inference_steps"]) == (f"b.{suffix}", 7, 3)


async def test_order_of_bytes_may_be_that_of_the_network(server: RunningServer) -> None:
    loud = np.frombuffer(tone(0.5), "<i2")
    headers = {"Content-Type": "audio/L16;rate=24000;channels=1;endianness=big-endian"}
    answer = await server.http.put(PATH, content=loud.astype(">i2").tobytes(), headers=headers)
    assert answer.status_code == 200
    await server.task(answer.json()["task_id"], "done")


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"", "audio/wav", 422, "not_audio"),
        (b"", "audio/L16;rate=24000", 422, "empty_audio"),
        (b"no audio at all " * 9_999, "audio/wav", 422, "not_audio"),
        (b"\0" * 999, "audio/L16", 422, "bad_pcm_type"),
        (b"\0" * 999, "audio/L16;rate=4000", 422, "bad_pcm_type"),
        (b"\0" * 999, "audio/L16;rate=24000;channels=7", 422, "bad_pcm_type"),
        (b"\0" * 999, "audio/L16;rate=fast", 422, "bad_pcm_type"),
        (tone(0.3) + b"\1", "audio/L16;rate=24000", 422, "cut_sample"),
        (tone(6.0), "audio/L16;rate=24000", 413, "audio_too_long"),
        (b"--x--", "multipart/form-data; boundary=x", 415, "not_sound"),
    ],
)
async def test_body_that_is_no_speech_is_refused(
    server: RunningServer, content: bytes, content_type: str, status: int, code: str
) -> None:
    refused(await server.http.put(PATH, content=content, headers={"Content-Type": content_type}), status, code)
    await server.http.post("/v1/channels/main/interrupt", params={"queue": "true"})
    while children():
        await asyncio.sleep(0.01)


async def test_samples_that_are_no_numbers_are_said_as_sound(server: RunningServer) -> None:
    sound = 0.3 * np.sin(np.arange(24_000) / 20)
    sound[6_000:6_100], sound[12_000:12_100], sound[18_000:18_100] = np.nan, np.inf, -np.inf
    samples = sound.astype("<f4").tobytes()
    header = struct.pack("<HHIIHH", 3, 1, 24_000, 96_000, 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(samples)) + samples
    body = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    for content in (body, wav(0.5)):
        answer = await server.http.put(PATH, content=content, headers={"Content-Type": "audio/wav"})
        assert answer.status_code == 200, answer.text
        task = await server.task(answer.json()["task_id"], "done")
        assert task["duration_s"] == pytest.approx(1.0 if content is body else 0.5, abs=0.04)


async def test_query_is_checked_as_a_form_is(server: RunningServer) -> None:
    for query, code in (({"seed": "-1"}, "bad_seed"), ({"num_inference_steps": "9999"}, "bad_num_inference_steps")):
        refused(await server.http.put(PATH, content=tone(0.1), headers=PCM, params=query), 422, code)
    refused(await server.http.put("/v1/channels/nothing/speech", content=tone(0.1)), 404, "unknown_channel")


async def test_body_that_stops_is_given_up_and_said_as_far_as_it_came(server: RunningServer) -> None:
    refused(await server.http.put(PATH, content=unfinished(server), headers=PCM), 408, "upload_stalled")
    await the_only_task(server, "failed")


async def test_client_that_goes_away_ends_its_speech(server: RunningServer) -> None:
    process = await curl(server, "-T", "-", "-H", "Content-Type: audio/L16;rate=24000;channels=1")
    assert process.stdin is not None
    process.stdin.write(tone(0.5))
    await process.stdin.drain()
    while not (server.orchestrator.board.queued("main") or server.orchestrator.board.taken("main")):
        await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    task = (await server.http.get(f"/v1/tasks/{await the_only_task(server, 'failed')}")).json()
    assert task["error"]["code"] == "source_lost"


async def test_speech_that_is_cancelled_meanwhile_answers_with_its_task(server: RunningServer) -> None:
    cancelled = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield tone(0.5)
        await cancelled.wait()
        yield tone(0.5)

    sending = asyncio.create_task(server.http.put(PATH, content=body(), headers=PCM))
    while not (ids := [*server.orchestrator.board.queued("main"), *server.orchestrator.board.taken("main")]):
        await asyncio.sleep(0.02)
    async with httpx.AsyncClient(base_url=server.http.base_url) as other:
        await other.delete(f"/v1/tasks/{ids[0]}")
    cancelled.set()
    answer = await sending
    assert (answer.status_code, answer.json()["task_id"]) == (200, ids[0])
    assert (await server.http.get(f"/v1/tasks/{ids[0]}")).json()["state"] == "cancelled"


async def test_server_that_stops_answers_and_says_what_it_has(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        sending = asyncio.create_task(server.http.put(PATH, content=unfinished(server), headers=PCM))
        while not (server.orchestrator.board.queued("main") or server.orchestrator.board.taken("main")):
            await asyncio.sleep(0.02)
        server.server.stop()
        refused(await sending, 503, "stopping")


async def test_places_are_those_of_the_sockets_and_keys_need_the_scope(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True, live_sockets=1)
    keys = KeyFile(settings.keys_path)
    speaker = {"Authorization": f"Bearer {keys.add('speaker', Scope.SPEAK)}", **PCM}
    viewer = {"Authorization": f"Bearer {keys.add('viewer', Scope.VIEW)}"}
    async with running(settings) as server:
        await server.ready()
        assert (await server.http.put(PATH, content=wav(0.1))).status_code == 401
        assert (await server.http.put(PATH, content=wav(0.1), headers=viewer)).status_code == 403
        ended = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield tone(0.2)
            await ended.wait()

        sending = asyncio.create_task(server.http.put(PATH, content=body(), headers=speaker))
        while not server.orchestrator.sockets.taken:
            await asyncio.sleep(0.01)
        refused(await server.http.put(PATH, content=tone(0.1), headers=speaker), 503, "busy")
        ended.set()
        assert (await sending).status_code == 200
