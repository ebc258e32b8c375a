"""The disk fills up while speeches play and one is uploaded: that one is refused, and nothing else is lost."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fault_stage import Stage
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(900)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left until the context ends."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    try:
        yield
    finally:
        filler.unlink()


def test_disk_that_fills_up_refuses_uploads_and_ends_nothing(stage: Stage, small_disk: Path | None) -> None:
    if small_disk is None:
        pytest.skip("a file system that may be filled up can be mounted by root alone")
    before, restarts = stage.stream(), stage.channel()["restarts"]
    task_ids = stage.speaking()
    with full(small_disk):
        for seconds in (0.1, 30.0):
            answer = stage.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
            assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full"), answer.text
        stage.all_played(task_ids)
        assert {task["task_id"] for task in stage.http.get("/v1/tasks").json()["tasks"]} >= set(task_ids)
    assert list((small_disk / "tasks" / "incoming").iterdir()) == []
    after = stage.say(0.5)
    stage.all_played([after])
    assert (stage.channel()["restarts"], stage.stream()["reconnects"]) == (restarts, before["reconnects"])
    stage.assert_on_air()
    # What became of the tasks was written once there was room, and is known after a crash.
    stage.restart()
    assert [task["attempts"] for task in stage.all_played([*task_ids, after])] == [1, 1, 1]
