"""Addresses: their muxers, their secrets, and what ffmpeg says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming.config import ChannelConfig
from streaming.encoder_settings import EncoderSettings
from streaming.encoder_steps import ladder
from streaming.encoding import Encoding
from streaming.targets import KeyMask, check_target, mask, unused

TARGET = "rtmp://user:pa55@live.example:1935/app/s3cr3t?sign=abc|x"


def test_no_secret_of_a_target_is_left_in_what_is_shown() -> None:
    assert mask(TARGET) == "rtmp://live.example:1935/app/***"
    assert mask("rtmp://live.example/app/s3cr3t/") == "rtmp://live.example/app/***"
    assert mask("rtmp://live.example/s3cr3t") == "rtmp://live.example/***"
    assert mask("/srv/out.flv") == "/srv/out.flv"
    clean = KeyMask((TARGET,))
    for line in (f"[error] Error opening {TARGET}: refused", "NetStream.Publish: s3cr3t with abc|x is not allowed"):
        assert not any(secret in clean(line) for secret in ("s3cr3t", "sign=", "abc", "pa55"))
    assert "live.example" in clean(f"{TARGET}: refused")
    clean = KeyMask(("rtmp://h/app/s3cr3t/", "rtmp://h/app/instance/0ther", "srt://h:1?streamid=a%20b&latency=20"))
    assert clean("s3cr3t/, then 0ther of instance, a b and a%20b, 20") == "***/, then *** of ***, *** and ***, 20"


def test_a_target_of_no_known_kind_is_refused_without_showing_its_key() -> None:
    with pytest.raises(ValueError, match="must begin with rtmp://") as error:
        check_target("gopher://live.example/app/s3cr3t")
    assert "s3cr3t" not in str(error.value)


def test_a_file_in_no_folder_and_an_address_without_a_host_are_refused(tmp_path: Path) -> None:
    check_target(str(tmp_path / "x.flv"))
    with pytest.raises(ValueError, match="there is no folder"):
        check_target(str(tmp_path / "nowhere" / "x.flv"))
    with pytest.raises(ValueError, match="the host is missing"):
        check_target("rtmp:///live/key")


def test_a_recording_is_never_written_over_and_a_playlist_is_continued(tmp_path: Path) -> None:
    for name in ("x.flv", "x-1.flv", "x.m3u8"):
        (tmp_path / name).touch()
    assert unused(str(tmp_path / "x.flv")) == str(tmp_path / "x-2.flv")
    assert unused(str(tmp_path / "x.m3u8")) == str(tmp_path / "x.m3u8")
    assert unused("rtmp://h/a/k") == "rtmp://h/a/k"


def test_the_encoder_never_knows_an_address() -> None:
    config = ChannelConfig("c", "a", "p", ("rtmp://h/a/k", "srt://h:9000", "/srv/x.flv"))
    settings = EncoderSettings.of(config, (640, 640), 1, ladder(config, (640, 640))[0]).to_json()
    assert not any(target in settings for target in config.targets)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_encoder_has_as_many_threads_as_the_channel_may_have(threads: int) -> None:
    config = ChannelConfig("c", "a", "p", encoder_threads=threads)
    settings = EncoderSettings.of(config, (640, 640), 1, ladder(config, (640, 640))[0])
    encoding = Encoding(settings)
    assert (settings.threads, encoding.threads) == (threads, threads)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fade_frames", 26),
        ("ring_frames", 1),
        ("queue_frames", 49),
        ("id", "a/b"),
        ("picture_size", (641, 480)),
        ("target", ("rtmp://h/a/k", "rtmp://h/a/k")),
    ],
)
def test_a_configuration_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    field = "targets" if name == "target" else name
    with pytest.raises(ValueError, match=name):
        values: dict[str, Any] = {"id": "c", "avatar_dir": "a", "preview_socket": "p", field: value}
        ChannelConfig(**values)


def test_a_configuration_survives_json() -> None:
    config = ChannelConfig("c", "a", "p", ("rtmp://h/a/k",), picture_size=(640, 360), fade_frames=7)
    assert ChannelConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown channel settings: nonsense"):
        ChannelConfig.from_json({**config.to_json(), "nonsense": 1})
