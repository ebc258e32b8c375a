"""Text as a source of frames: cut into sentences, synthesised, and framed while it arrives."""

from __future__ import annotations

import codecs
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus

from conversation.saying import spoken
from conversation.sentences import Sentence, sentences
from conversation.synthesis.synthesiser import Synthesiser, SynthesisError, Voice, voice_of
from orchestrator.http.errors import ApiError
from orchestrator.orchestrator import Orchestrator
from speech.audio.frames import FPS
from speech.audio.resampling import Framer
from speech.log import SoundFrames

Placed = Callable[[int, float, float], Awaitable[None]]

_PIECE_S = 0.25  # a sentence must not hold up the event loop, nor come into the log as one


class TextSource:
    """A `LiveSource` of text as UTF-8, cut anywhere; its samples are the synthesiser's."""

    silent_samples = 0

    def __init__(
        self,
        synthesiser: Synthesiser,
        voice: Voice,
        language: str,
        clock: Callable[[], float],
        motions: Collection[str] = (),
        skipped: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`motions` are those that marks may name; where there is none, text has no marks.

        `skipped` is told the other names.
        """
        self._motions = motions
        self._skipped = skipped
        self.rate_hz = synthesiser.rate_hz
        self._framer = Framer(synthesiser.rate_hz, 1)
        self._given = 0  # frames
        self._synthesiser = synthesiser
        self._voice = voice
        self._language = language
        self._clock = clock

    @property
    def samples(self) -> int:
        """Samples that were synthesised, pauses between sentences included."""
        return self._framer.received

    async def frames(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[SoundFrames, None]:
        """The frames, a sentence after another; raises SynthesisError, after the frames of what came before it."""
        async with (
            aclosing(sentences(_decoded(blocks), self._language, marks=bool(self._motions))) as cut,
            aclosing(self.frames_of(cut)) as frames,
        ):
            async for part in frames:
                yield part

    async def frames_of(
        self, cut: AsyncIterator[Sentence], placed: Placed | None = None
    ) -> AsyncGenerator[SoundFrames, None]:
        """The same of sentences; `placed` is told the number of each once it is synthesised, and from which to which
        second of the sound it lasts. One that the voice can't say has no length.
        """
        number, start = -1, 0
        async with aclosing(spoken(cut, self._synthesiser, self._voice, self._clock)) as sound:
            async for part in sound:
                samples, most = part.samples, round(_PIECE_S * self.rate_hz)
                if placed is not None and part.sentence != number:
                    for unsaid in range(number + 1, part.sentence):
                        await placed(unsaid, self.samples / self.rate_hz, self.samples / self.rate_hz)
                    number, start = part.sentence, self.samples
                if placed is not None and part.may_pause:
                    await placed(number, start / self.rate_hz, self.samples / self.rate_hz)
                if cues := self._cues(part.cues):
                    yield replace(self._framer.push(samples[:0, None]), cues=cues)
                for first in range(0, len(samples), most):
                    frames = self._framer.push(samples[first : first + most, None])
                    if part.may_pause and first + most >= len(samples):
                        frames = replace(frames, may_pause=True)
                    if len(frames) or frames.may_pause:
                        self._given += len(frames)
                        yield frames
        if len(last := self._framer.finish()):
            yield last

    def _cues(self, cues: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
        """The known motions of samples that come next, by the frame in which each begins, from the next one on."""
        found = []
        for sample, name in cues:
            if name in self._motions:
                frame = (self._framer.received + sample) * FPS // self.rate_hz
                found.append((frame - self._given, name))
            else:
                self._skipped(name)
        return tuple(found)


def text_source(orchestrator: Orchestrator, channel_id: str, voice: str | None, rate: float | None) -> TextSource:
    """What says texts on a channel, in its own voice where none is named; raises ApiError, SynthesisError."""
    synthesiser = orchestrator.synthesiser
    if synthesiser is None:
        raise no_synthesiser()
    definition = orchestrator.channels[channel_id].definition
    found = voice_of(synthesiser, voice or definition.voice, rate or 1.0)
    motions = orchestrator.channels[channel_id].motions
    language = definition.language or found.language or "en"
    return TextSource(synthesiser, found, language, time.monotonic, motions.names, motions.unknown_mark)


def no_synthesiser() -> ApiError:
    """The answer of a server that says no texts."""
    message = "This server says no texts: its setting synthesiser is none."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_synthesiser", message)


async def _decoded(blocks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async for block in blocks:
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise SynthesisError("bad_text", "The text is not UTF-8. Send it as that.") from None
