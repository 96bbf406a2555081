"""The agent updates itself, and comes back when the new version is not well; whatever happens in between."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from appkit import at_device, make_bundle, roll_out, sanitizer, slot_of, wait_slot
from stack import BUILD, ROOT, wait_for
from test_agent import SMALL_MB, pss_mb

GUARD_MB = 0.5  # what stays in memory until the next start

SAYS_VERSION = '#!/bin/sh\ntest "$1" != --version || exit 0\n'
SANITIZE = {"": [], "address": ["SANITIZE=-fsanitize=address,undefined -fno-sanitize-recover=all"], "thread": ["SANITIZE=-fsanitize=thread"]}


def build_agent(folder: Path, version: str) -> Path:
    """muster-agent of another version: the objects of this build, and those that know their version compiled anew."""
    out = folder / f"build-{version}"
    for part in ["agent", "common"]:
        shutil.copytree(BUILD / part, out / part, ignore=shutil.ignore_patterns("*.d"))
    for source in (ROOT / "agent").rglob("*.c"):  # what knows its version
        if "MUSTER_VERSION" in source.read_text():
            (out / source.relative_to(ROOT).with_suffix(".o")).unlink(missing_ok=True)
    words = ["make", "-s", f"BUILD={out}", f'CPPFLAGS=-DMUSTER_VERSION=\\"{version}\\"', *SANITIZE[sanitizer()], f"{out}/muster-agent"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([out / "muster-agent", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"muster-agent {version}"
    return out / "muster-agent"


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    """The lab with versions of the agent: 0.2.0 and 0.3.0 are well; the others are ill, each in its way."""
    folder = tmp_path_factory.mktemp("agents")
    helpers = {"muster-fetch": BUILD / "muster-fetch"}
    good = {v: build_agent(folder, v) for v in ("0.2.0", "0.3.0")}
    ill = {
        "0.9.0": "#!/bin/sh\necho cannot find a library\nexit 127\n",
        "0.9.1": SAYS_VERSION + "echo cannot start >&2\nexit 3\n",
        "0.9.2": SAYS_VERSION + "exec sleep 1000\n",
        "0.9.3": good["0.3.0"],
        "0.9.4": '#!/bin/sh\nexec "${0%/*}/real" "$@"\n',
    }
    for n, (version, program) in enumerate({**good, **ill}.items(), 1):
        files = {"muster-agent": program, **helpers}
        if version == "0.9.3":  # the whole agent, but it cannot speak to any server
            files["muster-fetch"] = "#!/bin/sh\nexit 1\n"
        if version == "0.9.4":  # what runs is not what is signed as the program
            files["real"] = good["0.3.0"]
        lab.ctl.json("bundle", "upload", make_bundle(lab, "agent", "agent", version, n, files, "--program", "muster-agent"))
    return lab


@pytest.fixture
def device(fleet, request):
    """A fresh device with a model, run by the installed agent: (lab, its name, its agent)."""
    name = re.sub("[^a-z0-9.]+", "-", request.node.name.replace("test_", ""))[:50].strip("-")
    agent = fleet.add_agent(name, data_s=1, health_s=1, poll_s=2, agent_report_s=6, fetch_path="", infer_path=BUILD / "muster-infer")
    wait_for(f"{name} online", lambda: name in fleet.devices() and fleet.devices()[name]["liveness"] == "online", 30)
    yield fleet, name, agent
    agent.stop()


def version_reported(lab, name: str) -> str:
    return lab.devices()[name]["agent_version"]


def update(lab, name: str, version: str, probation: int = 2, **expected) -> dict:
    roll_out(lab, name, version, "agent", probation)
    return wait_slot(lab, name, "agent", **{"timeout": 60, "phase": "running", "running_version": version, "target_version": version, **expected})


def child_of(pid: int) -> int | None:
    """The agent that a guard watches."""
    children = subprocess.run(["pgrep", "-P", str(pid), "-x", "muster-agent"], capture_output=True, text=True, check=False).stdout.split()
    return int(children[0]) if children else None


def exe_of(pid: int) -> Path:
    return Path(os.readlink(f"/proc/{pid}/exe"))


def test_self_update(device):
    """Installed -> 0.2.0 -> 0.3.0 -> back to 0.2.0: each runs, says so, and starts again by itself."""
    lab, name, agent = device
    assert slot_of(lab, name, "agent") is None
    update(lab, name, "0.2.0")
    wait_for("the inventory", lambda: version_reported(lab, name) == "0.2.0", 20)
    state = agent.base / "state"
    assert not (state / "agent-trial").exists() and not (state / "agent-verdict").exists()
    wait_for("the guard to shrink", lambda: exe_of(agent.process.pid).name == "muster-guard", 5)
    if not sanitizer():
        guard, agent_itself = pss_mb(agent.process.pid), pss_mb(child_of(agent.process.pid))
        print(f"PSS: guard {guard:.1f} MB, agent {agent_itself:.1f} MB")
        assert guard <= GUARD_MB and guard + agent_itself <= SMALL_MB
    update(lab, name, "0.3.0")
    wait_for("the inventory", lambda: version_reported(lab, name) == "0.3.0", 20)
    agent.stop()
    agent.start(lab.server)  # the installed program gives its place to the version
    wait_for("0.3.0 to run without a guard", lambda: exe_of(agent.process.pid) == (state / "slots/agent/current").resolve() / "muster-agent", 10)
    wait_slot(lab, name, "agent", phase="running", running_version="0.3.0")
    status = at_device(agent, "status")
    assert "agent      0.3.0" in status and "slot agent (agent)" in status
    at_device(agent, "rollback", "agent", "--yes")
    wait_slot(lab, name, "agent", phase="failed", code="rolled_back_locally", running_version="0.2.0")
    wait_for("the inventory", lambda: version_reported(lab, name) == "0.2.0", 20)
    assert exe_of(agent.process.pid) == (state / "slots/agent/current").resolve() / "muster-agent"
    assert len([p for p in (state / "slots/agent").iterdir() if p.is_dir() and not p.is_symlink()]) == 2


@pytest.mark.parametrize("version,code,said", [
    ("0.9.1", "agent_crashed", "exit status 3"), ("0.9.2", "agent_not_reporting", "within 6 s"), ("0.9.3", "agent_not_reporting", "in time"),
    ("0.9.4", "payload_mismatch", "manifest")])
def test_self_falls_back(device, version, code, said):
    """One that crashes, hangs or does not reach the server is taken back: to the installed one, and to another version."""
    lab, name, agent = device
    for before in (None, "0.2.0") if version < "0.9.3" else ("0.2.0",):
        if before:
            update(lab, name, before)
        failed = update(lab, name, version, probation=5, phase="failed", running_version=before, timeout=60)
        assert (failed["stage"], failed["code"], failed["device_left"]) == ("probation", code, "rolled_back"), failed
        assert said in failed["detail"]
        state = agent.base / "state"
        wait_for("the trial to be over", lambda: not (state / "agent-trial").exists() and not (state / "agent-verdict").exists(), 10)
        wait_for("the device to be online", lambda: lab.devices()[name]["liveness"] == "online", 20)


def test_self_that_cannot_be_executed(device):
    lab, name, _ = device
    failed = update(lab, name, "0.9.0", phase="failed", running_version=None)
    assert (failed["stage"], failed["code"], failed["device_left"]) == ("test", "selftest_failed", "no_change")
    assert "cannot find a library" in failed["detail"]


def test_self_crash_in_probation(device):
    lab, name, agent = device
    roll_out(lab, name, "0.2.0", "agent", 30)
    wait_slot(lab, name, "agent", phase="probation", running_version="0.2.0")
    wait_for("the report", lambda: "reported 1" in (agent.base / "state/agent-trial").read_text(), 20)
    os.kill(wait_for("the child", lambda: child_of(agent.process.pid), 5), signal.SIGKILL)
    failed = wait_slot(lab, name, "agent", phase="failed", running_version=None)
    assert failed["code"] == "agent_crashed" and "signal 9" in failed["detail"]


def test_self_kill_at_any_point(device):
    """SIGKILL of launcher, guard or agent at random points: the old or the new one runs at the next start, and says which."""
    lab, name, agent = device
    chance = random.Random(20261121)
    for n, version in enumerate(["0.2.0", "0.3.0", "0.2.0", "0.3.0"]):
        roll_out(lab, name, version, "agent", 1)
        for _ in range(2):
            time.sleep(chance.random() * 3)
            agent.kill()
            agent.start(lab.server)
        try:
            wait_slot(lab, name, "agent", timeout=60, phase="running", running_version=version, target_version=version)
        except AssertionError:  # three power cuts in one trial are the new version's fault
            assert slot_of(lab, name, "agent")["code"] == "agent_not_reporting"
            raise


def test_self_stop_in_trial_is_no_failure(device):
    """An administrator who restarts the service again and again in a trial does not end it."""
    lab, name, agent = device
    roll_out(lab, name, "0.2.0", "agent", 8)
    for _ in range(5):
        wait_slot(lab, name, "agent", phase="probation", running_version="0.2.0")
        agent.stop()
        agent.start(lab.server)
    wait_slot(lab, name, "agent", phase="running", running_version="0.2.0", timeout=60)


def test_self_damaged_version(device):
    """A committed version whose files were damaged is not started: the installed agent runs, and takes the next one."""
    lab, name, agent = device
    update(lab, name, "0.2.0")
    agent.stop()
    program = agent.base / "state/slots/agent/current/muster-agent"
    data = bytearray(program.read_bytes())
    data[len(data) // 2] ^= 1
    program.chmod(0o755)
    program.write_bytes(data)
    agent.start(lab.server)
    wait_slot(lab, name, "agent", running_version=None)
    update(lab, name, "0.3.0")


def launcher_disk(folder: Path) -> Path:
    """A state in which the new version, 4-…, is on trial and will crash, and 3-… is the way back; both are scripts."""
    shutil.rmtree(folder, ignore_errors=True)
    agent = folder / "slots/agent"
    for name, text in {"3-aaaaaaaa": f"#!/bin/sh\necho old >> {folder}/said\n", "4-bbbbbbbb": f"#!/bin/sh\necho new >> {folder}/said\nexit 3\n"}.items():
        (agent / name).mkdir(parents=True)
        (agent / name / "muster-agent").write_text(text)
        (agent / name / "muster-agent").chmod(0o555)
        (agent / name / "manifest.json").write_text(json.dumps({"agent": {"program": "muster-agent"}, "files": [
            {"path": "muster-agent", "size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest(), "mode": "0555"}]}))
    (agent / "current").symlink_to("4-bbbbbbbb")
    (agent / "previous").symlink_to("3-aaaaaaaa")
    (folder / "agent-trial").write_text("muster-agent-trial 1\nbundle " + "b" * 64 + "\nversion 4-bbbbbbbb\nback 3-aaaaaaaa\ntries 3\nreport_s 5\n"
                                        "probation_s 5\ngeneration 7\nreported 0\n")
    return folder


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_launcher_killed_at_every_system_call(tmp_path):
    """The guard of a version that crashes is killed at each of its system calls: the next start always ends with the version before."""
    folder, record = tmp_path / "state", tmp_path / "record"
    launcher = [BUILD / "muster-agent", "--state-dir", folder]
    launcher_disk(folder)
    subprocess.run(["strace", "-D", "-qq", "-o", record, *launcher], stderr=subprocess.DEVNULL, timeout=20, check=False)
    assert (folder / "said").read_text() == "new\nold\n"
    counts = collections.Counter(re.findall(r"^(\w+)\(", record.read_text(), re.M))
    assert {"rename", "fsync", "unlink", "symlink"} <= set(counts)
    tried, outcomes = 0, collections.Counter()
    for call in sorted(counts):
        if call in ("execve", "exit_group"):
            continue
        for n in range(1, counts[call] + 1):
            launcher_disk(folder)
            killed = subprocess.run(["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", "signal=none",
                                     "-e", f"inject={call}:signal=KILL:when={n}", *launcher], stderr=subprocess.DEVNULL, timeout=20, check=False)
            for _ in range(4):
                said = (folder / "said").read_text().split() if (folder / "said").exists() else []
                if said[-1:] == ["old"]:
                    break
                subprocess.run(launcher, stderr=subprocess.DEVNULL, timeout=20, check=False)
            where = f"{call} {n}: status {killed.returncode}, {said}, {sorted(p.name for p in folder.iterdir())}"
            assert said[-1:] == ["old"] and len(said) <= 3, where
            assert os.readlink(folder / "slots/agent/current") == "3-aaaaaaaa", where
            verdict = (folder / "agent-verdict").read_text()
            assert "code agent_crashed" in verdict and "exit status 3" in verdict, where
            outcomes["killed" if killed.returncode == -9 else "ran to its end"] += 1
            tried += 1
    print(f"launcher: {tried} points, {dict(outcomes)}")
    assert outcomes["killed"] > 100
