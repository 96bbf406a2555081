"""musterctl delta: as a person calls it, with files on disk and no server."""

import json
import os
import random
import resource
import shutil
import struct
import subprocess

import pytest
from appkit import sanitizer
from protobuf import field
from stack import BUILD

MUSTERCTL = BUILD / "musterctl"


def run(*argv, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(a) for a in (MUSTERCTL, "delta", *argv)], capture_output=True, text=True, timeout=120, check=False, **options)


def model(seed: int, moved: float) -> bytes:
    """ONNX with two fp32 matrices of 400 x 500; moved: how far weights are from those of the same seed."""
    graph = b""
    for name in ("first", "second"):
        base, step = random.Random(f"{seed} {name}"), random.Random(f"step {seed} {name}")
        weights = [base.gauss(0, 0.1) * (1 + moved * step.gauss(0, 1)) for _ in range(400 * 500)]
        raw = struct.pack(f"<{len(weights)}f", *weights)
        graph += field(5, field(1, 400) + field(1, 500) + field(2, 1) + field(8, name.encode()) + field(9, raw))
    return field(1, 8) + field(7, graph)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A directory with two versions of a model and two of a program."""
    top = tmp_path_factory.mktemp("delta")
    (top / "1.onnx").write_bytes(model(1, 0.0))
    (top / "2.onnx").write_bytes(model(1, 0.001))
    program = bytearray(MUSTERCTL.read_bytes()[:300_000])
    (top / "1.bin").write_bytes(program)
    for at in range(1000, 290_000, 501):
        program[at] = (program[at] + 8) % 256
    (top / "2.bin").write_bytes(program[:100_000] + b"something new" + program[100_000:])
    return top


@pytest.mark.parametrize("effort", ["fast", "best"])
@pytest.mark.parametrize(("kind", "most", "form"), [("bin", 0.02, "binary"), ("onnx", 0.75, "onnx")])
def test_there_and_back(files, kind, most, form, effort):
    old, new, delta, out = (files / f"{name}.{kind}" for name in ("1", "2", "d", "out"))
    made = run("create", old, new, "-o", delta, "--effort", effort, "--output", "json")
    assert made.returncode == 0, made.stderr
    about = json.loads(made.stdout)
    assert about["format"] == form and about["effort"] in ("fast", effort)  # best keeps the shorter one
    assert about["delta_size"] == delta.stat().st_size < most * new.stat().st_size
    assert about["apply_memory"] <= 8 << 20
    assert json.loads(run("info", delta, "--output", "json").stdout) == about
    assert about["new_sha256"] in run("info", delta).stdout
    applied = run("apply", old, delta, "--out", out)
    assert applied.returncode == 0, applied.stderr
    assert out.read_bytes() == new.read_bytes()
    assert out.stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o22))
    assert sorted(p.name for p in files.iterdir() if "XX" in p.name or p.name.startswith(("d.", "out."))) == sorted([delta.name, out.name])
    delta.unlink()
    out.unlink()


def test_same_bytes_with_any_number_of_threads(files):
    for threads in ("1", "3"):
        assert run("create", files / "1.onnx", files / "2.onnx", "-o", files / f"t{threads}", "--effort", "fast", "--threads", threads).returncode == 0
    assert (files / "t1").read_bytes() == (files / "t3").read_bytes()


def test_progress_is_told(files):
    made = run("create", files / "1.bin", files / "2.bin", "-o", files / "p", "--progress")
    assert made.returncode == 0 and "100 %" in made.stderr
    assert run("create", files / "1.bin", files / "2.bin", "-o", files / "p").stderr == ""


@pytest.mark.parametrize("effort", ["fast", "best"])
def test_in_little_memory(files, effort):
    assert run("create", files / "1.onnx", files / "2.onnx", "-o", files / "m", "--effort", effort).returncode == 0

    def limit() -> None:
        if not sanitizer():
            resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

    applied = run("apply", files / "1.onnx", files / "m", "-o", files / "m.out", preexec_fn=limit)
    assert applied.returncode == 0, applied.stderr
    assert (files / "m.out").read_bytes() == (files / "2.onnx").read_bytes()


def test_the_small_program_alone(files, tmp_path):
    """musterctl needs the rest of itself for everything but deltas, and says so when that is gone."""
    shutil.copy(BUILD / "musterctl", tmp_path)
    alone = [tmp_path / "musterctl", "--output", "json"]
    made = subprocess.run([*alone, "delta", "create", files / "1.bin", files / "2.bin", "-o", tmp_path / "d"], capture_output=True, text=True, check=True)
    assert json.loads(made.stdout)["format"] == "binary"
    for words in (["bundle", "--help"], ["delta", "list"], ["--version"]):
        refused = subprocess.run([*alone, *words], capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and "musterctl-full" in refused.stderr and "next:" in refused.stderr


def test_what_goes_wrong_is_said(files, tmp_path):
    old, new, delta, out = files / "1.bin", files / "2.bin", tmp_path / "d", tmp_path / "out"
    assert run("create", old, new, "-o", delta).returncode == 0
    good, before = delta.read_bytes(), new.read_bytes()

    wrong = run("apply", new, delta, "-o", out)
    assert wrong.returncode == 1 and "another old file" in wrong.stderr and "next:" in wrong.stderr
    (tmp_path / "cut").write_bytes(good[:-5])
    cut = run("apply", old, tmp_path / "cut", "-o", out)
    assert cut.returncode == 1 and "no sound delta" in cut.stderr
    strange = run("info", old)
    assert strange.returncode == 1 and "does not begin like one" in strange.stderr
    missing = run("apply", old, tmp_path / "nothing", "-o", out)
    assert missing.returncode == 1 and "nothing" in missing.stderr
    assert not out.exists()

    for command, first, second in (("create", old, new), ("apply", old, delta)):
        for target in (first, second):
            refused = run(command, first, second, "-o", target)
            assert refused.returncode == 2 and "which is read" in refused.stderr
    assert run("create", old, new, "-o", tmp_path / "x", "--effort", "slow").returncode == 2
    assert run("create", old, new).returncode == 2
    assert run("create", old, new, "-o", tmp_path / "no such" / "x").returncode == 1
    assert run("create", tmp_path, new, "-o", tmp_path / "x").returncode == 1
    assert delta.read_bytes() == good and new.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut", "d"]
