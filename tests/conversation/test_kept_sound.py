"""What of the microphone's sound belongs to an utterance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conversation.kept_sound import KeptSound


def numbered(first: int, count: int) -> NDArray[np.int16]:
    return np.arange(first, first + count).astype(np.int16)


def test_utterance_begins_a_little_before_its_voice() -> None:
    sound = KeptSound()
    sound.append(numbered(0, 16_000))
    sound.voice_began(0.1)
    sound.keep()
    sound.append(numbered(16_000, 500))
    np.testing.assert_array_equal(sound.kept(), numbered(16_000 - 1_600 - 4_800, 1_600 + 4_800 + 500))


def test_voice_that_goes_on_behind_a_limit_loses_nothing_and_repeats_nothing() -> None:
    sound = KeptSound()
    sound.append(numbered(0, 8_000))
    sound.voice_began(0.1)
    sound.keep()
    first = sound.kept()
    sound.append(numbered(8_000, 4_000))
    sound.keep()
    np.testing.assert_array_equal(np.concatenate([first, sound.kept()]), numbered(8_000 - 6_400, 10_400))


def test_no_more_than_what_a_recogniser_takes_is_kept() -> None:
    sound = KeptSound()
    for _ in range(40):
        sound.append(numbered(0, 16_000))
    assert len(sound.kept()) == 30 * 16_000
