#!/usr/bin/python3
"""`make screenshots`: docs/img/*.png, taken by Chromium from a demo fleet in the middle of a rollout, with one dead agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from fleet import HOT, Fleet
from stack import ROOT, run, wait_for

BASE = ROOT / "var/screenshots"


def rollout_under_way(fleet: Fleet) -> None:
    """1.0.0 everywhere, 2.0.0 in its second wave, one device held, one dead."""
    for version in ("1.0.0", "2.0.0"):
        fleet.upload(version)
    rid = fleet.ctl.json("rollout", "create", "--bundle", "digits@1.0.0", "--all", "--wave", "100%:soak=1", "--probation", "1")["id"]
    fleet.ctl.run("rollout", "watch", rid, "--until", "completed", "--timeout", "120")
    fleet.ctl.run("device", "hold", "berlin-yard-1", "--reason", "shift change")
    rid = fleet.ctl.json("rollout", "create", "--bundle", "digits@2.0.0", "--all", "--canary", "berlin-gate-1", "--wave", "1:soak=2",
                         "--wave", "50%:soak=600", "--wave", "100%", "--probation", "2")["id"]
    wait_for("the second wave to soak", lambda: fleet.get(f"/api/v1/rollouts/{rid}")["waves"][1]["state"] == "soaking", 90)
    wait_for("charts to have something to show", lambda: len(fleet.get(f"/api/v1/devices/{HOT}/inference")["windows"]) >= 60, 180)
    fleet.agents["lyon-dock-1"].kill()
    wait_for("the alert", lambda: [a for a in fleet.get("/api/v1/alerts?state=firing")["alerts"] if a["kind"] == "heartbeat_missing"], 30)


def main() -> int:
    shutil.rmtree(BASE, ignore_errors=True)
    fleet = Fleet(BASE, lambda text: print(f"  {text} …", flush=True))
    try:
        fleet.start_services()
        fleet.start_agents()
        rollout_under_way(fleet)
        node = run([ROOT / "packaging/node.sh"]).stdout.strip()
        env = {**os.environ, "PATH": f"{node}:{os.environ['PATH']}", "MUSTER_URL": fleet.server.url, "MUSTER_USER": "admin",
               "MUSTER_PASSWORD": fleet.first_password, "MUSTER_NEW_PASSWORD": "a password for the pictures"}
        return subprocess.run(["npm", "--prefix", str(ROOT / "web"), "run", "--silent", "screenshots"], env=env, check=False).returncode
    finally:
        fleet.stop()


if __name__ == "__main__":
    sys.exit(main())
