"""LiveKit rooms in memory, which the measurement of the doors for agents needs too."""

from bench.agents.rooms import URL, Hall, MemoryRoom, token

__all__ = ["URL", "Hall", "MemoryRoom", "token"]
