"""The wire format of protobuf, as much of it as ONNX files need: for tests that write models or look into them."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | float | str | bytes) -> bytes:
    """An int becomes a varint, a float a fixed32; everything else has a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The value, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """(number, offset, length) of each field of a message; (number, value, None) of a varint."""
    while at < end:
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
            yield key >> 3, value, None
            continue
        length, at = read_varint(data, at) if key & 7 == 2 else ({5: 4, 1: 8}[key & 7], at)
        yield key >> 3, at, length
        at += length
