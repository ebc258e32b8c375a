"""The errors of inference: those that may be temporary, and the others."""

from __future__ import annotations

from typing import ClassVar


class InferenceError(RuntimeError):
    """A failed inference; `code` is stable, `message` says what to do."""

    code: ClassVar[str] = "inference_error"

    def __init__(self, message: str, model: str | None = None) -> None:
        """`model` is the served model that the request was for, if any."""
        super().__init__(message)
        self.message = message
        self.model = model


class TritonUnavailable(InferenceError):
    """Triton is unreachable or accepts no requests now; the same request may succeed later."""

    code = "triton_unavailable"


class InferenceFailed(InferenceError):
    """Triton answered with an error, or not in time."""

    code = "inference_failed"
