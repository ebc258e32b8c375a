"""While a speech plays, a part of the streaming dies: the speech is said, and the stream is on the air again."""

import os
import signal
import time
from typing import Any

import pytest

from tests.support.fault_stage import Stage, patiently
from tests.support.processes import descendants, is_running, one

pytestmark = pytest.mark.timeout(900)


def assert_said_again(interrupted: dict[str, Any], waiting: dict[str, Any]) -> None:
    assert interrupted["attempts"] == 2
    assert waiting["attempts"] in (1, 2)  # 2 where its faces were being made already


@pytest.mark.parametrize("channel_hangs", [False, True], ids=["alone", "its channel hangs"])
def test_killed_orchestrator_leaves_no_process_and_the_next_one_says_what_was_accepted(
    stage: Stage, channel_hangs: bool
) -> None:
    assert stage.server is not None
    task_ids = stage.speaking()
    for _ in patiently("the channel has no encoder of its own"):  # at its start the server measures what encoding costs
        family = descendants(stage.server.pid)
        if sum("streaming.encoder_process" in line for line in family.values()) == 1:
            break
    if channel_hangs:
        os.kill(one(stage.server.pid, "streaming.process"), signal.SIGSTOP)
    stage.restart()
    assert_said_again(*stage.all_played(task_ids))
    for _ in patiently(f"some of these run on: {family}"):
        if not any(is_running(pid) for pid in family):
            break
    stage.assert_on_air()


def test_killed_channel_process_comes_back_and_says_the_speech_again(stage: Stage) -> None:
    assert stage.server is not None
    restarts = stage.channel()["restarts"]
    task_ids = stage.speaking()
    os.kill(one(stage.server.pid, "streaming.process"), signal.SIGKILL)
    assert_said_again(*stage.all_played(task_ids))
    assert stage.channel()["restarts"] == restarts + 1
    stage.until_ready()
    stage.assert_on_air()


@pytest.mark.parametrize(
    ("words", "count"),
    [(("streaming.encoder_process",), "encoder_restarts"), (("ffmpeg", "rtmp://"), "reconnects")],
    ids=["encoder", "copier"],
)
def test_killed_encoder_or_copier_is_replaced_while_the_speech_goes_on(
    stage: Stage, words: tuple[str, ...], count: str
) -> None:
    assert stage.server is not None
    before, restarts = stage.stream()[count], stage.channel()["restarts"]
    task_ids = stage.speaking()
    os.kill(one(stage.server.pid, *words), signal.SIGKILL)
    assert [task["attempts"] for task in stage.all_played(task_ids)] == [1, 1]
    stage.until_ready()
    assert (stage.stream()[count], stage.channel()["restarts"]) == (before + 1, restarts)
    stage.assert_on_air()


def test_killed_rtmp_server_is_found_again_and_the_speech_plays_on(stage: Stage) -> None:
    restarts = stage.channel()["restarts"]
    task_ids = stage.speaking()
    stage.rtmp.stop()
    for _ in patiently("the outage is not seen"):
        if stage.stream()["publisher"] == "reconnecting":
            break
    time.sleep(1)  # long enough for attempts that fail
    stage.rtmp.start()
    assert [task["attempts"] for task in stage.all_played(task_ids)] == [1, 1]
    stage.until_ready()
    assert stage.channel()["restarts"] == restarts
    stage.assert_on_air()
