#!/usr/bin/python3
"""Writes the first inputs of the corpora, from which the fuzzer goes on:  tests/fuzz/seeds.py
Bundles are MANIFEST NUL ENTRIES (fuzz_bundle.c signs the manifest); the same inputs are written again each time."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import sys
import tarfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from protobuf import field, varint  # noqa: E402

CORPUS = Path(__file__).resolve().parent / "corpus"


def put(target: str, name: str, data: bytes) -> None:
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(files: dict[str, bytes], mode: str = "0444", **members: object) -> dict:
    listed = [{"path": p, "size": len(b), "sha256": sha(b), "mode": mode} for p, b in files.items()]
    payload = [{"file": sha(b), "encoding": "raw", "size": len(b), "sha256": sha(b)} for b in dict.fromkeys(files.values())]
    return {"schema": 1, "kind": "model", "name": "digits", "version": "1.0.0", "release_counter": 1, "created": 1764000000000,
            "files": listed, "payload": payload, **members}


def with_blocks(data: bytes) -> dict:
    head = manifest({"model.onnx": data}, model={"file": "model.onnx"})
    head["payload"][0]["blocks"] = {"size": 65536, "sha256": sha(data[:65536]) + sha(data[65536:])}
    return head


def entries(items: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in items:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data) if kind == tarfile.REGTYPE else 0, kind, link
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def bundles() -> None:
    files = {"model.onnx": b"weights", "labels.txt": b"0\n1\n"}
    head = manifest(files, model={"file": "model.onnx", "inputs": [{"name": "x", "type": "float32", "shape": [1, -1]}]})
    raw = json.dumps(head).encode()
    good = [(f"payload/{sha(b)}", b) for b in files.values()]
    first = sha(b"weights")
    variants = {
        "good": entries(good), "reordered": entries(good[::-1]), "missing": entries(good[:1]), "twice": entries(good + good[:1]),
        "link": entries([(good[0][0], b"")], tarfile.SYMTYPE, "../../x"), "hardlink": entries([(good[0][0], b"")], tarfile.LNKTYPE, "/etc/x"),
        "device": entries([(good[0][0], b"")], tarfile.CHRTYPE), "fifo": entries([(good[0][0], b"")], tarfile.FIFOTYPE),
        "traversal": entries([("../x", b"weights")]), "same": entries([(f"same/{first}", b""), good[1]]),
        "delta": entries([(f"delta/{first}", b"not a delta"), good[1]]), "cut": entries(good)[:700], "empty": b"",
    }
    for name, archive in variants.items():
        put("bundle", name, raw + b"\0" + archive)
    put("bundle", "plain-tar", entries([("manifest.json", raw), *good]))
    two_blocks = bytes(65536 + 1)
    put("bundle", "blocks", json.dumps(with_blocks(two_blocks)).encode() + b"\0" + entries([(f"payload/{sha(two_blocks)}", two_blocks)]))


def manifests() -> None:
    files = {"bin/app": b"#!/bin/sh\n"}
    put("manifest", "model", json.dumps(manifest({"m.onnx": b"w"}, model={"file": "m.onnx", "labels": ["a", "b"]},
        requires={"hardware": ["pi5"], "min_agent": "0.1.0", "runtime": "1.16.0", "memory": 1, "disk": 2, "accelerator": ["npu"]},
        health={"max_error_rate": 0.01, "max_restarts": 1}, critical=["requires", "health"], notes="x")).encode())
    put("manifest", "app", json.dumps(manifest(files, "0555", kind="app", name="door", app={"run": ["bin/app", "-v"],
        "commands": {"before": ["bin/app"], "check": ["bin/app"], "stop": ["bin/app"]}, "timeout_s": 5})).encode())
    put("manifest", "agent", json.dumps(manifest({"muster-agent": b"elf"}, "0555", kind="agent", name="agent",
        agent={"program": "muster-agent"})).encode())
    put("manifest", "zstd", json.dumps({**manifest({"m": b"w"}, model={"file": "m"}),
        "payload": [{"file": sha(b"w"), "encoding": "zstd", "size": 10, "sha256": sha(b"z")}]}).encode())
    put("manifest", "selftest", json.dumps(manifest({"m": b"w", "i": b"1", "o": b"2"}, model={"file": "m"},
        selftest={"samples": "i", "outputs": "o", "tolerance": 0.001})).encode())
    put("manifest", "blocks", json.dumps(with_blocks(bytes(65536 + 1))).encode())
    put("manifest", "future", json.dumps(manifest({"m": b"w"}, model={"file": "m"}, schema=2)).encode())
    put("manifest", "empty", b"{}")


def signatures() -> None:
    blob = lambda algorithm, rest: base64.b64encode(algorithm + b"\1" * 8 + rest).decode()
    end = "\ntrusted comment: t\n" + base64.b64encode(b"\2" * 64).decode() + "\n"
    put("minisig", "signature", f"untrusted comment: u\n{blob(b'ED', bytes(64))}{end}".encode())
    put("minisig", "legacy", f"untrusted comment: u\n{blob(b'Ed', bytes(64))}{end}".encode())
    put("minisig", "public", f"untrusted comment: u\n{blob(b'Ed', bytes(32))}\n".encode())
    secret = b"Ed\0\0B2" + bytes(32 + 16) + b"\1" * 8 + bytes(64 + 32)
    put("minisig", "secret", b"untrusted comment: u\n" + base64.b64encode(secret) + b"\n")


def onnx(step: int) -> bytes:
    """A matrix in fp32, one in int8 with its scales, and a constant inside a node."""
    def tensor(name: str, kind: int, dims: list[int], raw: bytes) -> bytes:
        return b"".join(field(1, d) for d in dims) + field(2, kind) + field(8, name.encode()) + field(9, raw)

    weights = struct.pack("<64f", *((i * 37 % 64 - 32 + step / 8) / 64 for i in range(64)))
    graph = field(1, field(1, b"q") + field(1, b"s") + field(4, b"DequantizeLinear") + field(5, field(1, b"axis") + field(3, 0)))
    graph += field(1, field(2, b"k") + field(4, b"Constant") + field(5, field(5, tensor("", 1, [64], weights))))
    graph += field(5, tensor("w", 1, [4, 4, 2, 2], weights)) + field(5, tensor("q", 3, [8, 8], bytes((i * 7 + step) % 256 for i in range(64))))
    graph += field(5, tensor("s", 1, [8], weights[:32]))
    return field(1, 8) + field(7, graph)


def safetensors(step: int) -> bytes:
    head = json.dumps({"w": {"dtype": "F16", "shape": [8, 8], "data_offsets": [0, 128]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes((i * 5 + step) % 256 for i in range(128))


def deltas() -> None:
    """fuzz_delta.c: the first byte says what it is."""
    directory = varint(1) + bytes([0x10]) + varint(4) + varint(16) + varint(4) + varint(0) + varint(0)  # a matrix at 0 in both
    put("delta", "pair-onnx", b"\2" + onnx(0) + onnx(1))
    put("delta", "pair-safetensors", b"\2" + safetensors(0) + safetensors(1))
    put("delta", "pair-text", b"\2" + b"one text and some more of it, " * 9 + b"one text and then some more, " * 9)
    put("delta", "onnx", b"\3" + onnx(0))
    put("delta", "safetensors", b"\3" + safetensors(0))
    for effort in (0, 1, 2, 3):  # from 2 on the old file is of these bytes as well
        head = bytes([1, effort]) + struct.pack("<HHH", 600, 0, 400)
        put("delta", f"stream-{effort}", head + bytes(i * i % 251 for i in range(400)))
        head = bytes([1, effort]) + struct.pack("<HHH", 300, len(directory), 20)
        group = bytes(i * i % 251 for i in range(300))
        put("delta", f"tensors-{effort}", head + directory + bytes(20) + varint(len(group)) + group)
    put("delta", "other", b"\0mdelta" + bytes(116))


if __name__ == "__main__":
    deltas()
    bundles()
    manifests()
    signatures()
