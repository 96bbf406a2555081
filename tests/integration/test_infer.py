"""muster-infer as a program: its socket, its rate, how it ends, and the one line with which it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stack import BUILD, DATA, wait_for

INFER = BUILD / "muster-infer"
CLEAN = DATA / "digits_test_16x16_f32.bin"
LIBRARY = ["--onnxruntime", os.environ["MUSTER_ONNXRUNTIME"]] if os.environ.get("MUSTER_ONNXRUNTIME") else []


class Client:
    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rw")

    def ask(self, op: str) -> dict:
        self.lines.write(json.dumps({"op": op}) + "\n")
        self.lines.flush()
        return json.loads(self.lines.readline())


@pytest.fixture
def start(tmp_path):
    """Starts muster-infer with the clean images and gives (child, socket); all are ended after the test."""
    children = []

    def run(*argv, path: Path | None = None):
        path = path or tmp_path / f"socket{len(children)}"
        child = subprocess.Popen([INFER, "--model", DATA / "cnn_v1.onnx", "--source", CLEAN, "--socket", path, *LIBRARY, *argv],
                                 stderr=subprocess.PIPE, text=True)
        children.append(child)
        wait_for("the socket", lambda: path.exists() or child.poll() is not None, 10)
        return child, path

    yield run
    for child in children:
        child.kill()
        child.wait()
        child.stderr.close()


def refused(*argv) -> tuple[int, str]:
    done = subprocess.run([INFER, *argv], capture_output=True, text=True, timeout=20)
    assert done.stdout == ""
    assert done.stderr.startswith("muster-infer: ") and done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


def test_keeps_the_rate(start):
    _, path = start("--rate", "50")
    client = Client(path)
    assert client.ask("state")["ready"] is True
    client.ask("take")
    time.sleep(4)
    window = client.ask("take")
    assert window["window_ms"] == pytest.approx(4000, abs=300)
    assert int(window["count"]) == pytest.approx(window["window_ms"] / 20, abs=3)
    assert sum(window["hist"]["counts"]) == int(window["count"]) and window["errors"] == "0"


def test_a_client_that_never_reads_holds_nobody_up(start):
    _, path = start("--rate", "50")
    client, deaf = Client(path), Client(path)
    deaf.socket.setblocking(False)
    client.ask("take")
    begin = time.monotonic()
    sent = 0
    while time.monotonic() - begin < 2:
        try:
            sent += deaf.socket.send(b'{"op":"state"}\n' * 100)
        except BlockingIOError:
            time.sleep(0.01)
    assert sent > 100_000
    window = client.ask("take")
    assert int(window["count"]) == pytest.approx(window["window_ms"] / 20, abs=5)


def test_ends_when_asked_and_removes_its_socket(start):
    for ask in (signal.SIGTERM, signal.SIGINT):
        child, path = start()
        child.send_signal(ask)
        assert child.wait(5) == 0
        assert not path.exists() and child.stderr.read() == ""


def test_starts_again_after_being_killed(start):
    child, path = start()
    child.kill()
    child.wait()
    assert path.exists()
    again, _ = start(path=path)
    wait_for("an answer", lambda: again.poll() is None and _answers(path), 10)


def _answers(path: Path) -> bool:
    try:
        return Client(path).ask("state")["ready"]
    except OSError:
        return False


def test_dies_with_its_parent(tmp_path):
    """The parent is a Python that starts muster-infer, prints its id and is killed."""
    path = tmp_path / "socket"
    argv = [str(a) for a in (INFER, "--model", DATA / "cnn_v1.onnx", "--socket", path, *LIBRARY)]
    text = f"import subprocess, time; print(subprocess.Popen({argv!r}).pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        wait_for("the socket", path.exists, 10)
        assert Path(f"/proc/{pid}/exe").resolve() == INFER.resolve()
        parent.kill()
    wait_for("muster-infer to be gone", lambda: not Path(f"/proc/{pid}/exe").exists(), 5)


def test_refuses_in_one_line(tmp_path):
    model = ["--model", DATA / "cnn_v1.onnx", *LIBRARY]
    place = ["--socket", tmp_path / "socket"]
    assert refused(*place)[0] == 2
    assert "unknown flag" in refused(*model, *place, "--sourc", "x")[1]
    assert refused(*model, *place, "--rate", "0")[0] == 2
    assert refused(*model, *place, "word")[0] == 2
    status, text = refused("--model", DATA / "cnn_v1.onnx", *place, "--onnxruntime", "/nowhere/libonnxruntime.so.1")
    assert status == 3 and "/nowhere/libonnxruntime.so.1" in text
    status, text = refused("--model", CLEAN, *place, *LIBRARY)
    assert status == 4 and "ONNX Runtime cannot load it" in text
    status, text = refused(*model, *place, "--source", DATA / "digits_test_u8.bin")
    assert status == 4 and "1x1x16x16" in text
    status, text = refused(*model, "--socket", tmp_path / "missing" / "socket")
    assert status == 1 and "missing/socket" in text
    assert not (tmp_path / "socket").exists()


def test_says_how_to_get_the_library(tmp_path):
    """Nothing in the cache; where the system has no library either, the line names the script."""
    done = subprocess.run([INFER, "--model", DATA / "cnn_v1.onnx", "--socket", tmp_path / "socket"], capture_output=True, text=True,
                          timeout=20, env={"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "MUSTER_INFER_SOURCE": "/nowhere"})
    if done.returncode == 3:
        assert "packaging/onnxruntime.sh" in done.stderr
    else:  # the distribution's library was found, and the next thing is refused
        assert done.returncode == 4 and "/nowhere" in done.stderr


def self_test(*argv) -> subprocess.CompletedProcess:
    return subprocess.run([INFER, "--self-test", *LIBRARY, *argv], capture_output=True, text=True, timeout=30, check=False)


def manifest_with(folder: Path, **members) -> Path:
    model = (DATA / "cnn_v1.onnx").read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    files = {"cnn_v1.onnx": model, **members.pop("files", {})}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    listed = [{"path": p, "size": len(d), "sha256": hashlib.sha256(d).hexdigest(), "mode": "0444"} for p, d in files.items()]
    head = {"schema": 1, "kind": "model", "name": "digits", "version": "1.0.0", "release_counter": 1, "created": 1764000000000,
            "model": {"file": "cnn_v1.onnx", "inputs": []}, "files": listed,
            "payload": [{"file": f["sha256"], "encoding": "raw", "size": f["size"], "sha256": f["sha256"]} for f in listed], **members}
    (folder / "manifest.json").write_text(json.dumps(head))
    assert digest == listed[0]["sha256"]
    return folder / "manifest.json"


def test_self_test_on_zeros(tmp_path):
    done = self_test("--model", DATA / "cnn_v1.onnx")
    assert done.returncode == 0 and done.stdout.startswith("one inference on zeros in ") and done.stderr == ""
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    done = self_test("--model", tmp_path / "bad.onnx")
    assert done.returncode == 5 and "cannot load it" in done.stderr and done.stdout == ""


def test_self_test_compares(tmp_path):
    samples = CLEAN.read_bytes()[:2 * 1024]
    right = [float(x) for line in (DATA / "expected_logits_cnn_v1.csv").read_text().splitlines()[:2] for x in line.split(",")]
    test = {"samples": "s.bin", "outputs": "o.bin", "tolerance": 0.001}
    for outputs, code, words in [(right, 0, "2 samples in "), (right[:-1] + [right[-1] + 0.01], 5, "sample 1, value 9"), (right[:10], 5, "for 1 of them"),
                                 ([float("nan")] + right[1:], 5, "sample 0, value 0")]:
        manifest = manifest_with(tmp_path, selftest=test, files={"s.bin": samples, "o.bin": struct.pack(f"<{len(outputs)}f", *outputs)})
        done = self_test("--model", tmp_path / "cnn_v1.onnx", "--manifest", manifest)
        assert done.returncode == code and words in done.stdout + done.stderr, (outputs, done)


def test_self_test_needs_the_runtime_of_the_manifest(tmp_path):
    manifest = manifest_with(tmp_path, requires={"runtime": "99.0.0"})
    done = self_test("--model", tmp_path / "cnn_v1.onnx", "--manifest", manifest)
    assert done.returncode == 3 and "needs ONNX Runtime 99.0.0 or newer; this is " in done.stderr


def test_a_socket_or_a_self_test():
    code, text = refused("--model", DATA / "cnn_v1.onnx")
    assert code == 2 and "--self-test" in text
