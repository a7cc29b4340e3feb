"""What is wrong with the numbers of a weights file, though its checksum and shapes are right.

The one rule for every format: our own and published files, detectors, segmenters, ONNX constants.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHOWN = 3
Named = tuple[str, NDArray[np.generic]]
# Numbers of fields in onnx.proto, by message.
_GRAPH, _NODE, _CONSTANT, _ATTRIBUTE, _TENSOR, _INNER = 7, 1, 5, 5, 5, 6
_KIND, _FLOATS, _NAME, _RAW, _DOUBLES, _PLACE = 2, 4, 8, 9, 10, 14
_TYPES: dict[int, type[np.generic]] = {1: np.float32, 10: np.float16, 11: np.float64}


def describe_faults(tensors: Iterable[Named], *, has_masks: bool = False) -> str:
    """Say which tensors hold NaN or infinity, or nothing, or whether all are zeros; '' if fine.

    A table of zeros alone is no fault: biases and scales begin so. With `has_masks` infinity is
    none either: a graph hides by it what a softmax is not to see.
    """
    infinite, empty, num_tables, num_zero = [], [], 0, 0
    for name, values in tensors:
        if values.dtype.kind != "f":
            continue
        if not values.size:
            empty.append(name)
        elif (np.isnan(values) if has_masks else ~np.isfinite(values)).any():
            infinite.append(name)
        elif values.ndim > 1:
            num_tables += 1
            num_zero += not values.any()
    refused = "NaN" if has_masks else "NaN or infinite values"
    parts = [
        f"{what} in {_name(names)}"
        for what, names in (
            (refused, infinite),
            ("no value", empty),
        )
        if names
    ]
    if num_tables and num_zero == num_tables and not parts:
        parts.append(f"nothing but zeros in all {num_tables} tables")
    return "; ".join(parts)


def read_state(state: Mapping[str, Any]) -> Iterator[Named]:
    """Give the floating-point numbers of a torch state_dict; torch is not imported for it."""
    for name, value in state.items():
        if value.is_floating_point():
            yield name, value.float().cpu().numpy()


def _name(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more


def read_onnx_constants(model: bytes) -> Iterator[Named]:
    """Give the numbers that an ONNX file holds, by name, flat; only floating-point ones.

    Raises:
        ValueError: it is no protocol buffer, or keeps numbers in another file.
    """
    for number, graph in _read_fields(memoryview(model)):
        if number == _GRAPH and isinstance(graph, memoryview):
            yield from _read_graph(graph)


def _read_graph(graph: memoryview) -> Iterator[Named]:
    for number, part in _read_fields(graph):
        if not isinstance(part, memoryview):
            continue
        if number == _CONSTANT:
            yield from _read_tensor(part)
        if number != _NODE:
            continue
        for inner, attribute in _read_fields(part):
            if inner == _ATTRIBUTE and isinstance(attribute, memoryview):
                for kind, value in _read_fields(attribute):
                    if kind == _TENSOR and isinstance(value, memoryview):
                        yield from _read_tensor(value)
                    elif kind == _INNER and isinstance(value, memoryview):
                        yield from _read_graph(value)


def _read_tensor(tensor: memoryview) -> Iterator[Named]:
    fields = list(_read_fields(tensor))
    found = {number: value for number, value in fields if number in (_KIND, _NAME, _RAW, _PLACE)}
    name = bytes(found.get(_NAME, b"a constant")).decode(errors="replace")
    if found.get(_PLACE):
        raise ValueError(f"{name} lies in another file, which is not followed")
    dtype = _TYPES.get(int(found.get(_KIND, 0)))
    if dtype is None:
        return
    raw = [found[_RAW]] if found.get(_RAW) else []
    raw += [value for number, value in fields if number in (_FLOATS, _DOUBLES)]
    data = b"".join(bytes(part) for part in raw if isinstance(part, memoryview))
    if data and len(data) % np.dtype(dtype).itemsize == 0:
        yield name, np.frombuffer(data, dtype)


def _read_fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Give number and value of each field of a protocol buffer."""
    place = 0
    try:
        while place < len(message):
            key, place = _read_number(message, place)
            if key & 7 == 0:
                value, place = _read_number(message, place)
                yield key >> 3, value
                continue
            length = {1: 8, 5: 4}.get(key & 7)
            if key & 7 == 2:
                length, place = _read_number(message, place)
            if length is None or place + length > len(message):
                raise ValueError("no protocol buffer")
            yield key >> 3, message[place : place + length]
            place += length
    except IndexError as error:
        raise ValueError("no protocol buffer") from error


def _read_number(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while message[place] & 0x80:
        value |= (message[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | message[place] << shift, place + 1
