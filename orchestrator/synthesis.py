"""The synthesiser of the settings."""

from __future__ import annotations

from conversation.synthesis.openai import OpenAiSynthesiser, Provider
from conversation.synthesis.synthesiser import Synthesiser, SynthesisError, voice_of
from orchestrator.settings import Settings, SettingsError


def open_synthesiser(settings: Settings) -> Synthesiser | None:
    """What says the texts of all channels, None where they are refused; raises SettingsError for an unknown voice."""
    if settings.synthesiser == "none":
        return None
    synthesiser = _synthesiser(settings)
    try:
        voice_of(synthesiser, settings.voice)
    except SynthesisError as error:
        raise SettingsError(f"voice: {error}") from None
    return synthesiser


def _synthesiser(settings: Settings) -> Synthesiser:
    match settings.synthesiser:
        case "openai":
            return _openai(settings)
        case "kokoro":
            return _kokoro(settings)
        case _:
            return _hibari()


def _kokoro(settings: Settings) -> Synthesiser:
    # Imported here, as hibari is.
    from conversation.synthesis.kokoro import KokoroSynthesiser

    if settings.synthesiser_folder is None:
        raise SettingsError("synthesiser_folder: is not set, and the synthesiser kokoro needs it")
    try:
        return KokoroSynthesiser(settings.synthesiser_folder, settings.synthesiser_threads, settings.voice)
    except ValueError as error:
        raise SettingsError(f"synthesiser_folder: {error}") from None


def _hibari() -> Synthesiser:
    # Imported here: only a server that uses it needs it, and not each command of the command line.
    from conversation.synthesis.hibari import HibariSynthesiser

    return HibariSynthesiser()


def _openai(settings: Settings) -> Synthesiser:
    key = settings.synthesiser_key
    provider = Provider(
        settings.synthesiser_url,
        settings.synthesiser_model,
        settings.synthesiser_voices,
        None if key is None else key.get_secret_value() or None,  # an empty one is none
        settings.synthesiser_rate_hz,
        settings.synthesiser_timeout_s,
    )
    return OpenAiSynthesiser(provider)
