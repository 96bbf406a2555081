"""Bundles of kind app: installed, kept running, checked, and taken back when they are not well."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from appkit import at_device, processes_of, roll_out, slot_of, upload, wait_slot
from stack import wait_for

# A program that says where it runs and lives until it is told; its version is in a file beside it.
PROGRAM = """#!/bin/sh
echo "$MUSTER_VERSION $MUSTER_SLOT $MUSTER_BUNDLE $(cat etc/text)" >> "$MUSTER_STATE/starts"
sleep 1000 &
sleep 1000
"""
CRASHES = "#!/bin/sh\necho cannot go on\nexit 3\n"
CHECK = '#!/bin/sh\ntest ! -e "$MUSTER_STATE/ill-$MUSTER_VERSION" || { echo it is ill; exit 1; }\n'
STOP = '#!/bin/sh\necho "stop $MUSTER_VERSION" >> "$MUSTER_STATE/starts"\n'


def app(version: str, program: str = PROGRAM) -> tuple[dict, list]:
    """Files of a bundle, and options to make it."""
    return ({"bin/app": program, "bin/check": CHECK, "bin/stop": STOP, "etc/text": f"text of {version}"},
            ["--run", "bin/app one two", "--check", "bin/check", "--timeout", 5])


@pytest.fixture(scope="module")
def fleet(lab):
    for n, (version, program, more) in enumerate([
            ("1.0.0", PROGRAM, ["--stop", "bin/stop"]), ("2.0.0", PROGRAM, []), ("3.0.0", CRASHES, []),
            ("3.1.0", "#!/no/such/interpreter\n", []), ("4.0.0", PROGRAM, [])], 1):
        files, options = app(version, program)
        upload(lab, "app", "web", version, n, files, *options, *more)
    return lab


@pytest.fixture
def device(fleet, request):
    """A fresh device that runs web 1.0.0: (lab, its name, its agent, its state directory)."""
    name = re.sub("[^a-z0-9.]+", "-", request.node.name.replace("test_", ""))[:50].strip("-")
    agent = fleet.add_agent(name, data_s=1, health_s=1)
    wait_for(f"{name} online", lambda: name in fleet.devices() and fleet.devices()[name]["liveness"] == "online", 30)
    roll_out(fleet, name, "1.0.0", "web", probation=2)
    wait_slot(fleet, name, "web", phase="running", running_version="1.0.0")
    yield fleet, name, agent, agent.base / "state"
    agent.stop()
    assert processes_of(agent.base / "state", "web") == []


def starts(state: Path) -> list[str]:
    return [line.split()[0] if not line.startswith("stop") else line for line in (state / "data/web/starts").read_text().splitlines()]


def test_app_update_and_rollback(device):
    """Installed, updated, rolled back; the data directory stays, and nothing of the version before goes on running."""
    lab, name, agent, state = device
    first = (state / "data/web/starts").read_text().split()
    bundle = slot_of(lab, name, "web")["running"]
    assert first[:3] == ["1.0.0", "web", bundle] and "text of 1.0.0" in " ".join(first)
    old = processes_of(state, "web")
    assert len(old) >= 3  # the program and both of its children
    roll_out(lab, name, "2.0.0", "web", probation=2)
    wait_slot(lab, name, "web", phase="running", running_version="2.0.0")
    assert starts(state) == ["1.0.0", "stop 1.0.0", "2.0.0"]
    assert not set(old) & set(processes_of(state, "web"))
    lab.server.process.kill()  # back without a network
    try:
        agent.kill()
        agent.start(lab.server)
        wait_for("2.0.0 to run again", lambda: starts(state)[-1] == "2.0.0" and len(starts(state)) == 4, 20)
        at_device(agent, "rollback", "web", "--yes")
        wait_for("1.0.0 to run again", lambda: starts(state)[-1] == "1.0.0", 20)
        status = at_device(agent, "status")
        assert "1.0.0" in status and "muster-infer" not in status
    finally:
        lab.server.start()
    wait_slot(lab, name, "web", phase="failed", code="rolled_back_locally", running_version="1.0.0")
    roll_out(lab, name, "2.0.0", "web", probation=2)  # asked again: from what is kept
    wait_slot(lab, name, "web", phase="running", running_version="2.0.0")
    assert starts(state)[-1] == "2.0.0"


def test_app_ends_with_the_agent(device):
    """Whether the agent is told to end or killed: no process of the app is left, and the next agent starts it again."""
    lab, name, agent, state = device
    agent.stop()
    assert processes_of(state, "web") == []
    agent.start(lab.server)
    wait_slot(lab, name, "web", phase="running", running_version="1.0.0")
    wait_for("the app", lambda: len(processes_of(state, "web")) >= 3, 20)
    before = processes_of(state, "web")
    agent.kill()
    wait_for("the program to end with its agent", lambda: len(processes_of(state, "web")) < len(before), 10)
    agent.start(lab.server)  # which ends what the program had started itself
    wait_for("the next one", lambda: len(starts(state)) == 3, 20)
    wait_for("what was left over to be gone", lambda: not set(before) & set(processes_of(state, "web")), 10)
    wait_slot(lab, name, "web", phase="running", running_version="1.0.0")


@pytest.mark.parametrize("version,code,said", [("3.0.0", "app_crashed", "cannot go on"), ("3.1.0", "app_start_failed", "bin/app")])
def test_app_crash_falls_back(device, version, code, said):
    lab, name, agent, state = device
    roll_out(lab, name, version, "web", probation=10)
    failed = wait_slot(lab, name, "web", phase="failed", running_version="1.0.0")
    assert (failed["stage"], failed["code"], failed["device_left"]) == ("probation", code, "rolled_back")
    assert said in failed["detail"]
    assert starts(state) == ["1.0.0", "stop 1.0.0", "1.0.0"]


def test_app_check_falls_back(device):
    lab, name, agent, state = device
    roll_out(lab, name, "2.0.0", "web", probation=60)
    wait_slot(lab, name, "web", phase="probation", running_version="2.0.0")
    time.sleep(2)  # a first check was good
    (state / "data/web/ill-2.0.0").touch()
    failed = wait_slot(lab, name, "web", timeout=20, phase="failed", running_version="1.0.0")
    assert (failed["code"], failed["device_left"]) == ("check_failed", "rolled_back") and "it is ill" in failed["detail"]
    (state / "data/web/ill-4.0.0").touch()  # never well: its time to get well is over with its probation
    roll_out(lab, name, "4.0.0", "web", probation=3)
    failed = wait_slot(lab, name, "web", timeout=20, phase="failed", target_version="4.0.0", running_version="1.0.0")
    assert failed["code"] == "check_failed"


def test_app_crash_later_is_an_event(device):
    lab, name, agent, state = device
    leader = min(processes_of(state, "web"))
    os.kill(leader, signal.SIGKILL)
    wait_for("another one", lambda: len(starts(state)) == 2, 20)
    wait_for("the event", lambda: any(e["data"].get("name") == "app_exited" and "signal 9" in e["data"].get("detail", "")
                                      for e in lab.get(f"/api/v1/devices/{name}/events")["events"]), 20)
    wait_slot(lab, name, "web", phase="running", running_version="1.0.0")


def test_app_of_files_only(device):
    lab, name, _, state = device
    upload(lab, "app", "texts", "1.0.0", 1, {"a/b.txt": "hello"})
    roll_out(lab, name, "1.0.0", "texts", probation=2)
    wait_slot(lab, name, "texts", phase="running", running_version="1.0.0")
    assert (state / "slots/texts/current/a/b.txt").read_text() == "hello"


# Stands for systemd where there is none: remembers what it was asked, and says of every unit what the test has written.
SYSTEMCTL = """#!/bin/sh
here=${0%/*}
shift
echo "$*" >> "$here/calls"
case "$1" in
link) test -f "$2" && test "${2##*/}" = muster-radio.service && echo active > "$here/linked" ;;
restart) test -e "$here/linked" || exit 5; grep -q broken "$here/../state/units/$2" && exit 1; echo active > "$here/state" ;;
stop) echo inactive > "$here/state" ;;
disable) rm -f "$here/linked" ;;
show) echo "NRestarts=$(cat "$here/restarts" 2>/dev/null || echo 0)"; echo "Result=exit-code"; echo "ActiveState=$(cat "$here/state")" ;;
esac
"""
UNIT = "[Service]\nExecStart=/usr/bin/env ./bin/radio\nRestart=always\n"


def test_app_as_unit(fleet):
    """A unit is linked, started, looked at, replaced, and removed with all its traces; the agent's end does not touch it."""
    lab, name = fleet, "app-as-unit"
    folder = lab.base / "agents" / name / "systemd"
    folder.mkdir(parents=True)
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    calls = folder / "calls"
    for n, (version, more) in enumerate([("1.0.0", ""), ("2.0.0", "[Install]\nWantedBy=multi-user.target\n"), ("3.0.0", "# broken\n")], 1):
        upload(lab, "app", "radio", version, n, {"bin/radio": PROGRAM, "lib/any.service": UNIT + more}, "--unit", "lib/any.service")
    upload(lab, "app", "radio", "4.0.0", 4, {"bin/app": PROGRAM, "etc/text": "x"}, "--run", "bin/app")
    agent = lab.add_agent(name, data_s=1, health_s=1, systemctl_path=folder / "systemctl")
    wait_for(f"{name} online", lambda: name in lab.devices() and lab.devices()[name]["liveness"] == "online", 30)
    roll_out(lab, name, "1.0.0", "radio", probation=2)
    wait_slot(lab, name, "radio", phase="running", running_version="1.0.0")
    state = agent.base / "state"
    unit = state / "units/muster-radio.service"
    text = unit.read_text()
    assert text.startswith(UNIT) and f"WorkingDirectory={(state / 'slots/radio/current').resolve()}\n" in text
    assert f'Environment="MUSTER_STATE={state}/data/radio"' in text and (state / "data/radio").is_dir()
    assert [c.split()[0] for c in calls.read_text().splitlines() if not c.startswith("show")] == ["link", "daemon-reload", "restart"]
    agent.stop()
    agent.start(lab.server)
    wait_slot(lab, name, "radio", phase="running", running_version="1.0.0")
    time.sleep(1)
    assert calls.read_text().count("restart") == 1  # it was running all the time
    roll_out(lab, name, "2.0.0", "radio", probation=20)
    wait_slot(lab, name, "radio", phase="probation", running_version="2.0.0")
    assert "enable muster-radio.service" in calls.read_text() and "[Install]" in unit.read_text()
    (folder / "restarts").write_text("1")  # systemd had to start it again
    failed = wait_slot(lab, name, "radio", phase="failed", running_version="1.0.0")
    assert (failed["code"], failed["device_left"]) == ("app_crashed", "rolled_back") and unit.read_text() == text
    (folder / "restarts").unlink()
    roll_out(lab, name, "3.0.0", "radio", probation=2)
    failed = wait_slot(lab, name, "radio", phase="failed", target_version="3.0.0", running_version="1.0.0")
    assert failed["code"] == "app_start_failed" and "systemctl restart" in failed["detail"]
    roll_out(lab, name, "4.0.0", "radio", probation=2)
    wait_slot(lab, name, "radio", phase="running", running_version="4.0.0")
    assert not unit.exists() and not (folder / "linked").exists() and len(processes_of(state, "radio")) >= 3
    agent.stop()


def test_app_self_test(device):
    """The command `before` decides before anything is switched, and may not take for ever."""
    lab, name, _, state = device
    for n, (version, before) in enumerate([("5.0.0", "#!/bin/sh\necho no display\nexit 1\n"), ("5.1.0", "#!/bin/sh\nsleep 100\n")], 5):
        files, options = app(version)
        upload(lab, "app", "web", version, n, {**files, "bin/before": before}, *options[:-1], 2, "--before", "bin/before")
        roll_out(lab, name, version, "web", probation=2)
        failed = wait_slot(lab, name, "web", phase="failed", target_version=version, running_version="1.0.0")
        assert (failed["stage"], failed["device_left"]) == ("test", "no_change")
        assert failed["code"] == ("command_failed" if version == "5.0.0" else "command_timeout")
    assert starts(state) == ["1.0.0"]
