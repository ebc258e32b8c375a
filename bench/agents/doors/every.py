"""Which doors can be measured here."""

from __future__ import annotations

from importlib.util import find_spec

from bench.agents.doors.audio_speech import AudioSpeechDoor
from bench.agents.doors.door import Door
from bench.agents.doors.session import SessionDoor
from bench.agents.doors.talking import RealtimeDoor


def every_door() -> list[Door]:
    """Those whose clients are installed; `pipecat-ai` and the extra `agents-tests` bring them."""
    doors: list[Door] = [AudioSpeechDoor(), SessionDoor()]
    if find_spec("openai") is not None:
        doors.append(RealtimeDoor())
    if find_spec("livekit") is not None and find_spec("livekit.agents") is not None:
        from bench.agents.doors.room import RoomDoor

        doors.append(RoomDoor())
    if find_spec("pipecat") is not None:
        from bench.agents.doors.pipecat import PipecatDoor

        doors.append(PipecatDoor())
    return doors
