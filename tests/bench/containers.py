"""Just enough of ONNX and safetensors to write models, and to put other numbers into one that is there."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from protobuf import field, fields  # noqa: E402

FLOAT, UINT8, INT8, FLOAT16 = 1, 2, 3, 10  # TensorProto.DataType
TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.uint8): UINT8, np.dtype(np.int8): INT8, np.dtype(np.float16): FLOAT16}
NUMPY = {number: kind for kind, number in TYPES.items()}


# ---- ONNX ----

def attribute(name: str, value) -> bytes:
    if isinstance(value, float):
        return field(1, name) + field(2, value) + field(20, 1)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + b"".join(field(8, v) for v in value) + field(20, 7)


def tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(field(1, n) for n in array.shape)
    return dims + field(2, TYPES[array.dtype]) + field(8, name) + field(9, array.tobytes())


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
        parts = [field(1, i) for i in inputs] + [field(2, output), field(3, f"node_{self.count}"), field(4, op)]
        self.nodes.append(b"".join(parts + [field(5, attribute(k, v)) for k, v in sorted(attributes.items())]))
        return output

    def write(self, path: Path, shape: list[int], outputs: int, output: str) -> None:
        def value(name, dims):
            shape_proto = b"".join(field(1, field(1, d) if d > 0 else field(2, "n")) for d in dims)
            return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape_proto)))

        graph = b"".join([*(field(1, n) for n in self.nodes), field(2, "bench"), *(field(5, t) for t in self.tensors),
                          field(11, value("input", shape)), field(12, value(output, [shape[0], outputs]))])
        path.write_bytes(field(1, 8) + field(2, "muster-bench") + field(7, graph) + field(8, field(2, 13)))


def onnx_places(data: bytes) -> dict[str, tuple[np.dtype, tuple[int, ...], int, int]]:
    """Type, shape, offset and length of every initializer that has raw data."""
    places = {}
    for number, at, length in fields(data, 0, len(data)):
        if number != 7 or length is None:
            continue
        for inner, start, size in fields(data, at, at + length):
            if inner != 5 or size is None:
                continue
            dims, kind, name, raw = [], 0, "", None
            for f, v, n in fields(data, start, start + size):
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
