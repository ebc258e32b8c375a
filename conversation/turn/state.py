"""What a conversation does at the moment, and the rules by which that changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TurnState(StrEnum):
    """INTERRUPTED: the person speaks into an answer, and it isn't known yet whether that is words."""

    LISTENING = "listening"
    HEARING = "hearing"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class TurnRules:
    """Times and limits of a conversation.

    A voice of `voice_s` is one; after a pause of `ahead_s` recognition begins, and one of `over_s` ends the turn; where
    a turn detector is asked, one of `unfinished_s` if it hears an unfinished sentence, and none if not. An
    utterance longer than `longest_utterance_s` is a turn too. The end of a cancelled speech is awaited for
    `cancelled_s`, then its latest position counts. Where no answer begins within `filler_after_s`, `filler` is said;
    `apology` is said where an answer fails before its first sentence. Empty texts aren't said. Of the history, the
    latest `history_chars` characters are handed on with a question.
    """

    voice_s: float = 0.1
    ahead_s: float = 0.2
    over_s: float = 0.5
    unfinished_s: float = 1.2
    longest_utterance_s: float = 25.0
    longest_answer_chars: int = 4000
    most_turns: int = 1000
    history_chars: int = 16_000
    cancelled_s: float = 2.0
    filler_after_s: float = 3.0
    filler: str = ""
    apology: str = ""
    language: str = "en"

    def __post_init__(self) -> None:
        if not 0 < self.voice_s <= self.ahead_s <= self.over_s < self.longest_utterance_s:
            raise ValueError(
                "voice_s, ahead_s, over_s and longest_utterance_s must be above 0 and grow in this order, got "
                f"{self.voice_s}, {self.ahead_s}, {self.over_s} and {self.longest_utterance_s}"
            )
        if self.unfinished_s < self.ahead_s:
            raise ValueError(f"unfinished_s must be at least ahead_s, {self.ahead_s}, got {self.unfinished_s}")
        if self.most_turns < 1 or self.longest_answer_chars < 1:
            raise ValueError(
                f"most_turns and longest_answer_chars must be at least 1, got {self.most_turns} and "
                f"{self.longest_answer_chars}"
            )
