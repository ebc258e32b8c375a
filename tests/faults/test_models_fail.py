"""While a speech plays, the models' processes die or hang: it is said to its end, and the stream never stops."""

import os
import signal

import pytest

from tests.support.fault_stage import Stage
from tests.support.processes import one
from tests.support.starved import Starved

pytestmark = pytest.mark.timeout(900)

# The channel's ring holds 10 s of frames, which a tiny model makes in no time: what lies behind them is not made yet.
UNFINISHED_S = 20


def assert_unfinished(stage: Stage, task_id: str) -> None:
    frames = stage.task(task_id)["frames"]
    assert frames["generated"] < frames["total"], "the fault came too late to hit the speech"


def starved_stream(stage: Stage) -> Starved:
    assert stage.server is not None
    return Starved(one(stage.server.pid, "streaming.process"))


def assert_stream_never_stopped(stage: Stage, before: dict[str, int], starved: Starved) -> None:
    after = stage.stream()
    for count in ("reconnects", "encoder_restarts"):
        assert after[count] == before[count], count
    assert after["dropped_pairs"] == before["dropped_pairs"] or starved.seconds > 0.5
    assert after["frames_sent"] > before["frames_sent"]
    stage.assert_on_air()


def test_killed_model_process_is_replaced_and_the_speeches_are_said(stage: Stage) -> None:
    assert stage.triton is not None
    before, reloads = stage.stream(), 'latentsync_model_reloads_total{model="unet",result="true"}'
    starved = starved_stream(stage)
    task_ids = stage.speaking(UNFINISHED_S)
    os.kill(one(stage.triton.pid, "triton_python_backend_stub", "/unet/"), signal.SIGKILL)
    assert_unfinished(stage, task_ids[0])
    stage.all_played(task_ids)
    assert stage.metric(reloads) == 1
    stage.until_ready()
    assert_stream_never_stopped(stage, before, starved)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_tritonserver_that_dies_or_hangs_is_replaced_and_the_speeches_are_said(
    stage: Stage, number: signal.Signals
) -> None:
    assert stage.triton is not None
    before, starved = stage.stream(), starved_stream(stage)
    task_ids = stage.speaking(UNFINISHED_S)
    victim = one(stage.triton.pid, "--model-repository", "--http-port")
    os.kill(victim, number)
    assert_unfinished(stage, task_ids[0])
    stage.until_noticed()
    stage.all_played(task_ids)
    assert one(stage.triton.pid, "--model-repository", "--http-port") != victim
    stage.until_ready()
    assert_stream_never_stopped(stage, before, starved)
