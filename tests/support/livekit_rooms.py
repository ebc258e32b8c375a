"""LiveKit rooms in memory, which the measurement of the doors for agents needs too."""

import pytest

from bench.agents.rooms import URL, Hall, MemoryRoom, token
from orchestrator.http.agents.livekit import avatar_room

__all__ = ["URL", "Hall", "MemoryRoom", "hall_of_test", "token"]


def hall_of_test(monkeypatch: pytest.MonkeyPatch) -> Hall:
    """A hall whose rooms the server joins for the test, without the waits that real rooms need."""
    hall = Hall()
    monkeypatch.setattr(avatar_room, "new_room", hall.room)
    monkeypatch.setattr(avatar_room, "_LOOK_S", 0.05)
    monkeypatch.setattr(avatar_room, "_RETURN_S", 0.1)
    return hall
