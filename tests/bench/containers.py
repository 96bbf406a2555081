"""Just enough of ONNX and safetensors to write models, and to put other numbers into one that is there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

FLOAT, UINT8, INT8, FLOAT16 = 1, 2, 3, 10  # TensorProto.DataType
TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.uint8): UINT8, np.dtype(np.int8): INT8, np.dtype(np.float16): FLOAT16}
NUMPY = {number: kind for kind, number in TYPES.items()}


# ---- protobuf ----

def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value) -> bytes:
    """An int is a varint, a float a fixed32, everything else has a length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        value = value.encode()
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes, at: int, end: int):
    """(number, offset or value, length; None for a varint)."""
    while at < end:
        key, at = _read_varint(data, at)
        if key & 7 == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value, None
            continue
        length, at = _read_varint(data, at) if key & 7 == 2 else ({5: 4, 1: 8}[key & 7], at)
        yield key >> 3, at, length
        at += length


# ---- ONNX ----

def attribute(name: str, value) -> bytes:
    if isinstance(value, float):
        return _field(1, name) + _field(2, value) + _field(20, 1)
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, v) for v in value) + _field(20, 7)


def tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(_field(1, n) for n in array.shape)
    return dims + _field(2, TYPES[array.dtype]) + _field(8, name) + _field(9, array.tobytes())


class Onnx:
    """A graph in the making: one input, one output, nodes and initializers in the order in which they are added."""

    def __init__(self):
        self.nodes, self.tensors, self.count = [], [], 0

    def initializer(self, name: str, array: np.ndarray) -> str:
        self.tensors.append(tensor(name, np.ascontiguousarray(array)))
        return name

    def node(self, op: str, inputs: list[str], output: str = "", **attributes) -> str:
        self.count += 1
        output = output or f"{op}_{self.count}"
        parts = [_field(1, i) for i in inputs] + [_field(2, output), _field(3, f"node_{self.count}"), _field(4, op)]
        self.nodes.append(b"".join(parts + [_field(5, attribute(k, v)) for k, v in sorted(attributes.items())]))
        return output

    def write(self, path: Path, shape: list[int], outputs: int, output: str) -> None:
        def value(name, dims):
            shape_proto = b"".join(_field(1, _field(1, d) if d > 0 else _field(2, "n")) for d in dims)
            return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, shape_proto)))

        graph = b"".join([*(_field(1, n) for n in self.nodes), _field(2, "bench"), *(_field(5, t) for t in self.tensors),
                          _field(11, value("input", shape)), _field(12, value(output, [shape[0], outputs]))])
        path.write_bytes(_field(1, 8) + _field(2, "muster-bench") + _field(7, graph) + _field(8, _field(2, 13)))


def onnx_places(data: bytes) -> dict[str, tuple[np.dtype, tuple[int, ...], int, int]]:
    """Type, shape, offset and length of every initializer that has raw data."""
    places = {}
    for number, at, length in _fields(data, 0, len(data)):
        if number != 7 or length is None:
            continue
        for inner, start, size in _fields(data, at, at + length):
            if inner != 5 or size is None:
                continue
            dims, kind, name, raw = [], 0, "", None
            for f, v, n in _fields(data, start, start + size):
                if f == 1 and n is None:
                    dims.append(v)
                elif f == 2:
                    kind = v
                elif f == 8:
                    name = data[v:v + n].decode()
                elif f == 9:
                    raw = (v, n)
            if raw is not None and kind in NUMPY:
                places[name] = (NUMPY[kind], tuple(dims), *raw)
    return places


def onnx_read(data: bytes) -> dict[str, np.ndarray]:
    return {name: np.frombuffer(data, kind, length // kind.itemsize, offset).reshape(shape).copy()
            for name, (kind, shape, offset, length) in onnx_places(data).items()}


def onnx_replace(data: bytes, arrays: dict[str, np.ndarray]) -> bytes:
    """The same file with other numbers in it: what the same exporter makes of the next version."""
    out = bytearray(data)
    for name, (kind, shape, offset, length) in onnx_places(data).items():
        array = arrays[name]
        assert array.dtype == kind and array.shape == shape, name
        out[offset:offset + length] = array.tobytes()
    return bytes(out)


# ---- safetensors ----

def bfloat16(array: np.ndarray) -> np.ndarray:
    """Rounded to the nearest, ties to even, as uint16: numpy has no type for it."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def safetensors_write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """uint16 stands for BF16."""
    names = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int8": "I8", "uint8": "U8"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": names[array.dtype.name], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values()))
