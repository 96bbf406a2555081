"""People at the device: `muster-agent status` and `rollback`, with and without a running agent, a server or a network; and
what the agent finds out by itself before it switches."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from appkit import agent_command, roll_out, slot_of, wait_slot
from stack import BUILD, DATA, run, wait_for
from test_agent import infer_pid

MODEL = DATA / "cnn_v1.onnx"
SAMPLES = DATA / "digits_test_16x16_f32.bin"
LOGITS = DATA / "expected_logits_cnn_v1.csv"
SAMPLE_BYTES = 16 * 16 * 4


def status(agent) -> dict:
    return json.loads(agent_command(agent, "status", "--json").stdout)


def slot_status(agent, name: str = "digits") -> dict | None:
    return next((s for s in status(agent)["slots"] if s["slot"] == name), None)


def current(agent) -> str:
    return json.loads((agent.base / "state/slots/digits/current/manifest.json").read_bytes())["version"]


def make_bundle(lab, version: str, counter: int, files: dict[str, bytes], keys: int = 1, **manifest) -> Path:
    """A bundle with anything in its manifest; signed by as many keys as asked for."""
    def sha(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    distinct = {sha(data): data for data in files.values()}
    head = {"schema": 1, "kind": "model", "name": "digits", "version": version, "release_counter": counter,
            "created": 1764000000000, "model": {"file": "model.onnx", "inputs": [{"name": "input", "type": "float32", "shape": [1, 1, 16, 16]}],
                                                         "outputs": []},
            "files": [{"path": p, "size": len(d), "sha256": sha(d), "mode": "0444"} for p, d in files.items()],
            "payload": [{"file": h, "encoding": "raw", "size": len(d), "sha256": h} for h, d in distinct.items()], **manifest}
    out = lab.base / f"digits-{version}.mub"
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in [("manifest.json", json.dumps(head).encode()), *[(f"payload/{h}", d) for h, d in distinct.items()]]:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o444, 1764000000
            tar.addfile(info, io.BytesIO(data))
    for n in range(keys):
        key = lab.stack.keys / ("release.key" if n == 0 else f"second{n}.key")
        run([BUILD / "musterctl", "bundle", "sign", out, "--key", key])
    return out


def test_status_in_words(device):
    lab, name, agent = device
    text = agent_command(agent, "status").stdout
    for words in (name, "connected", "desired state", "slot digits (model)", "up to date", "runs     1.0.0, bundle ", ", since 2",
                  "previous nothing", "counter  1;", "spool", "GB free"):
        assert words in text, text
    assert "NOT RUNNING" not in text
    data = status(agent)
    assert data["live"] and data["server"]["connected"] and data["server"]["contact"] > 0 and data["disk"]["free"] > 0
    assert data["slots"][0]["committed"]["version"] == "1.0.0"
    roll_out(lab, name, "2.0.0", probation=20)
    now = wait_for("inferences in the probation", lambda: (s := slot_status(agent)) and s["phase"] == "probation" and int(s["probation"]["count"]) > 0 and s, 30)
    assert now["text"].startswith("2.0.0 in probation: ") and " of 20 s, " in now["text"] and now["text"].endswith(" 0 errors")
    assert now["target"]["version"] == "2.0.0" and now["previous"] is None and now["committed"]["version"] == "1.0.0"


def test_status_without_an_agent(device):
    """Its files say the same, and are not touched."""
    lab, name, agent = device
    agent.kill()  # the journal's log is left behind
    state = agent.base / "state"
    before = {p: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in state.glob("state.db*")}
    text = agent_command(agent, "status").stdout
    assert "does not run" in text and "current  1.0.0" in text and "up to date" in text
    data = json.loads(subprocess.run([str(BUILD / "muster-agent"), "--state-dir", str(state), "status", "--json"], capture_output=True,
                                     text=True, check=True, timeout=20).stdout)
    assert data["live"] is False and data["slots"][0]["committed"]["version"] == "1.0.0" and len(data["device"]) == 26
    assert {p: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in state.glob("state.db*")} == before
    for file in state.glob("state.db*"):
        file.unlink()
    assert "current  1.0.0" in agent_command(agent, "status").stdout  # the links are enough
    agent.start(lab.server)
    wait_slot(lab, name, phase="running", running_version="1.0.0")


def test_rollback_holds_until_asked_again(device):
    lab, name, agent = device
    refused = agent_command(agent, "rollback", "digits", "--yes", check=False)
    assert refused.returncode == 1 and "there is no version before this one" in refused.stderr
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="running", running_version="2.0.0")
    unknown = agent_command(agent, "rollback", "faces", "--yes", check=False)
    assert unknown.returncode == 1 and "there is no slot faces; this device has: digits" in unknown.stderr
    unasked = agent_command(agent, "rollback", "digits", check=False, stdin="")
    assert unasked.returncode == 1 and "--yes" in unasked.stderr and current(agent) == "2.0.0"
    done = agent_command(agent, "rollback", "digits", "--yes")
    assert "digits goes back from 2.0.0 to 1.0.0" in done.stdout
    failed = wait_slot(lab, name, phase="failed", running_version="1.0.0")
    assert (failed["code"], failed["device_left"]) == ("rolled_back_locally", "rolled_back") and "at the device by " in failed["detail"]
    text = agent_command(agent, "status").stdout
    assert "taken back at the device by " in text and ": 2.0.0 to 1.0.0; 1.0.0 runs until the server asks for another version" in text
    # The server's document changes, but asks for nothing again.
    status_, _, _ = lab.call("POST", f"/api/v1/devices/{name}/hold", {"reason": "look at it", "expires_in_s": 600, "then": "apply"})
    assert status_ == 201
    agent.kill()
    agent.start(lab.server)
    wait_for("the agent to have the new document", lambda: "live" in (s := status(agent)) and s["live"] and s["server"]["connected"], 20)
    wait_slot(lab, name, phase="failed", running_version="1.0.0")
    assert current(agent) == "1.0.0" and slot_status(agent)["previous"]["version"] == "2.0.0"
    lab.call("DELETE", f"/api/v1/devices/{name}/hold")
    wait_slot(lab, name, phase="failed", running_version="1.0.0")
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="running", running_version="2.0.0")


def test_rollback_without_agent_and_network(device):
    lab, name, agent = device
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="running", running_version="2.0.0")
    agent.kill()
    lab.server.process.kill()
    try:
        assert "goes back from 2.0.0 to 1.0.0" in agent_command(agent, "rollback", "digits", "--yes").stdout
        assert current(agent) == "1.0.0" and "going back to 1.0.0: taken back at the device by " in agent_command(agent, "status").stdout
        agent.start(lab.server)
        wait_for("1.0.0 to run", lambda: (s := slot_status(agent)) and s["phase"] == "failed" and s["running"] == s["committed"]["bundle"], 20)
    finally:
        lab.server.start()
    failed = wait_slot(lab, name, phase="failed", running_version="1.0.0")
    assert failed["code"] == "rolled_back_locally"


def selftest_files(wrong: float = 0.0) -> dict[str, bytes]:
    """Three samples and what version 1.0.0 answers, or something else."""
    rows = [[float(x) for x in line.split(",")] for line in LOGITS.read_text().splitlines() if line[:1] in "-0123456789."]
    outputs = b"".join(struct.pack(f"<{len(row)}f", *[x + wrong for x in row]) for row in rows[:3])
    return {"model.onnx": MODEL.read_bytes(), "samples.bin": SAMPLES.read_bytes()[:3 * SAMPLE_BYTES], "outputs.bin": outputs}


def test_self_test_decides(device):
    lab, name, agent = device
    samples = {"samples": "samples.bin", "outputs": "outputs.bin", "tolerance": 0.01}
    lab.ctl.json("bundle", "upload", make_bundle(lab, "5.0.0", 50, selftest_files(0.5), selftest=samples))
    roll_out(lab, name, "5.0.0")
    failed = wait_slot(lab, name, phase="failed")
    assert (failed["stage"], failed["code"], failed["device_left"]) == ("test", "selftest_failed", "no_change")
    assert "sample 0, value 0" in failed["detail"] and current(agent) == "1.0.0"
    assert "failed at the self-test" in agent_command(agent, "status").stdout and "; 1.0.0 runs on" in agent_command(agent, "status").stdout
    lab.ctl.json("bundle", "upload", make_bundle(lab, "5.0.1", 51, {"model.onnx": b"not a model"}))
    roll_out(lab, name, "5.0.1")
    wait_for("5.0.1 to be tested", lambda: "cannot load it" in (slot_of(lab, name)["detail"] or ""), 30)
    wait_slot(lab, name, phase="failed", code="selftest_failed", stage="test")
    lab.ctl.json("bundle", "upload", make_bundle(lab, "5.1.0", 52, selftest_files(), selftest=samples))
    roll_out(lab, name, "5.1.0")
    wait_slot(lab, name, phase="running", running_version="5.1.0")
    reports = [e["data"] for e in lab.get(f"/api/v1/devices/{name}/events")["events"] if e["data"].get("step") == "tested"]
    assert any("3 samples in " in r["detail"] for r in reports), reports


def test_as_many_restarts_as_the_manifest_allows(device):
    """One end of muster-infer in a probation is forgiven, two are not."""
    lab, name, agent = device
    wrong = {"model.onnx": MODEL.read_bytes()}
    for version, kills in [("7.1.0", 1), ("7.2.0", 2)]:
        lab.ctl.json("bundle", "upload", make_bundle(lab, version, int(version.replace(".", "")), wrong, health={"max_restarts": 1}))
        roll_out(lab, name, version, probation=10)
        killed: set[int] = set()
        for _ in range(kills):
            wait_slot(lab, name, phase="probation", running_version=version)
            pid = wait_for("another muster-infer", lambda: (p := infer_pid(agent)) not in killed and p, 20)
            killed.add(pid)
            os.kill(pid, 9)
            wait_for("its end to be known", lambda: infer_pid(agent) != pid, 20)
        if kills == 1:
            wait_slot(lab, name, phase="running", running_version=version)
        else:
            failed = wait_slot(lab, name, phase="failed", running_version="7.1.0")
            assert failed["code"] in ("infer_crashed", "infer_start_failed") and "that was end 2 in one probation" in failed["detail"]


@pytest.mark.parametrize("needs,code,words", [
    ({"runtime": "99.0.0"}, "runtime_unfit", "needs ONNX Runtime 99.0.0"),
    ({"memory": 1 << 40}, "does_not_fit", "MiB of memory; this one has"),
    ({"disk": 1 << 40}, "does_not_fit", "of free disk besides its files"),
    ({"accelerator": ["cuda", "tpu"]}, "does_not_fit", "cuda, tpu; this device has npu"),
    ({"hardware": ["nuc"]}, "does_not_fit", "for the hardware nuc; this device is"),
], ids=["runtime", "memory", "disk", "accelerator", "hardware"])
def test_requirements(fleet, requirements_device, needs, code, words):
    lab, name, agent = requirements_device
    number = {"runtime": 1, "memory": 2, "disk": 3, "accelerator": 4, "hardware": 5}[next(iter(needs))]
    version = f"6.{number}.0"
    lab.ctl.json("bundle", "upload", make_bundle(lab, version, 60 + number, {"model.onnx": MODEL.read_bytes()}, requires=needs))
    roll_out(lab, name, version)
    failed = wait_for("the refusal", lambda: (s := slot_of(lab, name)) and s["phase"] == "failed" and words in (s["detail"] or "") and s, 40)
    assert failed["code"] == code and failed["device_left"] == "no_change"
    assert current(agent) == "1.0.0"


@pytest.fixture(scope="module")
def requirements_device(fleet):
    agent = fleet.add_agent("requirements", data_s=1, health_s=1, accelerators="npu")
    wait_for("requirements online", lambda: "requirements" in fleet.devices() and fleet.devices()["requirements"]["liveness"] == "online", 30)
    roll_out(fleet, "requirements", "1.0.0")
    wait_slot(fleet, "requirements", phase="running", running_version="1.0.0")
    yield fleet, "requirements", agent
    agent.stop()


def test_lower_counter_is_refused_and_previous_is_not(device):
    lab, name, agent = device
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="running", running_version="2.0.0")
    roll_out(lab, name, "1.0.0")  # the version before is always allowed
    wait_slot(lab, name, phase="running", running_version="1.0.0")
    lab.ctl.json("bundle", "upload", make_bundle(lab, "1.5.0", 1, {"model.onnx": MODEL.read_bytes()}))
    roll_out(lab, name, "1.5.0")
    failed = wait_slot(lab, name, phase="failed")
    assert failed["code"] == "counter_too_low" and "release counter 1 is below 2" in failed["detail"]
    assert current(agent) == "1.0.0"
