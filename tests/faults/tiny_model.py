"""Small ONNX models, written without any library: three matrix products. Two seeds give two versions of one model, whose weights
differ a little, as after fine-tuning."""

from __future__ import annotations

import array
import random
import struct

from protobuf import field

SIDE = 256  # of the hidden layers: each has SIDE * SIDE weights


def _tensor(name: str, rows: int, columns: int, values: array.array) -> bytes:
    raw = struct.pack(f"<{len(values)}f", *values)
    return field(1, rows) + field(1, columns) + field(2, 1) + field(8, name) + field(9, raw)


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    return b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, output + "_node") + field(4, kind)


def _value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, field(1, n)) for n in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def make(version: int) -> bytes:
    """The model of a version: the same weights for all of them, and a small step more for each."""
    sizes = [(256, SIDE), (SIDE, SIDE), (SIDE, 10)]
    graph, last = field(1, _node("Flatten", ["input"], "x0")), "x0"
    for n, (rows, columns) in enumerate(sizes):
        base, step = random.Random(n), random.Random(1000 * version + n)
        values = array.array("f", (base.gauss(0, 0.1) + (step.gauss(0, 1e-4) if version > 1 else 0) for _ in range(rows * columns)))
        out = "logits" if n == len(sizes) - 1 else f"x{n + 1}"
        graph += field(1, _node("MatMul", [last, f"w{n}"], out)) + field(5, _tensor(f"w{n}", rows, columns, values))
        last = out
    return _model(graph, [1, 10])


def make_bad() -> bytes:
    """A model that answers zeros, as in a self-test, and refuses any sample that has a value of 1 or more."""
    to_int64 = field(1, "to") + field(3, 7) + field(20, 2)
    graph = field(1, _node("Flatten", ["input"], "x0")) + field(1, _node("Cast", ["x0"], "index") + field(5, to_int64))
    graph += field(1, _node("Gather", ["rows", "index"], "logits")) + field(5, _tensor("rows", 1, 10, array.array("f", [0.5] * 10)))
    return _model(graph, [1, SIDE, 10])


def samples(count: int) -> bytes:
    """Inputs with values of 2, back to back."""
    return array.array("f", [2.0] * (256 * count)).tobytes()


def _model(graph: bytes, shape: list[int]) -> bytes:
    graph += field(2, "tiny") + field(11, _value("input", [1, 1, 16, 16])) + field(12, _value("logits", shape))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
