"""What the server understood of each utterance: it tells that late, and by its own name of what it was sent."""

from __future__ import annotations

from collections import deque


class Transcripts:
    """Utterances are named in the order in which they were sent; their words come at any time, piece by piece."""

    def __init__(self) -> None:
        self._sent: deque[int] = deque()  # turns whose items the server hasn't named yet
        self._turn_of: dict[str, int] = {}
        self._partial: dict[int, str] = {}

    def sent(self, turn: int) -> None:
        """The turn's utterance is with the server."""
        self._sent.append(turn)

    def named(self, item: str) -> None:
        """The server's name of the oldest utterance that has none."""
        if self._sent:
            self._turn_of[item] = self._sent.popleft()

    def lost(self) -> None:
        """The server is gone, and names nothing any more."""
        self._sent.clear()

    def add(self, item: str, text: str) -> tuple[int, str] | None:
        """Another piece; returns the turn and its words by now, None for an item that is no utterance."""
        turn = self._turn_of.get(item)
        if turn is None:
            return None
        self._partial[turn] = self._partial.get(turn, "") + text
        return turn, self._partial[turn].strip()

    def close(self, item: str) -> int | None:
        """All of its words came; returns the turn."""
        turn = self._turn_of.pop(item, None)
        if turn is not None:
            self._partial.pop(turn, None)
        return turn
