"""Small ONNX files written by hand: no package that writes ONNX is a dependency.

ONNX is a protocol buffer of few fields; numbers below are the field numbers of onnx.proto.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FLOAT, UINT8, INT64, FLOAT16, DOUBLE = 1, 2, 7, 10, 11
_NUMPY = {FLOAT: np.float32, UINT8: np.uint8, INT64: np.int64, FLOAT16: np.float16}
Side = int | str
Node = tuple[str, Sequence[str], Sequence[str], Mapping[str, object]]
"""Operator, inputs, outputs, attributes."""


def save_onnx(
    path: Path,
    nodes: Sequence[Node],
    *,
    inputs: Mapping[str, tuple[int, Sequence[Side]]],
    outputs: Mapping[str, tuple[int, Sequence[Side]]],
    constants: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a graph; inputs and outputs are name -> (type, shape), text leaves a side open."""
    graph = b"".join(_field(1, _node(*node)) for node in nodes) + _field(2, b"graph")
    graph += b"".join(_field(5, _tensor(*item)) for item in (constants or {}).items())
    graph += b"".join(_field(11, _value(name, *own)) for name, own in inputs.items())
    graph += b"".join(_field(12, _value(name, *own)) for name, own in outputs.items())
    model = _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))
    for key, value in (metadata or {}).items():
        model += _field(14, _field(1, key.encode()) + _field(2, value.encode()))
    path.write_bytes(model)
    return path


def save_reid_onnx(
    path: Path,
    *,
    nchw: bool = True,
    size: tuple[Side, Side] = (8, 4),
    batch: Side = "N",
    kind: int = FLOAT,
    shape: Sequence[Side] | None = None,
    extra_input: bool = False,
    extra_output: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A ReID model whose feature is the mean of each channel over the picture's place: [N, 3].

    Colours that are given in another order, or on another scale, are therefore seen at once.
    """
    own = shape or ([batch, 3, *size] if nchw else [batch, *size, 3])
    nodes: list[Node] = []
    name = "crop"
    if kind != FLOAT:
        nodes.append(("Cast", [name], ["cast"], {"to": FLOAT}))
        name = "cast"
    axes = [2, 3] if nchw else [1, 2]
    nodes.append(("ReduceMean", [name], ["feature"], {"axes": axes, "keepdims": 0}))
    inputs: dict[str, tuple[int, Sequence[Side]]] = {"crop": (kind, own)}
    outputs: dict[str, tuple[int, Sequence[Side]]] = {"feature": (FLOAT, [batch, 3])}
    if extra_input:
        inputs["camera"] = (FLOAT, [batch, 3])
        nodes.append(("Add", ["feature", "camera"], ["seen"], {}))
        outputs = {"seen": (FLOAT, [batch, 3])}
    if extra_output:
        nodes.append(("Softmax", ["feature"], ["logits"], {"axis": 1}))
        outputs = {"logits": (FLOAT, [batch, 3]), **outputs}
    return save_onnx(path, nodes, inputs=inputs, outputs=outputs, metadata=metadata)


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _value(name: str, kind: int, shape: Sequence[Side]) -> bytes:
    sides = b"".join(
        _field(1, _number(1, side) if isinstance(side, int) else _field(2, side.encode()))
        for side in shape
    )
    tensor = _number(1, kind) + _field(2, sides)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind = next(key for key, own in _NUMPY.items() if own == values.dtype)
    sides = b"".join(_number(1, side) for side in values.shape)
    return sides + _number(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, object]
) -> bytes:
    content = b"".join(_field(1, name.encode()) for name in inputs)
    content += b"".join(_field(2, name.encode()) for name in outputs) + _field(4, kind.encode())
    for name, value in attributes.items():
        own = _field(1, name.encode())
        if isinstance(value, float):
            own += _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
        elif isinstance(value, int):
            own += _number(3, value) + _number(20, 2)
        else:
            assert isinstance(value, list)
            own += b"".join(_number(8, entry) for entry in value) + _number(20, 7)
        content += _field(5, own)
    return content
