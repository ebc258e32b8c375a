"""Why an upload can't be used as speech: a code for programs and a sentence for people."""

from __future__ import annotations

from typing import ClassVar


class AudioError(ValueError):
    """An upload that cannot be turned into speech; `code` is stable, `message` says what to do."""

    code: ClassVar[str] = "audio_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotAudio(AudioError):
    """The file is not audio of an accepted format."""

    code = "not_audio"


class EmptyAudio(AudioError):
    """The file is empty, or has a header and no samples."""

    code = "empty_audio"


class SilentAudio(AudioError):
    """No sample is loud enough to be speech."""

    code = "silent_audio"


class TruncatedAudio(AudioError):
    """The file holds less audio than its header announces."""

    code = "truncated_audio"


class TooLong(AudioError):
    """The audio lasts longer than the limit."""

    code = "audio_too_long"


class TooLarge(AudioError):
    """The upload has more bytes than the limit."""

    code = "upload_too_large"


class DecodeTimeout(AudioError):
    """Decoding took longer than the limit."""

    code = "decode_timeout"


class SilentTooLong(AudioError):
    """Live speech in which nobody has said anything for long."""

    code = "silence_limit"


class CutSample(AudioError):
    """PCM that ends within a sample."""

    code = "cut_sample"
