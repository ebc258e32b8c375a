"""How long each turn takes to each stage, from the end of the person's speech to the first sound of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conversation.realtime.actions import Play, RealtimeAction, RealtimeEvent
from conversation.turn.actions import Commit, Say, TellHeard, TellState
from conversation.turn.events import AnswerPiece, Typed, VoiceEnded
from conversation.turn.state import TurnState
from orchestrator.tasks.task import Stage, Task

TURN_STAGES = ("decided", "text", "first_token", "first_sentence", "first_sound", "first_face", "encoded")
_OF_THE_TASK = {
    "first_sound": Stage.RECEIVED,
    "first_face": Stage.FIRST_FACE,
    "encoded": Stage.ENCODED,
}


class TurnPassages:
    """Watches a dialogue and the tasks of its answers, whose times are of one clock.

    A typed turn counts from when it came. What the avatar says by itself is no turn here.
    """

    def __init__(self, passed: Callable[[int, bool, dict[str, float]], None]) -> None:
        """`passed` is called once for a turn whose first sound was encoded: whether it was typed, and its stages."""
        self._passed = passed
        self._ended_s = self._thinking_s = 0.0
        self._is_typed = False
        self._typed: set[int] = set()
        self._began_s: dict[int, float] = {}
        self._stages_s: dict[int, dict[str, float]] = {}

    def saw(self, event: RealtimeEvent, actions: Sequence[RealtimeAction]) -> None:
        """What happened in the dialogue, and what follows from it."""
        match event:
            case VoiceEnded(at_s, _, silent_s):
                self._ended_s, self._is_typed = at_s - silent_s, False
            case Typed(at_s):
                self._ended_s, self._is_typed = at_s, True
            case AnswerPiece(at_s, turn):
                self._reached(turn, "first_token", at_s)
        for action in actions:
            match action:
                case TellState(TurnState.THINKING):
                    self._thinking_s = event.at_s
                case Commit(turn):
                    self._began_s[turn] = self._ended_s
                    if self._is_typed:
                        self._typed.add(turn)
                    decided_s = self._thinking_s if self._thinking_s >= self._ended_s else event.at_s
                    self._stages_s[turn] = {"decided": decided_s, "text": event.at_s}
                case Play(turn):
                    self._reached(turn, "first_token", event.at_s)
                case Say(turn):
                    self._reached(turn, "first_sentence", event.at_s)
                case TellHeard(turn):
                    self._typed.discard(turn)
                    self._began_s.pop(turn, None)
                    self._stages_s.pop(turn, None)

    def moved(self, turn: int, task: Task) -> None:
        """The task of a turn's answer changed."""
        if turn not in self._stages_s or task.attempts > 1 or Stage.ENCODED.value not in task.stamps:
            return
        stages_s, began_s = self._stages_s.pop(turn), self._began_s.pop(turn)
        for name, stage in _OF_THE_TASK.items():
            if stage.value in task.stamps:
                stages_s[name] = task.stamps[stage.value]
        passed_s = {name: max(0.0, stages_s[name] - began_s) for name in TURN_STAGES if name in stages_s}
        self._passed(turn, turn in self._typed, passed_s)

    def _reached(self, turn: int, stage: str, at_s: float) -> None:
        if turn in self._stages_s:
            self._stages_s[turn].setdefault(stage, at_s)
