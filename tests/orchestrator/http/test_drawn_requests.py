"""Requests that fuzzing found to be answered with a fault once."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        await started.ready()
        yield started


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/channels", 400),
        ("PATCH", "/v1/channels/main", 400),
        ("PATCH", "/v1/avatars/other", 422),
        ("POST", "/v1/session", 400),
    ],
)
async def test_brackets_in_brackets_are_no_json_that_is_read(
    server: RunningServer, method: str, path: str, status: int
) -> None:
    answer = await server.http.request(method, path, content=b"[" * 9000)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("limit", ["000000001" + "0" * 5000, "0" * 8 + "1" + "9" * 20, "٣"])
async def test_limit_is_read_whole(server: RunningServer, limit: str) -> None:
    answer = await server.http.get("/v1/tasks", params={"limit": limit})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_limit")


@pytest.mark.parametrize("height", ["000100" + "9" * 5000, "٦٤٠"])
async def test_height_is_read_whole(server: RunningServer, height: str) -> None:
    files, fields = {"video": ("a.mp4", b"x")}, {"name": "new", "max_height": height}
    answer = await server.http.post("/v1/avatars", files=files, data=fields)
    assert answer.status_code == 422, answer.text
