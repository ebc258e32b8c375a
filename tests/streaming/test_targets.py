"""Addresses: their muxers, their secrets, and what ffmpeg says about them."""

from __future__ import annotations

import pytest

from streaming.config import ChannelConfig
from streaming.encoder_log import EncoderLog
from streaming.events import PublisherState
from streaming.ffmpeg_command import EncoderPipes, encoder_command
from streaming.targets import KeyMask, mask, tee_slave

TARGET = "rtmp://user:pa55@live.example:1935/app/s3cr3t?sign=abc|x"


def test_no_secret_of_a_target_is_left_in_what_is_shown() -> None:
    assert mask(TARGET) == "rtmp://live.example:1935/app/***"
    assert mask("/srv/out.flv") == "/srv/out.flv"
    clean = KeyMask((TARGET,))
    for line in (f"[fifo @ 0x1] [error] Error opening {TARGET}: refused", f"to '{tee_slave(TARGET)}'"):
        assert not any(secret in clean(line) for secret in ("s3cr3t", "sign=", "pa55"))
        assert "live.example" in clean(line)


def test_a_target_of_no_known_kind_is_refused_without_showing_its_key() -> None:
    with pytest.raises(ValueError, match="must be one of") as error:
        tee_slave("gopher://live.example/app/s3cr3t")
    assert "s3cr3t" not in str(error.value)


def test_several_targets_share_one_encode() -> None:
    config = ChannelConfig("c", "a", "p", ("rtmp://h/a/k", "srt://h:9000", "/srv/x/live.m3u8", "/srv/x.flv"))
    command = encoder_command(config, 640, 640, EncoderPipes(10, 11, 12, 13), first_tick=50)
    assert command.count("-c:v") == 1
    (outputs,) = [a for a in command if "rtmp://h/a/k" in a]
    assert [o.split("]")[-1] for o in outputs.split("|")] == ["pipe:12", *config.targets]
    assert command[command.index("-output_ts_offset") + 1] == "3.000"


def test_targets_are_connecting_until_the_encoder_ran_for_a_while_without_complaint() -> None:
    log = EncoderLog(("rtmp://h/a/k",))
    assert log.state(running=False) is PublisherState.CONNECTING
    assert log.state(running=True) is PublisherState.CONNECTING
    log.progress(3.0)
    assert log.state(running=True) is PublisherState.ON_AIR
    assert log.state(running=False) is PublisherState.RECONNECTING


def test_a_lost_target_reconnects_and_the_others_stay_on_air() -> None:
    targets = ("rtmp://h/a/one", "rtmp://h/a/two")
    log = EncoderLog(targets)
    log.progress(3.0)
    assert log.state(running=True) is PublisherState.ON_AIR
    log.line("[fifo @ 0xa] [verbose] Recovery attempt #1")
    assert log.state(running=True) is PublisherState.RECONNECTING
    log.line("[fifo @ 0xa] [error] Error opening rtmp://h/a/two: Connection refused")
    assert [t.state for t in log.targets(True)] == [PublisherState.ON_AIR, PublisherState.RECONNECTING]
    log.line("[fifo @ 0xa] [info] Recovery successful")
    assert log.state(running=True) is PublisherState.ON_AIR
    assert [t.reconnects for t in log.targets(True)] == [0, 1]
    assert log.reconnects == 1


@pytest.mark.parametrize(
    ("name", "value"), [("fade_frames", 26), ("ring_frames", 1), ("queue_frames", 49), ("id", "a/b")]
)
def test_a_configuration_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        ChannelConfig(**{"id": "c", "avatar_dir": "a", "preview_socket": "p", name: value})


def test_a_configuration_survives_json() -> None:
    config = ChannelConfig("c", "a", "p", ("rtmp://h/a/k",), fade_frames=7)
    assert ChannelConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown channel settings: nonsense"):
        ChannelConfig.from_json({**config.to_json(), "nonsense": 1})
