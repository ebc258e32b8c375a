"""The encoder's process: pairs at the standard input become packets at the standard output, until the input ends.

`python -m streaming.encoder_process SETTINGS`, with `EncoderSettings` as JSON. A process of its own, because libraries
in C that crash or hang must not take the channel's clock with them: the channel kills it, and starts another.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable

from processes.garbage import freeze_what_is_there
from streaming.encoder_settings import EncoderSettings
from streaming.encoding import Encoding
from streaming.packet import Description, Packet
from streaming.packet_stream import encode
from streaming.pair_stream import SOUND_BYTES, read_header, read_into


def main(arguments: list[str]) -> int:
    """Encodes one run; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the channel too, which ends the run in order
    encoding = Encoding(EncoderSettings.from_json(arguments[0]))
    _write([encoding.description])
    freeze_what_is_there()
    plane = encoding.picture.planes[0]
    row_bytes, rows = 3 * encoding.picture.width, encoding.picture.height
    picture = memoryview(plane).cast("B")
    padded = plane.line_size != row_bytes
    incoming = memoryview(bytearray(row_bytes * rows)) if padded else picture[: row_bytes * rows]
    sound = bytearray(SOUND_BYTES)
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
        while (header := read_header(source)) is not None:
            if header.picture:
                if not read_into(source, incoming):
                    break
                if padded:
                    for row in range(rows):
                        at = row * plane.line_size
                        picture[at : at + row_bytes] = incoming[row * row_bytes : (row + 1) * row_bytes]
            if not read_into(source, memoryview(sound)):
                break
            _write(encoding.encode(header, bytes(sound)))
    _write(encoding.finish())
    return 0


def _write(messages: Iterable[Description | Packet]) -> None:
    data = memoryview(b"".join(encode(message) for message in messages))
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
