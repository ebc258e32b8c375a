"""Whisper's audio encoder out of a CTranslate2 file, under OpenAI's names."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.generic]]

# CTranslate2's type numbers, in the order of its DataType enumeration.
_DTYPES: tuple[type[np.generic], ...] = (np.float32, np.int8, np.int16, np.int32, np.float16)

# OpenAI's sublayer name and CTranslate2's, for what maps one to one in a block.
_LAYER_NORMS = (("attn_ln", "self_attention/layer_norm"), ("mlp_ln", "ffn/layer_norm"))
_LINEARS = (("attn.out", "self_attention/linear_1"), ("mlp.0", "ffn/linear_0"), ("mlp.2", "ffn/linear_1"))


class Ct2FormatError(ValueError):
    """The file is not a CTranslate2 Whisper model that can be read here."""


def read_variables(stream: BinaryIO) -> Weights:
    """The variables of a CTranslate2 `model.bin`, by CTranslate2's own names.

    Layout (version 6): version, spec name, revision, then per variable its name, rank, dimensions, type number, byte
    count and bytes; integers little-endian, strings with a 16-bit length and a trailing zero. Raises Ct2FormatError.
    """
    version = _unpack(stream, "<I")
    if version != 6:
        raise Ct2FormatError(f"CTranslate2 file version is {version}, expected 6")
    spec = _string(stream)
    if spec != "WhisperSpec":
        raise Ct2FormatError(f"the file holds a {spec!r}, expected 'WhisperSpec'")
    _unpack(stream, "<I")  # revision of the spec
    variables: Weights = {}
    for _ in range(_unpack(stream, "<I")):
        name = _string(stream)
        shape = [_unpack(stream, "<I") for _ in range(_unpack(stream, "<B"))]
        type_number = _unpack(stream, "<B")
        if type_number >= len(_DTYPES):
            raise Ct2FormatError(f"{name} has type number {type_number}, which is none of 0–{len(_DTYPES) - 1}")
        content = _read(stream, _unpack(stream, "<I"))
        variables[name] = np.frombuffer(content, _DTYPES[type_number]).reshape(shape)
    return variables


def audio_encoder(variables: Weights) -> Weights:
    """Whisper's audio encoder as float16 arrays under OpenAI's names (`encoder.conv1.weight`, …).

    CTranslate2 fuses query, key and value into one linear layer; OpenAI's key projection has no bias, so its third of
    the fused bias is left out. Raises Ct2FormatError when a variable is missing or quantised.
    """

    def take(name: str) -> NDArray[np.generic]:
        try:
            values = variables[f"encoder/{name}"]
        except KeyError:
            raise Ct2FormatError(f"the file has no variable encoder/{name}") from None
        if values.dtype.kind != "f":
            raise Ct2FormatError(f"encoder/{name} is {values.dtype}; only float files can be converted")
        return np.ascontiguousarray(values, dtype=np.float16)

    weights: Weights = {"encoder.positional_embedding": take("position_encodings/encodings")}
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            weights[f"encoder.{conv}.{kind}"] = take(f"{conv}/{kind}")
    weights["encoder.ln_post.weight"] = take("layer_norm/gamma")
    weights["encoder.ln_post.bias"] = take("layer_norm/beta")
    layer = 0
    while f"encoder/layer_{layer}/self_attention/linear_0/weight" in variables:
        source, target = f"layer_{layer}", f"encoder.blocks.{layer}"
        fused = take(f"{source}/self_attention/linear_0/weight")
        fused_bias = take(f"{source}/self_attention/linear_0/bias")
        for part, weight, bias in zip(
            ("query", "key", "value"), np.split(fused, 3), np.split(fused_bias, 3), strict=True
        ):
            weights[f"{target}.attn.{part}.weight"] = weight
            if part != "key":
                weights[f"{target}.attn.{part}.bias"] = bias
        for ours, theirs in _LINEARS:
            weights[f"{target}.{ours}.weight"] = take(f"{source}/{theirs}/weight")
            weights[f"{target}.{ours}.bias"] = take(f"{source}/{theirs}/bias")
        for ours, theirs in _LAYER_NORMS:
            weights[f"{target}.{ours}.weight"] = take(f"{source}/{theirs}/gamma")
            weights[f"{target}.{ours}.bias"] = take(f"{source}/{theirs}/beta")
        layer += 1
    return weights


def _read(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise Ct2FormatError(f"the file ends early: {count} bytes wanted, {len(content)} left")
    return content


def _unpack(stream: BinaryIO, layout: str) -> int:
    (value,) = struct.unpack(layout, _read(stream, struct.calcsize(layout)))
    return int(value)


def _string(stream: BinaryIO) -> str:
    return _read(stream, _unpack(stream, "<H")).rstrip(b"\0").decode()
