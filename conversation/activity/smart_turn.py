"""Smart Turn (pipecat-ai/smart-turn, BSD-2-Clause): a small network that hears whether a sentence is finished."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from conversation.activity.silero import RATE_HZ

_LONGEST = 8 * RATE_HZ  # samples that it hears, of the end of the turn
_WINDOW, _HOP, _MELS = 400, 160, 80
_FINISHED = 0.5


class SmartTurn:
    """Runs the ONNX of a path, version 3: log-mel [1, 80, 800] in, a probability out; one pause at a time."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for what is no such network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # it is asked while Whisper works, too
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  # onnxruntime's own errors have no common class
            raise ValueError(f"{path} can't be read as an ONNX network: {error}") from None
        inputs = [(each.name, each.shape[1:]) for each in self._session.get_inputs()]
        if inputs != [("input_features", [_MELS, _LONGEST // _HOP])]:
            raise ValueError(f"{path} is no Smart Turn 3: it takes {inputs}, not input_features of [80, 800]")
        self._filters = _mel_filters()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")

    async def is_finished(self, sound: NDArray[np.int16]) -> bool:
        """Whether the turn, mono at 16 kHz, sounds finished; its last 8 s are heard."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.probability, sound) > _FINISHED

    def probability(self, sound: NDArray[np.int16]) -> float:
        """That the turn is finished, in the calling thread."""
        samples = sound[-_LONGEST:].astype(np.float32) / 32768
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        samples = np.pad(samples, (_LONGEST - len(samples), 0))
        features = log_mel(samples, self._filters)[None]
        return float(self._session.run(None, {"input_features": features})[0].reshape(-1)[0])


def log_mel(samples: NDArray[np.float32], filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whisper's log-mel spectrogram, float32 [mels, n / 160], without torch. The formula is openai-whisper's."""
    padded = np.pad(samples, _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:-1]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    mel = np.log10(np.maximum(filters @ power.T, 1e-10))
    return np.asarray((np.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0, np.float32)


def _mel_filters() -> NDArray[np.float32]:
    """Of the package openai-whisper, which is found but not imported: that would import torch."""
    spec = find_spec("whisper")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package openai-whisper is missing, which has the mel filters")
    with np.load(Path(spec.submodule_search_locations[0]) / "assets" / "mel_filters.npz") as filters:
        return np.asarray(filters[f"mel_{_MELS}"], np.float32)
