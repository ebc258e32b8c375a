"""The avatar's own voice in the microphone: what it says is known, and so is its echo, by loudness and by waves."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from conversation.activity.coherence import LONGEST, WINDOW, explained
from conversation.activity.envelope import STEP, envelope
from conversation.activity.silero import FRAME, RATE_HZ

_STEPS_S = RATE_HZ / STEP
_LONGEST = round(0.45 * _STEPS_S)  # delay from the stream to the microphone that loudness is asked for
_LEARNT = round(2.0 * _STEPS_S)  # steps from which the echo is learnt
_ONES = np.ones(_LEARNT)
_LEAST = round(0.75 * _STEPS_S)  # of them the avatar must have sounded in
_REMEMBERED = 150  # moments in which something was learnt
_RECENT = 30 * RATE_HZ // FRAME  # frames with the avatar's sound after which what was learnt counts no more
_AGREEING = 6  # moments that must agree before the echo is known
_BEFORE, _AFTER = 3, 7  # steps around the delay in which the echo is expected: a room rings
_QUIET = 20.0  # of 32768, about -64 dBFS: a reference below it has no echo
_LOUD = 200.0  # mean of a second from which something can be learnt
# Until the echo was heard it may be as loud as a loudspeaker beside the microphone: -7 dB.
_UNKNOWN_GAIN = 10 ** (-7 / 20)
_LEAST_GAIN = 1e-5
_MARGIN = 10 ** (4 / 20)
_ALIKE = 0.8  # correlation from which on the microphone hears the echo and nothing else
_EXPLAINED = 0.6  # share of the microphone's power; voices of others stay below 0.3, very like ones below 0.55
_SMOOTH = np.full(5, 0.2)  # 40 ms: a room's ringing lets single steps be louder or softer
_AWAITED = _LONGEST + _AFTER
# Frames of a voice, as many as its waves need to tell, that may be the echo with another delay: a player's jumps where
# the stream came late. They are granted anew in 2.6 s.
_DOUBTS, _DOUBTS_BACK = 8.0, 0.1


class EchoRule:
    """Compares what the microphone hears with the sound that was played.

    By loudness: delay (up to 450 ms) and gain of the echo are learnt from moments in which the envelopes of both are
    alike. Until they were, and with headphones for ever, the echo is no louder than what the microphone heard after
    each loud moment. By waves: what is coherent with the sound that was played up to 1 s before is its echo, however
    loud it has become; this finds an echo in a tenth of a second, but not what a loudspeaker distorts.
    """

    def __init__(self) -> None:
        self._waves_heard = np.zeros(WINDOW, np.int16)
        self._waves_played = np.zeros(WINDOW + LONGEST, np.int16)
        self._played = np.zeros(_LEARNT + _LONGEST, np.float64)
        self._heard = np.zeros(_LEARNT, np.float64)
        self._gain = _UNKNOWN_GAIN
        self._learnt: deque[tuple[float, float, int]] = deque(maxlen=_REMEMBERED)
        self._sounded = 0  # frames in which the avatar did
        self._delay: int | None = None
        self._doubts = _DOUBTS
        self._untold = _LEARNT  # steps since the envelopes told something

    @property
    def gain_db(self) -> float:
        """Of the echo, as far as it is known."""
        return 20 * math.log10(self._gain)

    def is_echo(self, heard: NDArray[np.int16], played: NDArray[np.int16], is_voice: bool = True) -> bool:
        """Whether a frame of the microphone may be nothing but the echo; `played` is what sounded meanwhile.

        Both are mono int16 at 16 kHz, of the same length, a multiple of 128 samples. Of a frame that is no voice
        anyway, less is asked.
        """
        self._waves_heard = np.concatenate([self._waves_heard[len(heard) :], heard])
        self._waves_played = np.concatenate([self._waves_played[len(played) :], played])
        self._listen(heard, played)
        loud = float(np.sqrt((heard.astype(np.float64) ** 2).mean())) / (_MARGIN * self._gain)
        steps = len(heard) // STEP
        is_soft = loud <= self._expected(steps, self._delay)
        if not is_voice or (is_soft and self._delay is not None):
            self._doubts = min(_DOUBTS, self._doubts + _DOUBTS_BACK)
            return is_soft
        if self._is_coherent() or is_soft:
            return True
        is_heard = len(self._learnt) >= _AGREEING
        if not is_heard or self._doubts < 1 or loud > self._expected(steps, None):
            return False
        self._doubts -= 1
        return True

    def _listen(self, heard: NDArray[np.int16], played: NDArray[np.int16]) -> None:
        loud = envelope(heard)
        self._heard = np.concatenate([self._heard[len(loud) :], loud])
        self._played = np.concatenate([self._played[len(loud) :], envelope(played)])
        self._sounded += bool(self._played[-1] > _QUIET)
        self._untold += len(loud)
        self._learn()

    def _expected(self, steps: int, delay: int | None) -> float:
        """How loud what is heard in the last so many steps was when it was played, at most; 0 for silence.

        With any delay where that is None.
        """
        shortest, longest = (0, _LONGEST) if delay is None else (max(0, delay - _BEFORE), delay + _AFTER)
        end = len(self._played) - shortest
        expected = float(self._played[max(0, len(self._played) - longest - steps) : end].max())
        return expected if expected > _QUIET else 0.0

    def _learn(self) -> None:
        heard, sounds = self._heard, (self._played > _QUIET).astype(np.float64)
        # Where the avatar is silent tells nothing: a person who begins to speak with it would be as alike as its echo.
        played = self._played * sounds
        loud = _at_each_delay(self._played, _ONES) / _LEARNT
        if not heard.any() or loud.max() < _LOUD:
            return
        steps = np.maximum(_at_each_delay(sounds, _ONES), 1.0)
        mean, heard_mean = _at_each_delay(played, _ONES) / steps, _at_each_delay(sounds, heard) / steps
        power = np.maximum(_at_each_delay(played**2, _ONES) - steps * mean**2, 1e-9)
        heard_power = np.maximum(_at_each_delay(sounds, heard**2) - steps * heard_mean**2, 1e-9)
        product = _at_each_delay(played, heard) - steps * mean * heard_mean
        tells = (loud >= _LOUD) & (steps >= _LEAST)
        alike = np.where(tells, product / np.sqrt(power * heard_power), 0.0)
        best = int(alike.argmax())
        if not self._learnt:
            self._bound()
        # Windows that overlap are one moment: else a single word, spoken just after the avatar's was cut off, would be
        # taken for its echo as often as the window holds it, and those who interrupt wouldn't be heard any more.
        if alike[best] >= _ALIKE and self._untold >= _LEARNT:
            self._untold = 0
            self._note(float(best), float(product[best] / power[best]))

    def _is_coherent(self) -> bool:
        """Also learns from it, much sooner than the envelopes tell anything."""
        heard, played = self._waves_heard.astype(np.float64), self._waves_played.astype(np.float64)
        if np.abs(played).max() < _LOUD:
            return False
        found = explained(heard, played)
        if found.share < _EXPLAINED:
            return False
        self._note(found.delay / STEP, found.gain)
        return True

    def _note(self, delay: float, gain: float) -> None:
        # The ends of sentences are alike at many delays, and so is now and then a person's voice to the avatar's: the
        # median of some seconds holds, where enough of them agree.
        self._learnt.append((delay, min(gain, 1.0), self._sounded))
        while self._learnt[0][2] < self._sounded - _RECENT:
            self._learnt.popleft()
        middle, gain, _ = np.median(self._learnt, axis=0).tolist()
        agreeing = sum(abs(each - middle) <= _BEFORE for each, _, _ in self._learnt)
        if agreeing >= max(_AGREEING, len(self._learnt) / 2):
            self._delay, self._gain = round(middle), gain

    def _bound(self) -> None:
        """What the microphone heard in the time in which the echo of a loud moment comes is at least that echo.

        A microphone that is switched off hears nothing for as long as the echo is learnt from, which tells nothing. One
        with echo cancellation hears nothing but people, which tells that there is no echo.
        """
        played = np.convolve(self._played, _SMOOTH, "same")[_LONGEST:-_AWAITED]
        heard = np.convolve(self._heard, _SMOOTH, "same")
        loudest = np.lib.stride_tricks.sliding_window_view(heard, _AWAITED + 1).max(1)
        tells = played >= _LOUD
        if tells.any():
            self._gain = min(self._gain, max(_LEAST_GAIN, float((loudest[tells] / played[tells]).min())))


def _at_each_delay(played: NDArray[np.float64], heard: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the products of so many steps of both, for each delay from 0 on."""
    return np.correlate(played, heard, "valid")[::-1]
