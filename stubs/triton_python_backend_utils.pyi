# What this project uses of the module that Triton's Python backend gives its models.
from collections.abc import Sequence

class TritonError:
    INTERNAL: int
    INVALID_ARG: int
    CANCELLED: int
    def __init__(self, message: str, code: int = ...) -> None: ...

class Tensor:
    @staticmethod
    def from_dlpack(name: str, tensor: object) -> Tensor: ...

class InferenceRequest:
    def is_cancelled(self) -> bool: ...
    def parameters(self) -> str: ...

class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = ..., error: TritonError | None = ...) -> None: ...

def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor: ...
