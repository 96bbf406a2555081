"""Fixtures: one PostgreSQL for the session; for each test file its own database, broker, musterd and agents."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/demo"))
sys.path.append(str(ROOT / "tests"))

from stack import DATA, Agent, Musterctl, Postgres, Server, Stack, wait_for  # noqa: E402
from appkit import roll_out, wait_slot  # noqa: E402
from sysfs import make_tree  # noqa: E402
import fleet as demo  # noqa: E402


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    base = tmp_path_factory.mktemp("postgres")
    for folder in [base, *base.parents[:2]]:  # pytest's folders are closed to others; the database may run as another user
        folder.chmod(0o755)
    server = Postgres(base / "cluster", base / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def openapi() -> dict:
    return yaml.safe_load((ROOT / "api/openapi.yaml").read_text())


class Lab:
    """A stack with shortcuts for tests. Starts nothing by itself."""

    def __init__(self, base: Path, postgres: Postgres, database: str, broker_plugin: tuple[Path, str] | None = None):
        self.base = base
        self.stack = Stack(base, database=database, postgres=postgres, broker_plugin=broker_plugin)
        self.server: Server
        self.token = ""
        self.ctl: Musterctl

    def start_services(self, settings: dict | None = None) -> None:
        self.stack.start_database()
        self.server = self.stack.server(settings=settings)
        self.server.command("pki", "init", "--host", "localhost,127.0.0.1")
        self.stack.make_release_key()
        self.stack.broker.start()
        self.server.start()
        self.token = self.server.command("token", "create", "tests", "--role", "admin").splitlines()[-1].split()[-1]
        self.ctl = self.stack.musterctl(self.server, self.token)

    def enrolment_token(self, site: str = "lab", uses: int = 1, **more) -> str:
        status, answer, _ = self.call("POST", "/api/v1/enrolment-tokens", {"site": site, "uses": uses, **more})
        assert status == 201, answer
        return answer["secret"]

    def add_agent(self, name: str, site: str = "lab", server: Server | None = None, **settings) -> Agent:
        tree = self.base / "agents" / name / "sysfs"
        make_tree(tree, 50.0)
        ort = {"onnxruntime": os.environ["MUSTER_ONNXRUNTIME"]} if os.environ.get("MUSTER_ONNXRUNTIME") else {}
        agent = self.stack.agent(name, site, {"sysfs_root": tree, **ort, **settings})
        agent.start(server or self.server, self.enrolment_token(site))
        return agent

    def call(self, method: str, path: str, body=None, **more):
        more.setdefault("token", self.token)
        return self.server.request(method, path, body, **more)

    def get(self, path: str):
        status, answer, _ = self.call("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def sql(self, text: str) -> str:
        return self.stack.postgres.psql(self.stack.database, text)

    def devices(self) -> dict[str, dict]:
        return {d["name"]: d for d in self.get("/api/v1/devices")["devices"]}

    def wait_online(self, count: int, timeout: float = 60) -> None:
        wait_for(f"{count} devices online", lambda: sum(d["liveness"] == "online" for d in self.devices().values()) == count, timeout)

    def running(self) -> dict[str, str | None]:
        return {name: next((s["running_version"] for s in d["slots"] if s["slot"] == "digits"), None)
                for name, d in self.devices().items()}

    def upload(self, version: str, model: str = "cnn_v1.onnx", counter: int | None = None) -> dict:
        bundle = demo.make_bundle(self.stack, version, DATA / model, counter or int(version.split(".")[0]))
        return self.ctl.json("bundle", "upload", bundle)

    def roll_out(self, version: str, *argv: str) -> str:
        words = argv or ("--all", "--wave", "100%:soak=0", "--probation", "1")
        return self.ctl.json("rollout", "create", "--bundle", f"digits@{version}", *words)["id"]

    def rollout(self, rid: str) -> dict:
        return self.get(f"/api/v1/rollouts/{rid}")

    def wait_rollout(self, rid: str, state: str, timeout: float = 90) -> dict:
        return wait_for(f"rollout {rid} to be {state}", lambda: (r := self.rollout(rid))["state"] == state and r, timeout)

    def stop(self) -> None:
        self.stack.stop()


@pytest.fixture(scope="module")
def make_lab(request, postgres, tmp_path_factory):
    """A function that makes a Lab with its own database; all of them are stopped after the test file."""
    labs: list[Lab] = []

    def make(name: str = "", broker_plugin: tuple[Path, str] | None = None) -> Lab:
        base = tmp_path_factory.mktemp(request.module.__name__ + name)
        base.chmod(0o755)
        lab = Lab(base, postgres, f"{request.module.__name__}{name}_{os.getpid()}", broker_plugin)
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="module")
def lab(make_lab):
    """The usual one: services up, no agents yet."""
    lab = make_lab()
    lab.start_services()
    return lab


@pytest.fixture(scope="module")
def fleet(lab):
    """The lab with two versions uploaded, 2.0.0 with the higher counter."""
    lab.upload("1.0.0"), lab.upload("2.0.0", "cnn_v2_ft_long.onnx")
    return lab


@pytest.fixture
def device(fleet, request):
    """A fresh device that runs 1.0.0: (lab, its name, its agent)."""
    name = request.node.name.split("[")[0].replace("test_", "").replace("_", "-")[:60]
    agent = fleet.add_agent(name, data_s=1, health_s=1, accelerators="npu")
    wait_for(f"{name} online", lambda: name in fleet.devices() and fleet.devices()[name]["liveness"] == "online", 30)
    roll_out(fleet, name, "1.0.0")
    wait_slot(fleet, name, phase="running", running_version="1.0.0")
    yield fleet, name, agent
    agent.stop()
