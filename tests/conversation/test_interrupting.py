"""Who interrupts again and again is heard each time: some minutes of talk, with what sounds meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.talk.plan import SPOKEN, Asked, TalkPlan, planned_turns
from conversation.activity.detector import VoiceDetector
from conversation.activity.silero import RATE_HZ, SileroVad
from tests.support.human_voice import said, silence

Sound = NDArray[np.int16]
BLOCK = 320
ANSWER = (
    "You can interrupt me, ask me for the time or the date, or tell me to say something. "
    "I answer by rules: for more, connect a language model."
)
DELAY_S = 0.15


class Room:
    """A microphone beside a loudspeaker, or a headset's where `bleed_db` is None, with its noise."""

    def __init__(self, bleed_db: float | None) -> None:
        self.detector = VoiceDetector(SileroVad())
        self._gain = 0.0 if bleed_db is None else 10 ** (bleed_db / 20)
        self._late = silence(DELAY_S)
        self._draw = np.random.default_rng(0)

    def hears(self, person: Sound, avatar: Sound) -> bool:
        """Whether a voice begins; the avatar falls silent 0.12 s later."""
        began: int | None = None
        for first in range(0, len(person) - BLOCK + 1, BLOCK):
            is_silenced = began is not None and first >= began + round(0.12 * RATE_HZ)
            played = np.zeros(BLOCK, np.int16)
            if not is_silenced:
                sounding = avatar[first : first + BLOCK]
                played[: len(sounding)] = sounding
            self._late = np.concatenate([self._late, played])
            heard = person[first : first + BLOCK] + self._gain * self._late[:BLOCK] + self._draw.normal(0, 8, BLOCK)
            self._late = self._late[BLOCK:]
            told = self.detector.push(np.asarray(np.clip(np.rint(heard), -32768, 32767), np.int16), played)
            if began is None and any(each.is_voice for each in told):
                began = first
        return began is not None


@pytest.mark.parametrize("bleed_db", [None, -20.0])
def test_each_interrupt_is_heard_and_no_answer_is_taken_for_one(bleed_db: float | None) -> None:
    room, left = Room(bleed_db), silence(0)
    questions = {asked: said(text, pitch=0.9) for asked, text in SPOKEN.items()}
    for turn in planned_turns(TalkPlan(turns=40, seed=1)):
        if turn.asked is not Asked.TYPED:
            assert room.hears(questions[turn.asked], left), f"turn {turn.number}"
        answer = said(ANSWER if turn.asked is Asked.HELP else "It is a quarter past three on this server.")
        cut = len(answer) if turn.cut_after_s is None else round(turn.cut_after_s * RATE_HZ)
        answer, left = answer[:cut], answer[cut:]
        lasts = silence(0.9 + len(answer) / RATE_HZ)
        assert not room.hears(lasts, np.concatenate([silence(0.9), answer])), f"the answer to turn {turn.number}"
