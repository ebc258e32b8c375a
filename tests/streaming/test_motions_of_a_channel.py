"""A real channel shows motions: what was told is what is seen, in idle and in speech, and its sound is whole."""

from __future__ import annotations

import asyncio
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import Detour
from streaming.compositor import Compositor
from streaming.events import (
    MotionEnded,
    MotionStarted,
    PublisherState,
    SpeechEnded,
    SpeechStarted,
    Status,
)
from streaming.handle import ChannelError
from streaming.mixer import Mixer
from streaming.motions import ChannelMotions
from tests.support.grey_avatar import RESOLUTION, add_motion, make_avatar
from tests.support.receiver import FFMPEG
from tests.support.watched import is_kind, is_state, running, say

WIDTH, HEIGHT, MOTION_FRAMES = 320, 240, 30
RED = 200


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> PreparedAvatar:
    avatar = make_avatar(tmp_path_factory.mktemp("avatars") / "acting", WIDTH, HEIGHT, 60)
    add_motion(avatar, "wave", MOTION_FRAMES, RED, like=20)
    return avatar


async def test_a_motion_is_shown_when_it_was_told_and_idle_goes_on(acting: PreparedAvatar, tmp_path: Path) -> None:
    out = tmp_path / "out.flv"
    async with running(acting, tmp_path, targets=(str(out),), test_pattern=False, x264_preset="ultrafast") as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        told: list[tuple[Detour, ...]] = []
        watched.channel.follow_path(told.append)
        planned = await watched.channel.play_motion("wave")
        assert planned.now < planned.position <= planned.now + 26
        assert told[-1][0].start == planned.position, "the path is known before the answer"
        started = await watched.until(is_kind(MotionStarted))
        assert isinstance(started, MotionStarted) and started.position == planned.position
        assert started.motion == "wave"
        during = await watched.until(is_kind(Status))
        assert isinstance(during, Status) and during.motion == "wave"
        ended = await watched.until(is_kind(MotionEnded))
        assert isinstance(ended, MotionEnded) and planned.end is not None
        assert ended.tick - started.tick == planned.end - planned.position
        await asyncio.sleep(0.5)
        await watched.next_status()
    watched.skip_where_pictures_were_left_out()
    red = redness(out)
    shown = np.flatnonzero(red > 0.02)
    assert len(shown) == pytest.approx(planned.end - planned.position, abs=2)
    assert (np.diff(shown) == 1).all()
    fades = [each for each in told[-1] if each.motion == "wave"]
    steps = np.abs(np.diff(red))
    assert steps.max() <= 1 / (min(fades[0].fade_in, fades[0].fade_out) + 1) + 0.1, "a crossfade, and no cut"


async def test_speech_goes_on_through_a_motion(acting: PreparedAvatar, tmp_path: Path) -> None:
    out = tmp_path / "out.flv"
    async with running(acting, tmp_path, targets=(str(out),), test_pattern=False, x264_preset="ultrafast") as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        start = await say(watched.channel, "a", 120, lead_s=1.0)
        planned = await watched.channel.play_motion("wave", not_before=start + 40)
        assert start + 40 <= planned.position <= start + 66
        ended = await watched.until(is_kind(SpeechEnded))
        assert isinstance(ended, SpeechEnded) and ended.played_frames == 120 and ended.dropped_frames == 0
        status = await watched.next_status()
        assert status.late_frames == 0
    watched.skip_where_pictures_were_left_out()
    face, red = faces(out), redness(out)
    spoken = np.flatnonzero(face > 0.9)
    assert len(spoken) >= 114 and (np.diff(spoken) == 1).all(), "the face is whole through both switches"
    assert (red[spoken] > 0.5).sum() >= MOTION_FRAMES - 14


async def test_what_can_not_be_shown_is_refused_and_the_stream_goes_on(acting: PreparedAvatar, tmp_path: Path) -> None:
    async with running(acting, tmp_path) as watched:
        with pytest.raises(ChannelError, match="no motion 'bow'; there is wave"):
            await watched.channel.play_motion("bow")
        held = await watched.channel.play_motion("wave", repeat=None)
        assert held.end is None
        await watched.until(is_kind(MotionStarted))
        assert await watched.channel.stop_motion() is not None
        await watched.until(is_kind(MotionEnded))
        assert await watched.channel.stop_motion() is None


async def test_an_avatar_without_motions_says_so(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path) as watched:
        with pytest.raises(ChannelError, match="there is no motion 'wave'; the avatar has none"):
            await watched.channel.play_motion("wave")


async def test_the_first_motion_of_an_avatar_comes_to_a_channel_that_runs(tmp_path: Path) -> None:
    learning = make_avatar(tmp_path / "learning", WIDTH, HEIGHT, 60)
    async with running(learning, tmp_path) as watched:
        await watched.channel.open("a", None, 0.1)  # until it is cancelled, however long a motion takes to be made
        add_motion(learning, "wave", MOTION_FRAMES, RED, like=20)
        with pytest.raises(ChannelError, match="the first motion of a channel can't come while it speaks"):
            await watched.channel.add_motion("wave")
        await watched.channel.cancel("a")
        await watched.until(is_kind(SpeechEnded))
        await watched.channel.add_motion("wave")
        planned = await watched.channel.play_motion("wave")
        started = await watched.until(is_kind(MotionStarted))
        assert isinstance(started, MotionStarted) and started.position == planned.position
        start = await say(watched.channel, "b", 40)
        assert planned.end is not None and start > planned.position
        ended = await watched.until(is_kind(SpeechEnded))
        assert isinstance(ended, SpeechEnded) and ended.played_frames == 40


async def test_a_motion_behind_an_interrupted_speech_comes_soon(acting: PreparedAvatar, tmp_path: Path) -> None:
    async with running(acting, tmp_path) as watched:
        start = await say(watched.channel, "a", 240)
        late = await watched.channel.play_motion("wave", not_before=start + 240)
        assert late.position >= start + 240
        await watched.until(is_kind(SpeechStarted))
        await watched.channel.cancel("a")
        (detour,) = watched.channel.detours
        assert detour.start < start + 200
        await watched.until(is_kind(MotionStarted))


def test_a_crossfade_keeps_the_lips_and_fades_the_body(acting: PreparedAvatar) -> None:
    motions = ChannelMotions(acting)
    motions.path.detours = [Detour("wave", 10, 40, 0, 5, 5, 0)]
    compositor = Compositor(acting, None, motions)
    face = np.full((RESOLUTION, RESOLUTION, 3), 255, np.uint8)
    out = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for position in range(5, 50):
        picture = compositor.speaking(position, position, face, 1.0, out)
        assert picture[HEIGHT // 2 + 30, WIDTH // 2].min() >= 250, f"the chin at {position}"
        body = compositor.idle(position, position)
        assert (picture[0, 0] == body[0, 0]).all(), "the body is the same with a face and without"


def test_idle_takes_the_shorter_way_to_a_speech_behind_a_motion(acting: PreparedAvatar) -> None:
    """A waiting speech stays where its faces are made for; idle goes on from a place that looks the same."""
    motions = ChannelMotions(acting)
    mixer = Mixer(2, 4, acting.period)
    mixer.keep_to_the_path(motions.nearest_equal)
    mixer.open("a", 400, 3, 1)
    mixer.available("a", 400)
    mixer.end("a", 400)
    start = mixer.open("b", 40, 3, 1)
    mixer.available("b", 40)
    mixer.end("b", 40)
    motions.path.detours = [Detour("wave", start + 10, start + 40, 0, 2, 2, 0)]
    ticks = [mixer.tick() for _ in range(30)]
    mixer.cancel("a")
    ticks += [mixer.tick() for _ in range(130)]
    spoken = [tick for tick in ticks if tick.speech == "b" and tick.audio is not None]
    assert [tick.audio for tick in spoken] == list(range(40))
    assert spoken[0].position == start, "where its faces were made for"
    shown = [motions.path.at(tick.position) for tick in ticks]
    for before, after in pairwise(shown):
        if before.clip == after.clip == "":
            assert min(abs(after.frame - before.frame), 60 - abs(after.frame - before.frame)) <= 1


def redness(path: Path) -> NDArray[np.float64]:
    """How much of the motion each picture shows, by the red of a corner over its green."""
    corner = pictures(path)[:, 4:20, 4:20].astype(float).mean(axis=(1, 2))
    return np.asarray(np.clip((corner[:, 0] - corner[:, 1]) / (RED - 15), 0, 1), np.float64)


def faces(path: Path) -> NDArray[np.float64]:
    """How white the mouth's place is in each picture."""
    return np.asarray(pictures(path)[:, HEIGHT // 2 + 20 : HEIGHT // 2 + 40, WIDTH // 2 - 10 : WIDTH // 2 + 10].mean(
        axis=(1, 2, 3)
    ) / 250, np.float64)  # fmt: skip


def pictures(path: Path) -> NDArray[np.uint8]:
    wanted = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    raw = subprocess.run([FFMPEG, "-v", "error", "-i", str(path), *wanted], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
