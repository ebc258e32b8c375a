"""What can go wrong with inference, and whether it may pass."""

from __future__ import annotations

from typing import ClassVar


class InferenceError(RuntimeError):
    """Inference did not answer; `code` is stable, `message` says what to do."""

    code: ClassVar[str] = "inference_error"

    def __init__(self, message: str, model: str | None = None) -> None:
        """`model` is the served model that was asked, where it was one."""
        super().__init__(message)
        self.message = message
        self.model = model


class TritonUnavailable(InferenceError):
    """No Triton, or none that takes requests now; later the same request may work."""

    code = "triton_unavailable"


class InferenceFailed(InferenceError):
    """Triton answered with an error, or not in time."""

    code = "inference_failed"
