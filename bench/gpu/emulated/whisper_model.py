"""Triton model in the place of `whisper`: takes an emulated GPU's time for a window, and answers silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack

from bench.gpu.emulated.gpu import EmulatedGpu
from latentsync.contract import CONTRACT
from latentsync.serving.positions import wanted_positions


class TritonPythonModel:
    """Input and output as of the model that it stands for."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        number = args["model_instance_name"].rpartition("_")[2]
        self._gpu = EmulatedGpu(Path(parameters["gpus"]["string_value"]) / number)
        (self._window_ms,) = json.loads(parameters["ms_of_size"]["string_value"]).values()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        answers = []
        for request in requests:
            samples = int(from_dlpack(pb_utils.get_input_tensor_by_name(request, "PCM")).shape[1])
            try:
                shape = CONTRACT.features_shape(samples)
            except ValueError as error:  # the watchdog's request is refused as the real model refuses it
                reason = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
                answers.append(pb_utils.InferenceResponse(error=reason))
                continue
            self._gpu.work(self._window_ms / 1000)
            features = wanted_positions(request, torch.zeros(1, *shape, dtype=torch.float16))
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("FEATURES", features)]))
        return answers

    def finalize(self) -> None:
        self._gpu.close()
