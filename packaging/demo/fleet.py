"""The demo's fleet: two sites, six devices, one of them hot; and how it comes up from nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

from stack import BUILD, DATA, Agent, Musterctl, Server, Stack, run, wait_for
from sysfs import make_tree

SITES = {"berlin": ["berlin-gate-1", "berlin-gate-2", "berlin-yard-1"], "lyon": ["lyon-dock-1", "lyon-dock-2", "lyon-oven-1"]}
HOT = "lyon-oven-1"
MODELS = {"1.0.0": "cnn_v1.onnx", "2.0.0": "cnn_v2_ft_long.onnx"}
INPUT = "input:float32:1,1,16,16"

Say = Callable[[str], None]


def make_bundle(stack: Stack, version: str, model: Path, counter: int) -> Path:
    """A signed bundle of a digits model, with the drift profile of the clean images. Made once, then reused."""
    out = stack.base / "bundles" / f"digits-{version}.mub"
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    profile = out.parent / "profile.json"
    ctl = BUILD / "musterctl"
    run([ctl, "profile", "create", "--data", DATA / "digits_test_16x16_f32.bin", "--shape", "1,16,16", "--out", profile])
    draft = out.with_suffix(".draft")
    run([ctl, "bundle", "create", "--slot", "digits", "--version", version, "--counter", counter, "--model", model,
         "--input", INPUT, "--profile", profile, "--out", draft])
    run([ctl, "bundle", "sign", draft, "--key", stack.keys / "release.key"])
    draft.rename(out)
    return out


class Fleet:
    """The running demo: one server, six agents and a token for scripts."""

    def __init__(self, base: Path, say: Say, server_settings: dict | None = None):
        self.say = say
        self.stack = Stack(base)
        self.server: Server = self.stack.server(settings=server_settings)
        self.ctl: Musterctl
        self.token = ""
        self.first_password = ""

    @property
    def agents(self) -> dict[str, Agent]:
        return self.stack.agents

    def start_services(self) -> None:
        self.say("starting a private PostgreSQL")
        self.stack.start_database()
        self.say("creating certificate authorities and a release key")
        self.server.command("pki", "init", "--host", "localhost,127.0.0.1")
        self.stack.make_release_key()
        self.say("starting a private Mosquitto (mutual TLS only)")
        self.stack.broker.start()
        self.say("migrating the database and starting musterd")
        self.server.command("migrate")
        if self.stack.postgres.psql(self.stack.database, "SELECT count(*) FROM account WHERE NOT must_change") == "0":
            self.first_password = self.server.command("user", "reset-password", "admin").splitlines()[-1].split()[-1]
        self.token = self.server.command("token", "create", f"demo-{os.getpid()}", "--role", "admin").splitlines()[-1].split()[-1]
        self.server.start()
        self.ctl = self.stack.musterctl(self.server, self.token)

    def start_agents(self) -> None:
        self.say("starting six agents on two sites")
        for site, names in SITES.items():
            token = None
            agents = [self.stack.agent(name, site, self.agent_settings(name)) for name in names]
            if not all(agent.enrolled() for agent in agents):
                token = self.ctl.json("enrol-token", "create", "--site", site, "--uses", str(len(names)))["secret"]
            for name in names:
                self.agents[name].start(self.server, token)
        self.wait_online()

    def agent_settings(self, name: str) -> dict:
        tree = self.stack.base / "agents" / name / "sysfs"
        make_tree(tree, 83.0 if name == HOT else 48.0 + len(self.agents))
        settings = {"sysfs_root": tree}
        if os.environ.get("MUSTER_ONNXRUNTIME"):
            settings["onnxruntime"] = os.environ["MUSTER_ONNXRUNTIME"]
        return settings

    def wait_online(self, timeout: float = 60) -> None:
        wait_for("six devices to be online", lambda: self.online() == 6, timeout)

    def online(self) -> int:
        return sum(d["liveness"] == "online" for d in self.devices().values())

    def devices(self) -> dict[str, dict]:
        """Devices by name, as the API lists them."""
        return {d["name"]: d for d in self.get("/api/v1/devices")["devices"]}

    def get(self, path: str):
        status, answer, _ = self.server.request("GET", path, token=self.token)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {answer}")
        return answer

    def running(self) -> dict[str, str | None]:
        """Version of digits that each device proves to run."""
        return {name: next((s["running_version"] for s in d["slots"] if s["slot"] == "digits"), None)
                for name, d in self.devices().items()}

    def upload(self, version: str) -> dict:
        model = DATA / MODELS[version]
        bundle = make_bundle(self.stack, version, model, counter=int(version.split(".")[0]))
        return self.ctl.json("bundle", "upload", bundle)

    def stop(self) -> None:
        self.stack.stop()
