"""The text fields of an upload, checked and typed."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from orchestrator.http.errors import ApiError
from orchestrator.tasks.parameters import SpeechDefaults, SpeechParameters

# No longer than any number in range: int() refuses thousands of digits with an error of its own.
_WHOLE = re.compile(r"[0-9]{1,12}")


def speech_parameters(fields: Mapping[str, str], defaults: SpeechDefaults) -> SpeechParameters:
    """Read `num_inference_steps`, `guidance_scale`, `seed` and `channel`; other fields mean nothing.

    Raises ApiError (422) that names the field, its value and the range.
    """
    steps = _integer(fields, "num_inference_steps", 1, defaults.max_steps)
    guidance = _number(fields, "guidance_scale", 1.0, defaults.max_guidance)
    seed = _integer(fields, "seed", 0, 2**31 - 1)
    return SpeechParameters(
        steps=defaults.steps if steps is None else steps,
        guidance=defaults.guidance if guidance is None else guidance,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        channel=fields.get("channel", "").strip() or defaults.channel,
    )


def _integer(fields: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if _WHOLE.fullmatch(text) and low <= int(text) <= high:
        return int(text)
    raise _bad(name, text, f"a whole number from {low} to {high}")


def _number(fields: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if low <= value <= high:
        return value
    raise _bad(name, text, f"a number from {low:g} to {high:g}")


def _bad(name: str, text: str, expected: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"bad_{name}", f"{name} is {text[:40]!r} and must be {expected}.")
