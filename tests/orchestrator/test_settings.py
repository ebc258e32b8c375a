"""Settings: where they come from, and how wrong ones are named."""

from pathlib import Path

import pytest

from conversation.recognition.openai import TranscriptionProvider
from conversation.response.openai import ChatProvider
from conversation.synthesis.openai import Provider
from filming.openai_videos import VideosProvider
from orchestrator.http.agents.lite.register import LiteSession
from orchestrator.settings import SettingsError, load_settings
from streaming.webrtc.whip import WhipConfig


def test_defaults_listen_on_loopback_and_write_below_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 11001)
    assert settings.triton_grpc_url == "127.0.0.1:8001"
    assert settings.model_repository == tmp_path / "var" / "model_repository"
    assert settings.rtmp_url is None


def test_argument_beats_environment_beats_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('http_port = 1111\nfade_frames = 7\nchannel_id = "studio"\n')
    monkeypatch.setenv("LATENTSYNC_CONFIG", str(file))
    monkeypatch.setenv("LATENTSYNC_HTTP_PORT", "2222")
    monkeypatch.setenv("LATENTSYNC_FADE_FRAMES", "9")
    settings = load_settings(http_port=3333)
    assert (settings.http_port, settings.fade_frames, settings.channel_id) == (3333, 9, "studio")


def test_length_of_a_chunk_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_LIVE_CHUNK_FRAMES", "16")
    assert load_settings().live_chunk_frames == 16
    monkeypatch.setenv("LATENTSYNC_LIVE_CHUNK_FRAMES", "5")
    with pytest.raises(SettingsError, match="live_chunk_frames"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HTTP_PORT", "99999", "http_port"),
        ("FADE_FRAMES", "26", "fade_frames"),
        ("CPU_THREADS", "0", "cpu_threads"),
        ("SPEECH_LIMIT_S", "long", "speech_limit_s"),
        ("CHANNEL_ID", "../main", "channel_id"),
        ("TRITON_URL", "http://127.0.0.1:8001", "triton_url"),
        ("HTTP_PORT", "8001", "must differ"),
        ("WYOMING_PORT", "11001", "must differ"),
        ("FFMPEG", "/nowhere/ffmpeg", "ffmpeg: .*program"),
        ("TRITON_BINARY", "/etc/passwd", "triton_binary: .*program"),
        ("DATA_DIR", "/etc/passwd/var", "data_dir: .*no folder"),
        ("ALLOWED_TARGETS", '["gopher://a"]', "allowed_targets"),
        ("ALLOWED_TARGETS", "rtmp://a", "allowed_targets"),
        ("REQUESTS_PER_MINUTE", "-1", "requests_per_minute"),
        ("LOG_FORMAT", "xml", "log_format"),
        ("HTP_PORT", "8080", "LATENTSYNC_HTTP_PORT is meant"),
    ],
)
def test_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str) -> None:
    monkeypatch.setenv(f"LATENTSYNC_{variable}", value)
    with pytest.raises(SettingsError, match=named):
        load_settings()


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_HTTP_PORT", "0")
    monkeypatch.setenv("LATENTSYNC_QUEUE_LIMIT", "none")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "http_port" in str(raised.value) and "queue_limit" in str(raised.value)


def test_stream_key_appears_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_RTMP_URL", "rtmp//live.example/app/s3cret")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "rtmp_url" in str(raised.value) and "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(load_settings(rtmp_url="rtmp://live.example/app/s3cret"))


@pytest.mark.parametrize("name", ["synthesiser_key", "responder_key", "recogniser_key", "film_key"])
def test_providers_key_fits_into_a_header(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Clients of HTTP quote a header that they refuse, and errors of providers are shown to people who talk."""
    variable = f"LATENTSYNC_{name.upper()}"
    monkeypatch.setenv(variable, " sk-secret\r\n")
    assert getattr(load_settings(), name).get_secret_value() == "sk-secret"
    for wrong in ("sk-secret and more", "sk-secret\u201d"):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(SettingsError, match=name) as refused:
            load_settings()
        assert "sk-secret" not in str(refused.value)


def test_no_secret_is_in_what_is_printed_of_a_part() -> None:
    """A repr gets into messages of errors, and these into logs."""
    parts = (
        ChatProvider("http://127.0.0.1", "m", "sk-secret"),
        TranscriptionProvider("http://127.0.0.1", "m", "sk-secret"),
        Provider("http://127.0.0.1", "m", ("a",), "sk-secret"),
        VideosProvider("http://127.0.0.1", "m", "sk-secret"),
        WhipConfig("socket", "http://127.0.0.1", "sk-secret"),
        LiteSession(lambda: True, "demo", None, "sk-secret", token="sk-secret", socket_secret="sk-secret"),
    )
    assert not [part for part in parts if "sk-secret" in repr(part)]


def test_file_with_an_unknown_name_or_bad_toml_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    monkeypatch.setenv("LATENTSYNC_CONFIG", str(file))
    with pytest.raises(SettingsError, match="no such file"):
        load_settings()
    file.write_text("http_prot = 1\n")
    with pytest.raises(SettingsError, match="http_prot: there is no such setting; probably http_port is meant"):
        load_settings()
    file.write_text("http_port = \n")
    with pytest.raises(SettingsError, match="line 1"):
        load_settings()


def test_wyoming_is_open_to_others_only_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_WYOMING_PORT", "10200")
    assert load_settings().wyoming_host == "127.0.0.1"
    monkeypatch.setenv("LATENTSYNC_WYOMING_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match=r"no keys.*wyoming_clients"):
        load_settings()
    monkeypatch.setenv("LATENTSYNC_WYOMING_CLIENTS", '["192.168.1.20"]')
    assert load_settings().wyoming_clients == ("192.168.1.20/32",)
    monkeypatch.setenv("LATENTSYNC_WYOMING_CLIENTS", '["192.168.1.20/16"]')
    with pytest.raises(SettingsError, match="host bits"):
        load_settings()
