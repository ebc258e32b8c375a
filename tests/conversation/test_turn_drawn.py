"""A thousand turns on a virtual clock, drawn from a seed: no turn is lost, doubled or mixed, whenever things happen."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import pytest

from conversation.message import Role
from conversation.synthesis.holding import expected_s
from conversation.turn.actions import (
    Action,
    Ask,
    CancelSpeech,
    Commit,
    DropSound,
    EndSpeech,
    KeepSound,
    Recognise,
    Say,
    StopAsking,
    TellFault,
    TellHeard,
    TellState,
)
from conversation.turn.events import (
    AnswerEnded,
    AnswerPiece,
    Event,
    Part,
    PartFailed,
    PositionHeard,
    Recognised,
    SentencePlaced,
    SpeechEnd,
    SpeechOver,
    Tapped,
    TimePassed,
    Typed,
    VoiceBegan,
    VoiceEnded,
)
from conversation.turn.machine import TurnMachine
from conversation.turn.state import TurnRules, TurnState


@dataclass
class Playing:
    """A speech of the channel: its words with the times at which they end, played from `began_s` on."""

    speech: int
    began_s: float
    words: list[tuple[float, str]] = field(default_factory=list)
    sentences: int = 0
    length_s: float = 0.0
    is_ended: bool = False
    is_over: bool = False


class World:
    """A person, a recogniser, a responder and a channel with drawn delays around a machine; and what happened."""

    def __init__(self, seed: int, utterances: int) -> None:
        self.draw = random.Random(seed)
        self.machine = TurnMachine(TurnRules(most_turns=10_000, filler="Well.", apology="Sorry."))
        self.said: list[str] = []  # by the person, whose words are all different
        self.sound: dict[int, int] = {}  # of a turn: from which of the said words on it is kept
        self.failed_words: set[str] = set()
        self.committed: list[tuple[int, str]] = []
        self.heard: dict[int, list[str]] = {}
        self.really_heard: dict[int, list[str]] = {}
        self.answered: dict[int, str] = {}
        self.cuts: Counter[int] = Counter()
        self.states: set[tuple[TurnState, TurnState]] = set()
        self.faults: Counter[str] = Counter()
        self._state = TurnState.LISTENING
        self._speaks = self._voice = False
        self._turn_of_speech: dict[int, int] = {}
        self._speeches: dict[int, Playing] = {}
        self._asking = 0
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[], Event | None]]] = []
        at_s = 1.0
        for _ in range(utterances):
            at_s = self._utterance(at_s)

    def run(self) -> None:
        now_s = 0.0
        while True:
            due_s = self.machine.due_s
            next_s = self._agenda[0][0] if self._agenda else float("inf")
            if due_s is None and not self._agenda:
                return
            if due_s is not None and due_s <= next_s:
                now_s = max(now_s, due_s)
                self._act(now_s, self.machine.take(TimePassed(now_s)))
                continue
            now_s, _, happens = heapq.heappop(self._agenda)
            if (event := happens()) is not None:
                self._act(now_s, self.machine.take(event))

    def _at(self, at_s: float, happens: Callable[[], Event | None]) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._order), happens))

    def _utterance(self, at_s: float) -> float:
        """Words, a cough, a click, a tap or a typed text; returns when the next one may begin."""
        draw = self.draw
        kind = draw.choices(["words", "cough", "click", "tap", "typed"], [10, 3, 1, 1, 1])[0]
        if kind == "tap":
            self._at(at_s, lambda: Tapped(at_s))
            return at_s + draw.uniform(0.1, 2.0)
        if kind == "typed":
            self._at(at_s, lambda: self._typed(at_s))
            return at_s + draw.uniform(0.1, 2.0)
        parts = 1 if kind != "words" else draw.choice([1, 1, 1, 2, 3])
        for _ in range(parts):
            lasted_s = draw.uniform(0.02, 0.09) if kind == "click" else draw.uniform(0.12, 2.0)
            late_s = draw.uniform(0.02, 0.09)
            told_s, until_s = at_s + min(late_s, lasted_s / 2), at_s + lasted_s
            self._at(told_s, lambda a=told_s, b=at_s: VoiceBegan(a, a - b))  # type: ignore[misc]
            if kind == "words":
                self._at(until_s - 0.01, self._say_words)
            self._at(until_s + late_s, lambda a=until_s + late_s, b=lasted_s, c=late_s: VoiceEnded(a, b, c))  # type: ignore[misc]
            at_s = until_s + late_s + draw.uniform(0.05, 0.45)
        return at_s + draw.choice([0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0])

    def _typed(self, at_s: float) -> Event:
        self.said.append(f"t{len(self.said)}")
        return Typed(at_s, self.said[-1])

    def _say_words(self) -> None:
        self.said += [f"w{len(self.said) + i}" for i in range(self.draw.randint(1, 4))]

    def _act(self, now_s: float, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case KeepSound(turn):
                    assert not self.sound, "the sound of one turn at a time"
                    self.sound[turn] = self._kept_until
                case DropSound(turn):
                    del self.sound[turn]
                case Recognise(turn, request):
                    self._recognise(now_s, turn, request)
                case Commit(turn, text):
                    self.committed.append((turn, text))
                case Ask(turn, history):
                    assert not self._asking, "one question at a time"
                    assert history[-1].role is Role.PERSON and self.committed[-1][1] in history[-1].text
                    self._ask(now_s, turn)
                case StopAsking(turn):
                    assert turn == self._asking
                    self._asking = 0
                case Say():
                    self._say(now_s, action)
                case EndSpeech(speech):
                    self._end_speech(now_s, speech)
                case CancelSpeech(speech):
                    self._cancel(now_s, speech)
                case TellHeard(turn, text):
                    assert turn not in self.heard, "told once"
                    self.heard[turn] = text.split()
                case TellState(state):
                    self.states.add((self._state, state))
                    self._state = state
                case TellFault(code, _):
                    self.faults[code] += 1
        assert self._state is self.machine.state

    _kept_until = 0  # of the said words, those before it were in the sound of turns that are over

    def _recognise(self, now_s: float, turn: int, request: int) -> None:
        words = [word for word in self.said[self.sound[turn] :] if word.startswith("w")]
        self._kept_until = len(self.said)
        if self.draw.random() < 0.05:
            at_s = now_s + self.draw.uniform(0.05, 0.6)
            self._at(at_s, lambda: self._fails(at_s, turn, request, words))
            return
        done_s = now_s + self.draw.choice([0.05, 0.2, 0.4, 1.5])
        self._at(done_s, lambda: self._is_recognised(done_s, turn, request, words))

    def _is_recognised(self, at_s: float, turn: int, request: int, words: list[str]) -> Event:
        return Recognised(at_s, turn, request, " ".join(words) or "(coughs)")

    def _fails(self, at_s: float, turn: int, request: int, words: list[str]) -> Event:
        self.failed_words |= set(words)
        return PartFailed(at_s, Part.RECOGNISER, turn, "recogniser", "failed", request)

    def _ask(self, now_s: float, turn: int) -> None:
        draw, at_s = self.draw, now_s
        self._asking, self.really_heard[turn] = turn, []
        sentences = [
            f"{' '.join(f'a{turn}.{n}.{i}' for i in range(draw.randint(1, 9)))}. " for n in range(draw.randint(0, 4))
        ]
        for sentence in sentences:
            at_s += draw.choice([0.05, 0.3, 1.0, 4.0])
            self._at(at_s, lambda a=at_s, b=sentence: self._piece(AnswerPiece(a, turn, b)))  # type: ignore[misc]
        end = (
            AnswerEnded(at_s, turn) if draw.random() < 0.9 else PartFailed(at_s, Part.RESPONDER, turn, "responder", "")
        )
        self._at(at_s, lambda: self._last(turn, end))

    def _piece(self, piece: AnswerPiece) -> Event:
        return piece  # also where nobody asks any more: what is under way can't be called back

    def _last(self, turn: int, end: Event) -> Event:
        self._asking = 0 if self._asking == turn else self._asking
        return end

    def _say(self, now_s: float, say: Say) -> None:
        playing = self._speeches.get(say.speech)
        if playing is None:
            assert all(each.is_over for each in self._speeches.values()), "one speech at a time"
            playing = self._speeches[say.speech] = Playing(say.speech, now_s + 0.2)
            self._turn_of_speech[say.speech] = say.turn
        assert not playing.is_ended and not playing.is_over and say.index == playing.sentences
        start_s = max(playing.length_s, now_s - playing.began_s)
        end_s = start_s
        for word in say.text.split():
            end_s += expected_s(f" {word}" if end_s > start_s else word)
            playing.words.append((end_s, word))
        playing.sentences, playing.length_s = playing.sentences + 1, end_s + say.pause_s
        if self.draw.random() < 0.9:  # else its place is told too late
            self._at(now_s + 0.01, lambda: SentencePlaced(now_s + 0.01, say.speech, say.index, start_s, end_s))
        heard_s = start_s + 0.5
        self._at(playing.began_s + heard_s, lambda: self._position(playing, heard_s))

    def _position(self, playing: Playing, heard_s: float) -> Event | None:
        return None if playing.is_over else PositionHeard(playing.began_s + heard_s, playing.speech, heard_s)

    def _end_speech(self, now_s: float, speech: int) -> None:
        playing = self._speeches[speech]
        playing.is_ended = True
        over_s = max(now_s, playing.began_s + playing.length_s)
        self._at(over_s, lambda: self._over(playing, over_s, playing.length_s, SpeechEnd.COMPLETED))

    def _cancel(self, now_s: float, speech: int) -> None:
        playing = self._speeches[speech]
        heard_s = min(playing.length_s, max(0.0, now_s + 0.04 - playing.began_s))
        over_s = now_s + self.draw.choice([0.0, 0.05, 0.3, 1.0])
        self.cuts[self._turn_of_speech[speech]] += 1
        self._at(over_s, lambda: self._over(playing, over_s, heard_s, SpeechEnd.INTERRUPTED))

    def _over(self, playing: Playing, at_s: float, heard_s: float, end: SpeechEnd) -> Event | None:
        if playing.is_over:
            return None
        playing.is_over = True
        until_s = heard_s + 1e-6
        words = [word for ends_s, word in playing.words if ends_s <= until_s or end is SpeechEnd.COMPLETED]
        self.really_heard[self._turn_of_speech[playing.speech]] += words
        return SpeechOver(at_s, playing.speech, heard_s, end)


@cache
def lived(seed: int) -> World:
    world = World(seed, utterances=180)
    world.run()
    return world


@pytest.mark.parametrize("seed", range(10))
def test_no_turn_is_lost_doubled_or_mixed(seed: int) -> None:
    world = lived(seed)
    assert world.machine.state is TurnState.LISTENING and not world.sound
    committed = " ".join(text for _, text in world.committed).split()
    assert len(committed) == len(set(committed)), "nothing is committed twice"
    for kind in "wt":
        mine = [word for word in committed if word.startswith(kind)]
        assert mine == sorted(mine, key=lambda word: int(word[1:])), "in the order in which it was said"
    assert set(world.said) - set(committed) <= world.failed_words, "nothing is lost but what wasn't recognised"
    turns = [turn for turn, _ in world.committed]
    assert len(turns) == len(set(turns)) and list(world.heard) == turns, "each turn is closed once, in order"
    for turn, heard in world.heard.items():
        real = world.really_heard.get(turn, [])
        assert all(word in ("Well.", "Sorry.") or word.startswith(f"a{turn}.") for word in heard), "no other's answer"
        assert abs(len(heard) - len(real)) <= 1 + world.cuts[turn], (heard, real)


def test_the_drawn_turns_are_a_thousand_and_pass_through_every_state() -> None:
    worlds = [lived(seed) for seed in range(10)]
    assert sum(len(world.committed) for world in worlds) >= 1000
    assert sum(sum(world.cuts.values()) for world in worlds) > 100
    passed = set().union(*(world.states for world in worlds))
    assert {state for pair in passed for state in pair} == set(TurnState)
    interrupted = TurnState.INTERRUPTED
    assert {
        (TurnState.SPEAKING, interrupted),
        (interrupted, TurnState.SPEAKING),
        (interrupted, TurnState.THINKING),
    } <= passed
