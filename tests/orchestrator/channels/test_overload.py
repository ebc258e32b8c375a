"""An overloaded encoder is told of where people look: server's log, API, metrics, and the task that lost frames."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.channels.overload import OverloadLog
from orchestrator.channels.setup import ChannelSetup
from tests.support.running_server import metric, running, settings_in
from tests.support.slow_encoder import slow_encoder
from tests.support.speech_samples import wav
from tests.support.statuses import status

pytestmark = pytest.mark.timeout(120)


def test_each_step_is_a_line_and_drops_are_at_most_one_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = OverloadLog("main", lambda: now)
    log.note(status())
    assert caplog.messages == []
    for second in range(25):
        now = float(second)
        log.note(
            status(encoder_step="preset ultrafast", encoder_steps_down=2, dropped_pairs=second, dropped_speech_pairs=1)
        )
    log.note(status(encoder_step="as configured", dropped_pairs=24, dropped_speech_pairs=1))
    lines = caplog.messages
    assert lines[0] == "channel main: the encoder can't keep up, now preset ultrafast"
    assert lines[-1] == "channel main: the encoder keeps up, now as configured"
    drops = [line for line in lines if "were dropped" in line]
    assert len(drops) == 3 and "10 frames were dropped with their sound, 0 of a speech" in drops[1]


async def test_task_log_api_and_metrics_tell_of_an_encoder_that_is_too_slow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ChannelSetup.config
    encoder = slow_encoder({"": 3})
    monkeypatch.setattr(ChannelSetup, "config", lambda *given: replace(config(*given), encoder=encoder))
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        files = {"audio_file": ("speech.wav", wav(8))}
        answer = await server.http.post("/v1/tasks", files=files)
        task = await server.task(answer.json()["task_id"], "done")
        stream = (await server.http.get("/v1/channels/main")).json()["stream"]
        dropped = await metric(server, 'latentsync_channel_dropped_speech_pairs_total{channel="main"}')
        steps_down = await metric(server, 'latentsync_channel_encoder_steps_down{channel="main"}')
        again = (await server.http.get(f"/v1/tasks/{task['task_id']}")).json()
    assert 0 < task["frames"]["dropped"] < task["frames"]["played"] == task["frames"]["total"]
    assert again["frames"] == task["frames"], "kept in the store"
    assert stream["encoder_step"] == "5 frames/s" and stream["encoder_steps_down"] == steps_down > 0
    assert stream["dropped_speech_pairs"] > 0 and dropped > 0
    log = caplog.text
    assert "channel main: the encoder can't keep up, now" in log
    assert f"task {task['task_id']}: {task['frames']['dropped']} of its" in log
