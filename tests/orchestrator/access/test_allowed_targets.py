"""Where a channel may publish, and names that would be paths."""

from pathlib import Path

import pytest

from orchestrator.access.allowed_targets import EVERYWHERE, AllowedTargets
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.setup import ChannelSetup
from orchestrator.settings import SettingsError, load_settings
from tests.support.running_server import running, settings_in

ALLOWED = ("rtmp://*.example.com", "rtmps://live.example.com", "srt://10.0.0.5:9000", "rtmp://[2001:db8::1]")


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("rtmp://a.example.com/app/key", True),
        ("rtmp://A.EXAMPLE.com/app/key", True),
        ("rtmp://example.com/app/key", False),
        ("rtmp://a.example.com.evil.net/app/key", False),
        ("rtmp://a.example.com@evil.net/app/key", False),
        ("rtmp://evil.net\\.example.com/app/key", False),
        ("rtmp://evil.net/a.example.com/key", False),
        ("rtmp://evil.net?a.example.com/key", False),
        ("rtmp://169.254.169.254/latest", False),
        ("rtmps://live.example.com/app/key", True),
        ("rtmps://a.example.com/app/key", False),
        ("srt://10.0.0.5:9000", True),
        ("srt://10.0.0.5:22", False),
        ("srt://10.0.0.5:9000?mode=caller", True),
        ("srt://10.0.0.5:9000?mode=listener", False),
        ("srt://10.0.0.5:9000#?mode=listener", False),
        ("srt://10.0.0.5:9000?mode=caller&mode=listener", False),
        ("srt://10.0.0.5:9000?mode=rendezvous", False),
        ("srt://10.0.0.5:9000?mode=%63aller", False),
        ("srt://10.0.0.5:9000?listen=1", False),
        ("srt://0.0.0.0:1@10.0.0.5:9000", False),
        ("srt://10.0.0.5", False),
        ("rtmp://[2001:db8::1]/app/key", True),
        ("udp://10.0.0.5:9000", False),
        ("show.flv", False),
    ],
)
def test_only_what_is_listed_is_allowed(target: str, allowed: bool) -> None:
    refusal = AllowedTargets(ALLOWED).refusal(target)
    assert (refusal is None) is allowed
    assert "key" not in (refusal or "")


def test_everything_is_allowed_unless_the_settings_say_otherwise() -> None:
    for target in ("rtmp://a/b/c", "rtmps://1.2.3.4/b", "srt://a:1", "udp://[::1]:1", "news/live.m3u8"):
        assert AllowedTargets(EVERYWHERE).refusal(target) is None
    assert AllowedTargets(EVERYWHERE).refusal("srt://0.0.0.0:9000?mode=listener")


@pytest.mark.parametrize("pattern", ["*", "http://a", "rtmp://", "rtmp://a/b", "rtmp://a b", "file:///etc"])
def test_pattern_that_means_nothing_is_named_at_start(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="allowed_targets"):
        load_settings(allowed_targets=(pattern,))


def test_servers_own_address_must_be_allowed_too() -> None:
    with pytest.raises(SettingsError, match="rtmp_url: rtmp://elsewhere") as raised:
        load_settings(allowed_targets=("rtmp://*.example.com",), rtmp_url="rtmp://elsewhere.net/app/s3cret")
    assert "s3cret" not in str(raised.value)


async def test_api_refuses_other_targets_and_names_that_are_paths(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, allowed_targets=("rtmp://live.example.com", "recordings"))) as server:
        before = sorted(path for path in tmp_path.rglob("*") if "log" not in path.parts)
        for fields in (
            {"targets": ["rtmp://elsewhere.net/app/s3cret"]},
            {"targets": ["../../show.flv"]},
            {"targets": ["/etc/show.flv"]},
            {"targets": ["file:/etc/show.flv"]},
            {"targets": ["a/../../show.flv"]},
            {"targets": ["-y.flv"]},
            {"targets": ["concat:a.flv"]},
            {"channel": "../x"},
            {"channel": "/etc"},
            {"avatar": "../../etc"},
            {"avatar": "demo/../demo"},
        ):
            body = {"channel": "news", "avatar": "demo", **fields}
            answer = await server.http.post("/v1/channels", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_channel"), fields
            assert "s3cret" not in answer.text
        assert list(server.orchestrator.channels) == ["main"]
        assert [path for path in sorted(tmp_path.rglob("*")) if "log" not in path.parts] == before


def test_saved_target_that_is_allowed_no_more_is_left_out(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, allowed_targets=("recordings",))
    definition = ChannelDefinition.parse(
        {"channel": "news", "avatar": "demo", "targets": ["rtmp://elsewhere.net/app/key", "news.flv"]}
    )
    setup = ChannelSetup(settings, lambda avatar, fade, pace, path: pytest.fail("nothing is said"))
    assert setup.addresses(definition) == (str(settings.recordings_dir / "news.flv"),)


def test_a_key_that_local_users_can_read_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    definition = ChannelDefinition.parse(
        {"channel": "news", "avatar": "demo", "targets": ["rtmp://user:s3cret@live.example/app/name", "news.flv"]}
    )
    setup = ChannelSetup(settings_in(tmp_path), lambda avatar, fade, pace, path: pytest.fail("nothing is said"))
    for _ in range(2):
        setup.addresses(definition)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "rtmp://live.example/app/***" in warning and "process list" in warning and "s3cret" not in warning
