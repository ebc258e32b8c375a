"""hibari in a process of its own: requests as JSON lines at the standard input, sound at the standard output.

An answer is a number of samples and so many of them, int16 at 24 kHz; -1, a length and a message where it failed. One
comes unasked for: that of the default voice once it is ready.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import BinaryIO

import numpy as np
from hibari import Hibari

COUNT = struct.Struct("<i")
"""What an answer begins with, and the length of a message."""
FAILURE = -1


def main() -> None:
    """Answer one request after another, until the input ends."""
    output = sys.stdout.buffer
    engines: dict[str, Hibari] = {}
    _answer(output, engines, {"voice": sys.argv[1], "text": "Warm.", "rate": 1.0})
    for line in sys.stdin.buffer:
        _answer(output, engines, json.loads(line))


def _answer(output: BinaryIO, engines: dict[str, Hibari], request: dict[str, object]) -> None:
    try:
        name = str(request["voice"])
        if name not in engines:
            engines[name] = Hibari(name, threads=1)
        sound = engines[name](str(request["text"]), speed=float(str(request["rate"])), seed=0)
    except Exception as error:  # noqa: BLE001  # whatever it is: of this text, and it is told
        message = f"{type(error).__name__}: {error}".encode()
        output.write(COUNT.pack(FAILURE) + COUNT.pack(len(message)) + message)
    else:
        samples = np.rint(np.clip(sound, -1.0, 1.0) * 32767).astype("<i2")
        output.write(COUNT.pack(len(samples)) + samples.tobytes())
    output.flush()


if __name__ == "__main__":
    main()
