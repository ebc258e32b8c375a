"""Speeches in logs, for what reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from speech.log import LogEnd, SoundFrames, SpeechLog, as_stored


@contextmanager
def whole_speech(folder: Path, frames: int) -> Iterator[SpeechLog]:
    """The log of a speech that has arrived."""
    path = folder / "whole.speech"
    path.write_bytes(as_stored(SoundFrames(np.ones((frames, 640), np.int16), np.ones((frames, 1920), np.int16))))
    log = SpeechLog(path, LogEnd())
    try:
        yield log
    finally:
        log.close()
