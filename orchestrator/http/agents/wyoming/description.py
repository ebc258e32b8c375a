"""What Wyoming's clients are told is here: a program for each channel, its voices, and a speaker."""

from __future__ import annotations

from wyoming.audio import AudioFormat
from wyoming.info import Attribution, Info, SndProgram, TtsProgram, TtsVoice

from latentsync.sound import SOUND_RATE_HZ
from orchestrator.orchestrator import Orchestrator

SAMPLE_BYTES = 2
_OURS = Attribution(name="latentsync-realtime", url="")


def description(orchestrator: Orchestrator) -> Info:
    """The channel of the settings is first, which clients take that don't select one."""
    channels = orchestrator.channels
    names = sorted((name for name in channels if channels.stays(name)), key=channels.is_configured, reverse=True)
    return Info(
        tts=[] if orchestrator.synthesiser is None else [_tts(orchestrator, name) for name in names],
        snd=[
            SndProgram(
                name=name,
                attribution=_OURS,
                installed=True,
                description=_says(name),
                version=None,
                snd_format=AudioFormat(rate=SOUND_RATE_HZ, width=SAMPLE_BYTES, channels=1),
            )
            for name in names
        ],
    )


def _tts(orchestrator: Orchestrator, name: str) -> TtsProgram:
    synthesiser = orchestrator.synthesiser
    assert synthesiser is not None
    language = orchestrator.channels[name].definition.language or "en"
    return TtsProgram(
        name=name,
        attribution=_OURS,
        installed=True,
        description=_says(name),
        version=None,
        supports_synthesize_streaming=True,
        voices=[
            TtsVoice(
                name=voice.name,
                attribution=_OURS,
                installed=True,
                description=voice.name,
                version=None,
                languages=[voice.language or language],  # clients offer a voice for the languages that it names
            )
            for voice in synthesiser.voices
        ],
    )


def _says(name: str) -> str:
    return f"The avatar of channel {name} says it"
