"""CTranslate2's Whisper encoder becomes OpenAI's, tensor by tensor."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from whisper.model import AudioEncoder

from export.ct2_whisper import Ct2FormatError, audio_encoder, read_variables

STATE, HEADS, LAYERS, CONTEXT = 8, 2, 2, 12


LINEARS = {"self_attention/linear_1": "attn.out", "ffn/linear_0": "mlp.0", "ffn/linear_1": "mlp.2"}
NORMS = {"self_attention/layer_norm": "attn_ln", "ffn/layer_norm": "mlp_ln"}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ct2_file(variables: dict[str, NDArray[Any]], version: int = 6, spec: str = "WhisperSpec") -> bytes:
    content = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        content += string(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        number = {"float32": 0, "int8": 1, "float16": 4}[str(values.dtype)]
        content += struct.pack("<BI", number, values.nbytes) + values.tobytes()
    return content + struct.pack("<I", 0)


def ct2_variables(encoder: AudioEncoder) -> dict[str, NDArray[Any]]:
    """The encoder's tensors as CTranslate2's own converter names and fuses them."""
    weights = {name: tensor.numpy().astype(np.float16) for name, tensor in encoder.state_dict().items()}
    variables = {"encoder/position_encodings/encodings": weights["positional_embedding"]}
    for conv in ("conv1", "conv2"):
        variables |= {f"encoder/{conv}/{kind}": weights[f"{conv}.{kind}"] for kind in ("weight", "bias")}
    norms = {"encoder/layer_norm": "ln_post"}
    for index in range(LAYERS):
        layer, block = f"encoder/layer_{index}", f"blocks.{index}"
        attention = [weights[f"{block}.attn.{part}.weight"] for part in ("query", "key", "value")]
        biases = [weights[f"{block}.attn.query.bias"], np.zeros(STATE, "f2"), weights[f"{block}.attn.value.bias"]]
        variables[f"{layer}/self_attention/linear_0/weight"] = np.concatenate(attention)
        variables[f"{layer}/self_attention/linear_0/bias"] = np.concatenate(biases)
        for theirs, ours in LINEARS.items():
            variables |= {f"{layer}/{theirs}/{kind}": weights[f"{block}.{ours}.{kind}"] for kind in ("weight", "bias")}
        norms |= {f"{layer}/{theirs}": f"{block}.{ours}" for theirs, ours in NORMS.items()}
    for theirs, ours in norms.items():
        variables |= {f"{theirs}/gamma": weights[f"{ours}.weight"], f"{theirs}/beta": weights[f"{ours}.bias"]}
    return variables


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(4, CONTEXT, STATE, HEADS, LAYERS)


def test_every_tensor_of_the_encoder_arrives_unchanged(encoder: AudioEncoder) -> None:
    converted = audio_encoder(read_variables(io.BytesIO(ct2_file(ct2_variables(encoder)))))

    expected = encoder.state_dict()
    assert converted.keys() == {f"encoder.{name}" for name in expected}
    for name, tensor in expected.items():
        np.testing.assert_array_equal(converted[f"encoder.{name}"], tensor.half().numpy(), err_msg=name)


def test_a_truncated_file_is_refused(encoder: AudioEncoder) -> None:
    content = ct2_file(ct2_variables(encoder))

    with pytest.raises(Ct2FormatError, match="ends early"):
        read_variables(io.BytesIO(content[: len(content) // 2]))


@pytest.mark.parametrize(
    ("header", "message"),
    [({"version": 5}, "version is 5"), ({"spec": "TransformerSpec"}, "holds a 'TransformerSpec'")],
)
def test_another_kind_of_file_is_refused(header: dict[str, Any], message: str) -> None:
    with pytest.raises(Ct2FormatError, match=message):
        read_variables(io.BytesIO(ct2_file({}, **header)))


def test_a_quantised_file_is_refused(encoder: AudioEncoder) -> None:
    variables = ct2_variables(encoder) | {"encoder/conv1/weight": np.zeros((STATE, 4, 3), np.int8)}

    with pytest.raises(Ct2FormatError, match="conv1/weight is int8"):
        audio_encoder(variables)
