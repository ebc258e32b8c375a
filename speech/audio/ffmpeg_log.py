"""ffmpeg's messages about an input, turned into errors."""

from __future__ import annotations

import re

from speech.audio.errors import AudioError, NotAudio, TruncatedAudio

TAKEN = "wav, mp3, m4a, ogg, flac or webm"

_DURATION = re.compile(r"^\s+Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_STREAM = re.compile(r"^\s+Stream #0:\d+", re.MULTILINE)
_CUT_OFF = ("moov atom not found", "File ended prematurely", "End of file", "partial file", "Truncating packet")
_NO_AUDIO_STREAM = ("matches no streams", "does not contain any stream")
# mp3 without a frame count: the duration is an estimate from the bitrate of the first frames.
_GUESSED_DURATION = "Estimating duration from bitrate"


def announced_duration_s(log: str) -> float | None:
    """The duration in seconds that the header announces for the only stream; None where it is not reliable.

    With several streams the duration is that of the longest, which need not be the audio.
    """
    found = _DURATION.search(log)
    input_part = log.split("\nStream mapping", 1)[0]
    if found is None or _GUESSED_DURATION in log or len(_STREAM.findall(input_part)) != 1:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def failure(log: str) -> AudioError:
    """The error that explains why ffmpeg decoded nothing."""
    if any(phrase in log for phrase in _NO_AUDIO_STREAM):
        return NotAudio(f"The file has no audio in it. Send speech as {TAKEN}.")
    if any(phrase in log for phrase in _CUT_OFF):
        return TruncatedAudio("The file is cut off before its end. Send it again, whole.")
    return NotAudio(f"The file is not audio that can be read here. Send speech as {TAKEN}.")
