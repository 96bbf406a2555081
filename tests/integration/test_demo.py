"""The README's story, as `make demo-check` tells it, and nothing left running afterwards."""

import os
import subprocess
from pathlib import Path

import stack
from conftest import ROOT


def test_demo_check():
    done = subprocess.run(["/usr/bin/python3", str(ROOT / "packaging/demo/check.py")], capture_output=True, text=True, timeout=600, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    left = [p.name for p in Path("/proc").iterdir() if p.name.isdigit() and str(ROOT / "var/demo-check").encode() in command(p)]
    assert not left, f"still running: {left}"


def command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def test_folders_of_killed_runs_are_removed(tmp_path, monkeypatch):
    """Empty ones whose process is gone; nobody else's, and none that is new."""
    monkeypatch.setattr(stack, "SOCKETS", tmp_path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, used, new, ours = (tmp_path / f"muster-pg-{who}" for who in (f"{gone.pid}-a", f"{gone.pid}-b", f"{gone.pid}-c", f"{os.getpid()}-a"))
    for folder in (left, used, new, ours):
        folder.mkdir()
    (used / ".s.PGSQL.5432").touch()
    for folder in (left, used, ours):
        os.utime(folder, (0, 0))
    stack.Postgres.sweep()
    assert sorted(tmp_path.iterdir()) == sorted([used, new, ours])


def test_install(tmp_path):
    """`make install DESTDIR=` puts every program, manual, unit, migration and the console where they are looked for."""
    env = {**os.environ, "MAKEFLAGS": ""}
    build = os.environ.get("MUSTER_BUILD", str(ROOT / "build"))
    subprocess.run(["make", "-s", f"BUILD={build}", "install", f"DESTDIR={tmp_path}"], cwd=ROOT, env=env, check=True, timeout=300)
    for path in ["bin/musterctl", "sbin/musterd", "sbin/muster-agent", "libexec/muster/muster-fetch", "libexec/muster/muster-infer",
                 "libexec/muster/muster-guard", "libexec/muster/musterctl-full",
                 "share/muster/web/index.html", "share/muster/migrations/0001_skeleton.sql", "share/man/man8/musterd.8",
                 "lib/systemd/system/musterd.service", "lib/systemd/system/muster-agent.service"]:
        assert (tmp_path / "usr" / path).exists(), path
    listed = subprocess.run([tmp_path / "usr/bin/musterctl", "bundle", "--help"], check=True, capture_output=True, text=True).stdout
    assert "bundle verify" in listed  # it has found the rest of itself
    for name in ["musterd.conf", "muster-agent.conf"]:
        assert (tmp_path / "etc/muster" / name).exists()
