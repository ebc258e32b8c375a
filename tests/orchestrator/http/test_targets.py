"""Targets are added and removed one by one, without anybody sending the keys of the others back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

KEY = "s3cr3t-k3y"
URL = "/v1/channels/main/targets"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    allowed = ("udp://127.0.0.1", "recordings")
    async with running(settings_in(tmp_path_factory.mktemp("targets"), allowed_targets=allowed)) as started:
        await started.ready()
        yield started


def targets(server: RunningServer) -> tuple[str, ...]:
    return server.orchestrator.channels["main"].definition.targets


async def test_a_target_comes_and_goes_and_the_others_keep_their_keys(server: RunningServer) -> None:
    first, second = "udp://127.0.0.1:9?pkt_size=1316", "udp://127.0.0.1:10"
    for address in (first, second, "show.flv"):
        added = await server.http.post(URL, json={"target": address})
        assert added.status_code == 201, added.text
    assert added.json()["targets"] == ["udp://127.0.0.1:9?***", second, "show.flv"]
    assert targets(server) == (first, second, "show.flv")
    removed = await server.http.delete(f"{URL}/1", params={"target": second})
    assert (removed.status_code, removed.json()["targets"]) == (200, ["udp://127.0.0.1:9?***", "show.flv"])
    assert targets(server) == (first, "show.flv")
    late = await server.http.delete(f"{URL}/1", params={"target": second})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "other_target")
    assert targets(server) == (first, "show.flv")


async def test_changes_at_once_lose_none_of_them(server: RunningServer) -> None:
    before = len(targets(server))
    files = [f"at-once-{number}.flv" for number in range(4)]
    answers = await asyncio.gather(*(server.http.post(URL, json={"target": file}) for file in files))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert set(files) <= set(targets(server))
    while left := [file for file in files if file in targets(server)]:
        removed = await asyncio.gather(
            *(server.http.delete(f"{URL}/{targets(server).index(file)}", params={"target": file}) for file in left)
        )
        # A number that another removal has moved is refused, by 404 behind the last one: no other target goes for it.
        statuses = [answer.status_code for answer in removed]
        assert 200 in statuses and set(statuses) <= {200, 404, 409}
        assert [file for file, status in zip(left, statuses, strict=True) if status != 200] == [
            file for file in left if file in targets(server)
        ]
    assert len(targets(server)) == before


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"target": f"rtmp://127.0.0.1/live/{KEY}"}, 422, "bad_channel", "not among the allowed_targets"),
        ({"target": f"gopher://h/{KEY}"}, 422, "bad_channel", "targets: an address must begin with"),
        ({"target": "twice.flv"}, 422, "bad_channel", "has this target already"),
        ({"targets": []}, 400, "broken_json", "stream-key"),
    ],
)
async def test_a_target_that_cannot_be_is_refused_without_its_key(
    server: RunningServer, body: dict[str, object], status: int, code: str, says: str
) -> None:
    if "twice.flv" not in targets(server):
        assert (await server.http.post(URL, json={"target": "twice.flv"})).status_code == 201
    before = targets(server)
    answer = await server.http.post(URL, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert says in answer.json()["error"]["message"] and KEY not in answer.text
    assert targets(server) == before


@pytest.mark.parametrize("number", ["99", "-1", "x", "0" * 5000])
async def test_a_target_that_there_is_not_is_not_found(server: RunningServer, number: str) -> None:
    answer = await server.http.delete(f"{URL}/{number}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_target")


async def test_a_channel_has_at_most_eight(server: RunningServer) -> None:
    for number in range(9 - len(targets(server))):
        answer = await server.http.post(URL, json={"target": f"many-{number}.flv"})
    assert answer.status_code == 422 and "at most 8" in answer.json()["error"]["message"]
    assert len(targets(server)) == 8
