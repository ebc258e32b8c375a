"""From sentences to sound: each is synthesised while those before it play, and pauses fall between them alone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.sentences import Sentence
from conversation.synthesis.holding import expected_s, held_until_safe
from conversation.synthesis.quiet_ends import without_quiet_ends
from conversation.synthesis.synthesiser import UNSAYABLE, Synthesiser, SynthesisError, Voice

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spoken:
    """The next samples, mono int16 at the synthesiser's rate, of a sentence, which are counted from 0.

    With `may_pause` they are the silence behind it, and the next ones may be long in coming. `cues` are marks of the
    text: the sample before which the word behind each begins, about, and its name.
    """

    samples: NDArray[np.int16]
    sentence: int
    may_pause: bool = False
    cues: tuple[tuple[int, str], ...] = ()


def _cues(sentence: Sentence, samples: int) -> tuple[tuple[int, str], ...]:
    return tuple((round(mark.share * samples), mark.name) for mark in sentence.marks)


async def spoken(
    sentences: AsyncIterator[Sentence], synthesiser: Synthesiser, voice: Voice, clock: Callable[[], float]
) -> AsyncGenerator[Spoken, None]:
    """The sound of the sentences, in order; close it (`aclosing`), which ends the synthesis.

    A sentence is asked for once the one before it was handed over; one with a mark within is handed over when all of it
    is there, since a mark's place is the share of the text before it. Raises SynthesisError: `empty_text` where there
    is no word in them, `unsayable_text` where the voice can say none, and what the synthesiser raises.
    """
    seen, said = 0, False
    async for sentence in sentences:
        if not sentence.text:
            if said:
                yield Spoken(np.zeros(0, np.int16), seen - 1, cues=_cues(sentence, 0))
            continue
        seen += 1
        sound = False
        whole = any(mark.share for mark in sentence.marks)
        async with (
            aclosing(synthesiser.synthesise(sentence.text, voice)) as blocks,
            aclosing(without_quiet_ends(blocks, synthesiser.rate_hz)) as trimmed,
            aclosing(
                held_until_safe(trimmed, expected_s(sentence.text, voice.rate), synthesiser.rate_hz, clock)
            ) as held,
        ):
            gathered: list[NDArray[np.int16]] = []
            async for block in held:
                if whole:
                    gathered.append(block)
                else:
                    yield Spoken(block, seen - 1, cues=() if sound else _cues(sentence, 0))
                sound = True
            if gathered:
                samples = np.concatenate(gathered)
                yield Spoken(samples, seen - 1, cues=_cues(sentence, len(samples)))
        if sound:
            said = True
            yield Spoken(np.zeros(round(sentence.pause_s * synthesiser.rate_hz), np.int16), seen - 1, may_pause=True)
        else:
            logger.warning("the voice %s can't say a sentence of %d characters", voice.name, len(sentence.text))
    if not seen:
        raise SynthesisError("empty_text", "There is no word in the text. Send some.")
    if not said:
        language = f", which speaks {voice.language}," if voice.language else ""
        raise SynthesisError(UNSAYABLE, f"The voice {voice.name}{language} can't say any of this text.")
