"""An encoder that reads its pictures slowly until it is asked for a cheaper way to encode.

`slow_encoder` says how a channel runs it; what it does stands in `main`, which runs in a process of its own.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from streaming.encoder_process import main as encoder_main
from streaming.encoder_settings import EncoderSettings
from streaming.pair_stream import SOUND_BYTES, read_header, read_into

_ROOT = str(Path(__file__).parents[2])


def slow_encoder(rates: dict[str, float]) -> tuple[str, ...]:
    """A channel's `encoder`; `rates` are pictures a second by what the settings hold, as `{"veryfast": 15}`.

    The last one of those that occur counts; without any it reads as fast as the encoder does.
    """
    program = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from tests.support.slow_encoder import main; "
        "sys.exit(main(sys.argv[1], sys.argv[2]))"
    )
    return sys.executable, "-c", program, json.dumps(rates)


def main(rates: str, settings: str) -> int:
    asked = [rate for words, rate in json.loads(rates).items() if words in settings]
    if asked:
        outlet, inlet = os.pipe()
        source = os.dup(sys.stdin.fileno())
        os.dup2(outlet, sys.stdin.fileno())
        os.close(outlet)
        threading.Thread(target=_feed, args=(source, inlet, EncoderSettings.from_json(settings), asked[-1])).start()
    return encoder_main([settings])


def _feed(source_fd: int, inlet: int, settings: EncoderSettings, rate: float) -> None:
    """Copies picture by picture, `rate` a second; one that is repeated costs a fifth, since x264 has little to do."""
    due, last = time.monotonic(), b""
    with os.fdopen(source_fd, "rb", 0) as source, os.fdopen(inlet, "wb", 0) as sink:
        while (header := read_header(source)) is not None:
            pair = bytearray(settings.width * settings.height * 3 * header.picture + SOUND_BYTES)
            if not read_into(source, memoryview(pair)):
                return
            if header.picture:
                picture = bytes(pair[:-SOUND_BYTES])
                due = max(due + (0.2 if picture == last else 1.0) / rate, time.monotonic())
                last = picture
                time.sleep(max(0.0, due - time.monotonic()))
            data = memoryview(header.to_bytes() + pair)
            while data:
                data = data[sink.write(data) :]
