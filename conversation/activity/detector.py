"""From the microphone's sound to voices that begin and end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from conversation.activity.echo import EchoRule
from conversation.activity.quiet import QuietTail
from conversation.activity.silero import FRAME, RATE_HZ

FRAME_S = FRAME / RATE_HZ
# A voice begins with three such frames of four, 96 ms, and ends with as many in a row without one.
_BEGINS, _BEGINS_OF, _ENDS = 3, 4, 3
# Hysteresis: less is enough for a voice to go on than for one to begin.
_BEGIN_PROBABILITY, _GO_ON_PROBABILITY = 0.5, 0.35
# The network's memory hears a voice for so long, at most, after its last sound.
_LINGERS_S = 3 * FRAME_S


class VoiceNetwork(Protocol):
    """Tells the probability of a voice in a frame of 512 samples."""

    def probability(self, frame: NDArray[np.int16]) -> float:
        """0 … 1."""
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


@dataclass(frozen=True)
class VoiceChange:
    """A voice began or ended; it has lasted for `lasted_s`, then nobody spoke for `silent_s`.

    In a quiet room the silence is counted from the last audible sound, which is some 50 ms before the network's end.
    """

    is_voice: bool
    lasted_s: float
    silent_s: float = 0.0


class VoiceDetector:
    """Takes the microphone's sound in blocks of any length, and what the avatar said meanwhile."""

    def __init__(self, network: VoiceNetwork) -> None:
        self._network = network
        self._echo = EchoRule()
        self._heard = self._played = np.zeros(0, np.int16)
        self._latest: deque[bool] = deque(maxlen=_BEGINS_OF)
        self._frames = 0  # of the voice, 0 where there is none
        self._silent = 0
        self._tail = QuietTail()

    def push(self, heard: NDArray[np.int16], played: NDArray[np.int16] | None = None) -> list[VoiceChange]:
        """The next samples, mono int16 at 16 kHz; `played` are as many of the avatar's, None where it is silent.

        Raises ValueError where the two differ in length.
        """
        if played is None:
            played = np.zeros(len(heard), np.int16)
        if len(heard) != len(played):
            raise ValueError(f"{len(heard)} samples were heard while {len(played)} were played: they must be as many")
        self._heard, self._played = np.concatenate([self._heard, heard]), np.concatenate([self._played, played])
        changes = []
        while len(self._heard) >= FRAME:
            change = self._take(self._heard[:FRAME], self._played[:FRAME])
            self._heard, self._played = self._heard[FRAME:], self._played[FRAME:]
            if change is not None:
                changes.append(change)
        return changes

    def finish(self) -> list[VoiceChange]:
        """No further sound comes: a voice that lasts ends here."""
        ended = [VoiceChange(False, (self._frames - self._silent) * FRAME_S)] if self._frames else []
        self._network.reset()
        self._latest.clear()
        self._frames = self._silent = 0
        self._heard = self._played = np.zeros(0, np.int16)
        return ended

    def _take(self, heard: NDArray[np.int16], played: NDArray[np.int16]) -> VoiceChange | None:
        least = _GO_ON_PROBABILITY if self._frames else _BEGIN_PROBABILITY
        sounds_like_one = self._network.probability(heard) >= least
        is_voice = not self._echo.is_echo(heard, played, sounds_like_one) and sounds_like_one
        if not self._frames:
            self._latest.append(is_voice)
            if sum(self._latest) < _BEGINS:
                return None
            self._frames, self._silent = len(self._latest) - list(self._latest).index(True), 0
            self._latest.clear()
            self._tail.begin()
            return VoiceChange(True, self._frames * FRAME_S)
        self._frames += 1
        self._tail.push(heard)
        self._silent = 0 if is_voice else self._silent + 1
        if self._silent < _ENDS:
            return None
        lasted, self._frames = self._frames - self._silent, 0
        silent_s = self._silent * FRAME_S
        return VoiceChange(False, lasted * FRAME_S, min(max(silent_s, self._tail.lasts_s), silent_s + _LINGERS_S))
