"""Triton model in the place of `unet` or `vae_decoder`: takes an emulated GPU's time, and answers blank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack

from bench.gpu.emulated.gpu import EmulatedGpu

_DTYPES = {"TYPE_FP16": torch.float16, "TYPE_UINT8": torch.uint8}


class TritonPythonModel:
    """Inputs and output as of the model that it stands for."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        # The instances of a model have numbers; those of one number share a GPU.
        number = args["model_instance_name"].rpartition("_")[2]
        self._gpu = EmulatedGpu(Path(parameters["gpus"]) / number)
        self._batch_ms = json.loads(parameters["batch_ms"])
        self._by_steps = parameters["by_steps"] == "yes"
        self._framed = next(entry["name"] for entry in config["input"] if entry["dims"][0] == -1)
        (output,) = config["output"]
        self._name, self._frames = output["name"], int(output["dims"][0])
        self._blank = torch.zeros([1, *output["dims"]], dtype=_DTYPES[output["data_type"]])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        # The watchdog's request has too few frames, and is refused as the real models refuse it.
        taken = [self._tensor(request, self._framed).shape[1] == self._frames for request in requests]
        chunks = [request for request, is_chunk in zip(requests, taken, strict=True) if is_chunk]
        if chunks:
            self._work(chunks)
        return [self._answer(request, is_chunk) for request, is_chunk in zip(requests, taken, strict=True)]

    def finalize(self) -> None:
        self._gpu.close()

    def _work(self, chunks: Sequence[Any]) -> None:
        ms = self._batch_ms[len(chunks) - 1]
        if self._by_steps:
            ms *= int(self._tensor(chunks[0], "STEPS").max())
        self._gpu.work(ms / 1000, lambda: all(chunk.is_cancelled() for chunk in chunks))

    def _answer(self, request: Any, is_chunk: bool) -> Any:
        if not is_chunk:
            return _failure(f"expected {self._frames} frames", pb_utils.TritonError.INVALID_ARG)
        if request.is_cancelled():
            return _failure("the client cancelled the request", pb_utils.TritonError.CANCELLED)
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(self._name, self._blank)])

    def _tensor(self, request: Any, name: str) -> Any:
        return from_dlpack(pb_utils.get_input_tensor_by_name(request, name))


def _failure(reason: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason, code))
