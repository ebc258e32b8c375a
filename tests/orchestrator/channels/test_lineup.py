"""Channels are created, changed and removed over the API, and are there again after a restart."""

import asyncio
import gc
import json
import os
import shutil
import signal
import stat
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Task
from processes.garbage import freeze_what_is_there
from streaming.config import ChannelConfig
from streaming.handle import ChannelError, ChannelHandle
from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.speech_samples import wav
from tests.support.starved import Starved
from tests.support.synthetic_avatar import write_avatar

pytestmark = pytest.mark.timeout(90)

KEY = "s3cr3t-k3y"
# Nobody listens there: the channel keeps trying.
NEWS: dict[str, Any] = {"channel": "news", "avatar": "other", "targets": [f"rtmp://127.0.0.1:9/live/{KEY}"]}


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path, channel_limit=3)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as started:
        await started.ready()
        yield started


async def created(server: RunningServer, **changes: Any) -> None:
    answer = await server.http.post("/v1/channels", json={**NEWS, **changes})
    assert answer.status_code == 201, answer.text
    await server.ready()


async def test_avatar_of_a_removed_channel_goes_without_a_collection(server: RunningServer) -> None:
    await created(server)
    channel = server.orchestrator.channels["news"]
    assert channel._maker is not None
    condition = weakref.ref(channel._maker._avatar.condition)
    freeze_what_is_there()  # as after a start that the channel was there at
    try:
        del channel
        assert (await server.http.delete("/v1/channels/news")).is_success
        while "news" in server.orchestrator.channels:
            await asyncio.sleep(0.01)
        gc.collect()
        assert condition() is None
    finally:
        gc.unfreeze()


async def say(server: RunningServer, channel: str, seconds: float = 0.5) -> str:
    files = {"audio_file": ("speech.wav", wav(seconds))}
    answer = await server.http.post("/v1/tasks", files=files, data={"channel": channel})
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def until(server: RunningServer, channel: str, condition: Any) -> dict[str, Any]:
    while True:
        view: dict[str, Any] = (await server.http.get(f"/v1/channels/{channel}")).json()
        if condition(view):
            return view
        await asyncio.sleep(0.05)


async def test_two_channels_speak_at_the_same_time(server: RunningServer) -> None:
    await created(server)
    # Both are accepted before either may be heard: on a slow machine the first would end before the second begins.
    server.models.gate.clear()
    tasks = [await say(server, channel, seconds=6.0) for channel in ("main", "news")]
    server.models.gate.set()
    for task_id in tasks:
        await server.task(task_id, "streaming")
    playing = [(await until(server, name, lambda v: v["playing"]))["playing"] for name in ("main", "news")]
    assert playing == tasks
    for task_id in tasks:
        await server.task(task_id, "done")


async def test_a_channel_is_there_again_after_a_restart_with_all_that_it_was(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as server:
        await server.ready()
        await created(server, picture_size=[320, 240], fade_frames=9, mouth_fade_frames=4)
        server.models.gate.clear()
        task_id = await say(server, "news")
    file = settings.data_dir / "channels.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and KEY in file.read_text()
    async with running(settings) as server:
        await server.ready()
        view = await until(server, "news", lambda v: v["stream"])
        assert (view["avatar"], view["picture_size"]) == ("other", [320, 240])
        assert (view["fade_frames"], view["mouth_fade_frames"]) == (9, 4)
        await server.task(task_id, "done")


async def test_removing_a_channel_cancels_its_tasks_and_lasts(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as server:
        await server.ready()
        await created(server)
        pid = server.orchestrator.channels["news"].pid
        tasks = [await say(server, "news", seconds=6.0), await say(server, "news")]
        await server.task(tasks[0], "streaming")
        answer = await server.http.delete("/v1/channels/news")
        assert answer.json() == {"removed": "news", "cancelled": tasks}
        assert [(await server.http.get(f"/v1/tasks/{task}")).json()["state"] for task in tasks] == ["cancelled"] * 2
        assert (await server.http.get("/v1/channels/news")).status_code == 404
        assert not Path(f"/proc/{pid}").exists()
        answer = await server.http.post(
            "/v1/tasks", files={"audio_file": ("a.wav", wav(0.5))}, data={"channel": "news"}
        )
        assert answer.status_code == 404
    async with running(settings) as server:
        await server.ready()
        assert [c["channel"] for c in (await server.http.get("/v1/channels")).json()["channels"]] == ["main"]


async def test_a_speech_that_is_stored_while_its_channel_is_removed_is_refused(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await created(server)
    add, held, removed = TaskStore.add, asyncio.Event(), asyncio.Event()

    async def slow(store: TaskStore, task: Task) -> None:
        held.set()
        await removed.wait()
        await add(store, task)

    monkeypatch.setattr(TaskStore, "add", slow)
    files = {"audio_file": ("speech.wav", wav(0.5))}
    uploading = asyncio.create_task(server.http.post("/v1/tasks", files=files, data={"channel": "news"}))
    await held.wait()
    assert (await server.http.delete("/v1/channels/news")).json()["cancelled"] == []
    removed.set()
    answer = await uploading
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_channel")
    assert (await server.http.get("/v1/tasks")).json()["tasks"] == []
    assert list(server.orchestrator.settings.tasks_dir.glob("*.speech")) == []


async def test_new_targets_disturb_nothing_and_a_new_avatar_says_the_speech_again(server: RunningServer) -> None:
    await created(server)
    pid = server.orchestrator.channels["news"].pid
    task_id = await say(server, "news", seconds=8.0)
    await server.task(task_id, "streaming")
    answer = await server.http.patch("/v1/channels/news", json={"targets": ["show.flv", "hls/live.m3u8"]})
    assert answer.status_code == 200, answer.text
    view = await until(server, "news", lambda v: len(v["stream"]["targets"]) == 2)
    assert server.orchestrator.channels["news"].pid == pid and view["playing"] == task_id
    recordings = server.orchestrator.settings.recordings_dir
    while not (recordings / "show.flv").exists():
        await asyncio.sleep(0.05)
    answer = await server.http.patch("/v1/channels/news", json={"avatar": "demo"})
    assert (answer.json()["avatar"], len(answer.json()["targets"])) == ("demo", 2)
    task = await server.task(task_id, "done")
    assert task["attempts"] == 1, "an ordered restart is not the task's fault"
    assert server.orchestrator.channels["news"].pid != pid


async def test_targets_that_are_changed_while_the_process_starts_are_its_targets(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, starting, changed = ChannelHandle.start, asyncio.Event(), asyncio.Event()

    async def held(config: ChannelConfig) -> ChannelHandle:
        starting.set()
        await changed.wait()
        return await start(config)

    monkeypatch.setattr(ChannelHandle, "start", held)
    answer = await server.http.post("/v1/channels", json={**NEWS, "targets": ["before.flv"]})
    assert answer.status_code == 201, answer.text
    await starting.wait()
    answer = await server.http.patch("/v1/channels/news", json={"targets": ["after.flv"]})
    assert answer.status_code == 200, answer.text
    changed.set()
    view = await until(
        server, "news", lambda v: v["stream"] and [t["target"] for t in v["stream"]["targets"]] == ["after.flv"]
    )
    assert (view["targets"], view["restarts"]) == (["after.flv"], 0)


async def test_refused_targets_are_neither_used_nor_stored(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server.orchestrator.settings
    await created(server, targets=["show.flv"])
    stored = (settings.data_dir / "channels.json").read_text()
    settings.recordings_dir.mkdir(exist_ok=True)
    (settings.recordings_dir / "file").touch()
    answer = await server.http.patch("/v1/channels/news", json={"targets": ["other.flv", "file/within.flv"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_channel"), answer.text
    assert "number 1: the recording's folder can't be made" in answer.json()["error"]["message"]

    async def refuse(handle: ChannelHandle, targets: tuple[str, ...]) -> None:
        raise ChannelError("the process says no")

    monkeypatch.setattr(ChannelHandle, "set_targets", refuse)
    answer = await server.http.patch("/v1/channels/news", json={"targets": ["other.flv"]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "targets: the process says no.")
    assert (await server.http.get("/v1/channels/news")).json()["targets"] == ["show.flv"]
    assert (settings.data_dir / "channels.json").read_text() == stored


async def test_target_that_became_impossible_costs_itself_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as server:
        await server.ready()
        await created(server, targets=["news/lost.flv", "show.flv"])
    shutil.rmtree(settings.recordings_dir / "news")
    (settings.recordings_dir / "news").touch()
    async with running(settings) as server:
        await server.ready()
        view = await until(server, "news", lambda v: v["stream"] and v["stream"]["targets"][0]["state"] == "on_air")
        assert view["targets"] == ["news/lost.flv", "show.flv"]
        refused = view["stream"]["targets"][1]
        assert (refused["target"], refused["state"]) == ("news/lost.flv", "refused")
        assert "folder can't be made" in refused["problem"]
        up = 'latentsync_channel_target_up{channel="news",number="1",target="news/lost.flv"} 0.0'
        assert up in (await server.http.get("/metrics")).text


@pytest.mark.parametrize("name", ["news", "main"])
async def test_saved_target_that_breaks_a_stricter_rule_costs_itself_alone(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Each was possible once, or could have been: an address, a file's name, a character, a length.
    bad = [f"rtmp://127.0.0.1:9/?{KEY}", "../show.flv", f"rtmp://h/a/{KEY} x", f"rtmp://h/live/{KEY}{'x' * 1024}"]
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    settings.data_dir.mkdir(exist_ok=True)
    file = settings.data_dir / "channels.json"
    targets = [*bad, "show.flv", "show.flv"]
    changed = {"channel": "main", "instead_of": [], "targets": targets} if name == "main" else None
    content = {"version": 1, "channels": [] if changed else [{**NEWS, "targets": targets}], "changed_targets": changed}
    file.write_text(json.dumps(content))
    async with running(settings) as server:
        await server.ready()
        view = await until(server, name, lambda v: v["stream"] and v["stream"]["targets"][0]["state"] == "on_air")
        assert view["stream"]["targets"][0]["target"] == "show.flv"
        refused = {each["target"]: each["problem"] for each in view["stream"]["targets"][1:]}
        assert [each["state"] for each in view["stream"]["targets"][1:]] == ["refused"] * 4
        assert list(view["targets"]) == [*refused, "show.flv"]
        reasons = ["must name an application", "it must be an address", "neither spaces", "at most 1024"]
        assert [reason in said for reason, said in zip(reasons, refused.values(), strict=True)] == [True] * 4
        os.kill(server.orchestrator.channels[name].pid or 0, signal.SIGKILL)
        await until(server, name, lambda v: v["restarts"] == 1 and v["state"] == "running")
        answer = await server.http.patch(f"/v1/channels/{name}", json={"targets": ["../show.flv"]})
        assert answer.status_code == 422, "what was saved may stay, and nothing like it is taken"
    logged = [record.getMessage() for record in caplog.records if "does not publish" in record.getMessage()]
    assert len(logged) == len(bad), "once, and not again when the process starts anew"
    assert list(settings.data_dir.glob("channels.damaged*")) == [] and json.loads(file.read_text()) == content
    assert KEY not in "".join(path.read_text() for path in settings.log_dir.iterdir()) + json.dumps(view)


@pytest.mark.parametrize("damage", ["one entry", "the file"])
async def test_damaged_definitions_are_kept_and_the_others_run(tmp_path: Path, damage: str) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as server:
        await server.ready()
        await created(server)
        await created(server, channel="good")
        server.models.gate.clear()
        waiting = await say(server, "news")
    file = settings.data_dir / "channels.json"
    content = json.loads(file.read_text())
    content["channels"][0]["fade_frames"] = "many"
    file.write_text(json.dumps(content) if damage == "one entry" else file.read_text()[:-40])
    before = file.read_text()
    async with running(settings) as server:
        await server.ready()
        assert list(server.orchestrator.channels) == (["main", "good"] if damage == "one entry" else ["main"])
        assert await metric(server, 'latentsync_files_set_aside_total{file="channels.json"}') == 1
        kept = settings.data_dir / "channels.damaged-1.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and KEY in kept.read_text()
        assert damage == "one entry" or kept.read_text() == before
        assert (await server.http.get(f"/v1/tasks/{waiting}")).json()["state"] == "queued"
        await created(server)
        await server.task(waiting, "done")


async def test_one_channels_trouble_never_reaches_another(server: RunningServer) -> None:
    await created(server)
    first = await say(server, "main", seconds=4.0)
    await server.task(first, "streaming")
    frames = (await until(server, "main", lambda v: v["stream"]))["stream"]["frames_sent"]
    starved = Starved(server.orchestrator.channels["main"].pid or 0)
    os.kill(server.orchestrator.channels["news"].pid or 0, signal.SIGKILL)
    await until(server, "news", lambda v: v["restarts"] == 1 and v["state"] == "running")
    assert (await server.task(first, "done"))["attempts"] == 1
    main = await until(server, "main", lambda v: v["stream"]["frames_sent"] > frames)
    assert main["restarts"] == 0
    assert main["stream"]["stalls"] == main["stream"]["dropped_pairs"] == 0 or starved.seconds > 0.5


async def test_a_channel_whose_avatar_is_gone_says_so_and_the_others_run(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as server:
        await server.ready()
        await created(server)
    (settings.avatars_dir / "other").rename(tmp_path / "moved")
    async with running(settings) as server:
        view = await until(server, "news", lambda v: v["problem"])
        assert "'other' is not in" in view["problem"] and view["state"] == "restarting"
        health = await server.http.get("/health/ready")
        assert health.status_code == 200, "requests must reach the API that repairs the channel"
        assert health.json()["parts"]["channel news"]["ready"] is False
        assert (await until(server, "main", lambda v: v["state"] == "running"))["problem"] is None
        (tmp_path / "moved").rename(settings.avatars_dir / "other")
        await until(server, "news", lambda v: v["state"] == "running")


async def test_a_far_end_that_is_away_shows_in_api_and_metrics_without_the_key(server: RunningServer) -> None:
    await created(server)
    view = await until(server, "news", lambda v: v["stream"] and v["stream"]["targets"][0]["problem"])
    (target,) = view["stream"]["targets"]
    assert target["target"] == "rtmp://127.0.0.1:9/live/***" and target["state"] == "reconnecting"
    assert "refused" in target["problem"]
    metrics = (await server.http.get("/metrics")).text
    assert 'latentsync_channel_target_up{channel="news",number="0",target="rtmp://127.0.0.1:9/live/***"} 0.0' in metrics
    assert 'latentsync_channel_publisher{channel="news",state="reconnecting"} 1.0' in metrics
    assert 'latentsync_channel_av_offset_seconds{channel="main"}' in metrics
    answers = [await server.http.get(path) for path in ("/v1/channels", "/v1/channels/news", "/metrics")]
    logs = "".join(path.read_text() for path in server.orchestrator.settings.log_dir.iterdir())
    assert not any(KEY in text for text in [*(a.text for a in answers), logs])


async def test_the_channel_of_the_settings_and_the_limit_are_kept(server: RunningServer) -> None:
    for method, body in (("PATCH", {"fade_frames": 3}), ("DELETE", None)):
        answer = await server.http.request(method, "/v1/channels/main", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "channel_of_settings")
        assert "settings" in answer.json()["error"]["message"]
    for name in ("two", "three"):
        await created(server, channel=name, targets=[])
    answer = await server.http.post("/v1/channels", json={**NEWS, "channel": "four"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_channels")


async def test_targets_of_the_settings_channel_change_and_hold_until_the_settings_name_others(tmp_path: Path) -> None:
    own, given = f"rtmp://127.0.0.1:9/own/{KEY}", f"rtmp://127.0.0.1:9/given/{KEY}"

    async def targets(rtmp_url: str, change: dict[str, Any] | None = None) -> list[str]:
        async with running(settings_in(tmp_path, rtmp_url=rtmp_url)) as server:
            await server.ready()
            pid = server.orchestrator.channels["main"].pid
            if change is not None:
                answer = await server.http.patch("/v1/channels/main", json=change)
                assert answer.status_code == 200, answer.text
            listed: list[str] = (await server.http.get("/v1/channels/main")).json()["targets"]
            await until(
                server, "main", lambda v: v["stream"] and [each["target"] for each in v["stream"]["targets"]] == listed
            )
            assert server.orchestrator.channels["main"].pid == pid
            return listed

    assert await targets(own, {"targets": [given]}) == ["rtmp://127.0.0.1:9/given/***"]
    file = tmp_path / "var" / "channels.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await targets(own) == ["rtmp://127.0.0.1:9/given/***"]
    assert await targets(f"rtmp://127.0.0.1:9/other/{KEY}") == ["rtmp://127.0.0.1:9/other/***"]
    assert await targets(own, {"targets": [own]}) == ["rtmp://127.0.0.1:9/own/***"]
    assert given not in file.read_text()
    assert await targets(own) == ["rtmp://127.0.0.1:9/own/***"]


async def test_damaged_targets_of_the_settings_channel_are_kept_and_its_own_are_used(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.data_dir.mkdir()
    changed = {"channel": "main", "instead_of": [], "targets": [f"gopher://h/{KEY}", 7]}
    content = {"version": 1, "channels": [], "changed_targets": changed}
    (settings.data_dir / "channels.json").write_text(json.dumps(content))
    async with running(settings) as server:
        await server.ready()
        assert (await server.http.get("/v1/channels/main")).json()["targets"] == []
    kept = json.loads((settings.data_dir / "channels.damaged-1.json").read_text())
    assert kept["changed_targets"] == changed
    assert KEY not in "".join(path.read_text() for path in settings.log_dir.iterdir())
