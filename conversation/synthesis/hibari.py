"""The embedded synthesiser: hibari-tts (Apache-2.0, its voice lies in the package), in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import numpy as np
from hibari.voices import DEFAULT, VOICES, voice_path
from numpy.typing import NDArray

from conversation.synthesis.hibari_process import COUNT, FAILURE
from conversation.synthesis.synthesiser import AWAY, FAILED, SynthesisError, Voice
from processes.tethered import tethered

_START_S = 60.0
_ANSWER_S = 10.0  # a sentence takes 0.1 s of a core
_WAIT_S = 10.0
_ATTEMPTS = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0

logger = logging.getLogger(__name__)


class _Died(RuntimeError):
    """The process ended before its answer."""


class HibariSynthesiser:
    """Says one sentence after another with one thread; the process is started again when it dies or hangs."""

    rate_hz = 24_000

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "conversation.synthesis.hibari_process", DEFAULT),
        answer_s: float = _ANSWER_S,
        wait_s: float = _WAIT_S,
    ) -> None:
        """An answer may take `answer_s`; a text waits for `wait_s` while the process starts."""
        self.voices = tuple(Voice(name, VOICES[name]["language"]) for name in _installed())
        self._command = command
        self._answer_s = answer_s
        self._wait_s = wait_s
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._asked: deque[asyncio.Future[NDArray[np.int16]]] = deque()
        self._problem = "it has not started yet"

    async def run(self) -> None:
        """Keep the process running."""
        pause_s = _FIRST_PAUSE_S
        while True:
            was_ready = await self._serve()
            pause_s = _FIRST_PAUSE_S if was_ready else min(2 * pause_s, _LONGEST_PAUSE_S)
            logger.error("the synthesiser hibari: %s; again in %.1f s", self._problem, pause_s)
            await asyncio.sleep(pause_s)

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The whole sentence as one block; raises SynthesisError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                samples = await self._said(text, voice)
            except _Died as error:
                if attempt == _ATTEMPTS:
                    raise SynthesisError(
                        FAILED, f"The synthesiser ended at this text: {error}. Word it anew."
                    ) from None
            else:
                if len(samples):
                    yield samples
                return

    async def _said(self, text: str, voice: Voice) -> NDArray[np.int16]:
        try:
            async with asyncio.timeout(self._wait_s):
                while not self._ready.is_set():  # it may have ended again before this goes on
                    await self._ready.wait()
        except TimeoutError:
            raise SynthesisError(AWAY, f"No text can be said now: of the synthesiser hibari {self._problem}.") from None
        process = self._process
        assert process is not None and process.stdin is not None
        answer: asyncio.Future[NDArray[np.int16]] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        request = {"text": text, "voice": voice.name, "rate": voice.rate}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError:
            self._problem = f"an answer took longer than {self._answer_s:g} s"
            _kill(process)
            raise SynthesisError(AWAY, "The synthesiser did not answer in time, and begins again. Try again.") from None

    async def _serve(self) -> bool:
        """Run one process to its end; returns whether it became ready."""
        try:
            process = await asyncio.create_subprocess_exec(
                *tethered(*self._command), stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        except OSError as error:
            self._problem = f"the process can't be started ({error.strerror})"
            return False
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_S):
                await _answer(process.stdout)
            self._process = process
            self._ready.set()
            while True:
                answer = await _answer(process.stdout)
                asked = self._asked.popleft()
                if asked.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, SynthesisError):
                    asked.set_exception(answer)
                else:
                    asked.set_result(answer)
        except asyncio.IncompleteReadError:
            self._problem = "the process has ended"
        except TimeoutError:
            self._problem = f"the process was not ready after {_START_S:g} s"
        finally:
            was_ready = self._ready.is_set()
            self._ready.clear()
            _kill(process)
            await process.wait()
            while self._asked:
                if not (asked := self._asked.popleft()).done():
                    asked.set_exception(_Died(self._problem))
        return was_ready


async def _answer(output: asyncio.StreamReader) -> NDArray[np.int16] | SynthesisError:
    """The next answer, which is that to the oldest request; raises IncompleteReadError at the end."""
    (count,) = COUNT.unpack(await output.readexactly(COUNT.size))
    if count != FAILURE:
        return np.frombuffer(await output.readexactly(2 * count), "<i2").astype(np.int16)
    (size,) = COUNT.unpack(await output.readexactly(COUNT.size))
    message = (await output.readexactly(size)).decode(errors="replace")
    return SynthesisError(FAILED, f"The synthesiser can't say this text ({message}). Word it anew.")


def _installed() -> list[str]:
    """The voices whose files are here, the default one first: nothing is fetched while the server runs."""
    found = [DEFAULT]
    for name in VOICES:
        with contextlib.suppress(FileNotFoundError):
            voice_path(name, download_missing=False)
            found += [name] if name != DEFAULT else []
    return found


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may end between the two lines
            process.kill()
