"""A file that an upload is written to fails: the client gets an answer that says so, and nothing is left behind."""

import errno
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio

from orchestrator.http import avatar_routes
from speech.audio import spool
from tests.support.failing_files import failing_files
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWERS = {
    errno.EIO: (507, "disk_failed"),
    errno.EROFS: (507, "disk_failed"),
    errno.EACCES: (507, "disk_failed"),
    errno.ENOSPC: (507, "disk_full"),
    errno.EDQUOT: (507, "disk_full"),
    errno.EMFILE: (503, "busy"),
    errno.ENOMEM: (503, "busy"),
    errno.ELOOP: (500, "internal_error"),
}
LARGE = bytes(8_000_000)  # more than the sockets hold: who is not read to the end sees a reset connection

codes = pytest.mark.parametrize("code", ANSWERS, ids=[errno.errorcode[code] for code in ANSWERS])
kinds = pytest.mark.parametrize("kind", ["task", "avatar"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        await started.ready()
        yield started


async def upload(server: RunningServer, kind: str, content: bytes) -> httpx.Response:
    if kind == "task":
        return await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", content)})
    return await server.http.post("/v1/avatars", data={"name": "new"}, files={"video": ("person.mp4", content)})


def assert_told(server: RunningServer, answer: httpx.Response, code: int) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == ANSWERS[code]
    assert ("Retry-After" in answer.headers) == (answer.status_code == 503)
    assert str(server.orchestrator.settings.data_dir) not in error["message"], (
        "paths of the server are none of the client's business"
    )
    if error["code"] in ("disk_failed", "busy"):
        assert os.strerror(code) in error["message"]


@codes
@kinds
async def test_file_that_cant_be_opened_is_told(
    server: RunningServer, kind: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with failing_files(server.orchestrator.settings.data_dir, code):
        assert_told(server, await upload(server, kind, LARGE), code)
    assert any(os.strerror(code) in record.getMessage() + str(record.exc_info) for record in caplog.records)
    accepted = await upload(server, "task", wav(0.5))
    assert accepted.status_code == 200
    await server.http.delete(f"/v1/tasks/{accepted.json()['task_id']}")  # else it plays while the next file fails


@codes
@kinds
async def test_file_that_fails_amid_the_upload_is_told_and_removed(
    server: RunningServer, kind: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def write(self, block: object) -> int:
            raise OSError(code, os.strerror(code))

    def append(path: Path, block: bytes) -> None:
        path.write_bytes(block[:1])
        raise OSError(code, os.strerror(code), str(path))

    def fdopen(handle: int, mode: str) -> Failing:
        os.close(handle)
        return Failing()

    with monkeypatch.context() as failing:
        failing.setattr(avatar_routes, "_append", append)
        failing.setattr(spool, "os", SimpleNamespace(fdopen=fdopen))
        assert_told(server, await upload(server, kind, LARGE), code)
    for folder in (server.orchestrator.uploads_dir, server.orchestrator.files.incoming):
        assert list(folder.iterdir()) == []
