"""An ffmpeg whose encoder reads its pictures slowly until it is asked for a cheaper way to encode.

Write it with `slow_ffmpeg`; what it does with its arguments stands in `main`, which runs in a process of its own.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

_BLOCK = 1 << 16


def slow_ffmpeg(folder: Path, rates: dict[str, float]) -> Path:
    """A program in place of ffmpeg; `rates` are frames/s by what the arguments hold, as `{"veryfast": 15}`.

    The last one of those that occur counts; without any it reads as fast as ffmpeg does.
    """
    program = folder / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"from tests.support.slow_ffmpeg import main\nsys.exit(main(sys.argv[1:], {rates!r}))\n"
    )
    program.chmod(0o755)
    return program


def main(arguments: list[str], rates: dict[str, float]) -> int:
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None
    line = " ".join(arguments)
    asked = [rate for words, rate in rates.items() if words in line]
    if "rawvideo" not in arguments or not asked:
        os.execv(ffmpeg, ["ffmpeg", *arguments])
    at = arguments.index("-i") + 1
    source = int(arguments[at].removeprefix("pipe:"))
    width, height = map(int, arguments[arguments.index("-s") + 1].split("x"))
    outlet, inlet = os.pipe()
    arguments[at] = f"pipe:{outlet}"
    others = [int(word) for word in re.findall(r"pipe:(\d+)", " ".join(arguments))]
    encoder = subprocess.Popen([ffmpeg, *arguments], pass_fds=others)
    for fd in others:
        os.close(fd)
    feeding = threading.Thread(target=_feed, args=(source, inlet, width * height * 3, asked[-1]), daemon=True)
    feeding.start()
    return encoder.wait()


def _feed(source: int, inlet: int, picture_bytes: int, rate: float) -> None:
    """Copies picture by picture, `rate` a second; one that is repeated costs a fifth, since x264 has little to do."""
    due, last = time.monotonic(), b""
    with os.fdopen(source, "rb", _BLOCK) as pictures, os.fdopen(inlet, "wb", 0) as out:
        while picture := pictures.read(picture_bytes):
            due = max(due + (0.2 if picture == last else 1.0) / rate, time.monotonic())
            last = picture
            time.sleep(max(0.0, due - time.monotonic()))
            view = memoryview(picture)
            while view:
                view = view[out.write(view) :]
