"""The ear hears a channel's sound when its encoder gives it out, and not when it was due."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from orchestrator.conversations.channel_ear import ChannelEar
from streaming.events import PublisherState, SpeechEncoded, SpeechEnded, SpeechStarted
from tests.support.grey_avatar import RESOLUTION, make_avatar
from tests.support.watched import Watched, encoder_of, is_kind, is_state, running

RATE = 16_000


@asynccontextmanager
async def heard(path: Path) -> AsyncIterator[ChannelEar]:
    ear = ChannelEar(path, time.monotonic)
    hearing = asyncio.create_task(ear.run())
    try:
        yield ear
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def say_tone(watched: Watched, frames: int) -> None:
    times = np.arange(frames * 1920) / 48_000
    tone = np.rint(8_000 * np.sin(2 * np.pi * 400 * times)).astype(np.int16).reshape(frames, 1920)
    await watched.channel.open("a", frames, 0.2)
    await watched.channel.write("a", 0, np.full((frames, RESOLUTION, RESOLUTION, 3), 250, np.uint8), tone)
    await watched.channel.end("a")


async def test_sound_is_heard_when_an_encoder_that_stood_still_gives_it_out(tmp_path: Path) -> None:
    path, avatar = tmp_path / "packets.sock", make_avatar(tmp_path / "avatar", 320, 240, 50)
    async with (
        heard(path) as ear,
        running(avatar, tmp_path, packet_socket=str(path), test_pattern=False) as watched,
    ):
        await watched.until(is_state(PublisherState.ON_AIR))
        encoder = encoder_of(watched.channel)
        started = asyncio.create_task(watched.until(is_kind(SpeechStarted)))
        os.kill(encoder, signal.SIGSTOP)
        await say_tone(watched, 25)
        await started
        due_s = time.monotonic()
        await asyncio.sleep(1)
        encoded = asyncio.create_task(watched.until(is_kind(SpeechEncoded)))
        ended = asyncio.create_task(watched.until(is_kind(SpeechEnded)))
        os.kill(encoder, signal.SIGCONT)
        event = await encoded
        assert isinstance(event, SpeechEncoded)
        encoded_s = time.monotonic() - event.age_s
        await ended
        await asyncio.sleep(1)
        now_s = time.monotonic()
        sound = ear.sounding(now_s, 4 * RATE)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 4_000)
    began_s = now_s - 4 + loud[0] / RATE
    assert began_s > due_s + 0.9 and abs(began_s - encoded_s) < abs(began_s - due_s) / 2
