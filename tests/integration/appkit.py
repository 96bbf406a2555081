"""Bundles of kind app and agent for tests, roll-outs to one device, and the waiting that goes with them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stack import BUILD, run, wait_for


def make_bundle(lab, kind: str, name: str, version: str, counter: int, files: dict[str, Path | str], *options) -> Path:
    """A signed bundle; files: path in the bundle -> file, or the text of one (a script is executable). options: of bundle create."""
    folder = lab.base / "sources" / f"{name}-{version}"
    for path, source in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.copy(source, target)
        else:
            target.write_text(source)
            target.chmod(0o755 if source.startswith("#!") else 0o644)
    out = lab.base / "bundles" / f"{name}-{version}.mub"
    out.parent.mkdir(exist_ok=True)
    run([BUILD / "musterctl", "bundle", "create", "--kind", kind, "--slot", name, "--version", version, "--counter", counter,
         "--dir", folder, *options, "--out", out])
    run([BUILD / "musterctl", "bundle", "sign", out, "--key", lab.stack.keys / "release.key"])
    return out


def agent_command(agent, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess:
    """A command of muster-agent for people at the device."""
    done = subprocess.run([str(BUILD / "muster-agent"), *words, "--config", str(agent.base / "muster-agent.conf")], text=True,
                          capture_output=True, timeout=30, check=False, input=stdin)
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def at_device(agent, *words: str) -> str:
    """What such a command says."""
    return agent_command(agent, *words).stdout


def upload(lab, *args) -> dict:
    return lab.ctl.json("bundle", "upload", make_bundle(lab, *args))


def slot_of(lab, device: str, slot: str = "digits") -> dict | None:
    return next((s for s in lab.devices()[device]["slots"] if s["slot"] == slot), None)


def wait_slot(lab, device: str, slot: str = "digits", timeout: float = 60, **expected) -> dict:
    def probe():
        now = slot_of(lab, device, slot)
        return now if now and all(now[k] == v for k, v in expected.items()) else None
    try:
        return wait_for(f"{device}/{slot} to have {expected}", probe, timeout)
    except Exception as error:
        raise AssertionError(f"{error}; it has {slot_of(lab, device, slot)}") from error


def roll_out(lab, device: str, version: str, slot: str = "digits", probation: int = 1) -> str:
    """To this device alone; the rollout's id."""
    return lab.ctl.json("rollout", "create", "--bundle", f"{slot}@{version}", "--query", f"name:{device}", "--wave", "100%:soak=0",
                        "--probation", str(probation))["id"]


def processes_of(folder: Path, slot: str) -> list[int]:
    """Processes that were started for a slot of the agent whose state is in folder."""
    want = f"MUSTER_STATE={folder}/data/{slot}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if want in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def sanitizer() -> str:
    """What this build was made with: "address", "thread" or "". Memory and limits of such a build say nothing."""
    program = (BUILD / "muster-agent").read_bytes()
    return "address" if b"__asan_init" in program else "thread" if b"__tsan_init" in program else ""
