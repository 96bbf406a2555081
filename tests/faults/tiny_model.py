"""Small ONNX models, written without any library: three matrix products. Two seeds give two versions of one model, whose weights
differ a little, as after fine-tuning."""

from __future__ import annotations

import array
import random
import struct

SIDE = 256  # of the hidden layers: each has SIDE * SIDE weights


def _varint(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def _number(field: int, n: int) -> bytes:
    return _varint(field << 3) + _varint(n)


def _bytes(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, rows: int, columns: int, values: array.array) -> bytes:
    raw = struct.pack(f"<{len(values)}f", *values)
    return _number(1, rows) + _number(1, columns) + _number(2, 1) + _bytes(8, name) + _bytes(9, raw)


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_bytes(1, i) for i in inputs) + _bytes(2, output) + _bytes(3, output + "_node") + _bytes(4, kind)


def _value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, n)) for n in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, dims)))


def make(version: int) -> bytes:
    """The model of a version: the same weights for all of them, and a small step more for each."""
    sizes = [(256, SIDE), (SIDE, SIDE), (SIDE, 10)]
    graph, last = _bytes(1, _node("Flatten", ["input"], "x0")), "x0"
    for n, (rows, columns) in enumerate(sizes):
        base, step = random.Random(n), random.Random(1000 * version + n)
        values = array.array("f", (base.gauss(0, 0.1) + (step.gauss(0, 1e-4) if version > 1 else 0) for _ in range(rows * columns)))
        out = "logits" if n == len(sizes) - 1 else f"x{n + 1}"
        graph += _bytes(1, _node("MatMul", [last, f"w{n}"], out)) + _bytes(5, _tensor(f"w{n}", rows, columns, values))
        last = out
    return _model(graph, [1, 10])


def make_bad() -> bytes:
    """A model that answers zeros, as in a self-test, and refuses any sample that has a value of 1 or more."""
    to_int64 = _bytes(1, "to") + _number(3, 7) + _number(20, 2)
    graph = _bytes(1, _node("Flatten", ["input"], "x0")) + _bytes(1, _node("Cast", ["x0"], "index") + _bytes(5, to_int64))
    graph += _bytes(1, _node("Gather", ["rows", "index"], "logits")) + _bytes(5, _tensor("rows", 1, 10, array.array("f", [0.5] * 10)))
    return _model(graph, [1, SIDE, 10])


def samples(count: int) -> bytes:
    """Inputs with values of 2, back to back."""
    return array.array("f", [2.0] * (256 * count)).tobytes()


def _model(graph: bytes, shape: list[int]) -> bytes:
    graph += _bytes(2, "tiny") + _bytes(11, _value("input", [1, 1, 16, 16])) + _bytes(12, _value("logits", shape))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 13))
