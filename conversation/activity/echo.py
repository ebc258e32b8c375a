"""The avatar's own voice in the microphone: what it says is known, so what is no louder than its echo is the echo."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from conversation.activity.silero import RATE_HZ

_STEP = 128  # samples of a step of the envelopes, 8 ms
_STEPS_S = RATE_HZ / _STEP
_SHORTEST, _LONGEST = round(0.04 * _STEPS_S), round(0.45 * _STEPS_S)  # delays from the stream to the microphone
_LEARNT = round(2.0 * _STEPS_S)  # steps from which the echo is learnt
_REMEMBERED = 150  # frames in which something was learnt
_BEFORE, _AFTER = 3, 7  # steps around the delay in which the echo is expected: a room rings
_QUIET = 20.0  # of 32768, about -64 dBFS: a reference below it has no echo
_LOUD = 200.0  # mean of a second from which something can be learnt
# Until the echo was heard it may be as loud as a loudspeaker beside the microphone: -7 dB.
_UNKNOWN_GAIN = 10 ** (-7 / 20)
_MARGIN = 10 ** (4 / 20)
_ALIKE = 0.8  # correlation from which on the microphone hears the echo and nothing else


class EchoRule:
    """Compares the microphone's envelope with that of the sound that was played.

    The delay (40 … 450 ms) and the gain of the echo are learnt from moments in which both envelopes are alike. Where
    they never are, as with headphones, the echo is no louder than all that the microphone heard after a loud moment.
    """

    def __init__(self) -> None:
        self._played = np.zeros(_LEARNT + _LONGEST, np.float64)
        self._heard = np.zeros(_LEARNT, np.float64)
        self._gain = _UNKNOWN_GAIN
        self._learnt: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._delay: int | None = None

    @property
    def gain_db(self) -> float:
        """Of the echo, as far as it is known."""
        return 20 * math.log10(self._gain)

    def is_echo(self, heard: NDArray[np.int16], played: NDArray[np.int16]) -> bool:
        """Whether a frame of the microphone may be nothing but the echo; `played` is what sounded meanwhile.

        Both are mono int16 at 16 kHz, of the same length, a multiple of 128 samples.
        """
        loud, steps = _envelope(heard), len(heard) // _STEP
        self._heard = np.concatenate([self._heard[steps:], loud])
        self._played = np.concatenate([self._played[steps:], _envelope(played)])
        self._learn()
        shortest, longest = (
            (_SHORTEST, _LONGEST) if self._delay is None else (max(0, self._delay - _BEFORE), self._delay + _AFTER)
        )
        end = len(self._played) - shortest
        expected = float(self._played[max(0, len(self._played) - longest - steps) : end].max())
        return expected > _QUIET and float(np.sqrt((loud**2).mean())) <= _MARGIN * self._gain * expected

    def _learn(self) -> None:
        windows = np.lib.stride_tricks.sliding_window_view(self._played, _LEARNT)
        lags = np.arange(_SHORTEST, _LONGEST + 1)
        played = windows[_LONGEST - lags]  # one row for each delay
        heard = self._heard - self._heard.mean()
        size = float(np.sqrt((heard**2).sum()))
        loud = played.mean(1)
        if size == 0 or loud.max() < _LOUD:
            return
        centred = played - loud[:, None]
        power = np.maximum((centred**2).sum(1), 1e-9)
        product = centred @ heard
        alike = np.where(loud >= _LOUD, product / (np.sqrt(power) * size), 0.0)
        best = int(alike.argmax())
        if not self._learnt:
            self._bound()
        if alike[best] >= _ALIKE:
            # The ends of sentences are alike at many delays: the median of some seconds holds.
            self._learnt.append((float(lags[best]), min(float(product[best] / power[best]), 1.0)))
            delay, self._gain = np.median(self._learnt, axis=0).tolist()
            self._delay = round(delay)

    def _bound(self) -> None:
        """An echo of what was played from 2 to 0.45 s ago was heard within the last 2 s, if there is one.

        A microphone that is switched off hears nothing at all, which tells nothing.
        """
        loudest, heard = float(self._played[_LONGEST:-_LONGEST].max()), float(self._heard.max())
        if loudest >= _LOUD and heard > 0:
            self._gain = min(self._gain, heard / loudest)


def _envelope(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """The root mean square of each step."""
    steps = samples.astype(np.float64).reshape(-1, _STEP)
    return np.asarray(np.sqrt((steps**2).mean(1)), np.float64)
