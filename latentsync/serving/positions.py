"""What of its answer a client of Whisper wants."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils
from torch import Tensor

from latentsync.contract import POSITIONS_PARAMETER
from latentsync.serving.responses import parameter


def wanted_positions(request: pb_utils.InferenceRequest, features: Tensor) -> Tensor:
    """The first of the features [rows, positions, 5, 384], as many as the request wants; all without a wish.

    Raises ValueError for a number that they don't have.
    """
    wish = parameter(request, POSITIONS_PARAMETER)
    if wish is None:
        return features
    count = int(wish) if str(wish).isascii() and str(wish).isdigit() else 0
    if not 1 <= count <= features.shape[1]:
        raise ValueError(f"{POSITIONS_PARAMETER} is {wish!r}, expected 1 to {features.shape[1]} for this window")
    return features[:, :count]
