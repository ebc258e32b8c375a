"""Where silence stands around a speech: the sound begins with it, unless another body must go before."""

from types import SimpleNamespace
from typing import Any

from orchestrator.channels.definition import ChannelDefinition
from speech.audio.frames import SilentFrames

DEFINITION = ChannelDefinition(channel="news", avatar="demo", fade_frames=7, mouth_fade_frames=3)


def avatar(idle: object) -> Any:
    return SimpleNamespace(idle=idle)


def test_where_idle_and_speech_are_one_clip_only_the_mouth_closes_in_silence() -> None:
    assert DEFINITION.silence(avatar(None)) == SilentFrames(before=0, behind=3)


def test_an_idle_clip_of_its_own_is_crossfaded_in_silence_at_both_ends() -> None:
    assert DEFINITION.silence(avatar(object())) == SilentFrames(before=7, behind=7)
