"""The list of tasks: whose they are, and from which file."""

from collections.abc import AsyncIterator

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
