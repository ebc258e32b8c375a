"""Everything that can be set, from the environment (`LATENTSYNC_*`) or a TOML file, checked at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.access.loopback import is_loopback
from orchestrator.fields import SITE, AvatarName, BitrateKbps, ChannelName, FadeFrames, Port, Preset, unknown
from orchestrator.setting_groups.conversation import ConversationSettings
from orchestrator.setting_groups.filming import FilmSettings
from orchestrator.setting_groups.https import HttpsSettings
from orchestrator.setting_groups.live_speech import LiveSpeechSettings
from orchestrator.setting_groups.publishing import PublishingSettings
from orchestrator.setting_groups.text import TextSettings
from orchestrator.setting_groups.triton import TritonSettings
from orchestrator.setting_groups.webrtc import WebRtcSettings
from orchestrator.setting_groups.wyoming import WyomingSettings

ENV_PREFIX = "LATENTSYNC_"
CONFIG_VARIABLE = "LATENTSYNC_CONFIG"
OTLP_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
# Whose values are not repeated in errors: they may hold a key.
_SECRETIVE = (
    "rtmp_url",
    "otlp_endpoint",
    "synthesiser_key",
    "synthesiser_url",
    "responder_key",
    "responder_url",
    "recogniser_key",
    "recogniser_url",
    "film_key",
    "film_url",
)
CHECKOUT = Path(__file__).resolve().parent.parent


class SettingsError(ValueError):
    """One or more settings are wrong; the message names each of them, its value and what is allowed."""


class Settings(
    HttpsSettings,
    TritonSettings,
    LiveSpeechSettings,
    TextSettings,
    ConversationSettings,
    FilmSettings,
    PublishingSettings,
    WebRtcSettings,
    WyomingSettings,
    BaseSettings,
):
    """The settings of one server. Arguments beat the environment, which beats the TOML file, which beats the defaults.

    Relative paths are relative to the current directory and become absolute here.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    http_host: str = Field("127.0.0.1", description="address that the HTTP server listens on")
    http_port: Port = Field(11001, description="port of the HTTP server")
    require_key: bool = Field(
        False, description="whether an API key is asked for on loopback too, as behind a reverse proxy; elsewhere it is"
    )
    keys_file: Path | None = Field(None, description="hashes of the API keys; none: keys.json in the data folder")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="names by which browsers may call a server that asks for no key; IP addresses and localhost may"
    )
    embed_sites: tuple[Annotated[str, StringConstraints(pattern=SITE)], ...] = Field(
        (), description="sites that may show the player (/embed) in a frame, such as https://*.example.com"
    )
    requests_per_minute: int = Field(6000, ge=0, le=1_000_000, description="requests of one caller; 0: no limit")
    uploads_per_minute: int = Field(120, ge=0, le=1_000_000, description="uploads of one caller; 0: no limit")
    uploads_at_once: int = Field(
        32, ge=1, le=10_000, description="uploads that are read and decoded at once; one caller may have half"
    )
    upload_timeout_s: float = Field(
        300.0, gt=0, le=86_400, description="how long an upload may take to arrive, at whatever rate"
    )
    upload_least_bytes_per_s: float = Field(
        250_000.0, ge=1, description="rate at which what takes longer than upload_timeout_s must arrive"
    )
    event_listeners: int = Field(
        200, ge=1, le=100_000, description="connections to the server's events at once; one caller may have half"
    )
    data_dir: Path = Field(Path("var"), description="model repository, avatars, tasks, sockets, logs")
    checkpoint_dir: Path = Field(CHECKOUT / "checkpoints" / "demo", description="checkpoint to export and to serve")
    further_checkpoints: tuple[Path, ...] | None = Field(
        None,
        description="checkpoints served beside that of checkpoint_dir; none: the starter, where that one knows some "
        "people only",
    )
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=1024,
        description="threads that the models on the CPU may use together",
    )
    default_steps: int | None = Field(None, ge=1, le=100, description="denoising steps; none: the checkpoint's own")
    default_guidance: float | None = Field(None, ge=1, le=10, description="guidance scale; none: the checkpoint's own")
    max_steps: int = Field(50, ge=1, le=1000, description="most denoising steps that a task may ask for")
    max_guidance: float = Field(5.0, ge=1, le=100, description="largest guidance scale that a task may ask for")
    upload_limit_bytes: int = Field(64_000_000, ge=1_000, description="largest upload")
    avatar_upload_limit_bytes: int = Field(2_000_000_000, ge=1_000, description="largest upload of an avatar's video")
    avatar_limit_bytes: int = Field(
        12_000_000_000, ge=1_000_000, description="most that the frames of one avatar may take of the disk"
    )
    avatar_reserve_bytes: int = Field(1_000_000_000, ge=0, description="space of the disk that avatars leave free")
    speech_limit_s: float = Field(300.0, gt=0, le=7200, description="longest speech")
    chunk_overlap_frames: int = Field(
        0,
        ge=0,
        le=8,
        description="frames that neighbouring chunks share, the later one fading in, so that no border shows: they are "
        "made twice",
    )
    chunks_in_flight: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="chunks of all channels that Triton may have at once; none: twice what it can do",
    )
    queue_limit: int = Field(100, ge=1, le=100_000, description="tasks that may wait for one channel")
    task_history: int = Field(1000, ge=1, description="finished tasks that stay listed")
    drain_limit_s: float = Field(20.0, ge=0, le=3600, description="how long a speech may play on after SIGTERM")
    channel_limit: int = Field(16, ge=1, le=1000, description="channels that there may be at once")
    channel_id: ChannelName = Field("main", description="name of the channel")
    avatar: AvatarName = Field("demo", description="avatar that the channel shows")
    fade_frames: FadeFrames = Field(
        5, description="length of the crossfades with an idle clip of its own, in frames of 40 ms"
    )
    mouth_fade_frames: FadeFrames = Field(
        2, description="length of the mouth's fades where idle and speech are one clip, in frames of 40 ms"
    )
    log_limit_bytes: int = Field(
        10_000_000, ge=10_000, description="size at which a child process's log is rotated; four older parts are kept"
    )
    otlp_endpoint: str | None = Field(
        default_factory=lambda: os.environ.get(OTLP_VARIABLE),
        validate_default=True,
        description="base address of an OpenTelemetry collector for traces, http://host:4318; none: the variable "
        f"{OTLP_VARIABLE}, else no traces",
    )
    log_format: Literal["text", "json"] = Field("text", description="how the log's lines look")
    video_bitrate_kbps: BitrateKbps = Field(2500, description="bitrate of the stream's video")
    x264_preset: Preset = Field("veryfast", description="x264's trade of quality for time")
    ffmpeg: Path | None = Field(None, description="ffmpeg binary; none: from PATH, else imageio-ffmpeg's")
    preview_viewers: int = Field(
        16, ge=1, le=1000, description="viewers that one channel may have at once, over WebRTC and of its preview"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_collector(cls, value: str | None) -> str | None:
        if not value:  # Compose passes a variable that isn't set as an empty one
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http://host:port or https://host:port, to which /v1/traces is added")
        if parts.username or parts.password:
            # It is printed, and part of Triton's command line.
            raise ValueError("must hold no password: put it into OTEL_EXPORTER_OTLP_HEADERS")
        return value.rstrip("/")

    @field_validator("data_dir")
    @classmethod
    def _is_writable(cls, value: Path) -> Path:
        found = next(folder for folder in (value, *value.parents) if folder.exists())
        if not found.is_dir() or not os.access(found, os.W_OK | os.X_OK):
            raise ValueError(f"{found} is no folder that this user may write to")
        return value

    @field_validator("ffmpeg", "triton_binary")
    @classmethod
    def _is_program(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.is_file() and os.access(value, os.X_OK)):
            raise ValueError("must be a program that this user may run")
        return value

    @field_validator(
        "data_dir",
        "checkpoint_dir",
        "triton_binary",
        "triton_secret_file",
        "ffmpeg",
        "keys_file",
        "https_certificate",
        "https_key",
        "tls_ca_file",
        "turn_secret_file",
        "film_workflow",
        "film_model_dir",
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("further_checkpoints", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if value == "":  # Compose passes a variable that isn't set as an empty one
            return None
        if isinstance(value, str):
            raise ValueError('must be a list of folders, such as ["checkpoints/starter"]')
        return value

    @field_validator("further_checkpoints")
    @classmethod
    def _all_absolute(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        return None if value is None else tuple(path.expanduser().absolute() for path in value)

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        triton = (self.triton_http_port, self.triton_grpc_port, self.triton_metrics_port, self.triton_supervisor_port)
        ports = tuple(port for port in (self.http_port, self.wyoming_port, *triton) if port is not None)
        if len(set(ports)) < len(ports):
            raise ValueError(f"http_port, wyoming_port and triton_*_port must differ, and are {ports}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get(CONFIG_VARIABLE)
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @property
    def triton_secret_path(self) -> Path:
        """Where the secret of Triton's calls is."""
        return self.triton_secret_file or self.data_dir / "triton_secret"

    @property
    def model_repository(self) -> Path:
        """What tritonserver serves."""
        return self.data_dir / "model_repository"

    @property
    def keys_path(self) -> Path:
        """Hashes of the API keys."""
        return self.keys_file or self.data_dir / "keys.json"

    @property
    def key_required(self) -> bool:
        """Whether requests need an API key."""
        return self.require_key or not is_loopback(self.http_host)

    @property
    def avatars_dir(self) -> Path:
        """One folder for each prepared avatar."""
        return self.data_dir / "avatars"

    @property
    def tasks_dir(self) -> Path:
        """The task store and the speech of tasks that are not finished."""
        return self.data_dir / "tasks"

    @property
    def recordings_dir(self) -> Path:
        """What channels write as files."""
        return self.data_dir / "recordings"

    def channel_defaults(self) -> dict[str, Any]:
        """What a channel gets where its definition says nothing."""
        return {
            "fade_frames": self.fade_frames,
            "mouth_fade_frames": self.mouth_fade_frames,
            "video_bitrate_kbps": self.video_bitrate_kbps,
            "x264_preset": self.x264_preset,
            "voice": self.voice,
            "language": self.language,
        }

    @property
    def run_dir(self) -> Path:
        """Sockets."""
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        """Logs of the child processes."""
        return self.data_dir / "log"


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; `overrides` that are None count as not given.

    Raises `SettingsError`, which names every wrong value and every `LATENTSYNC_*` variable that means nothing.
    """
    problems = _unknown_variables(os.environ)
    file = os.environ.get(CONFIG_VARIABLE)
    if file and not Path(file).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE}={file}: there is no such file")
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems += [_sentence(item) for item in error.errors(include_url=False)]
    except ValueError as error:  # tomllib's own error, which says the line
        problems.append(f"{file}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    problems = []
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name.upper() not in known:
            problems.append(unknown(name, known, "setting"))
    return problems


def _sentence(item: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if not name:
        return str(item["msg"])
    if item["type"] == "extra_forbidden":
        return unknown(name, Settings.model_fields, "setting")
    shown = "" if name in _SECRETIVE else f" (it is {item['input']!r})"
    return f"{name}: {item['msg']}{shown}"
