"""The browser test: Playwright with Debian's Chromium against a real server with a live fleet."""

import os
import subprocess

from conftest import ROOT
from stack import wait_for


def test_console(lab):
    for name, site in [("berlin-1", "berlin"), ("berlin-2", "berlin"), ("lyon-1", "lyon")]:
        lab.add_agent(name, site)
    lab.wait_online(3)
    lab.upload("1.0.0"), lab.upload("2.0.0", "cnn_v2_ft_long.onnx")
    lab.wait_rollout(lab.roll_out("1.0.0"), "completed")
    lab.stack.agents["lyon-1"].kill()
    wait_for("an alert", lambda: lab.get("/api/v1/alerts?state=firing")["alerts"], 30)
    password = lab.server.command("user", "reset-password", "admin").splitlines()[-1].split()[-1]
    env = {**os.environ, "MUSTER_URL": lab.server.url, "MUSTER_USER": "admin", "MUSTER_PASSWORD": password,
           "MUSTER_NEW_PASSWORD": "a password for the browser test"}
    node = subprocess.run([str(ROOT / "packaging/node.sh")], capture_output=True, text=True, check=True).stdout.strip()
    env["PATH"] = f"{node}:{env['PATH']}"
    done = subprocess.run(["npm", "--prefix", str(ROOT / "web"), "run", "--silent", "e2e"], capture_output=True, text=True, env=env, timeout=400,
                          check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
