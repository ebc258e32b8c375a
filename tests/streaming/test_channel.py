"""A channel process as the orchestrator uses it, with a real ffmpeg and a real RTMP server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from bench.rtmp_server import RtmpServer
from latentsync.avatar import PreparedAvatar
from streaming.config import ChannelConfig
from streaming.events import (
    ChannelDied,
    ChannelEvent,
    EndReason,
    MixerState,
    PublisherState,
    SpeechEncoded,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    SpeechWaiting,
    Status,
)
from streaming.handle import ChannelError, ChannelHandle
from tests.support.receiver import Recording, read
from tests.support.watched import children, encoder_of, is_kind, is_state, running, say, speech

SYSTEM_FFMPEG = "ffmpeg"
_MALLOC_HEAP = 64 << 20  # what glibc reserves for a thread's heap, at a multiple of its size
STATIC_FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def has_restarted(times: int) -> Callable[[ChannelEvent], bool]:
    return lambda event: isinstance(event, Status) and event.encoder_restarts == times


@pytest.mark.parametrize("ffmpeg", [SYSTEM_FFMPEG, STATIC_FFMPEG], ids=["system", "static"])
async def test_received_stream_has_every_frame_once_with_its_sound(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path, ffmpeg: str
) -> None:
    url = rtmp.url("s3cr3t")
    async with running(avatar, tmp_path, targets=(url,), ffmpeg=ffmpeg) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        recording = Recording(url, tmp_path / "received.flv")
        await recording.more(0.5)
        await say(watched.channel, "a", 60, lead_s=1.0)
        await watched.until(is_kind(SpeechEnded))
        await recording.more(1)
        await asyncio.to_thread(recording.stop)
    assert "s3cr3t" not in (tmp_path / "c.log").read_text()
    watched.skip_where_pictures_were_left_out()
    received = read(tmp_path / "received.flv", *avatar.frame_size)
    assert len(received.numbers) > 60
    assert received.missing == [] and received.out_of_turn == []
    assert np.allclose(np.diff(received.pts_s), 0.04, atol=0.0011)
    assert len(received.offsets_s) >= 2
    assert max(map(abs, received.offsets_s)) <= 0.020
    statuses = [e for e in watched.events if isinstance(e, Status)]
    assert statuses[-1].dropped_pairs == statuses[-1].late_waits == 0
    assert watched.channel.next_frame_at == statuses[-1].next_frame_at < time.monotonic() + 0.04
    if not statuses[-1].stalls:
        assert np.allclose(np.diff([each.next_frame_at for each in statuses]), 1.0, atol=1e-6)


async def test_a_place_is_given_at_once_and_is_the_first_frame_after_the_lead(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    places = []
    async with running(avatar, tmp_path) as watched:
        for _ in range(50):
            await asyncio.sleep(0.003)  # at any time between two frames
            places.append(await watched.channel.open("a", 50, lead_s=0.19))
    assert {place.position - place.now - 1 for place in places} == {4, 5}
    assert len({place.now for place in places}) < len(places), "each has waited for a frame"


async def test_a_stall_moves_no_speech_away(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        for _ in range(5):  # between two frames or in one
            os.kill(watched.channel.pid, signal.SIGSTOP)
            reserving = asyncio.create_task(watched.channel.open("a", 50, lead_s=0.19))
            await asyncio.sleep(1)
            os.kill(watched.channel.pid, signal.SIGCONT)
            place = await reserving
            assert place.position - place.now - 1 in (4, 5)


async def test_threads_of_one_encoder_after_another_share_one_heap(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        for restarts in (1, 2):
            os.kill(encoder_of(watched.channel), signal.SIGKILL)
            await watched.until(has_restarted(restarts))
        maps = Path(f"/proc/{watched.channel.pid}/maps").read_text().splitlines()
    ranges = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps]
    heaps = [first for first, last in ranges if first % _MALLOC_HEAP == 0 and (last, first + _MALLOC_HEAP) in ranges]
    assert len(heaps) <= 1, "besides the process's own"


async def test_a_killed_ffmpeg_is_replaced_and_the_preview_goes_on(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, targets=(str(tmp_path / "out.flv"),)) as watched:
        enough = threading.Event()
        preview = asyncio.create_task(asyncio.to_thread(read_socket, tmp_path / "preview.sock", enough))
        await watched.until(lambda e: isinstance(e, Status) and e.frames_sent > 50)
        await watched.between_flashes()  # an encoder takes the sound of its last picture with it
        os.kill(encoder_of(watched.channel), signal.SIGKILL)
        again = await watched.until(lambda e: isinstance(e, Status) and e.encoder_restarts == 1)
        assert isinstance(again, Status)
        await watched.until(lambda e: isinstance(e, Status) and e.frames_sent > again.frames_sent + 50)
        enough.set()
        (tmp_path / "preview.mp4").write_bytes(await preview)
    watched.skip_where_pictures_were_left_out()
    received = read(tmp_path / "preview.mp4", *avatar.frame_size)
    steps = np.diff(received.numbers)
    assert (steps >= 1).all() and (steps > 1).sum() <= 1, "only the outage may lose frames"
    assert steps.max() < 25
    # In an MP4 the first picture of each encoder is 23 ms early, stretched over the priming of its sound.
    assert np.allclose(np.diff(received.pts_s), steps / 25, atol=0.024), "timestamps follow the frame clock"
    assert received.pts_s[-1] - received.pts_s[1] == pytest.approx(
        (received.numbers[-1] - received.numbers[1]) / 25, abs=0.002
    )
    assert max(map(abs, received.offsets_s)) <= 0.020
    recorded = read(tmp_path / "out.flv", *avatar.frame_size)
    assert np.allclose(recorded.pts_s, 1 + np.array(recorded.numbers) / 25, atol=0.002)
    assert recorded.out_of_turn == [] and (np.diff(recorded.numbers) > 1).sum() <= 1, "the recording goes on"
    assert not (tmp_path / "out-1.flv").exists()


def read_socket(path: Path, enough: threading.Event) -> bytes:
    data = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as reader:
        reader.connect(str(path))
        reader.settimeout(0.1)
        while not enough.is_set():
            with contextlib.suppress(TimeoutError):
                data += reader.recv(1 << 16)
    return data


async def test_late_faces_make_the_channel_wait_and_lose_nothing(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        channel = watched.channel
        await channel.open("a", 60, 0.1)
        await channel.write("a", 0, *speech(20))
        await watched.until(is_kind(SpeechWaiting))
        await channel.write("a", 20, *speech(40))
        resumed = await watched.until(is_kind(SpeechResumed))
        assert isinstance(resumed, SpeechResumed) and channel.waited("a") == resumed.late_frames > 0
        await channel.end("a")
        ended = await watched.until(is_kind(SpeechEnded))
        status = await watched.until(is_kind(Status))
    assert isinstance(ended, SpeechEnded) and isinstance(status, Status)
    assert (ended.played_frames, ended.reason) == (60, EndReason.COMPLETED)
    assert status.late_waits == 1 and status.late_frames > 0


async def test_a_pause_between_sentences_is_not_late(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        channel = watched.channel
        await channel.open("a", None, 0.1, start_after=4)
        await channel.write("a", 0, *speech(20), may_pause=True)
        await watched.until(is_kind(SpeechWaiting))
        await channel.write("a", 20, *speech(10))
        await channel.end("a")
        ended = await watched.until(is_kind(SpeechEnded))
        status = await watched.until(is_kind(Status))
    assert isinstance(ended, SpeechEnded) and isinstance(status, Status)
    assert (ended.played_frames, status.late_waits, status.late_frames) == (30, 0, 0)


async def test_a_speech_whose_end_comes_later_plays_what_there_is(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        channel = watched.channel
        await channel.open("a", None, 0.1, start_after=4)
        await channel.write("a", 0, *speech(20))
        with pytest.raises(ChannelError, match="isn't known"):
            await channel.open("b", 10, 0.1)
        await watched.until(is_kind(SpeechWaiting))
        await channel.write("a", 20, *speech(4))
        await channel.end("a")
        ended = await watched.until(is_kind(SpeechEnded))
        await say(channel, "b", 10)
        await watched.until(is_kind(SpeechEnded))
    assert isinstance(ended, SpeechEnded) and (ended.played_frames, ended.reason) == (24, EndReason.COMPLETED)


async def test_an_interrupt_ends_the_speech_and_frees_a_waiting_write(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, ring_frames=32) as watched:
        channel = watched.channel
        await channel.open("a", 400, 0.1)
        writing = asyncio.create_task(channel.write("a", 0, *speech(400)))
        await watched.until(is_kind(SpeechEncoded))  # what an encoder that is behind wasn't given is taken back
        await channel.open("b", 40, 0.1)
        waiting = asyncio.create_task(channel.write("b", 0, *speech(40)))
        await asyncio.sleep(0.5)
        heard = await channel.interrupt()
        ended = await watched.until(lambda e: isinstance(e, SpeechEnded) and e.speech_id == "a")
        await asyncio.wait_for(asyncio.gather(writing, waiting, return_exceptions=True), 30)
        assert isinstance(ended, SpeechEnded) and ended.reason is EndReason.INTERRUPTED
        assert heard == {"a": ended.played_frames, "b": 0}
        assert 0 < ended.played_frames < 300
        await say(channel, "c", 40)
        again = await watched.until(lambda e: isinstance(e, SpeechEnded) and e.speech_id == "c")
    assert isinstance(again, SpeechEnded)
    assert again == SpeechEnded("c", 40, EndReason.COMPLETED, again.tick)


async def test_cancelling_a_speech_that_is_over_says_that_all_of_it_is_heard(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    async with running(avatar, tmp_path) as watched:
        await say(watched.channel, "a", 10)
        ended = await watched.until(is_kind(SpeechEnded))
        assert isinstance(ended, SpeechEnded) and ended.played_frames == 10
        # The event that told may wait in a queue while the one who cancels is answered.
        assert await watched.channel.cancel("a") == 10
        assert await watched.channel.cancel("unknown") == 0


async def test_two_speeches_written_at_once_play_one_after_the_other(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, ring_frames=32) as watched:
        channel = watched.channel
        starts = [(await channel.open(name, 48, 0.1)).position for name in "ab"]
        assert starts[1] == starts[0] + 48

        async def write(name: str) -> None:
            for first in range(0, 48, 16):
                await channel.write(name, first, *speech(16))
            await channel.end(name)

        await asyncio.gather(write("b"), write("a"))
        await watched.until(lambda e: isinstance(e, SpeechEnded) and e.speech_id == "b")
    order = [(type(e).__name__, e.speech_id) for e in watched.events if isinstance(e, SpeechStarted | SpeechEnded)]
    assert order == [("SpeechStarted", "a"), ("SpeechEnded", "a"), ("SpeechStarted", "b"), ("SpeechEnded", "b")]


@pytest.mark.parametrize("hanging", [False, True], ids=["ffmpegs run", "ffmpegs hang"])
async def test_a_killed_channel_is_reported_and_its_ffmpegs_go_with_it(
    avatar: PreparedAvatar, tmp_path: Path, hanging: bool
) -> None:
    out = str(tmp_path / "out.flv")
    async with running(avatar, tmp_path, targets=(out,)) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        ffmpegs = [encoder_of(watched.channel), *children(watched.channel, out.encode())]
        assert len(ffmpegs) == 2
        if hanging:
            for ffmpeg in ffmpegs:
                os.kill(ffmpeg, signal.SIGSTOP)
        os.kill(watched.channel.pid, signal.SIGKILL)
        died = await watched.until(is_kind(ChannelDied))
        assert isinstance(died, ChannelDied) and died.return_code == -signal.SIGKILL
        with pytest.raises(ChannelError, match="signal 9"):
            await watched.channel.open("a", 10, 0.1)
        while any(Path(f"/proc/{ffmpeg}").exists() for ffmpeg in ffmpegs):
            await asyncio.sleep(0.05)


class Caller:
    """Someone with data of its own who asks a channel for something."""

    async def ask(self, channel: ChannelHandle) -> None:
        with contextlib.suppress(ChannelError):
            await channel.interrupt()


async def test_a_request_that_a_killed_channel_never_answered_keeps_nothing_of_its_caller(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    async with running(avatar, tmp_path) as watched:
        os.kill(watched.channel.pid, signal.SIGSTOP)
        caller = Caller()
        freed = weakref.ref(caller)
        gc.disable()  # it comes to such cycles after hours
        try:
            asking = asyncio.create_task(caller.ask(watched.channel))
            await asyncio.sleep(0.1)
            watched.channel.kill()
            await asking
            del asking, caller
            assert freed() is None
        finally:
            gc.enable()


async def test_the_channel_leaves_when_its_parent_does_and_closes_the_stream(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    out = tmp_path / "out.flv"
    async with running(avatar, tmp_path, targets=(str(out),)) as watched:
        await watched.until(lambda e: isinstance(e, Status) and e.frames_sent > 25)
    last = [e for e in watched.events if isinstance(e, Status)][-1]
    assert watched.channel.alive is False
    assert not any(isinstance(e, ChannelDied) for e in watched.events), "it was asked to"
    assert not (tmp_path / "preview.sock").exists()
    watched.skip_where_pictures_were_left_out()
    received = read(out, *avatar.frame_size)
    assert received.numbers[0] == 0 and received.missing == []
    assert len(received.numbers) >= last.frames_sent, "everything that was queued went out"


async def test_a_terminated_channel_closes_the_stream_and_ends_well(avatar: PreparedAvatar, tmp_path: Path) -> None:
    out = tmp_path / "out.flv"
    async with running(avatar, tmp_path, targets=(str(out),)) as watched:
        await watched.until(lambda e: isinstance(e, Status) and e.frames_sent > 25)
        os.kill(watched.channel.pid, signal.SIGTERM)
        died = await watched.until(is_kind(ChannelDied))
    assert isinstance(died, ChannelDied) and died.return_code == 0
    assert not (tmp_path / "preview.sock").exists()
    watched.skip_where_pictures_were_left_out()
    received = read(out, *avatar.frame_size)
    assert len(received.numbers) > 25 and received.missing == []


async def test_a_channel_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = ChannelConfig("c", str(tmp_path / "nobody"), str(tmp_path / "preview.sock"))
    with pytest.raises(ChannelError, match="no prepared avatar"):
        await ChannelHandle.start(config)


async def test_wrong_targets_and_shapes_are_refused(avatar: PreparedAvatar, tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="must begin with"):
        async with running(avatar, tmp_path, targets=("gopher://h/a/k",)):
            pass
    async with running(avatar, tmp_path) as watched:
        await watched.channel.open("a", 40, 5.0)
        with pytest.raises(ValueError, match=r"faces must be \[k, 128, 128, 3\]"):
            await watched.channel.write("a", 0, np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 1920), np.int16))
        with pytest.raises(ValueError, match="next frame is 0, got 5"):
            await watched.channel.write("a", 5, *speech(1))
        with pytest.raises(ChannelError, match="at least one frame"):
            await watched.channel.open("b", 0, 0.1)
        status = await watched.until(is_kind(Status))
        assert isinstance(status, Status) and status.state is MixerState.IDLE
