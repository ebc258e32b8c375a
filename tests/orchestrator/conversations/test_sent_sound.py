"""The echo is held against what the encoder gave out when it did, however late that was."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.activity.detector import VoiceChange, VoiceDetector
from conversation.activity.silero import RATE_HZ, SileroVad
from orchestrator.conversations.echo_reference import EchoReference
from orchestrator.conversations.sent_sound import SentSound
from tests.support.human_voice import said, silence

Sound = NDArray[np.int16]
FRAME, BLOCK = RATE_HZ // 25, RATE_HZ // 50
STALLED_AT = 60
PLAYER = round(0.12 * RATE_HZ)
ANSWER = "It is a quarter past nine, and the shop opens at ten. You may wait inside, where it is warm and dry."


class Player:
    """Waits until it has a little, and then plays what comes."""

    def __init__(self) -> None:
        self._waiting = silence(0)
        self._plays = False

    def came(self, piece: Sound) -> None:
        self._waiting = np.concatenate([self._waiting, piece])
        self._plays = self._plays or len(self._waiting) >= PLAYER

    def play(self) -> Sound:
        count = BLOCK if self._plays else 0
        block, self._waiting = self._waiting[:count], self._waiting[count:]
        return np.concatenate([block, silence((BLOCK - len(block)) / RATE_HZ)])


def heard_of(
    stream: Sound, given_out: Callable[[int], float], person: Sound, began_s: float, gain_db: float = -20
) -> list[tuple[float, VoiceChange]]:
    """What is told of a microphone beside a loudspeaker; frame n leaves the encoder at `given_out(n)` seconds."""
    now_s, sent, player, told = 0.0, SentSound(), Player(), []
    reference, detector = EchoReference(lambda: now_s), VoiceDetector(SileroVad())
    noise, frames = np.random.default_rng(0), list(enumerate(stream.reshape(-1, FRAME)))
    for number in range(round((given_out(len(frames)) + 1) * 50)):
        now_s = 0.02 * (number + 1)
        heard = np.rint(player.play() * 10 ** (gain_db / 20) + noise.normal(0, 8, BLOCK)).astype(np.int16)
        while frames and given_out(frames[0][0]) <= now_s:
            _, frame = frames.pop(0)
            sent.came(frame, now_s)
            player.came(frame)
        start = round((now_s - began_s) * RATE_HZ)
        if 0 <= start < len(person) - BLOCK:
            heard = heard + person[start : start + BLOCK]
        told += [(now_s, each) for each in detector.push(heard, reference.of(BLOCK, sent.until))]
    return told


def falls_behind(lag_s: float) -> Callable[[int], float]:
    """An encoder that stands still once, and stays behind from then on."""
    return lambda number: 0.04 * number + (lag_s if number >= STALLED_AT else 0.0)


def stumbles(lag_s: float) -> Callable[[int], float]:
    """An encoder that stands still twice a second, and gives out at once what has waited."""
    pause = round(0.5 * 25)
    return lambda number: 0.04 * number + max(0.0, lag_s - 0.04 * (number % pause))


LATE = [falls_behind(0.6), falls_behind(2.0), stumbles(0.3)]


def answers() -> Sound:
    sound = np.concatenate([silence(1), said(ANSWER), silence(0.6), said(ANSWER), silence(1)])
    return sound[: len(sound) // FRAME * FRAME]


@pytest.mark.parametrize("given_out", LATE, ids=["by 0.6 s", "by 2 s", "twice a second"])
def test_own_echo_is_no_voice_where_the_encoder_falls_behind(given_out: Callable[[int], float]) -> None:
    assert heard_of(answers(), given_out, silence(0), 0.0) == []


@pytest.mark.parametrize("given_out", LATE, ids=["by 0.6 s", "by 2 s", "twice a second"])
def test_person_is_heard_where_the_encoder_falls_behind(given_out: Callable[[int], float]) -> None:
    person, began_s = said("Excuse me, please stop.", pitch=0.85), 7.0
    told = heard_of(answers(), given_out, person, began_s)
    assert told and told[0][1].is_voice and began_s < told[0][0] < began_s + 0.7


def test_player_catches_up_once_it_has_held_too_much_for_long() -> None:
    sent, loud = SentSound(), np.full(BLOCK, 1000, np.int16)
    for number in range(200):
        sent.came(loud if number < 150 else silence(0.02), max(0.3, 0.02 * number))
    sent.came(loud, 4.0)
    (begins,) = np.flatnonzero(np.diff(np.abs(sent_between(sent, 3.9, 5.0)).clip(0, 1)) > 0)
    assert 0.1 < begins / RATE_HZ < 0.2, "no more than a little is left of 0.3 s"


def test_player_that_holds_too_much_goes_on_with_the_newest() -> None:
    sent = SentSound()
    for number in range(100):
        sent.came(np.full(BLOCK, 1 + number, np.int16), 2.0)
    found = sent_between(sent, 2.0, 2.5)
    assert found[0] == 76 and found[-1] == 100


def sent_between(sent: SentSound, from_s: float, until_s: float) -> Sound:
    found = sent.until(until_s, round((until_s - from_s) * RATE_HZ))
    assert found is not None
    return found


def test_what_was_sent_long_ago_is_silence() -> None:
    sent = SentSound()
    assert sent.until(0.0, BLOCK) is None
    sent.came(np.full(BLOCK, 1000, np.int16), 0.0)
    assert sent.until(0.06, BLOCK) is not None and sent.until(0.04, BLOCK) is None
    sent.came(np.full(BLOCK, 1000, np.int16), 100.0)
    assert sent.until(0.06, BLOCK) is None and sent.until(100.02, BLOCK) is not None
