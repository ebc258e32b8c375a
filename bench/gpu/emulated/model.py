"""Triton model in the place of one of ours: takes an emulated GPU's time, and answers blank."""

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

_DTYPES = {"TYPE_FP16": torch.float16, "TYPE_UINT8": torch.uint8}


class TritonPythonModel:
    """Inputs and output as of the model that it stands for."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        # The instances of a model have numbers; those of one number share a GPU.
        number = args["model_instance_name"].rpartition("_")[2]
        self._gpu = EmulatedGpu(Path(parameters["gpus"]) / number)
        self._ms_of_size = {int(frames): ms for frames, ms in json.loads(parameters["ms_of_size"]).items()}
        self._by_steps = parameters["by_steps"] == "yes"
        self._framed = next(entry["name"] for entry in config["input"] if entry["dims"][0] == -1)
        (output,) = config["output"]
        self._name, self._picture = output["name"], output["dims"][1:]
        self._dtype = _DTYPES[output["data_type"]]
        self._enlarged = CONTRACT.pixels_per_latent if self._dtype is torch.uint8 else 1

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        # The watchdog's request has too few frames, and is refused as the real models refuse it.
        chunks = [request for request in requests if self._frames(request) in CONTRACT.chunk_lengths]
        if chunks:
            self._work(chunks)
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        self._gpu.close()

    def _work(self, chunks: Sequence[Any]) -> None:
        # As many frames in shorter chunks take about as long.
        frames = sum(map(self._frames, chunks))
        ms = next(ms for size, ms in sorted(self._ms_of_size.items()) if size >= frames)
        if self._by_steps:
            ms *= int(self._tensor(chunks[0], "STEPS").max())
        self._gpu.work(ms / 1000, lambda: all(chunk.is_cancelled() for chunk in chunks))

    def _answer(self, request: Any) -> Any:
        try:
            frames = CONTRACT.require_chunk_length(self._frames(request))
        except ValueError as error:
            return _failure(str(error), pb_utils.TritonError.INVALID_ARG)
        if request.is_cancelled():
            return _failure("the client cancelled the request", pb_utils.TritonError.CANCELLED)
        # Where checkpoints of several sizes are served, the request says whose pictures these are.
        side = int(self._tensor(request, self._framed).shape[-1]) * self._enlarged
        picture = [side if size < 0 else size for size in self._picture]
        blank = torch.zeros(1, frames, *picture, dtype=self._dtype)
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(self._name, blank)])

    def _frames(self, request: Any) -> int:
        return int(self._tensor(request, self._framed).shape[1])

    def _tensor(self, request: Any, name: str) -> Any:
        return from_dlpack(pb_utils.get_input_tensor_by_name(request, name))


def _failure(reason: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason, code))
