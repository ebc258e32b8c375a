"""The synthesiser of the settings."""

from __future__ import annotations

from conversation.synthesis.synthesiser import Synthesiser, SynthesisError, voice_of
from orchestrator.settings import Settings, SettingsError


def open_synthesiser(settings: Settings) -> Synthesiser | None:
    """What says the texts of all channels, None where they are refused; raises SettingsError for an unknown voice."""
    if settings.synthesiser == "none":
        return None
    # Imported here: only a server that says texts has it, and not each command of the command line.
    from conversation.synthesis.hibari import HibariSynthesiser

    synthesiser = HibariSynthesiser()
    try:
        voice_of(synthesiser, settings.voice)
    except SynthesisError as error:
        raise SettingsError(f"voice: {error}") from None
    return synthesiser
