"""When the first frame of a speech is said to have come out of the encoder."""

import asyncio
import os
import signal
from pathlib import Path

from latentsync.avatar import PreparedAvatar
from streaming.encoded import EncodedFrame, EncodedWatch
from streaming.events import PublisherState, SpeechEncoded, SpeechEnded, SpeechStarted
from streaming.packet import Track
from tests.support.watched import encoder_of, is_kind, is_state, running, speech

AAC_PACKET_S = 1024 / 48_000


class Now:
    """A clock under the test's control."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_frame_has_come_out_once_picture_and_sound_have() -> None:
    watch = EncodedWatch(Now())
    watch.expect("a", 25, 2.0)
    watch.came(Track.H264, 1.96)
    watch.came(Track.OPUS, 1.98)
    watch.came(Track.H264, 2.0)
    watch.came(Track.OPUS, 2.0)
    watch.came(Track.OPUS, 2.02)
    watch.came(Track.AAC, 2.0 - 1.5 * AAC_PACKET_S)
    assert watch.take() == []
    watch.came(Track.AAC, 2.0 - 0.5 * AAC_PACKET_S)  # its first sample lies within this packet
    assert watch.take() == [EncodedFrame("a", 25, at=3.0, opus_at=2.0)]
    watch.came(Track.AAC, 2.1)
    assert watch.take() == []


def test_lower_frame_rate_shows_a_frame_by_the_next_picture() -> None:
    watch = EncodedWatch(Now())
    watch.expect("a", 25, 2.0)
    watch.came(Track.OPUS, 2.0)
    watch.came(Track.AAC, 2.0)
    watch.came(Track.H264, 2.04)
    assert [frame.speech_id for frame in watch.take()] == ["a"]


def test_cancelled_speech_and_time_that_began_anew_tell_nothing() -> None:
    watch = EncodedWatch(Now())
    watch.expect("cancelled", 25, 2.0)
    watch.forget(["cancelled"])
    watch.expect("after a new epoch", 0, 1.0)  # while packets of the old one, days later, still come
    for track in Track:
        watch.came(track, 2_000_000.0)
    assert watch.take() == []
    for track in Track:
        watch.came(track, 1.0)
    assert [frame.speech_id for frame in watch.take()] == ["after a new epoch"]


async def test_encoder_that_stands_still_has_given_nothing_out(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, targets=(str(tmp_path / "out.flv"),)) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        encoder = encoder_of(watched.channel)
        os.kill(encoder, signal.SIGSTOP)
        await watched.channel.open("a", 50, 0.1)
        await watched.channel.write("a", 0, *speech(50))
        await watched.channel.end("a")
        await watched.until(is_kind(SpeechStarted))
        await asyncio.sleep(1)
        assert not any(isinstance(event, SpeechEncoded) for event in watched.events)
        os.kill(encoder, signal.SIGCONT)
        await watched.until(is_kind(SpeechEnded))
    found = [event for event in watched.events if isinstance(event, SpeechEncoded | SpeechStarted)]
    assert [type(event) for event in found] == [SpeechStarted, SpeechEncoded]
    assert found[0].tick == found[1].tick and isinstance(found[1], SpeechEncoded) and 0 <= found[1].age_s < 1
    assert found[1].age_s <= found[1].opus_age_s < 1
