"""ONNX files of a few bytes, written without a library: enough to stand in for a network whose inputs are known."""

from collections.abc import Mapping, Sequence

FLOAT, INT64 = 1, 7
_INT_ATTRIBUTE = 2
Shape = Sequence[int | str]
"""Of a tensor; names are axes of any size."""
Node = tuple[str, Sequence[str], str, Mapping[str, int]]
"""Its kind, what goes in, what comes out, and its attributes, which are whole numbers."""


def mean_network(name: str, shape: Shape) -> bytes:
    """Of an input float32 of that shape: its mean, through a sigmoid."""
    nodes: list[Node] = [("ReduceMean", [name], "mean", {}), ("Sigmoid", ["mean"], "out", {})]
    return network({name: (FLOAT, shape)}, nodes, (FLOAT, [1] * len(shape)))


def network(inputs: Mapping[str, tuple[int, Shape]], nodes: Sequence[Node], out: tuple[int, Shape]) -> bytes:
    """A network whose output is named `out`; inputs and output by type and shape."""
    graph = (
        b"".join(_field(1, _node(*node)) for node in nodes)
        + _field(2, b"graph")
        + b"".join(_field(11, _value(name, *of)) for name, of in inputs.items())
        + _field(12, _value("out", *out))
    )
    opset = _number(2, 13)
    return _number(1, 7) + _field(7, graph) + _field(8, opset)


def _node(kind: str, sources: Sequence[str], target: str, attributes: Mapping[str, int]) -> bytes:
    return (
        b"".join(_field(1, source.encode()) for source in sources)
        + _field(2, target.encode())
        + _field(4, kind.encode())
        + b"".join(
            _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, _INT_ATTRIBUTE))
            for name, value in attributes.items()
        )
    )


def _value(name: str, kind: int, shape: Shape) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in shape]
    axes = b"".join(_field(1, size) for size in sizes)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, kind) + _field(2, axes)))


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
