"""How a synthesiser in a process of its own answers: JSON lines at its standard input, sound at its standard output.

An answer is a number of samples and so many of them, int16; -1, a length and a message where it failed. One comes
unasked for: that of a first text, once the process is ready.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import FAILED, SynthesisError

_COUNT = struct.Struct("<i")  # what an answer begins with, and the length of a message
_FAILURE = -1

Say = Callable[[str, str, float], NDArray[np.floating[Any]]]
"""From a text, the name of a voice and a rate to samples, -1 … 1."""


def question(text: str, voice: str, rate: float) -> bytes:
    """What is asked of the process."""
    return json.dumps({"text": text, "voice": voice, "rate": rate}).encode() + b"\n"


async def read_answer(output: asyncio.StreamReader) -> NDArray[np.int16] | SynthesisError:
    """The next answer, which is that to the oldest question; raises IncompleteReadError at the end."""
    (count,) = _COUNT.unpack(await output.readexactly(_COUNT.size))
    if count != _FAILURE:
        return np.frombuffer(await output.readexactly(2 * count), "<i2").astype(np.int16)
    (size,) = _COUNT.unpack(await output.readexactly(_COUNT.size))
    message = (await output.readexactly(size)).decode(errors="replace")
    return SynthesisError(FAILED, f"The synthesiser can't say this text ({message}). Word it anew.")


def answer_all(say: Say, first: tuple[str, str]) -> None:
    """In the process: say a first text in a voice, to be warm, then whatever is asked for, until the input ends."""
    output = sys.stdout.buffer
    _answer(output, say, *first, 1.0)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        _answer(output, say, str(asked["text"]), str(asked["voice"]), float(asked["rate"]))


def _answer(output: BinaryIO, say: Say, text: str, voice: str, rate: float) -> None:
    try:
        sound = say(text, voice, rate)
    except Exception as error:  # noqa: BLE001  # whatever it is: of this text, and it is told
        message = f"{type(error).__name__}: {error}".encode()
        output.write(_COUNT.pack(_FAILURE) + _COUNT.pack(len(message)) + message)
    else:
        samples = np.rint(np.clip(sound, -1.0, 1.0) * 32767).astype("<i2")
        output.write(_COUNT.pack(len(samples)) + samples.tobytes())
    output.flush()
