"""What a channel does when a far end, an ffmpeg or a network fails: real processes, killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.rtmp_server import RtmpServer
from latentsync.avatar import PreparedAvatar
from streaming.events import PublisherState, Status
from streaming.handle import ChannelError
from tests.support.receiver import Recording, read
from tests.support.tls_front import TlsFront
from tests.support.watched import Watched, children, encoder_of, is_state, running

ON_AIR, RECONNECTING = PublisherState.ON_AIR, PublisherState.RECONNECTING


async def until_on_air(watched: Watched) -> Status:
    status = await watched.until(is_state(ON_AIR))
    assert isinstance(status, Status)
    return status


async def test_stream_recovers_from_a_restarted_server_with_monotonic_timestamps(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path
) -> None:
    url = rtmp.url("key")
    async with running(avatar, tmp_path, targets=(url,)) as watched:
        await watched.until(is_state(ON_AIR))
        first = Recording(url, tmp_path / "first.flv")
        await first.more(2)
        rtmp.stop()
        await asyncio.to_thread(first.wait)
        await watched.until(is_state(RECONNECTING))
        rtmp.start()
        status = await watched.until(is_state(ON_AIR))
        second = Recording(url, tmp_path / "second.flv")
        await second.more(2.5)
        await asyncio.to_thread(second.stop)
    assert isinstance(status, Status) and status.reconnects == 1 and status.encoder_restarts == 0
    watched.skip_where_pictures_were_left_out()
    before, after = (read(tmp_path / f"{name}.flv", *avatar.frame_size) for name in ("first", "second"))
    assert after.missing == [] and after.out_of_turn == []
    assert max(map(abs, after.offsets_s)) <= 0.020
    # Timestamps go on with the frame clock, so the outage is as long in them as in the frame numbers.
    gap = after.numbers[0] - before.numbers[-1]
    assert gap > 0
    assert after.pts_s[0] - before.pts_s[-1] == pytest.approx(gap / 25, abs=0.002)


async def test_a_hung_server_is_noticed_and_the_stream_is_back_when_it_goes_on(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path
) -> None:
    url = rtmp.url("k3y")
    async with running(avatar, tmp_path, targets=(url,), video_bitrate_kbps=4000) as watched:
        await until_on_air(watched)
        first = Recording(url, tmp_path / "first.flv")
        await first.more(2)
        rtmp.hang()
        status = await watched.until(is_state(RECONNECTING))
        assert isinstance(status, Status)
        assert "accepted no data" in status.targets[0].problem
        # The next connections are accepted by the kernel, and nobody answers on them.
        status = await watched.until(lambda e: isinstance(e, Status) and "no connection" in e.targets[0].problem)
        assert isinstance(status, Status) and status.dropped_pairs == 0, "the encoder runs on"
        rtmp.resume()
        status = await until_on_air(watched)
        await asyncio.to_thread(first.stop)
        second = Recording(url, tmp_path / "second.flv")
        await second.more(2.5)
        await asyncio.to_thread(second.stop)
    assert (status.reconnects, status.encoder_restarts, status.targets[0].problem) == (1, 0, "")
    assert "k3y" not in (tmp_path / "c.log").read_text()
    watched.skip_where_pictures_were_left_out()
    after = read(tmp_path / "second.flv", *avatar.frame_size)
    assert after.missing == [] and after.out_of_turn == []
    assert after.pts_s == pytest.approx([1 + n / 25 for n in after.numbers], abs=0.002)
    assert max(map(abs, after.offsets_s)) <= 0.020


async def test_a_far_end_that_never_answers_is_tried_again_and_found_when_it_comes(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    # Listens with a full backlog: the kernel drops each SYN, as a network does that swallows packets.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        url = f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/k3y"
        async with running(avatar, tmp_path, targets=(url, str(tmp_path / "out.flv"))) as watched:
            status = await watched.until(lambda e: isinstance(e, Status) and "no connection" in e.targets[0].problem)
            assert isinstance(status, Status)
            assert [t.state for t in status.targets] == [RECONNECTING, ON_AIR], "the other target has no part in it"
            assert status.publisher is RECONNECTING
        for filler in fillers:
            filler.close()
    assert "k3y" not in (tmp_path / "c.log").read_text()
    watched.skip_where_pictures_were_left_out()
    assert read(tmp_path / "out.flv", *avatar.frame_size).missing == []


async def test_a_server_that_starts_late_is_found(avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path) -> None:
    url = rtmp.url("key")
    rtmp.stop()
    async with running(avatar, tmp_path, targets=(url,)) as watched:
        status = await watched.until(is_state(RECONNECTING))
        assert isinstance(status, Status) and "refused" in status.targets[0].problem
        rtmp.start()
        status = await until_on_air(watched)
        assert status.reconnects == 0, "this connection is its first"


async def test_a_killed_copier_reconnects_without_going_back_in_time(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path
) -> None:
    url = rtmp.url("key")
    async with running(avatar, tmp_path, targets=(url,)) as watched:
        await until_on_air(watched)
        recording = Recording(url, tmp_path / "received.flv")
        await recording.more(1)
        (copier,) = children(watched.channel, url.removesuffix("/key").encode())
        os.kill(copier, signal.SIGKILL)
        await watched.until(lambda e: isinstance(e, Status) and e.reconnects == 1)
        await recording.more(2)
        await asyncio.to_thread(recording.stop)
    watched.skip_where_pictures_were_left_out()
    received = read(tmp_path / "received.flv", *avatar.frame_size)
    assert received.out_of_turn == []
    assert (np.diff(received.numbers) > 1).sum() == 1, "one outage"
    assert received.pts_s == pytest.approx([1 + n / 25 for n in received.numbers], abs=0.002)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_another_encoder_takes_over_and_the_viewers_stay_connected(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path, number: signal.Signals
) -> None:
    url = rtmp.url("key")
    async with running(avatar, tmp_path, targets=(url,)) as watched:
        await until_on_air(watched)
        recording = Recording(url, tmp_path / "received.flv")
        await recording.more(1.5)
        await watched.between_flashes()  # an encoder takes the sound of its last picture with it
        os.kill(encoder_of(watched.channel), number)
        await watched.until(lambda e: isinstance(e, Status) and e.encoder_restarts == 1)
        await recording.more(2.5)
        await asyncio.to_thread(recording.stop)
    last = [e for e in watched.events if isinstance(e, Status)][-1]
    assert last.reconnects == 0 and last.publisher is ON_AIR
    assert "another one in 0.0 s" in (tmp_path / "c.log").read_text(), "viewers wait for nothing but its start"
    watched.skip_where_pictures_were_left_out()
    received = read(tmp_path / "received.flv", *avatar.frame_size)
    assert received.out_of_turn == []
    assert received.pts_s == pytest.approx([1 + n / 25 for n in received.numbers], abs=0.002)
    assert (np.diff(received.numbers) > 1).sum() <= 1, "one outage, or none"
    assert max(map(abs, received.offsets_s)) <= 0.020
    assert abs(last.av_offset_s) < 0.1


async def test_the_stream_outlives_the_times_that_rtmp_can_count(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path
) -> None:
    url = rtmp.url("key")
    async with running(avatar, tmp_path, targets=(url,), timeline_frames=300) as watched:
        await until_on_air(watched)
        await watched.until(lambda e: isinstance(e, Status) and e.reconnects == 1 and e.publisher is ON_AIR)
        recording = Recording(url, tmp_path / "received.flv")
        await recording.more(3)
        await asyncio.to_thread(recording.stop)
    watched.skip_where_pictures_were_left_out()
    received = read(tmp_path / "received.flv", *avatar.frame_size)
    assert received.numbers[0] >= 300 and received.missing == [] and received.out_of_turn == []
    assert received.pts_s == pytest.approx([1 + n % 300 / 25 for n in received.numbers], abs=0.002)


async def test_targets_come_and_go_and_the_others_notice_nothing(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path
) -> None:
    one, two = rtmp.url("one"), rtmp.url("two")
    playlist = tmp_path / "hls" / "live.m3u8"
    playlist.parent.mkdir()
    async with running(avatar, tmp_path, targets=(one,)) as watched:
        await until_on_air(watched)
        recording = Recording(one, tmp_path / "one.flv")
        await recording.more(1)
        await watched.channel.set_targets((one, two, str(playlist)))
        await watched.until(lambda e: isinstance(e, Status) and len(e.targets) == 3 and e.publisher is ON_AIR)
        other = Recording(two, tmp_path / "two.flv")
        await other.more(2)
        await asyncio.to_thread(other.stop)
        while not playlist.exists():  # its first segment takes some seconds
            await asyncio.sleep(0.1)
        with pytest.raises(ChannelError, match="must begin with rtmp"):
            await watched.channel.set_targets(("gopher://h/a/s3cr3t",))
        await watched.channel.set_targets((one,))
        await watched.until(lambda e: isinstance(e, Status) and len(e.targets) == 1)
        await asyncio.to_thread(recording.stop)
    assert list(playlist.parent.glob("*.ts"))
    watched.skip_where_pictures_were_left_out()
    for name in ("one", "two"):
        received = read(tmp_path / f"{name}.flv", *avatar.frame_size)
        assert received.missing == [] and received.out_of_turn == [], name
        assert len(received.numbers) > 25


async def test_srt_and_rtmps_are_published_too(avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listener = Recording(f"srt://127.0.0.1:{port}?mode=listener", tmp_path / "srt.ts")
    with TlsFront(tmp_path, rtmp.port) as front:
        targets = (f"srt://127.0.0.1:{port}", f"rtmps://127.0.0.1:{front.port}/live/key")
        async with running(avatar, tmp_path, targets=targets, tls_ca_file=str(front.certificate)) as watched:
            await until_on_air(watched)
            recording = Recording(rtmp.url("key"), tmp_path / "rtmps.flv")
            await recording.more(2.5)
            await listener.more(2.5)
            await asyncio.to_thread(recording.stop)
            await asyncio.to_thread(listener.stop)
    watched.skip_where_pictures_were_left_out()
    for name in ("srt.ts", "rtmps.flv"):
        received = read(tmp_path / name, *avatar.frame_size)
        assert received.missing == [] and received.out_of_turn == [], name
        assert max(map(abs, received.offsets_s)) <= 0.020, name


async def test_the_picture_has_the_size_that_was_asked_for(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, targets=(str(tmp_path / "o.flv"),), picture_size=(480, 480)) as watched:
        await watched.until(lambda e: isinstance(e, Status) and e.frames_sent > 30)
    watched.skip_where_pictures_were_left_out()
    # 320×240 in a square: the same numbers, drawn larger, between black borders.
    luma = luma_of(tmp_path / "o.flv", 480, 480)
    assert luma[:, :56].max() < 20 and luma[:, -56:].max() < 20
    assert luma[:, 240, 240].min() > 20


def luma_of(path: Path, width: int, height: int) -> NDArray[Any]:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width)
