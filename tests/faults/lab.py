"""What the points need, made once: a real musterd with bundles to fetch, an enrolled device, and the state directories to begin from."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from device import Device, Run, Setup, copy_state
from stack import BUILD, Musterctl, Stack, run, wait_for
from sysfs import make_tree
import tiny_model
from appkit import make_bundle


class Lab:
    """Server, devices and bundles. Most scenarios are tried while no broker runs: then every report stays in the spool, and copies
    of one device can run side by side. Those that need one get as many devices as run at the same time."""

    def __init__(self, base: Path, devices: int):
        self.base, self.devices = base, devices
        base.mkdir()
        base.chmod(0o755)
        self.stack = Stack(base / "stack", database="faults")
        self.bundles: dict[str, dict] = {}  # version -> id, counter, objects
        self.setup = Setup({}, {})
        self.generation = 1000
        self.templates: dict[str, Path] = {}
        self.sessions = [0] * devices
        self.mine = threading.local()  # a connection to the server
        self.ids: list[str] = []  # of the devices, at the server

    # ---- building ----

    def start(self) -> None:
        stack = self.stack
        stack.start_database()
        self.server = stack.server()
        self.server.command("pki", "init", "--host", "localhost,127.0.0.1")
        stack.make_release_key()
        stack.broker.start()
        self.server.start()
        self.token = self.server.command("token", "create", "faults", "--role", "admin").splitlines()[-1].split()[-1]
        self.ctl: Musterctl = stack.musterctl(self.server, self.token)
        make_tree(self.base / "sysfs", 50.0)
        self.setup.settings = {
            "name": "faults", "hardware": "lab", "server_url": self.server.device_url, "server_ca": stack.pki / "server-ca.pem",
            "trust_dir": stack.keys / "trusted", "sysfs_root": self.base / "sysfs", "health_s": 3600, "data_s": 3600, "poll_s": 86400,
            **({"onnxruntime": os.environ["MUSTER_ONNXRUNTIME"]} if os.environ.get("MUSTER_ONNXRUNTIME") else {})}
        (self.base / "models").mkdir()
        samples = self.base / "models/samples.bin"
        samples.write_bytes(tiny_model.samples(4))
        self.sampling = {"source": samples, "source_rate": 20, "data_s": 0.2}
        for n in range(self.devices):
            self._enrol(n)
        ids = {d["name"]: d["id"] for d in self._get("/api/v1/devices?limit=200")["devices"]}
        self.ids = [ids[f"faults-{n}"] for n in range(self.devices)]
        stack.broker.stop()

    def _enrol(self, n: int) -> None:
        """Device n; the state directory of the first one is where templates begin."""
        secret = self.ctl.json("enrol-token", "create", "--site", "lab", "--uses", "1")["secret"]
        (self.base / "token").write_text(secret)
        state = self.base / f"enrolled-{n}"
        device = Device(self.base / f"first-{n}", self.setup)
        conf = device.conf(state, False)
        conf.write_text(conf.read_text().replace("name = faults", f"name = faults-{n}") + f"token_file = {self.base / 'token'}\n")
        child = subprocess.Popen([BUILD / "muster-agent", "--config", conf], stderr=subprocess.DEVNULL, cwd="/")
        try:
            wait_for("the device to enrol", lambda: (state / "identity/ca.pem").exists(), 30)
        finally:
            child.terminate()
            child.wait(10)
        self.templates.setdefault("enrolled", state)

    def identity(self, n: int, state: Path) -> None:
        """Makes a state directory that of device n."""
        shutil.rmtree(state / "identity", ignore_errors=True)
        shutil.copytree(self.base / f"enrolled-{n}/identity", state / "identity")

    def freshen(self, n: int, state: Path) -> None:
        """A spool and a session that the server has not seen: else it would take what device n says in this life for what it has
        heard in an earlier one."""
        self.sessions[n] = max(self.sessions[n] + 100, int(time.time()))  # a point has less than 100
        db = sqlite3.connect(state / "state.db")
        with db:
            for key, value in (("session", self.sessions[n]), ("spool_epoch", os.urandom(8).hex())):
                db.execute("INSERT INTO value (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))
        db.close()

    # ---- what the server knows ----

    def connect(self) -> None:
        """From now on devices find a broker, and the server behind it."""
        self.stack.broker.start()
        wait_for("the server to find its broker", self.server.ready, 90)

    def last_event(self, n: int) -> int:
        """The newest thing that the server has heard of device n."""
        return max((int(e["id"]) for e in self._get(f"/api/v1/devices/{self.ids[n]}/events?limit=1")["events"]), default=0)

    def told(self, n: int, slot: str, target: str, since: int, begin_ms: int, report: bool) -> str:
        """How the update of a slot of device n has ended, as the server knows it: "new", "old CODE", or what is still missing. It is taken
        from a beat that came after begin_ms; report: and a report after the event `since` says the same."""
        device = self._get(f"/api/v1/devices/{self.ids[n]}")
        row = next((s for s in device["slots"] if s["slot"] == slot), None)
        if not row or row["reported_at"] < begin_ms:
            return "no beat has come"
        new = row["phase"] == "running" and row["running"] == target
        if not new and (row["phase"] != "failed" or row["target"] != target):
            return f"the last beat says {row['phase']}"
        events = self._get(f"/api/v1/devices/{self.ids[n]}/events?limit=100")["events"] if report else []
        steps = {e["data"]["step"]: e["data"]["code"] for e in events
                 if int(e["id"]) > since and e["kind"] == "device.update" and e["data"]["bundle"] == target}
        if report and ("committed" not in steps if new else steps.get("failed") != row["code"]):
            return f"the reports say {steps}"
        return "new" if new else f"old {row['code']}"

    def _get(self, path: str) -> dict:
        if not hasattr(self.mine, "http"):
            self.mine.http = http.client.HTTPSConnection("localhost", self.server.api_port, timeout=30, context=self.server.tls())
        for tries in range(2):
            try:
                self.mine.http.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
                answer = self.mine.http.getresponse()
                body = answer.read()
                break
            except (OSError, http.client.HTTPException):  # the server closes a connection that has been idle
                self.mine.http.close()
                if tries:
                    raise
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {body!r}")
        return json.loads(body)

    def add_model(self, version: str, counter: int, model: bytes) -> None:
        file = self.base / "models" / f"{version}.onnx"
        file.write_bytes(model)
        out = file.with_suffix(".mub")
        run([BUILD / "musterctl", "bundle", "create", "--slot", "digits", "--version", version, "--counter", counter,
             "--model", f"{file}=model.onnx", "--input", "input:float32:1,1,16,16", "--out", out])
        run([BUILD / "musterctl", "bundle", "sign", out, "--key", self.stack.keys / "release.key"])
        self._add(version, version, counter, out)

    def add_files(self, kind: str, version: str, counter: int, files: dict, *options: str) -> None:
        """A bundle of kind app or agent; its slot has the kind's name."""
        self._add(f"{kind}-{version}", version, counter, make_bundle(self, kind, kind, version, counter, files, *options))

    def _add(self, name: str, version: str, counter: int, file: Path) -> None:
        """Uploads a signed bundle; a device can fetch it."""
        self.ctl.run("bundle", "upload", file)
        raw = subprocess.run(["tar", "-xOf", file, "manifest.json"], check=True, capture_output=True).stdout
        bundle, whole = hashlib.sha256(raw).hexdigest(), file.read_bytes()
        self.bundles[name] = {"id": bundle, "version": version, "deltas": [],
                              "objects": [{"sha256": hashlib.sha256(whole).hexdigest(), "size": str(len(whole)), "encoding": "full"}]}
        self.setup.bundles[bundle] = counter
        # The device port serves what a desired document of the device names; these rows have no generation, so it is never sent.
        stack = self.stack
        stack.postgres.psql(stack.database, "INSERT INTO desired_slot (device_id, slot, bundle_id, probation_s, asked) "
                            f"SELECT id, 'lab-{name.replace('.', '-')}', '{bundle}', 0, 1 FROM device")

    def add_delta(self, slot: str, old: str, new: str) -> None:
        """Has the server make the delta bundle between two versions."""
        stack = self.stack
        self.ctl.run("delta", "make", f"{slot}@{new}", "--from", old)

        def ready() -> str:
            return stack.postgres.psql(stack.database, "SELECT o.sha256, o.size FROM delta d JOIN object o ON o.sha256 = d.object_sha256 "
                                       f"WHERE from_bundle = '{self.bundles[old]['id']}' AND to_bundle = '{self.bundles[new]['id']}'")

        sha256, size = wait_for("the server to make a delta", ready, 60).split("|")
        self.bundles[new]["deltas"] = [{"sha256": sha256, "size": size, "encoding": "delta", "from": self.bundles[old]["id"]}]

    # ---- state directories to begin from ----

    def want(self, state: Path, slot: str, name: str, probation_s: int = 0, objects: list | None = None, beat_s: int = 3600) -> None:
        """Stores a desired document for a bundle, as if the server had just sent it; what waits in the spool is forgotten."""
        self.generation += 1
        bundle = self.bundles[name]
        document = {"generation": str(self.generation), "beat_s": beat_s, "critical": [], "slots": {slot: {
            "bundle": bundle["id"], "version": bundle["version"], "probation_s": probation_s, "asked": str(self.generation),
            "objects": objects or bundle["objects"], "hold": None}}}
        db = sqlite3.connect(state / "state.db")
        with db:
            db.execute("INSERT INTO value (key, value) VALUES ('desired', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                       (json.dumps(document),))
            db.execute("DELETE FROM item")
        db.close()

    def template(self, name: str, start: str, bundle: str, slot: str = "digits") -> None:
        """The state directory of `start`, updated without faults to a bundle."""
        path = self.base / "templates" / name
        path.parent.mkdir(exist_ok=True)
        copy_state(self.templates[start], path)
        self.want(path, slot, bundle)
        device = Device(self.base / "making" / name, self.setup)
        device.slot = slot
        life: Run = device.run(path, self.bundles[bundle]["id"], settings=self.settings(slot))
        if life.end != "done" or life.phase != "idle":
            raise RuntimeError(f"{name} could not be prepared: {life.end}\n" + "\n".join(life.lines))
        self.templates[name] = path

    def settings(self, slot: str, samples: bool = False) -> dict:
        """What a scenario's agent is told beyond the usual."""
        return {**(self.sampling if samples else {}), **({"agent_report_s": 8} if slot == "agent" else {})}

    def stop(self) -> None:
        self.stack.stop()


APP = "#!/bin/sh\nsleep 1000 &\nexec sleep 1000\n"


def standard(base: Path, devices: int) -> Lab:
    """The lab of all scenarios. Models: 1 and 2 are good, 3 fails in probation, 4 is none at all. Apps and agents: 1 and 2 are good, 3
    ends at once."""
    lab = Lab(base, devices)
    try:
        lab.start()
        lab.add_model("1.0.0", 1, tiny_model.make(1))
        lab.add_model("2.0.0", 2, tiny_model.make(2))
        lab.add_model("3.0.0", 3, tiny_model.make_bad())
        lab.add_model("4.0.0", 4, b"this is not a model\n" * 5000)
        lab.add_delta("digits", "1.0.0", "2.0.0")
        lab.template("one", "enrolled", "1.0.0")
        lab.template("two", "one", "2.0.0")
        for n, program in enumerate([APP, APP, "#!/bin/sh\nexit 3\n"], 1):
            lab.add_files("app", f"{n}.0.0", n, {"bin/app": program, "text": f"text of {n}"}, "--run", "bin/app")
        lab.template("app-one", "enrolled", "app-1.0.0", "app")
        agent = (BUILD / "muster-agent").read_bytes()
        for n in (1, 2, 3):
            program = base / f"agent-{n}"
            program.write_bytes(agent + b"version %d" % n if n < 3 else b'#!/bin/sh\ntest "$1" = --version\n')
            program.chmod(0o755)
            lab.add_files("agent", f"{n}.0.0", n, {"muster-agent": program}, "--program", "muster-agent")
        lab.stack.broker.start()
        lab.template("agent-one", "enrolled", "agent-1.0.0", "agent")
        lab.stack.broker.stop()
    except BaseException:
        lab.stop()
        raise
    return lab
