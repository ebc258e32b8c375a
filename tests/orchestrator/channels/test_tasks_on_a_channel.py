"""What becomes of accepted tasks: states, order, cancelling, failing. The channel and its ffmpeg are real."""

import asyncio
import errno
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.channels.setup import ChannelSetup
from orchestrator.tasks.speech_files import SpeechFiles
from speech.log import LogEnd
from streaming.handle import ChannelHandle
from tests.support.held_taking import hold_taking
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(60)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path, queue_limit=2)) as started:
        await started.ready()
        yield started


async def say(server: RunningServer, seconds: float = 0.5, **fields: int) -> str:
    files = {"audio_file": ("speech.wav", wav(seconds))}
    answer = await server.http.post("/generate_video", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "processing_started"
    task_id: str = answer.json()["task_id"]
    return task_id


def channel_pid(server: RunningServer) -> int:
    pid = server.orchestrator.channels["main"].pid
    assert pid is not None, "the channel's process doesn't run"
    return pid


async def events(server: RunningServer, task_id: str) -> list[dict[str, Any]]:
    """All events of a task, to the end of its stream."""
    found = []
    async with server.http.stream("GET", f"/v1/tasks/{task_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
    return found


async def test_task_goes_from_queued_to_done_and_says_how_far_it_is(server: RunningServer) -> None:
    server.models.gate.clear()
    task_id = await say(server, seconds=1.0)
    await server.task(task_id, "inferring")
    server.models.gate.set()
    seen = await events(server, task_id)

    states = [event["state"] for event in seen]
    assert list(dict.fromkeys(states)) == ["inferring", "streaming", "done"]
    progress = [event["progress"] for event in seen]
    assert progress == sorted(progress) and progress[-1] == 1.0
    timings = seen[-1]["timings_s"]
    way = ["decoded", "started", "features", "first_chunk", "first_face", "handed_over", "first_frame"]
    assert list(timings) == [*way, "encoded_opus", "encoded", "done"]
    assert list(timings.values()) == sorted(timings.values())
    # One second of speech is 25 frames, and the mouth fades out over two more.
    assert seen[-1]["frames"] == {"total": 27, "generated": 27, "played": 27, "heard": 25, "dropped": 0}
    while list(server.orchestrator.settings.tasks_dir.glob("*.speech")):  # deleted once the store has the task's end
        await asyncio.sleep(0.05)


async def test_defaults_come_from_the_checkpoint_and_the_form_beats_them(server: RunningServer) -> None:
    default = (await server.http.get(f"/v1/tasks/{await say(server)}")).json()
    assert (default["num_inference_steps"], default["guidance_scale"]) == (2, 1.0)
    fields = {"num_inference_steps": "4", "guidance_scale": "1.5", "seed": "7"}
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.5))}, data=fields)
    asked = (await server.http.get(answer.headers["Location"])).json()
    assert (asked["num_inference_steps"], asked["guidance_scale"], asked["seed"]) == (4, 1.5, 7)


async def test_tasks_play_one_after_another_in_the_order_of_their_acceptance(server: RunningServer) -> None:
    task_ids = [await say(server) for _ in range(3)]
    tasks = [await server.task(task_id, "done") for task_id in task_ids]
    assert [task["frames"]["played"] for task in tasks] == [15, 15, 15]
    listed = (await server.http.get("/v1/tasks", params={"limit": 3})).json()["tasks"]
    assert [task["task_id"] for task in listed] == task_ids[::-1]


async def test_next_task_is_generated_while_the_present_one_plays(server: RunningServer) -> None:
    first = await say(server, seconds=9.0)
    await server.task(first, "streaming")
    second = await say(server)
    while True:
        frames = (await server.http.get(f"/v1/tasks/{second}")).json()["frames"]
        if frames["generated"] == frames["total"] > 0:
            break
        await asyncio.sleep(0.05)
    assert (await server.http.get(f"/v1/tasks/{first}")).json()["state"] == "streaming"
    await server.task(second, "done")


async def test_full_queue_is_refused_with_a_time_to_come_back(server: RunningServer) -> None:
    server.models.gate.clear()
    first = await say(server)
    await server.task(first, "inferring")
    waiting = [await say(server), await say(server)]
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.5))})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0
    for task_id in (*waiting, first):
        assert (await server.http.delete(f"/v1/tasks/{task_id}")).json()["state"] == "cancelled"


async def test_cancelling_a_task_in_inference_stops_its_requests_and_the_next_one_plays(server: RunningServer) -> None:
    server.models.gate.clear()
    first, second = await say(server), await say(server)
    await server.task(first, "inferring")
    while not server.models.running:
        await asyncio.sleep(0.01)
    cancelled = await server.http.delete(f"/v1/tasks/{first}")
    assert cancelled.json()["state"] == "cancelled"
    while not server.models.cancelled:
        await asyncio.sleep(0.01)
    server.models.gate.set()
    await server.task(second, "done")
    assert (await server.http.delete(f"/v1/tasks/{second}")).json()["state"] == "done"


async def test_interrupt_cancels_what_plays_and_leaves_the_queue(server: RunningServer) -> None:
    first, second = await say(server, seconds=8.0), await say(server)
    await server.task(first, "streaming")
    answer = await server.http.post("/v1/channels/main/interrupt")
    assert answer.json()["cancelled"] == [first]
    assert (await server.http.get(f"/v1/tasks/{first}")).json()["state"] == "cancelled"
    await server.task(second, "done")


async def test_interrupt_with_queue_cancels_everything(server: RunningServer) -> None:
    first, second = await say(server, seconds=8.0), await say(server)
    await server.task(first, "streaming")
    answer = await server.http.post("/v1/channels/main/interrupt", params={"queue": "true"})
    assert set(answer.json()["cancelled"]) == {first, second}


async def test_interrupt_finds_the_task_that_the_channel_is_about_to_begin(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, released = hold_taking(monkeypatch)
    task_id = await say(server)
    await held.wait()
    answer = await server.http.post("/v1/channels/main/interrupt")
    released.set()
    assert answer.json() == {"cancelled": [task_id], "heard": {task_id: {"frames": 0, "seconds": 0.0}}}
    await server.task(await say(server), "done")
    assert (await server.http.get(f"/v1/tasks/{task_id}")).json()["state"] == "cancelled"


async def test_failed_inference_ends_its_task_with_the_reason_and_the_next_one_plays(server: RunningServer) -> None:
    server.models.failing = True
    first = await say(server)
    failed = await server.task(first, "failed")
    assert failed["error"]["code"] == "inference_failed"
    assert "the model said no" in failed["error"]["message"]
    server.models.failing = False
    await server.task(await say(server), "done")


async def test_failing_chunks_are_made_once_the_model_is_loaded_again(server: RunningServer) -> None:
    server.models.failing = server.models.mendable = True
    task = await server.task(await say(server), "done")
    assert task["frames"]["played"] == 15 and task["attempts"] == 1
    assert "the model said no" in server.models.recovered[0].message


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
async def test_speech_file_that_cannot_be_read_fails_its_task_alone(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    first = await say(server, seconds=4.0)
    await server.task(first, "streaming")

    def failing(files: SpeechFiles, task_id: str, end: LogEnd) -> Any:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(SpeechFiles, "log", failing)
        refused = await server.task(await say(server), "failed")
    assert refused["error"]["code"] == "speech_unreadable" and os.strerror(code) in refused["error"]["message"]
    last = await say(server)
    assert [(await server.task(task_id, "done"))["attempts"] for task_id in (first, last)] == [1, 1]
    assert (await server.http.get("/v1/channels/main")).json()["restarts"] == 0


async def test_speech_file_is_read_again_when_descriptors_were_missing(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, missing = SpeechFiles.log, [errno.EMFILE]

    def failing(files: SpeechFiles, task_id: str, end: LogEnd) -> Any:
        if missing:
            raise OSError(missing.pop(), "no descriptors")
        return log(files, task_id, end)

    monkeypatch.setattr(SpeechFiles, "log", failing)
    assert (await server.task(await say(server), "done"))["attempts"] == 1


async def test_speech_that_fails_on_the_air_fades_to_idle_and_the_next_one_plays(server: RunningServer) -> None:
    first, second = await say(server, seconds=20.0, num_inference_steps=7), await say(server)
    await server.task(first, "streaming")
    server.models.failing_steps = 7
    failed = await server.task(first, "failed")
    assert 0 < failed["frames"]["played"] < failed["frames"]["total"]
    view = (await server.http.get("/v1/channels/main")).json()
    assert view["restarts"] == 0
    await server.task(second, "done")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_lost_channel_process_comes_back_and_says_the_speech_again(
    server: RunningServer, number: signal.Signals
) -> None:
    task_id = await say(server, seconds=3.0)
    await server.task(task_id, "streaming")
    os.kill(channel_pid(server), number)
    task = await server.task(task_id, "done")
    assert task["attempts"] == 2
    assert (await server.http.get("/v1/channels/main")).json()["restarts"] == 1


async def test_request_to_a_process_whose_death_is_not_known_yet_costs_no_task(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    end = ChannelHandle.end

    async def end_of_a_dead_one(channel: ChannelHandle, speech_id: str) -> None:
        if asked:
            await end(channel, speech_id)
            return
        asked.append(speech_id)
        process, failed = channel._process, asyncio.Event()
        wait = process.wait

        async def told_late() -> int:
            await failed.wait()
            return await wait()

        monkeypatch.setattr(process, "wait", told_late)
        os.kill(channel.pid, signal.SIGKILL)
        while not process.stdin.is_closing():  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        try:
            await end(channel, speech_id)
        finally:
            asyncio.get_running_loop().call_later(0.1, failed.set)

    monkeypatch.setattr(ChannelHandle, "end", end_of_a_dead_one)
    task_id = await say(server, seconds=1.0)
    assert (await server.task(task_id, "done"))["attempts"] == 2


async def test_speech_that_is_interrupted_while_its_channel_hangs_is_not_said_again(server: RunningServer) -> None:
    task_id = await say(server, seconds=3.0)
    await server.task(task_id, "streaming")
    pid = channel_pid(server)
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(server.http.post("/v1/channels/main/interrupt"))
    await asyncio.sleep(0.2)
    assert not asking.done(), "the channel would say how much was heard"
    os.kill(pid, signal.SIGKILL)  # as the watchdog does
    assert (await asking).json()["cancelled"] == [task_id]
    await server.task(await say(server), "done")
    task = await server.task(task_id, "cancelled")
    assert task["attempts"] == 1


async def test_fault_of_ours_at_a_channels_start_is_told_and_tried_again(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await say(server, seconds=3.0)
    await server.task(task_id, "streaming")
    settings: dict[str, object] = {}
    with monkeypatch.context() as broken:
        broken.setattr(ChannelSetup, "config", lambda self, definition: settings["nothing of that name"])
        os.kill(channel_pid(server), signal.SIGKILL)
        while "the server failed" not in ((await server.http.get("/v1/channels/main")).json()["problem"] or ""):
            await asyncio.sleep(0.05)
    assert (await server.task(task_id, "done"))["attempts"] == 2


async def test_all_events_show_channels_and_tasks(server: RunningServer) -> None:
    kinds = set()
    async with server.http.stream("GET", "/v1/events") as stream:
        lines = stream.aiter_lines()
        task_id = await say(server)
        async for line in lines:
            if line.startswith("event: "):
                kinds.add(line.removeprefix("event: "))
            if line.startswith("data: ") and json.loads(line[6:]).get("task_id") == task_id:
                break
    assert kinds == {"channel", "task"}


async def test_all_events_begin_with_the_avatars_in_the_making(server: RunningServer) -> None:
    """A page that was away, or asks while one of them moves on, is right without another question."""
    server.orchestrator.preparations.announce("a-film", "person", created_at=0.0)
    try:
        async with server.http.stream("GET", "/v1/events") as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != "event: avatar_task":
                pass
            told = json.loads((await anext(lines)).removeprefix("data: "))
        assert (told["task_id"], told["state"]) == ("a-film", "filming")
        async with server.http.stream("GET", "/v1/events", params={"channel": "main"}) as stream:
            await say(server)
            async for line in stream.aiter_lines():
                assert line != "event: avatar_task"
                if line == "event: task":
                    break
    finally:
        server.orchestrator.preparations.cancelled("a-film")


async def test_metrics_count_tasks_and_the_channels_frames(server: RunningServer) -> None:
    await server.task(await say(server, seconds=2.0), "done")  # long enough for a status of its channel
    text = (await server.http.get("/metrics")).text
    assert 'latentsync_tasks_total{state="done"} 1.0' in text
    assert "latentsync_first_frame_seconds_count 1.0" in text
    frames = next(line for line in text.splitlines() if line.startswith("latentsync_channel_frames_sent_total{"))
    assert float(frames.split()[-1]) > 0
    assert 'route="/v1/tasks/{task_id}"' in text
