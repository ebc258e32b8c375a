"""Silero's voice activity detector: the ONNX of the package silero-vad (MIT), with numpy and onnxruntime alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

RATE_HZ = 16_000
FRAME = 512
"""Samples of a frame, 32 ms: the network takes no other number at 16 kHz."""
_CONTEXT = 64  # samples of the frame before that it sees again


class SileroVad:
    """Takes one frame after another; it remembers those before."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # it takes 0.15 ms a frame
        self._session = onnxruntime.InferenceSession(str(_weights()), options, providers=["CPUExecutionProvider"])
        self._rate = np.array(RATE_HZ, np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros((1, _CONTEXT), np.float32)

    def probability(self, frame: NDArray[np.int16]) -> float:
        """That there is a voice in a frame of 512 samples, mono int16 at 16 kHz."""
        samples = np.concatenate([self._context, frame[None].astype(np.float32) / 32768], 1)
        found, self._state = self._session.run(None, {"input": samples, "state": self._state, "sr": self._rate})
        self._context = samples[:, -_CONTEXT:]
        return float(found[0, 0])


def _weights() -> Path:
    """The package is only found, not imported: importing it would import torch's hub."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package silero-vad is missing, which has the weights: pip install silero-vad")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
