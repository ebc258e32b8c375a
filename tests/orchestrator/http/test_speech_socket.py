"""Speaking over the socket, against a real server: segments, their ends, and input that is wrong in many ways."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from orchestrator.access.keys import KeyFile, Scope
from tests.support.audio_files import children, convert, write_wav
from tests.support.late_looks import see_ends_alone
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import END, PATH, START, WRONG_STARTS, open_socket, receive, refusal, send, tone
from tests.support.starved import Starved

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path_factory.mktemp("server"), live_idle_limit_s=10.0, live_silence_limit_s=2.0,
                           live_speech_limit_s=20.0)  # fmt: skip
    async with running(settings) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def socket(server: RunningServer) -> AsyncIterator[ClientConnection]:
    async with open_socket(server, PATH) as opened:
        yield opened


async def said(socket: ClientConnection, start: dict[str, Any], *sound: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """A segment that is said to its end: `accepted` and `ended`."""
    await send(socket, start, *sound, END)
    accepted = await receive(socket, "accepted")
    started = await receive(socket, "started")
    assert started["sample"] == 0
    return accepted, await receive(socket, "ended")


async def failed(socket: ClientConnection, code: str) -> dict[str, Any]:
    error = await receive(socket, "error")
    assert error["code"] == code, error
    assert error["message"].endswith(".")
    return error


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
async def test_segment_is_said_and_all_of_its_samples_are_heard(
    server: RunningServer, socket: ClientConnection, rate_hz: int, channels: int
) -> None:
    start = {"type": "start", "sample_rate": rate_hz, "channels": channels, "format": "s16le"}
    sound = tone(0.71, rate_hz, channels)
    accepted, ended = await said(socket, start, sound)
    assert ended == {
        "type": "ended", "task_id": accepted["task_id"], "heard_samples": round(0.71 * rate_hz), "reason": "completed"
    }  # fmt: skip
    task = await server.task(accepted["task_id"], "done")
    assert task["duration_s"] == pytest.approx(0.71, abs=0.04)


@pytest.mark.parametrize("kind", ["webm", "ogg"])
async def test_opus_as_browsers_record_it_is_said(socket: ClientConnection, tmp_path: Path, kind: str) -> None:
    recorded = convert(write_wav(tmp_path / "a.wav", np.frombuffer(tone(1.0), "<i2"), 24_000),
                       tmp_path / f"b.{kind}", "-c:a", "libopus")  # fmt: skip
    sound = recorded.read_bytes()
    parts = [sound[first : first + 700] for first in range(0, len(sound), 700)]
    _, ended = await said(socket, {"type": "start", "format": kind}, *parts)
    assert ended["reason"] == "completed" and ended["heard_samples"] == pytest.approx(48_000, abs=1_000)
    while children():
        await asyncio.sleep(0.01)


async def test_sound_that_is_none_of_its_format_fails(socket: ClientConnection) -> None:
    await send(socket, {"type": "start", "format": "webm"}, *[tone(0.5)] * 4, END)
    await receive(socket, "accepted")
    await failed(socket, "not_audio")
    assert (await receive(socket, "ended"))["reason"] == "failed"
    while children():
        await asyncio.sleep(0.01)


async def test_many_segments_are_said_over_one_connection(server: RunningServer, socket: ClientConnection) -> None:
    ended = [await said(socket, START, tone(0.3)) for _ in range(3)]
    assert [each["heard_samples"] for _, each in ended] == [7_200] * 3
    assert len({accepted["task_id"] for accepted, _ in ended}) == 3


async def test_next_segment_waits_for_the_one_before_it(socket: ClientConnection) -> None:
    await send(socket, START, tone(1.0), END, START, tone(0.5), END)
    first, second = await receive(socket, "accepted"), await receive(socket, "accepted")
    assert (await receive(socket, "started"))["task_id"] == first["task_id"]
    order = [await receive(socket, kind) for kind in ("ended", "started", "ended")]
    assert [each["task_id"] for each in order] == [first["task_id"], second["task_id"], second["task_id"]]


async def test_position_tells_how_much_was_heard_until_the_end(socket: ClientConnection) -> None:
    await send(socket, START, tone(4.0), END)
    positions = []
    async for text in socket:
        message = json.loads(text)
        if message["type"] == "position":
            positions.append(message["sample"])
        if message["type"] == "ended":
            break
    assert message["heard_samples"] == 4 * 24_000
    assert len(positions) >= 2 and positions == sorted(set(positions)) and positions[-1] <= 4 * 24_000


async def test_a_segment_whose_beginning_nobody_saw_has_begun_all_the_same(
    socket: ClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    see_ends_alone(monkeypatch)
    await said(socket, START, tone(0.2))


async def test_interrupt_ends_the_segment_with_what_was_heard(server: RunningServer, socket: ClientConnection) -> None:
    await send(socket, START, tone(6.0), END)
    accepted = await receive(socket, "accepted")
    await receive(socket, "started")
    await receive(socket, "position")
    await send(socket, {"type": "interrupt"})
    ended = await receive(socket, "ended")
    assert ended["reason"] == "interrupted" and 0 < ended["heard_samples"] < 6 * 24_000
    await server.task(accepted["task_id"], "cancelled")


async def test_interrupt_cancels_what_is_still_sent_and_what_waits(socket: ClientConnection) -> None:
    await send(socket, START, tone(0.5), END, START, tone(0.5), {"type": "interrupt"}, tone(0.5), END)
    tasks = [(await receive(socket, "accepted"))["task_id"] for _ in range(2)]
    ended: list[dict[str, Any]] = []
    while len(ended) < 2:
        message = json.loads(await socket.recv())
        ended += [message] if message["type"] == "ended" else []
    assert {each["task_id"] for each in ended} == set(tasks)
    assert {each["reason"] for each in ended} == {"interrupted"}
    _, after = await said(socket, START, tone(0.2))
    assert after["reason"] == "completed", "what came after the interrupt was discarded, and the next one is said"


async def test_interrupt_of_nothing_is_no_mistake(socket: ClientConnection) -> None:
    await send(socket, {"type": "interrupt"})
    assert (await said(socket, START, tone(0.2)))[1]["reason"] == "completed"


async def test_speech_that_the_api_cancels_ends_on_the_socket(server: RunningServer, socket: ClientConnection) -> None:
    await send(socket, START, tone(0.5))
    accepted = await receive(socket, "accepted")
    await server.http.delete(f"/v1/tasks/{accepted['task_id']}")
    assert (await receive(socket, "ended"))["reason"] == "interrupted"
    await send(socket, tone(0.5), END)
    assert (await said(socket, START, tone(0.2)))[1]["reason"] == "completed"


async def test_lost_connection_ends_its_speech_which_is_said_as_far_as_it_came(server: RunningServer) -> None:
    socket = await open_socket(server, PATH)
    await send(socket, START, tone(0.6))
    task_id = (await receive(socket, "accepted"))["task_id"]
    socket.transport.abort()
    while (task := (await server.http.get(f"/v1/tasks/{task_id}")).json())["state"] != "failed":
        await asyncio.sleep(0.02)
    assert task["error"]["code"] == "source_lost"
    assert task["frames"]["played"] == task["frames"]["total"] > 15


async def test_half_closed_connection_counts_as_lost(server: RunningServer) -> None:
    socket = await open_socket(server, PATH)
    await send(socket, START, tone(0.4))
    task_id = (await receive(socket, "accepted"))["task_id"]
    socket.transport.write_eof()
    while (task := (await server.http.get(f"/v1/tasks/{task_id}")).json())["state"] != "failed":
        await asyncio.sleep(0.02)
    assert task["error"]["code"] == "source_lost"
    socket.transport.abort()
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.01)


async def test_client_that_leaves_after_the_end_is_said_to_its_end(server: RunningServer) -> None:
    async with open_socket(server, PATH) as socket:
        await send(socket, START, tone(0.6), END)
        task_id = (await receive(socket, "accepted"))["task_id"]
    task = await server.task(task_id, "done")
    assert task["duration_s"] == pytest.approx(0.6, abs=0.04)


@pytest.mark.parametrize(("start", "code"), WRONG_STARTS)
async def test_wrong_start_is_refused_by_its_field(socket: ClientConnection, start: dict[str, Any], code: str) -> None:
    await send(socket, start, tone(0.1), tone(0.1), END)
    await failed(socket, code)
    assert (await said(socket, START, tone(0.2)))[1]["reason"] == "completed", "and the connection goes on"


@pytest.mark.parametrize(
    "text", ["", "hello", "{", "[]", "1", '{"type": "stop"}', "{}", "[" * 50_000, '{"type": 5}', "\0"]
)
async def test_text_that_is_no_message_is_refused(socket: ClientConnection, text: str) -> None:
    await socket.send(text)
    await failed(socket, "bad_message")
    assert (await said(socket, START, tone(0.2)))[1]["reason"] == "completed"


async def test_text_where_sound_should_be_ends_the_segment(server: RunningServer, socket: ClientConnection) -> None:
    await send(socket, START, tone(0.4))
    await socket.send("AAAAAAAA")
    accepted = await receive(socket, "accepted")
    error = await failed(socket, "bad_message")
    assert error["task_id"] == accepted["task_id"]
    await receive(socket, "started")
    ended = await receive(socket, "ended")
    assert (ended["reason"], ended["heard_samples"]) == ("failed", 9_600), "what came before it is heard"


async def test_sound_before_a_start_is_refused_once(socket: ClientConnection) -> None:
    await send(socket, *[tone(0.1)] * 5)
    await failed(socket, "no_segment")
    assert (await said(socket, START, tone(0.2)))[1]["reason"] == "completed"


async def test_end_without_a_segment_and_a_second_start_are_mistakes(socket: ClientConnection) -> None:
    await send(socket, END)
    await failed(socket, "no_segment")
    await send(socket, START, START, tone(0.2), END)
    await receive(socket, "accepted")
    await failed(socket, "segment_open")
    await receive(socket, "started")
    assert (await receive(socket, "ended"))["heard_samples"] == 4_800, "the open segment goes on"


async def test_client_that_makes_mistakes_only_is_sent_away(server: RunningServer) -> None:
    async with open_socket(server, PATH) as socket:
        with pytest.raises(ConnectionClosed):
            for _ in range(1_000):
                await socket.send("nonsense")
                await socket.recv()
        assert socket.close_code == 1008


async def test_odd_bytes_are_carried_over_to_the_next_message(socket: ClientConnection) -> None:
    sound = tone(0.5)
    _, ended = await said(socket, START, sound[:101], sound[101:4_444], sound[4_444:4_445], sound[4_445:])
    assert (ended["reason"], ended["heard_samples"]) == ("completed", 12_000)


async def test_odd_byte_at_the_end_is_a_fault_and_the_rest_is_heard(socket: ClientConnection) -> None:
    await send(socket, START, tone(0.4) + b"\x01", END)
    await receive(socket, "accepted")
    await failed(socket, "cut_sample")
    await receive(socket, "started")
    ended = await receive(socket, "ended")
    assert (ended["reason"], ended["heard_samples"]) == ("failed", 9_600)


async def test_segment_without_sound_fails(socket: ClientConnection) -> None:
    await send(socket, START, END)
    await receive(socket, "accepted")
    await failed(socket, "empty_audio")
    assert (await receive(socket, "ended"))["reason"] == "failed"


async def test_message_that_is_too_large_ends_its_segment(socket: ClientConnection) -> None:
    await send(socket, START, tone(0.4), bytes(1_000_001))
    await receive(socket, "accepted")
    # Whether it is heard before the large one has arrived is a matter of the machine.
    told = [await receive(socket, "started", "error") for _ in range(2)]
    assert {message["type"]: message.get("code") for message in told} == {"started": None, "error": "message_too_large"}
    assert (await receive(socket, "ended"))["heard_samples"] == 9_600


async def test_silence_for_ever_is_ended(socket: ClientConnection) -> None:
    await send(socket, START, tone(0.2), bytes(48_000), bytes(48_000), bytes(48_000), tone(0.2))
    await receive(socket, "accepted")
    # Whether it is heard before it is too long is a matter of the machine.
    said = [await receive(socket, "started", "error") for _ in range(2)]
    assert {message["type"]: message.get("code") for message in said} == {"started": None, "error": "silence_limit"}
    ended = await receive(socket, "ended")
    assert ended["reason"] == "failed" and ended["heard_samples"] <= 24_000 * 2.5


async def test_pauses_shorter_than_the_limit_are_heard(socket: ClientConnection) -> None:
    _, ended = await said(socket, START, tone(0.2), bytes(48_000), tone(0.2), bytes(72_000), tone(0.2))
    assert (ended["reason"], ended["heard_samples"]) == ("completed", round(24_000 * 3.1))


async def test_too_much_is_ended(server: RunningServer, socket: ClientConnection) -> None:
    await send(socket, START, *[tone(1.0)] * 21)
    task_id = (await receive(socket, "accepted"))["task_id"]
    message = await receive(socket, "started", "error")
    if message["type"] == "started":
        message = await receive(socket, "error")
    assert message["code"] == "audio_too_long"
    await server.http.delete(f"/v1/tasks/{task_id}")


async def test_bursts_with_gaps_are_said(socket: ClientConnection) -> None:
    await send(socket, START)
    for _ in range(3):
        await send(socket, tone(0.3))
        await asyncio.sleep(3)
    await send(socket, END)
    await receive(socket, "accepted")
    await receive(socket, "started")
    ended = await receive(socket, "ended")
    assert (ended["reason"], ended["heard_samples"]) == ("completed", 3 * 7_200)


async def test_client_that_sends_nothing_is_given_up(socket: ClientConnection) -> None:
    await send(socket, START, tone(0.4))
    await receive(socket, "accepted")
    await failed(socket, "source_idle")
    await receive(socket, "started")
    ended = await receive(socket, "ended")
    assert (ended["reason"], ended["heard_samples"]) == ("source_lost", 9_600)


async def test_second_writer_waits_behind_the_first(server: RunningServer, socket: ClientConnection) -> None:
    async with open_socket(server, PATH) as second:
        await send(socket, START, tone(1.0))
        await receive(socket, "accepted")
        await send(second, START, tone(0.4), END)
        await receive(second, "accepted")
        await send(socket, END)
        assert (await receive(socket, "started"))["type"] == "started"
        assert (await receive(socket, "ended"))["reason"] == "completed"
        await receive(second, "started")
        assert (await receive(second, "ended"))["heard_samples"] == 9_600


async def test_unknown_channel_is_refused_before_the_socket_opens(server: RunningServer) -> None:
    assert await refusal(server, "/v1/channels/nothing/speech") == (404, "unknown_channel")


async def test_channel_that_is_removed_meanwhile_ends_its_segments(server: RunningServer) -> None:
    await server.http.post("/v1/channels", json={"channel": "gone", "avatar": "demo", "targets": []})
    async with open_socket(server, "/v1/channels/gone/speech") as socket:
        await send(socket, START, tone(0.5))
        await receive(socket, "accepted")
        await server.http.delete("/v1/channels/gone")
        assert (await receive(socket, "ended"))["reason"] == "interrupted"
        await send(socket, tone(0.1), END, START)
        await failed(socket, "unknown_channel")


async def test_other_clients_notice_nothing_of_a_bad_one(server: RunningServer, socket: ClientConnection) -> None:
    before = server.orchestrator.channels["main"].view.status
    dropped, starved = before.dropped_pairs if before else 0, Starved(server.orchestrator.channels["main"].pid or 0)
    await send(socket, START, tone(2.0), END)
    async with open_socket(server, PATH) as bad:
        await send(bad, START, b"\x01", tone(0.1))
        await bad.send("nonsense")
        await send(bad, b"\x00" * 1_000_001, START)
        bad.transport.abort()
    await receive(socket, "accepted")
    await receive(socket, "started")
    assert (await receive(socket, "ended"))["heard_samples"] == 48_000
    view = server.orchestrator.channels["main"].view
    assert view.restarts == 0 and view.status is not None
    assert view.status.dropped_pairs == dropped or starved.seconds > 0.5


async def test_full_queue_is_told_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, queue_limit=1)) as server:
        await server.ready()
        server.models.gate.clear()
        async with open_socket(server, PATH) as socket:
            await send(socket, START, tone(0.3), END)
            first = await receive(socket, "accepted")
            await server.task(first["task_id"], "inferring")
            await send(socket, START, tone(0.3), END)
            await receive(socket, "accepted")
            await send(socket, START, tone(0.3), END)
            await failed(socket, "queue_full")
            server.models.gate.set()
            for kind in ("started", "ended", "started", "ended"):
                await receive(socket, kind)


async def test_segments_count_as_uploads_of_a_minute(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, uploads_per_minute=1)) as server:
        await server.ready()
        async with open_socket(server, PATH) as socket:
            await said(socket, START, tone(0.2))
            await send(socket, START)
            await failed(socket, "too_many_requests")


async def test_failing_models_fail_the_segment(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        server.models.failing = True
        async with open_socket(server, PATH) as socket:
            await send(socket, START, tone(0.2), END)
            await receive(socket, "accepted")
            assert (await receive(socket, "error"))["message"]
            assert (await receive(socket, "ended"))["reason"] == "failed"


async def test_server_that_stops_tells_its_sockets_and_closes_them(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        idle, speaking = await open_socket(server, PATH), await open_socket(server, PATH)
        await send(speaking, START, tone(0.5))
        await receive(speaking, "accepted")
        while not server.orchestrator.board.queued("main") and not server.orchestrator.channels["main"].active:
            await asyncio.sleep(0.01)
        server.server.stop()
        error = await receive(speaking, "error")
        assert error["code"] == "stopping"
        kinds = [json.loads(text)["type"] async for text in speaking]
        assert kinds.count("ended") == 1
        assert [json.loads(text)["type"] async for text in idle] == []
        assert (idle.close_code, speaking.close_code) == (1001, 1001)


async def test_speech_that_the_stop_cuts_off_ends_too_and_is_said_after_the_next_start(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, drain_limit_s=0.0)) as server:
        await server.ready()
        socket = await open_socket(server, PATH)
        await send(socket, START, tone(8.0), END)
        await receive(socket, "accepted")
        await receive(socket, "started")
        server.server.stop()
        error = await failed(socket, "stopping")
        assert error["task_id"] in error["message"]
        assert (await receive(socket, "ended"))["reason"] == "failed"
        assert [text async for text in socket] == [] and socket.close_code == 1001


async def test_no_more_is_received_than_the_bound_while_nothing_is_heard(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, live_ahead_s=1.0, drain_limit_s=0.0)) as server:
        await server.ready()
        server.models.gate.clear()
        async with open_socket(server, PATH) as socket:
            sending = asyncio.create_task(send(socket, START, *[tone(1.0)] * 200, END))
            task_id = (await receive(socket, "accepted"))["task_id"]
            received = server.orchestrator.files.frames
            frames = -1
            while received(task_id) < 25 or received(task_id) != frames:
                frames = received(task_id)
                await asyncio.sleep(0.5)
            assert frames <= 25 + 7, "a bound, and a quarter of a second"
            assert not sending.done(), "the client waits, since the socket isn't read"
            await server.http.delete(f"/v1/tasks/{task_id}")
            assert (await receive(socket, "ended"))["reason"] == "interrupted"
            await sending
        server.models.gate.set()


async def test_key_without_the_scope_speaks_nowhere(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True)
    viewer = KeyFile(settings.keys_path).add("viewer", Scope.VIEW)
    async with running(settings) as server:
        assert await refusal(server, PATH) == (401, "key_required")
        headers = {"Authorization": f"Bearer {viewer}"}
        assert await refusal(server, PATH, additional_headers=headers) == (403, "scope_missing")
