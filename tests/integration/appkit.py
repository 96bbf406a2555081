"""Bundles of kind app and agent for tests, and the waiting that goes with them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path

from stack import BUILD, run, wait_for


def make_bundle(lab, kind: str, name: str, version: str, counter: int, files: dict[str, Path | str], head: dict) -> Path:
    """A signed bundle; files: path in the bundle -> file, or its text (a script is executable). head: the manifest's `app` and so on."""
    out = lab.base / "bundles" / f"{name}-{version}.mub"
    out.parent.mkdir(exist_ok=True)
    listed, contents = [], {}
    for path, source in files.items():
        data = source.encode() if isinstance(source, str) else source.read_bytes()
        runs = data.startswith(b"#!") if isinstance(source, str) else bool(source.stat().st_mode & 0o100)
        digest = hashlib.sha256(data).hexdigest()
        contents[digest] = data
        listed.append({"path": path, "size": len(data), "sha256": digest, "mode": "0555" if runs else "0444"})
    payload = [{"file": d, "encoding": "raw", "size": len(c), "sha256": d} for d, c in contents.items()]
    manifest = {"schema": 1, "kind": kind, "name": name, "version": version, "release_counter": counter, "created": int(time.time() * 1000),
                "files": listed, "payload": payload, **head}
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for entry, data in [("manifest.json", json.dumps(manifest).encode())] + [(f"payload/{d}", c) for d, c in contents.items()]:
            info = tarfile.TarInfo(entry)
            info.size, info.mode = len(data), 0o444
            tar.addfile(info, io.BytesIO(data))
    run([BUILD / "musterctl", "bundle", "sign", out, "--key", lab.stack.keys / "release.key"])
    return out


def upload(lab, *args) -> dict:
    return lab.ctl.json("bundle", "upload", make_bundle(lab, *args))


def slot_of(lab, device: str, slot: str) -> dict | None:
    return next((s for s in lab.devices()[device]["slots"] if s["slot"] == slot), None)


def wait_slot(lab, device: str, slot: str, timeout: float = 60, **expected) -> dict:
    def probe():
        now = slot_of(lab, device, slot)
        return now if now and all(now[k] == v for k, v in expected.items()) else None
    try:
        return wait_for(f"{device}/{slot} to have {expected}", probe, timeout)
    except Exception as error:
        raise AssertionError(f"{error}; it has {slot_of(lab, device, slot)}") from error


def roll_out(lab, device: str, slot: str, version: str, probation: int = 2) -> str:
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
