"""Settings of videos that are made from a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, StringConstraints, field_validator

from orchestrator.setting_groups.provider_key import ProviderKey

Size = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,4}x[0-9]{2,4}$")]


class FilmSettings(BaseModel):
    """What makes an avatar's video out of a picture."""

    film_service: Literal["none", "openai", "comfyui", "diffusers"] = Field(
        "none",
        description="what makes a video from a picture: openai: a server with the videos API of OpenAI's; comfyui: a "
        "workflow of yours; diffusers: an image-to-video model of a local folder; none: it is refused",
    )
    film_url: str = Field(
        "https://api.openai.com/v1", description="address before /videos of the service openai, or that of ComfyUI"
    )
    film_key: ProviderKey | None = Field(None, description="API key of the service")
    film_model: str = Field("sora-2", min_length=1, max_length=200, description="model of the service openai")
    film_size: Size | None = Field(None, description="size asked of the service openai, as 720x1280; none: its own")
    film_seconds: int | None = Field(
        None, ge=1, le=600, description="length asked of the service openai in seconds; none: its own"
    )
    film_workflow: Path | None = Field(
        None, description="workflow of the service comfyui: JSON for its API, with {{picture}}, {{prompt}}, {{seed}}"
    )
    film_model_dir: Path | None = Field(None, description="folder of the service diffusers' pipeline")
    film_options: dict[str, int | float] = Field(
        {}, description="more arguments of the service diffusers' pipeline, as num_frames and num_inference_steps"
    )
    film_fps: int = Field(16, ge=1, le=60, description="frames a second of the service diffusers' model")
    film_timeout_s: float = Field(1800.0, gt=0, le=86_400, description="within which a video must be ready")
    film_limit_bytes: int = Field(500_000_000, ge=100_000, description="largest video that a service may send")

    @field_validator("film_url")
    @classmethod
    def _is_film_server(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http://host/path or https://host/path")
        if parts.username or parts.password:
            raise ValueError("must hold no password: put it into film_key")  # it is printed
        return value.rstrip("/")
