"""The agent on a real server, broker and runtime: it goes back, goes on, or says why; whatever happens to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from pathlib import Path

from appkit import roll_out, sanitizer, wait_slot
from stack import BUILD, wait_for

SMALL_MB = 6.0  # PSS of an idle agent, the target of docs/design/agent.md


def infer_pid(agent) -> int:
    """The one muster-infer of an agent."""
    def probe():
        children = subprocess.run(["pgrep", "-P", str(agent.process.pid), "-x", "muster-infer"], capture_output=True, text=True, check=False)
        return int(children.stdout.split()[0]) if children.stdout.split() else None
    return wait_for("muster-infer", probe, 20)


def version_on_disk(agent) -> str | None:
    """What `current` names, when every file of it is as its manifest says; None without one."""
    current = agent.base / "state/slots/digits/current"
    if not current.exists():
        return None
    folder = current.resolve()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"], f"{folder} is half applied"
    return manifest["version"]


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no Pss in smaps_rollup")


def test_kill_at_any_point(device):
    """SIGKILL at random points of several updates: the old or the new version is complete, and every update finishes."""
    lab, name, agent = device
    chance = random.Random(20261121)
    seen = "1.0.0"
    for n in range(4):
        version = f"3.{n}.0"
        lab.upload(version, "cnn_v1.onnx" if n % 2 else "cnn_v2_ft_long.onnx", counter=30 + n)
        rid = roll_out(lab, name, version)
        for _ in range(chance.randrange(2, 6)):
            time.sleep(chance.random() * 0.9)
            agent.kill()
            assert version_on_disk(agent) in (seen, version)
            agent.start(lab.server)
        wait_slot(lab, name, phase="running", running_version=version)
        assert version_on_disk(agent) == version
        lab.wait_rollout(rid, "completed", 30)
        seen = version
    state = agent.base / "state"
    assert len([p for p in (state / "slots/digits").iterdir() if p.is_dir() and not p.is_symlink()]) == 2
    assert list((state / "download").iterdir()) == [] and list((state / "unpack").iterdir()) == []


def test_crash_in_probation_goes_back(device):
    lab, name, agent = device
    roll_out(lab, name, "2.0.0", probation=20)
    wait_slot(lab, name, phase="probation", running_version="2.0.0")
    os.kill(infer_pid(agent), 9)
    failed = wait_slot(lab, name, phase="failed", running_version="1.0.0")
    assert (failed["stage"], failed["code"], failed["device_left"]) == ("probation", "infer_crashed", "rolled_back")
    assert version_on_disk(agent) == "1.0.0"


def test_crash_later_is_an_event(device):
    lab, name, agent = device
    before = infer_pid(agent)
    os.kill(before, 9)
    wait_for("another muster-infer", lambda: infer_pid(agent) != before, 20)
    wait_for("the event", lambda: any(e["data"].get("name") == "infer_exited" and "signal 9" in e["data"].get("detail", "")
                                      for e in lab.get(f"/api/v1/devices/{name}/events")["events"]), 20)
    wait_slot(lab, name, phase="running", running_version="1.0.0")


def test_links_are_enough(device):
    """Without its journal the agent runs what `current` names, and takes the next update."""
    lab, name, agent = device
    agent.kill()
    for file in (agent.base / "state").glob("state.db*"):
        file.unlink()
    agent.start(lab.server)
    wait_slot(lab, name, running_version="1.0.0")
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="running", running_version="2.0.0")


def test_hold_ends_without_the_server(device):
    lab, name, agent = device
    status, _, _ = lab.call("POST", f"/api/v1/devices/{name}/hold", {"reason": "inspection", "expires_in_s": 6, "then": "apply"})
    assert status == 201
    roll_out(lab, name, "2.0.0")
    wait_slot(lab, name, phase="held", running_version="1.0.0")
    agent.kill()
    agent.start(lab.server)  # a hold outlives a crash
    time.sleep(1)
    assert version_on_disk(agent) == "1.0.0"
    lab.server.process.kill()
    try:
        wait_for("the hold to end", lambda: version_on_disk(agent) == "2.0.0", 20)
    finally:
        lab.server.start()
    wait_slot(lab, name, phase="running", running_version="2.0.0")


def test_download_goes_on(device):
    """muster-fetch keeps what is right of a partial download, and nothing of a wrong one."""
    lab, name, agent = device
    bundle = next(b for b in lab.get("/api/v1/bundles")["bundles"] if b["version"] == "1.0.0")
    state, data = agent.base / "state", (lab.base / "bundles/digits-1.0.0.mub").read_bytes()
    part = lab.base / "some.part"

    def fetch() -> list[dict]:
        request = {"operation": "object", "url": lab.server.device_url, "ca": str(lab.stack.pki / "server-ca.pem"),
                   "certificate": str(state / "identity/device.pem"), "key": str(state / "identity/device-a.key"),
                   "sha256": bundle["object_sha256"], "size": bundle["size"], "file": str(part)}
        done = subprocess.run([str(BUILD / "muster-fetch")], input=json.dumps(request), capture_output=True, text=True, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    half = len(data) // 2
    part.write_bytes(data[:half])
    lines = fetch()
    assert lines[-1] == {"ok": True} and int(lines[0]["progress"]) > half
    assert part.read_bytes() == data
    part.write_bytes(b"?" + data[1:half])
    assert fetch()[-1]["code"] == "object_digest_mismatch" and part.stat().st_size == 0
    assert fetch()[-1] == {"ok": True} and part.read_bytes() == data


def test_enrolment_says_what_is_wrong(lab):
    """Each trouble is named in one line, and is over as soon as it is mended."""
    agent = lab.stack.agent("stranger", "lab", {})

    def wait_log(text: str) -> None:
        wait_for(f"the log to have {text}", lambda: text in agent.log.read_text(errors="replace"), 20)

    done = subprocess.run([str(BUILD / "muster-agent"), "--config", str(agent.write_conf(lab.server, None))],
                          capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 78 and "not enrolled" in done.stderr and "musterctl enrol-token create" in done.stderr
    agent.settings["server_ca"] = str(lab.stack.pki / "device-ca.pem")
    agent.start(lab.server, "wrong-token")
    wait_log("code=server_untrusted")
    agent.stop()
    del agent.settings["server_ca"]
    agent.start(lab.server, "wrong-token")
    wait_log("token_unknown")
    (agent.base / "token").write_text(lab.enrolment_token())
    wait_for("stranger online", lambda: lab.devices().get("stranger", {}).get("liveness") == "online", 30)
    assert (agent.base / "state/identity/device-a.key").stat().st_mode & 0o777 == 0o600
    assert "wrong-token" not in agent.log.read_text(errors="replace")
    agent.stop()


def test_small_and_clean(device):
    """Idle with a live session the agent is small, and SIGTERM leaves no process behind."""
    lab, name, agent = device
    child = infer_pid(agent)
    if not sanitizer():
        assert pss_mb(agent.process.pid) <= SMALL_MB
    agent.stop()
    assert agent.process.child.returncode == 0
    wait_for("muster-infer to be gone", lambda: not Path(f"/proc/{child}").exists(), 5)
    wait_for("the server to know", lambda: lab.devices()[name]["liveness"] != "online", 30)
