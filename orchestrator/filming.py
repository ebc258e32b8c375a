"""The service of the settings that makes videos from pictures."""

from __future__ import annotations

from filming.comfyui import BadWorkflow, ComfyUi, Workflow
from filming.film import FilmLimits
from filming.local import LocalFilms, LocalModel
from filming.openai_videos import OpenAiVideos, VideosProvider
from filming.service import FilmService
from orchestrator.settings import Settings, SettingsError


def open_film_service(settings: Settings) -> FilmService | None:
    """What makes videos, None where none is set; raises SettingsError for what it needs and hasn't got."""
    match settings.film_service:
        case "none":
            return None
        case "openai":
            provider = VideosProvider(
                settings.film_url, settings.film_model, _key(settings), settings.film_size, settings.film_seconds
            )
            return OpenAiVideos(provider)
        case "comfyui":
            if settings.film_workflow is None:
                raise SettingsError("film_workflow must name a workflow file for film_service=comfyui")
            try:
                workflow = Workflow.read(settings.film_workflow)
            except BadWorkflow as error:
                raise SettingsError(f"film_workflow: {error}") from None
            return ComfyUi(settings.film_url, workflow, _key(settings))
        case "diffusers":
            folder = settings.film_model_dir
            if folder is None or not (folder / "model_index.json").is_file():
                raise SettingsError(f"film_model_dir={folder} must be a folder with diffusers' model_index.json")
            return LocalFilms(LocalModel(folder, settings.film_options, settings.film_fps))


def film_limits(settings: Settings) -> FilmLimits:
    """What a video may take."""
    return FilmLimits(seconds=settings.film_timeout_s, most_bytes=settings.film_limit_bytes)


def _key(settings: Settings) -> str | None:
    return None if settings.film_key is None else settings.film_key.get_secret_value() or None  # an empty one is none
