"""What the points need, made once: a real musterd with bundles to fetch, an enrolled device, and the state directories to begin from."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path

from device import SLOT, Device, Run, Setup, copy_state
from stack import BUILD, Musterctl, Stack, run, wait_for
from sysfs import make_tree
import tiny_model


class Lab:
    """Server, device and bundles. The broker only runs until the device has enrolled: afterwards nobody listens, so that every report
    stays in the spool, and copies of one device can run side by side."""

    def __init__(self, base: Path):
        self.base = base
        base.mkdir()
        base.chmod(0o755)
        self.stack = Stack(base / "stack", database="faults")
        self.bundles: dict[str, dict] = {}  # version -> id, counter, objects
        self.setup = Setup({}, {})
        self.generation = 1000
        self.templates: dict[str, Path] = {}

    # ---- building ----

    def start(self) -> None:
        stack = self.stack
        stack.start_database()
        self.server = stack.server()
        self.server.command("pki", "init", "--host", "localhost,127.0.0.1")
        stack.make_release_key()
        stack.broker.start()
        self.server.start()
        token = self.server.command("token", "create", "faults", "--role", "admin").splitlines()[-1].split()[-1]
        self.ctl: Musterctl = stack.musterctl(self.server, token)
        make_tree(self.base / "sysfs", 50.0)
        self.setup.settings = {
            "name": "faults", "hardware": "lab", "server_url": self.server.device_url, "server_ca": stack.pki / "server-ca.pem",
            "trust_dir": stack.keys / "trusted", "sysfs_root": self.base / "sysfs", "health_s": 3600, "data_s": 3600, "poll_s": 86400,
            **({"onnxruntime": os.environ["MUSTER_ONNXRUNTIME"]} if os.environ.get("MUSTER_ONNXRUNTIME") else {})}
        (self.base / "models").mkdir()
        samples = self.base / "models/samples.bin"
        samples.write_bytes(tiny_model.samples(4))
        self.sampling = {"source": samples, "source_rate": 20, "data_s": 0.2}
        self._enrol()
        stack.broker.stop()

    def _enrol(self) -> None:
        secret = self.ctl.json("enrol-token", "create", "--site", "lab", "--uses", "1")["secret"]
        (self.base / "token").write_text(secret)
        device = Device(self.base / "first", self.setup)
        conf = device.conf(self.base / "enrolled", False)
        conf.write_text(conf.read_text() + f"token_file = {self.base / 'token'}\n")
        child = subprocess.Popen([BUILD / "muster-agent", "--config", conf], stderr=subprocess.DEVNULL, cwd="/")
        try:
            wait_for("the device to enrol", lambda: list((self.base / "enrolled/identity").glob("*.pem")), 30)
        finally:
            child.terminate()
            child.wait(10)
        self.templates["enrolled"] = self.base / "enrolled"

    def add_bundle(self, version: str, counter: int, model: bytes) -> None:
        """A signed bundle, uploaded; a device can fetch it."""
        file = self.base / "models" / f"{version}.onnx"
        file.write_bytes(model)
        out = self.base / "models" / f"{SLOT}-{version}.mub"
        run([BUILD / "musterctl", "bundle", "create", "--slot", SLOT, "--version", version, "--counter", counter, "--model", f"{file}=model.onnx",
             "--input", "input:float32:1,1,16,16", "--out", out])
        run([BUILD / "musterctl", "bundle", "sign", out, "--key", self.stack.keys / "release.key"])
        self.ctl.run("bundle", "upload", out)
        raw = subprocess.run(["tar", "-xOf", out, "manifest.json"], check=True, capture_output=True).stdout
        bundle = hashlib.sha256(raw).hexdigest()
        whole = out.read_bytes()
        self.bundles[version] = {"id": bundle, "counter": counter, "version": version,
                                 "objects": [{"sha256": hashlib.sha256(whole).hexdigest(), "size": str(len(whole)), "encoding": "full"}]}
        self.setup.bundles[bundle] = counter
        # The device port serves what a desired document of the device names; these rows have no generation, so it is never sent.
        stack = self.stack
        stack.postgres.psql(stack.database, "INSERT INTO desired_slot (device_id, slot, bundle_id, probation_s, asked) "
                            f"SELECT id, 'lab-{version.replace('.', '-')}', '{bundle}', 0, 1 FROM device")

    # ---- state directories to begin from ----

    def want(self, state: Path, version: str, probation_s: int = 0) -> None:
        """Stores a desired document for a version, as if the server had just sent it; what waits in the spool is forgotten."""
        self.generation += 1
        bundle = self.bundles[version]
        document = {"generation": str(self.generation), "beat_s": 3600, "critical": [], "slots": {SLOT: {
            "bundle": bundle["id"], "version": version, "probation_s": probation_s, "asked": str(self.generation),
            "objects": bundle["objects"], "hold": None}}}
        db = sqlite3.connect(state / "state.db")
        with db:
            db.execute("INSERT INTO value (key, value) VALUES ('desired', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                       (json.dumps(document),))
            db.execute("DELETE FROM item")
        db.close()

    def template(self, name: str, start: str, version: str) -> Path:
        """The state directory of `start`, updated without faults to `version`."""
        path = self.base / "templates" / name
        path.parent.mkdir(exist_ok=True)
        copy_state(self.templates[start], path)
        self.want(path, version)
        device = Device(self.base / "making" / name, self.setup)
        life: Run = device.run(path, self.bundles[version]["id"])
        if life.end != "done" or life.phase != "idle":
            raise RuntimeError(f"{name} could not be prepared: {life.end}\n" + "\n".join(life.lines))
        self.templates[name] = path
        return path

    def stop(self) -> None:
        self.stack.stop()


def standard(base: Path) -> Lab:
    """The lab of all scenarios: 1 and 2 are good models, 3 fails in probation, and 4 is none at all."""
    lab = Lab(base)
    try:
        lab.start()
        lab.add_bundle("1.0.0", 1, tiny_model.make(1))
        lab.add_bundle("2.0.0", 2, tiny_model.make(2))
        lab.add_bundle("3.0.0", 3, tiny_model.make_bad())
        lab.add_bundle("4.0.0", 4, b"this is not a model\n" * 5000)
        lab.template("one", "enrolled", "1.0.0")
        lab.template("two", "one", "2.0.0")
    except BaseException:
        lab.stop()
        raise
    return lab
