"""`musterctl bundle create --grid`: an update rounded before it is published, and only when the answers stay the same.

With the real models of the demo: the second is the first one, fine-tuned. Offline: no server is needed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from protobuf import fields
from stack import BUILD, DATA

MUSTERCTL = BUILD / "musterctl"
OLD, NEW = DATA / "cnn_v1.onnx", DATA / "cnn_v2_ft_long.onnx"
CLEAN, SHIFTED = DATA / "digits_test_16x16_f32.bin", DATA / "digits_test_shifted_16x16_f32.bin"
LIBRARY = ["--onnxruntime", os.environ["MUSTER_ONNXRUNTIME"]] if os.environ.get("MUSTER_ONNXRUNTIME") else []
SAMPLE = 4 * 256  # bytes


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    data = (DATA / "digits_test_u8.bin").read_bytes()
    path = tmp_path_factory.mktemp("labels") / "labels.u8"
    path.write_bytes(data[-540:])
    return path


@pytest.fixture
def create(tmp_path):
    """Runs `bundle create --grid` with an own place for temporary files, which has to be empty afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(*words, new: Path = NEW, out: str = "new.mub", runtime=True) -> subprocess.CompletedProcess:
        argv = ["bundle", "create", "--slot", "digits", "--version", "2.0.0", "--counter", "2", "--model", f"{new}=cnn.onnx",
                "--out", tmp_path / out, *(LIBRARY if runtime else []), *words]
        done = subprocess.run([str(w) for w in (MUSTERCTL, *argv)], capture_output=True, text=True, timeout=120, check=False,
                              env={**os.environ, "TMPDIR": str(scratch)})
        assert list(scratch.iterdir()) == [], "temporary files were left behind"
        return done

    run.folder = tmp_path
    return run


def refused(done: subprocess.CompletedProcess, *words: str, status: int = 1) -> None:
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("musterctl: "), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def model_of(bundle: Path) -> bytes:
    """The first payload entry: what is behind manifest.json and its own tar header."""
    data = bundle.read_bytes()
    at, entries = 0, []
    while data[at] != 0:
        size = int(data[at + 124:at + 135], 8)
        entries.append(data[at + 512:at + 512 + size])
        at += 512 + (size + 511) // 512 * 512
    return entries[1]


def messages(data: bytes, at: int, size: int, wanted: int):
    """Offset and length of each field of that number in a message, of those that have a length."""
    return ((start, length) for number, start, length in fields(data, at, at + size) if number == wanted and length is not None)


def tensors(model: bytes) -> dict[str, tuple[int, int]]:
    """Where the numbers of each tensor of an ONNX file lie."""
    (graph, length), = messages(model, 0, len(model), 7)
    found = {}
    for at, size in messages(model, graph, length, 5):
        name = next(model[n:n + k].decode() for n, k in messages(model, at, size, 8))
        found[name] = next(messages(model, at, size, 9))
    return found


def test_a_fine_tune_is_rounded_and_stays_as_good(create, labels):
    done = create("--from", OLD, "--grid", "--check", SHIFTED, "--labels", labels, "--verbose", "--output", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    grid = answer["grid"]
    last = grid["trials"][-1]
    assert grid["passed"] is True and last["passed"] is True and grid["samples"] == 540
    assert last["agreement"] >= 99.5 and last["accuracy"]["after"] >= last["accuracy"]["before"] - 0.1
    assert last["accuracy"]["before"] == pytest.approx(100 * 515 / 540)
    assert 0 < last["mean_difference"] < last["largest_difference"] < 1
    assert last["delta_size"] < 0.85 * grid["delta_size"] < NEW.stat().st_size

    # Only numbers of tensors have changed, and each is a whole number of steps away from the old one.
    old, new, rounded = OLD.read_bytes(), NEW.read_bytes(), model_of(create.folder / "new.mub")
    assert len(rounded) == len(new)
    places = tensors(new)
    rest = 0
    for at, size in sorted(places.values()):
        assert rounded[rest:at] == new[rest:at]
        rest = at + size
    assert rounded[rest:] == new[rest:]
    by_name = {t["name"]: t for t in grid["tensors"]}
    assert set(by_name) == set(places) and all(t["outcome"] == "rounded" for t in by_name.values())
    for name in ("c3.weight", "f2.weight", "f1.bias"):
        at, size = places[name]
        step, count = 2.0 ** by_name[name]["exponent"], size // 4
        before, after = (struct.unpack_from(f"<{count}f", data, at) for data in (old, rounded))
        moved = 0
        for a, b in zip(before, after):
            steps = round((b - a) / step)
            assert b == struct.unpack("<f", struct.pack("<f", a + steps * step))[0]
            moved += a != b
        assert moved == by_name[name]["moved_after"] > 0


def test_the_old_version_may_be_a_bundle(create, labels):
    words = ["bundle", "create", "--slot", "digits", "--version", "1.0.0", "--counter", "1", "--model", OLD, "--out", create.folder / "old.mub"]
    subprocess.run([str(w) for w in (MUSTERCTL, *words)], check=True, capture_output=True)
    for old in (OLD, create.folder / "old.mub"):
        done = create("--from", old, "--grid=rms/2", "--check", CLEAN, "--labels", labels, out=f"{old.stem}-2.mub")
        assert done.returncode == 0, done.stderr
        assert "rms/2" in done.stdout and "passed" in done.stdout and "wrote" in done.stdout
    one, other = model_of(create.folder / "cnn_v1-2.mub"), model_of(create.folder / "old-2.mub")
    assert one == other != NEW.read_bytes()


def test_what_answers_differently_is_refused(create, labels):
    """One of the 540 clean images is answered differently at rms; from rms/2 on all are answered as before."""
    check = ["--from", OLD, "--check", CLEAN, "--labels", labels, "--min-agreement", "100"]
    done = create(*check, "--grid=rms")
    refused(done, "99.63 %", "100 %", "--grid=rms/4", "nothing was written")
    assert "refused" in done.stdout and not (create.folder / "new.mub").exists()
    done = create(*check, "--grid=rms", "--output", "json")
    refused(done, "nothing was written")
    assert json.loads(done.stdout)["grid"]["passed"] is False
    done = create(*check, "--grid", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert [(t["step"], t["passed"]) for t in json.loads(done.stdout)["grid"]["trials"]] == [("rms", False), ("rms/2", True)]


def test_a_loss_of_accuracy_is_refused(create, labels):
    """The limit on the loss is what refuses: here no loss is small enough, and without labels nobody can tell."""
    check = ["--from", OLD, "--check", CLEAN, "--grid=rms/8", "--max-loss", "-1"]
    refused(create(*check, "--labels", labels), "nothing was written", "+0.00 points")
    assert not (create.folder / "new.mub").exists()
    assert create(*check).returncode == 0


def test_a_self_test_that_devices_would_fail_is_refused(create):
    """Its outputs are those of the model before rounding."""
    outputs = create.folder / "outputs.bin"
    outputs.write_bytes(bytes(540 * 40))
    words = ["--from", OLD, "--grid=rms", "--check", CLEAN, "--selftest-samples", f"{CLEAN}=samples.bin", "--selftest-outputs", outputs]
    refused(create(*words), "nothing was written", "--tolerance is 0.001", "self-test")
    assert not (create.folder / "new.mub").exists()
    assert create(*words, "--tolerance", "1").returncode == 0


def test_labels_as_lines_and_samples_as_csv(create, labels):
    """Twenty samples, told in three ways: the report is the same."""
    few, lines, table = create.folder / "few.bin", create.folder / "labels.txt", create.folder / "few.csv"
    few.write_bytes(CLEAN.read_bytes()[:20 * SAMPLE])
    right = labels.read_bytes()[:20]
    lines.write_text("".join(f"{n}\n" for n in right))
    rows = [struct.unpack_from("<256f", few.read_bytes(), i * SAMPLE) for i in range(20)]
    table.write_text("label," + ",".join(f"p{i}" for i in range(256)) + "\n" +
                     "".join(f"{n}," + ",".join(repr(16 * x) for x in row) + "\n" for n, row in zip(right, rows)))
    short = create.folder / "few.u8"
    short.write_bytes(right)
    reports = []
    for words in (["--check", few, "--labels", short], ["--check", few, "--labels", lines], ["--check", table, "--scale", "0.0625"]):
        done = create("--from", OLD, "--grid=rms/4", *words, "--output", "json")
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout)["grid"])
    assert reports[0]["samples"] == 20 and "accuracy" in reports[0]["trials"][0]
    assert reports[1:] == reports[:1] * 2


def test_without_labels_the_answers_are_compared(create):
    done = create("--from", OLD, "--grid", "--check", CLEAN, "--output", "json")
    assert done.returncode == 0, done.stderr
    trial = json.loads(done.stdout)["grid"]["trials"][-1]
    assert "accuracy" not in trial and trial["agreement"] >= 99.5


@pytest.mark.parametrize("words, said", [
    (["--grid", "--check", CLEAN], "--from OLD"),
    (["--grid", "--from", OLD], "--check DATA"),
    (["--from", OLD], "goes with --grid"),
    (["--grid=coarse", "--from", OLD, "--check", CLEAN], "rms/4"),
    (["--grid=rms/3", "--from", OLD, "--check", CLEAN], "power of two"),
    (["--grid=rms/-2", "--from", OLD, "--check", CLEAN], "power of two"),
    (["--grid", "--from", OLD, "--check", CLEAN, "--max-loss", "much"], "--max-loss"),
    (["--grid", "--from", OLD, "--check", CLEAN, "--min-agreement", "101"], "--min-agreement"),
])
def test_called_wrongly(create, words, said):
    refused(create(*words), said, status=2)
    assert not (create.folder / "new.mub").exists()


def test_files_that_do_not_fit(create, labels):
    junk = create.folder / "junk"
    junk.write_bytes(b"0\n1\nx\n" + b"2\n" * 537)
    check = ["--from", OLD, "--grid", "--check", CLEAN]
    refused(create("--from", create.folder / "none.onnx", "--grid", "--check", CLEAN), "none.onnx", "No such file")
    refused(create("--from", junk, "--grid", "--check", CLEAN), "not models of one format")
    refused(create("--from", OLD, "--grid", "--check", labels), "no whole number of samples", "1024 bytes")
    refused(create(*check, "--labels", junk), "label 3", "not a whole number")
    junk.write_text("1\n" * 539)
    refused(create(*check, "--labels", junk), "539 labels for 540 samples")
    broken = create.folder / "broken.onnx"
    broken.write_bytes(NEW.read_bytes()[:1_000_000])
    refused(create(*check, new=broken), "broken.onnx")
    table = create.folder / "table.csv"
    table.write_text("1,2,3\n")
    refused(create("--from", OLD, "--grid", "--check", table), "table.csv")
    refused(create(*check, "--onnxruntime", create.folder / "none.so", runtime=False), "cannot be loaded")
    assert not (create.folder / "new.mub").exists()
