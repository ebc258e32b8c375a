"""The list of tasks: whose they are, and from which file."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path_factory.mktemp("tasks"))) as started:
        await started.ready()
        yield started


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"greeting.wav", "greeting.wav"),
        ("Gr\u00fc\u00dfe.wav".encode(), "Gr\u00fc\u00dfe.wav"),
        (b"../../../etc/passwd", "passwd"),
        (b"say %22hello%22.wav", 'say "hello".wav'),
        (b"not \xff utf-8.wav", "not \ufffd utf-8.wav"),
        (b"", None),
    ],
    ids=["plain", "umlauts", "path", "quotation marks", "broken", "empty"],
)
async def test_task_shows_the_name_of_its_file(server: RunningServer, sent: bytes, shown: str | None) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="' + sent + b'"\r\n\r\n'
    form = head + wav(0.2) + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await server.http.post("/v1/tasks", content=form, headers=headers)
    assert answer.status_code == 200, answer.text
    task = await server.task(answer.json()["task_id"], "done")
    assert task["file_name"] == shown


async def said(server: RunningServer, channel: str) -> str:
    files = {"audio_file": ("speech.wav", wav(0.2))}
    answer = await server.http.post("/v1/tasks", files=files, data={"channel": channel})
    task_id: str = answer.json()["task_id"]
    await server.task(task_id, "done")
    return task_id


async def seen(stream: httpx.Response, until: str) -> list[tuple[str, str]]:
    """Kind and id of each event up to the first one of the task `until`."""
    found: list[tuple[str, str]] = []
    kind = ""
    async for line in stream.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            content = json.loads(line.removeprefix("data: "))
            found.append((kind, content["task_id"] if kind == "task" else content["channel"]))
            if found[-1] == ("task", until):
                return found
    raise AssertionError("the events ended")


async def test_tasks_and_events_of_one_channel_are_asked_for(server: RunningServer) -> None:
    created = await server.http.post("/v1/channels", json={"channel": "news", "avatar": "demo", "targets": []})
    assert created.status_code == 201, created.text
    await server.ready()
    news = await said(server, "news")
    others = [await said(server, "main") for _ in range(2)]

    async def listed(**asked: str) -> list[str]:
        tasks = (await server.http.get("/v1/tasks", params=asked)).json()["tasks"]
        return [task["task_id"] for task in tasks]

    assert (await listed(limit="3")) == [*reversed(others), news]
    assert (await listed(channel="news", limit="1")) == [news]
    assert (await listed(channel="main", limit="2")) == [*reversed(others)]
    assert (await listed(channel="nobody")) == []
    async with server.http.stream("GET", "/v1/events", params={"channel": "news"}) as stream:
        await said(server, "main")
        later = await said(server, "news")
        events = await seen(stream, later)
    assert {each for kind, each in events if kind == "channel"} == {"news"}
    assert {each for kind, each in events if kind == "task"} == {news, later}
    assert (await server.http.delete("/v1/channels/news")).status_code == 200
    assert (await listed(channel="news", limit="2")) == [later, news], "they outlive their channel"
