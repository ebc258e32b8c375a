"""Triton's requests and responses: a tensor out of one, a tensor or an error into the other."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as pb_utils
from torch import Tensor
from torch.utils.dlpack import from_dlpack


def input_tensor(request: pb_utils.InferenceRequest, name: str) -> Tensor:
    """A request's input, on the device where it lies and without a copy."""
    tensor: Tensor = from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
    return tensor


def parameter(request: pb_utils.InferenceRequest, name: str) -> Any:
    """A parameter of a request; None where it has none of that name."""
    return json.loads(request.parameters() or "{}").get(name)


def success(name: str, tensor: Tensor) -> pb_utils.InferenceResponse:
    """A response with one output."""
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(name, tensor.contiguous())])


def invalid(reason: ValueError) -> pb_utils.InferenceResponse:
    """The error of a request whose inputs are wrong."""
    return _failure(str(reason), pb_utils.TritonError.INVALID_ARG)


def failed(reason: str) -> pb_utils.InferenceResponse:
    """The error of a request that could not be computed."""
    return _failure(reason, pb_utils.TritonError.INTERNAL)


def cancelled() -> pb_utils.InferenceResponse:
    """The error of a request that its client cancelled."""
    return _failure("the client cancelled the request", pb_utils.TritonError.CANCELLED)


def _failure(reason: str, code: int) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason, code))
