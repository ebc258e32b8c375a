"""Settings of texts that a channel says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from orchestrator.fields import LanguageTag, VoiceName
from orchestrator.setting_groups.provider_key import ProviderKey


class TextSettings(BaseModel):
    """What says texts, with which voice."""

    synthesiser: Literal["hibari", "kokoro", "openai", "none"] = Field(
        "hibari",
        description="what says texts: hibari, which is embedded and speaks English; kokoro: Chinese and English, of "
        "a local folder and the extra kokoro; openai: a server with the interface of OpenAI's; none: texts are refused",
    )
    synthesiser_folder: Path | None = Field(
        None, description="folder of the synthesiser kokoro, with its ONNX, tokens and voices; none: there is none"
    )
    synthesiser_threads: int = Field(1, ge=1, le=256, description="threads of the synthesiser kokoro")
    synthesiser_url: str = Field(
        "https://api.openai.com/v1", description="address before /audio/speech of the synthesiser openai"
    )
    synthesiser_key: ProviderKey | None = Field(None, description="API key of the synthesiser openai")
    synthesiser_model: str = Field(
        "gpt-4o-mini-tts", min_length=1, max_length=200, description="model of the synthesiser openai"
    )
    synthesiser_voices: tuple[VoiceName, ...] = Field(
        ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"),
        min_length=1,
        description="voices of the synthesiser openai, its default first",
    )
    synthesiser_rate_hz: int = Field(
        24_000, ge=8_000, le=48_000, description="sample rate of the synthesiser openai's PCM"
    )
    synthesiser_timeout_s: float = Field(
        10.0, gt=0, le=300, description="within which the synthesiser openai must begin to answer, and go on"
    )
    voice: VoiceName | None = Field(None, description="voice of the channel; none: the synthesiser's default")
    language: LanguageTag | None = Field(
        None, description="language of the channel's texts, such as en or zh-CN; none: that of the voice"
    )
    say_limit_chars: int = Field(5000, ge=1, le=1_000_000, description="longest text that is sent as a whole")

    @field_validator("synthesiser_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http://host/path or https://host/path, to which /audio/speech is added")
        if parts.username or parts.password:
            raise ValueError("must hold no password: put it into synthesiser_key")  # it is printed
        return value.rstrip("/")
