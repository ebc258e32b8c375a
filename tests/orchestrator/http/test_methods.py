"""Methods that HTTP doesn't know are refused early, and leave nothing behind."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, metric, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVENTED = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("server"))) as started:
        yield started


async def test_invented_methods_are_one_label_of_the_metrics(server: RunningServer) -> None:
    for number in range(INVENTED):
        answer = await server.http.request(f"M{number}" + "X" * 20_000, "/v1/tasks")
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "unknown_method")
        assert len(answer.content) < 1000
    text = (await server.http.get("/metrics")).text
    assert "XXX" not in text
    assert await metric(server, 'latentsync_http_requests_total{method="any",route="none",status="501"}') == INVENTED


@pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT"])
async def test_known_method_that_a_route_does_not_have_is_named(server: RunningServer, method: str) -> None:
    answer = await server.http.request(method, "/v1/tasks")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert method in answer.json()["error"]["message"]
