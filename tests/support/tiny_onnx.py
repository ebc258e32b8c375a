"""An ONNX file of a few bytes, written without a library: the mean of its input, through a sigmoid."""

from collections.abc import Sequence

_FLOAT = 1


def mean_network(name: str, shape: Sequence[int]) -> bytes:
    """Of an input float32 of that shape, the output is float32 with as many axes of one."""
    nodes = [_node("ReduceMean", name, "mean"), _node("Sigmoid", "mean", "out")]
    graph = (
        b"".join(_field(1, node) for node in nodes)
        + _field(2, b"graph")
        + _field(11, _value(name, shape))
        + _field(12, _value("out", [1] * len(shape)))
    )
    opset = _number(2, 13)
    return _number(1, 7) + _field(7, graph) + _field(8, opset)


def _node(kind: str, source: str, target: str) -> bytes:
    return _field(1, source.encode()) + _field(2, target.encode()) + _field(4, kind.encode())


def _value(name: str, shape: Sequence[int]) -> bytes:
    axes = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, _FLOAT) + _field(2, axes)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])
