"""Deltas that the server makes: which ones, by whom, once; what devices are told; and what happens when a server dies at it."""

import hashlib
import os
import re
import signal
import time

import pytest
from appkit import sanitizer
from contract import Contract
from device import Device
from stack import BUILD, DATA, StackError, run, wait_for

MIB = 1 << 20
QUICK = {"delta_effort": "fast", "delta_period_ms": 200}
SLOW = {**QUICK, "delta_effort": "best", "delta_lease_s": 2}  # what others take over soon


class Fleet:
    """Python devices that run what they are told to say, on a lab whose server makes no deltas until it is told to."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.devices, self.session = lab, folder, {}, 0

    def device(self, name: str) -> Device:
        if name not in self.devices:
            self.devices[name] = Device(self.lab, self.folder, name)
            self.devices[name].connect()
        return self.devices[name]

    def run(self, name: str, slot: str, running: str | None, previous: str | None = None, phase: str = "running", target: str | None = None) -> None:
        """The device's beat says so, and the server has taken it in."""
        device = self.device(name)
        self.session += 1
        device.beat(self.session, slots={slot: {"phase": phase, "target": target or running, "running": running, "previous": previous,
                                               "progress": 100, "downloaded": "0", "stage": None, "code": None, "detail": None,
                                               "device_left": None}})
        wait_for("the beat", lambda: self.lab.sql(f"SELECT phase, coalesce(running, ''), coalesce(previous, '') FROM device_slot"
                                                  f" WHERE device_id = '{device.id}' AND slot = '{slot}'")
                 == f"{phase}|{running or ''}|{previous or ''}", 10)

    def desired(self, name: str, slot: str) -> list[dict]:
        return self.device(name).request("GET", "/device/v1/desired")[1]["slots"][slot]["objects"]


def bundle(lab, slot: str, version: str, model: bytes) -> dict:
    folder = lab.base / "made"
    folder.mkdir(exist_ok=True)
    out, path = folder / f"{slot}-{version}.mub", folder / f"{slot}-{version}.onnx"
    path.write_bytes(model)
    run([BUILD / "musterctl", "bundle", "create", "--slot", slot, "--version", version, "--counter", version.split(".")[0], "--model", path,
         "--input", "input:float32:1,1,16,16", "--out", out])
    run([BUILD / "musterctl", "bundle", "sign", out, "--key", lab.stack.keys / "release.key"])
    return lab.ctl.json("bundle", "upload", out)


V1, V2 = (DATA / "cnn_v1.onnx").read_bytes(), (DATA / "cnn_v2_ft_long.onnx").read_bytes()


@pytest.fixture(scope="module")
def lab(make_lab):
    lab = make_lab()
    lab.start_services({"delta_make": "false", **QUICK})
    return lab


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    fleet = Fleet(lab, tmp_path_factory.mktemp("devices"))
    yield fleet
    for device in fleet.devices.values():
        device.close()


@pytest.fixture()
def maker(lab, request):
    """Starts servers that make deltas beside the lab's own; they end with the test."""
    servers = []

    def start(settings: dict = QUICK):
        server = lab.stack.server(f"maker-{request.node.name[5:25]}-{len(servers)}", {"delta_make": "true", **settings})
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.alive():
            server.process.child.send_signal(signal.SIGCONT)
        server.stop()
    lab.sql("UPDATE delta SET state = 'failed' WHERE state IN ('wanted', 'making')")


def pairs(lab, reference: str) -> dict[str, dict]:
    return {d["from_version"]: d for d in lab.get(f"/api/v1/bundles/{reference}/deltas")["deltas"]}


def wait_state(lab, reference: str, version: str, state: str, timeout: float = 180) -> dict:
    return wait_for(f"{reference} from {version} to be {state}", lambda: (p := pairs(lab, reference).get(version)) and p["state"] == state and p, timeout, 0.1)


def children(server) -> list[int]:
    """Delta makers of this server."""
    found = []
    for path in os.listdir("/proc"):
        if path.isdigit():
            try:
                with open(f"/proc/{path}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{path}/cmdline") as f:
                    words = f.read().split("\0")
            except OSError:
                continue
            if parent == server.process.pid and words[1:2] == ["delta-make"]:
                found.append(int(path))
    return found


def test_plan_made_and_told(lab, fleet, maker, openapi):
    """What is worth it is made; a device gets the delta for what it runs, then for what it keeps, then the whole."""
    contract = Contract(openapi)
    one, two = bundle(lab, "digits", "1.0.0", V1), bundle(lab, "digits", "2.0.0", V2)
    assert pairs(lab, "digits@2.0.0") == {}
    assert "nothing to make" in lab.ctl.run("delta", "plan", "digits@2.0.0").stdout
    fleet.run("told-1", "digits", one["id"])
    fleet.run("told-2", "digits", one["id"])
    planned = pairs(lab, "digits@2.0.0")["1.0.0"]
    assert planned["devices"] == 2 and planned["state"] == "none" and planned["worth"] and planned["size"] is None
    assert planned["full_size"] == two["size"] and int(planned["expected"]) == int(two["size"]) // 2
    assert int(planned["saved"]) == 2 * (int(two["size"]) - int(planned["expected"]))
    shown = lab.ctl.run("delta", "plan", "digits@2.0.0").stdout
    assert re.search(r"1\.0\.0 +2\.0\.0 +2 +no +5\.2 MB +about 2\.6 MB +5\.2 MB +worth it", shown), shown

    maker()
    ready = wait_state(lab, "digits@2.0.0", "1.0.0", "ready")
    assert int(ready["size"]) < 0.6 * int(ready["full_size"]) and ready["expected"] == ready["size"]
    status, answer, headers = lab.call("GET", "/api/v1/bundles/digits@2.0.0/deltas")
    contract.check("GET", "/api/v1/bundles/digits@2.0.0/deltas", status, answer, headers)
    status, answer, headers = lab.call("GET", "/api/v1/deltas")
    contract.check("GET", "/api/v1/deltas", status, answer, headers)
    assert [d["id"] for d in answer["deltas"]] == [ready["id"]]
    assert "ready" in lab.ctl.run("delta", "list").stdout and "ready" in lab.ctl.run("delta", "plan", "digits@2.0.0").stdout

    fleet.run("told-3", "digits", two["id"], one["id"])
    fleet.run("told-4", "digits", hashlib.sha256(b"foreign").hexdigest())
    lab.roll_out("2.0.0", "--query", "name:told-*", "--wave", "100%:soak=0")
    fleet.run("told-1", "digits", one["id"])  # they are reachable
    fleet.run("told-4", "digits", hashlib.sha256(b"foreign").hexdigest())
    for name in ["told-1", "told-4"]:
        wait_for("the offer", lambda: fleet.device(name).request("GET", "/device/v1/desired")[1]["slots"], 10)
    full = {"sha256": two["object_sha256"], "size": two["size"], "encoding": "full"}
    delta = {"sha256": ready["object_sha256"], "size": ready["size"], "encoding": "delta", "from": one["id"]}
    assert fleet.desired("told-1", "digits") == [delta, full]
    assert fleet.desired("told-4", "digits") == [full], "nobody knows what it runs"
    fleet.run("told-1", "digits", None, phase="downloading", target=two["id"])
    assert fleet.desired("told-1", "digits") == [delta, full], "it has just started: what it ran before is known"
    status, got, _ = fleet.device("told-1").request("GET", f"/device/v1/objects/{ready['object_sha256']}")
    assert status == 200 and len(got) == int(ready["size"]) and hashlib.sha256(got).hexdigest() == ready["object_sha256"]
    fleet.device("told-5")
    assert fleet.device("told-5").request("GET", f"/device/v1/objects/{ready['object_sha256']}")[0] == 404

    (lab.base / "d.mub").write_bytes(got)
    lab.sql(f"UPDATE object_chunk SET bytes = set_byte(bytes, 99, 255 - get_byte(bytes, 99)) WHERE n = 0 AND blob ="
            f" (SELECT blob FROM object WHERE sha256 = '{ready['object_sha256']}')")
    for cached in (lab.server.base / "cache").glob(f"??/{ready['object_sha256']}"):
        cached.unlink()
    status, answer, _ = fleet.device("told-1").request("GET", f"/device/v1/objects/{ready['object_sha256']}")
    assert status == 500 and answer["code"] == "object_damaged", "not 503: the device is to take the whole bundle, not to wait"
    assert fleet.device("told-1").request("GET", f"/device/v1/objects/{two['object_sha256']}")[0] == 200, "the whole is always there"
    again = wait_state(lab, "digits@2.0.0", "1.0.0", "ready")
    assert again["object_sha256"] == ready["object_sha256"], "it was forgotten and made again, the same"
    assert fleet.device("told-1").request("GET", f"/device/v1/objects/{ready['object_sha256']}")[1] == got
    assert lab.sql("SELECT count(*) FROM blob b WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.blob = b.id)") == "0"


def test_the_kept_version_serves_too(lab, fleet, maker):
    """A device that runs something else but keeps an old version gets the delta from that one."""
    one, two = bundle(lab, "kept", "1.0.0", V1), bundle(lab, "kept", "2.0.0", V2)
    three = bundle(lab, "kept", "3.0.0", V1 + b"\0")
    for n in range(3):
        fleet.run(f"kept-{n}", "kept", one["id"])
    fleet.run("kept-9", "kept", two["id"], one["id"])
    maker()
    wait_state(lab, "kept@3.0.0", "1.0.0", "ready")
    wait_state(lab, "kept@3.0.0", "2.0.0", "ready")
    lab.ctl.json("rollout", "create", "--bundle", "kept@3.0.0", "--query", "name:kept-9", "--wave", "100%:soak=0")
    fleet.run("kept-9", "kept", two["id"], one["id"])  # it is reachable
    objects = wait_for("the offer", lambda: fleet.device("kept-9").request("GET", "/device/v1/desired")[1]["slots"].get("kept"), 10)["objects"]
    assert [o.get("from") for o in objects] == [two["id"], one["id"], None]
    assert int(objects[1]["size"]) < int(objects[0]["size"]) < int(objects[2]["size"])
    assert three["object_sha256"] == objects[2]["sha256"]


def test_not_worth_it(lab, fleet, maker):
    """Noise against noise: its size is known afterwards, and nothing is kept. A few bytes over the fleet are not tried at all."""
    one = bundle(lab, "noise", "1.0.0", os.urandom(3_000_000))
    bundle(lab, "noise", "2.0.0", os.urandom(3_000_000))
    tiny = bundle(lab, "tiny", "1.0.0", b"x" * 1000)
    bundle(lab, "tiny", "2.0.0", b"y" * 1000)
    fleet.run("noise-1", "noise", one["id"])
    fleet.run("tiny-1", "tiny", tiny["id"])
    maker()
    done = wait_state(lab, "noise@2.0.0", "1.0.0", "not_worth_it")
    assert done["object_sha256"] is None and int(done["size"]) > 0.9 * int(done["full_size"]) and not done["worth"]
    assert pairs(lab, "tiny@2.0.0")["1.0.0"]["state"] == "none" and not pairs(lab, "tiny@2.0.0")["1.0.0"]["worth"]


def test_by_hand(lab, fleet, maker):
    """Nobody runs it: a person may ask all the same."""
    bundle(lab, "hand", "1.0.0", V1)
    bundle(lab, "hand", "2.0.0", V2)
    bundle(lab, "other", "1.0.0", V1)
    maker()
    asked = lab.ctl.json("delta", "make", "hand@2.0.0", "--from", "1.0.0")["deltas"][0]
    assert asked["asked_by"].startswith("token:") and asked["devices"] == 0
    wait_state(lab, "hand@2.0.0", "1.0.0", "ready")
    lab.ctl.json("delta", "make", "hand@1.0.0", "--from", "hand@2.0.0")
    wait_state(lab, "hand@1.0.0", "2.0.0", "ready")
    with pytest.raises(StackError, match="different slots"):
        lab.ctl.run("delta", "make", "hand@2.0.0", "--from", "other@1.0.0")
    assert lab.sql("SELECT count(*) FROM audit WHERE action = 'delta.ask'") == "2"


def test_two_servers_make_each_pair_once(lab, fleet, maker):
    versions = [bundle(lab, "once", f"{n}.0.0", V1 if n % 2 else V2 + bytes([n])) for n in range(1, 6)]
    for n, b in enumerate(versions[:4]):
        fleet.run(f"once-{n}", "once", b["id"])
    servers = [maker(), maker()]
    for n in range(1, 5):
        wait_state(lab, "once@5.0.0", f"{n}.0.0", "ready")
    begun = [re.findall(r"delta_begins.*slot=once from=(\S+)", s.log.read_text()) for s in servers]
    assert sorted(begun[0] + begun[1]) == ["1.0.0", "2.0.0", "3.0.0", "4.0.0"], begun
    assert all(d["tries"] == 1 for d in pairs(lab, "once@5.0.0").values())


def test_child_is_meek(lab, fleet, maker):
    """Nice 19, idle disk, bounded memory, first to be killed."""
    one = bundle(lab, "meek", "1.0.0", V1)
    bundle(lab, "meek", "2.0.0", V2)
    server = maker({**SLOW, "delta_memory_mb": 1000})
    fleet.run("meek-1", "meek", one["id"])
    pid = wait_for("a child", lambda: children(server), 30, 0.005)[0]
    wait_for("it to be nice", lambda: os.getpriority(os.PRIO_PROCESS, pid) == 19, 5, 0.005)
    wait_for("its disk class to be idle", lambda: run(["ionice", "-p", str(pid)]).stdout.strip() == "idle", 5, 0.005)
    with open(f"/proc/{pid}/limits") as f:
        assert sanitizer() or re.search(rf"Max data size +{1000 << 20} ", f.read())
    with open(f"/proc/{pid}/oom_score_adj") as f:
        assert f.read().strip() == "1000"
    wait_state(lab, "meek@2.0.0", "1.0.0", "ready")
    wait_for("nothing to be left", lambda: not children(server) and not list((server.base / "cache/parts").iterdir()), 10)


def test_killed_in_the_middle(lab, fleet, maker):
    """kill -9 of the server that makes it: its child dies with it, the lease runs out, another server makes it."""
    one = bundle(lab, "killed", "1.0.0", V1)
    bundle(lab, "killed", "2.0.0", V2)
    first = maker(SLOW)
    fleet.run("killed-1", "killed", one["id"])
    child = wait_for("a child", lambda: children(first), 30, 0.01)[0]
    first.process.kill()
    wait_for("the child to die, too", lambda: not os.path.exists(f"/proc/{child}") or open(f"/proc/{child}/stat").read().split()[2] == "Z", 5)
    assert pairs(lab, "killed@2.0.0")["1.0.0"]["state"] == "making"
    second = maker()
    made = wait_state(lab, "killed@2.0.0", "1.0.0", "ready")
    assert made["tries"] == 2 and made["made_by"].endswith(f":{second.process.pid}")


def test_frozen_server_cannot_overwrite(lab, fleet, maker):
    """It stops in the middle, loses its lease, wakes up and finishes: what the other one wrote stays."""
    one = bundle(lab, "frozen", "1.0.0", V1)
    bundle(lab, "frozen", "2.0.0", V2)
    first = maker(SLOW)
    fleet.run("frozen-1", "frozen", one["id"])
    wait_for("a child", lambda: children(first), 30, 0.01)
    first.process.child.send_signal(signal.SIGSTOP)
    second = maker()
    made = wait_state(lab, "frozen@2.0.0", "1.0.0", "ready")
    assert made["made_by"].endswith(f":{second.process.pid}")
    first.process.child.send_signal(signal.SIGCONT)
    wait_for("the first to notice", lambda: "delta_lease_lost" in first.log.read_text(), 30)
    assert pairs(lab, "frozen@2.0.0")["1.0.0"] == made


def test_stopping_gives_the_lease_back(lab, fleet, maker):
    one = bundle(lab, "stopped", "1.0.0", V1)
    bundle(lab, "stopped", "2.0.0", V2)
    server = maker({**SLOW, "delta_lease_s": 600})
    fleet.run("stopped-1", "stopped", one["id"])
    wait_for("a child", lambda: children(server), 30, 0.01)
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 8
    pair = pairs(lab, "stopped@2.0.0")["1.0.0"]
    assert pair["state"] == "wanted" and pair["tries"] == 0
    maker()
    assert wait_state(lab, "stopped@2.0.0", "1.0.0", "ready")["tries"] == 1


def test_failures_are_told_and_end(lab, fleet, maker):
    """Without memory it fails each time: the reason is recorded, it is tried four times, and by hand again."""
    one = bundle(lab, "fails", "1.0.0", V1 * 2)
    bundle(lab, "fails", "2.0.0", V2 * 2)
    server = maker({**QUICK, "delta_timeout_s": 1, "delta_effort": "best"})
    fleet.run("fails-1", "fails", one["id"])
    first = wait_state(lab, "fails@2.0.0", "1.0.0", "wanted")
    assert first["tries"] == 1 and "delta_timeout_s" in first["error"]
    for _ in range(3):
        before = pairs(lab, "fails@2.0.0")["1.0.0"]["tries"]
        lab.sql("UPDATE delta SET not_before = now() WHERE state = 'wanted'")
        wait_for("another try", lambda: (p := pairs(lab, "fails@2.0.0")["1.0.0"])["tries"] > before and p["state"] != "making", 30)
    failed = pairs(lab, "fails@2.0.0")["1.0.0"]
    assert failed["state"] == "failed" and failed["tries"] == 4
    assert "delta_timeout_s" in lab.ctl.run("delta", "plan", "fails@2.0.0").stdout
    assert lab.sql("SELECT count(*) FROM event WHERE kind = 'delta.failed'") == "1"
    server.stop()
    lab.ctl.json("delta", "make", "fails@2.0.0", "--from", "1.0.0")
    maker()
    wait_state(lab, "fails@2.0.0", "1.0.0", "ready", 120)


# ---------------------------------------------------------------- with a real device


@pytest.fixture(scope="module")
def real(make_lab):
    """A server that makes deltas, and one agent."""
    lab = make_lab("_real")
    lab.start_services({"delta_make": "true", **QUICK})
    lab.add_agent("real")
    lab.wait_online(1)
    return lab


def downloaded(lab) -> int:
    return int(lab.sql("SELECT downloaded FROM device_slot WHERE slot = 'digits'"))


def test_device_takes_the_delta(real):
    one = real.upload("1.0.0")
    real.wait_rollout(real.roll_out("1.0.0"), "completed")
    assert downloaded(real) >= int(one["size"]), "nothing to make a delta from: the whole"
    two = real.upload("2.0.0", "cnn_v2_ft_long.onnx")
    ready = wait_state(real, "digits@2.0.0", "1.0.0", "ready")
    real.wait_rollout(real.roll_out("2.0.0"), "completed")
    assert real.running() == {"real": "2.0.0"}
    assert downloaded(real) == int(ready["size"]) < int(two["size"]) // 2 + MIB


@pytest.mark.parametrize("where,version", [("cache", "3.0.0"), ("database", "4.0.0")])
def test_device_takes_the_whole_when_the_delta_is_damaged(real, where, version):
    """Behind the server's back: wrong bytes that it serves, or bytes that it finds wrong itself. Those it makes again, the same bytes:
    a device that asks a second time may get them."""
    before = next(iter(real.running().values()))
    wanted = real.upload(version, "cnn_v1.onnx" if before in ("2.0.0", "4.0.0") else "cnn_v2_ft_long.onnx")
    ready = wait_state(real, f"digits@{version}", before, "ready")
    sha = ready["object_sha256"]
    assert real.call("GET", f"/api/v1/objects/{sha}")[0] == 200
    cached = real.server.base / "cache" / sha[:2] / sha
    if where == "cache":
        data = bytearray(cached.read_bytes())
        data[len(data) // 2] ^= 1
        cached.chmod(0o600)
        cached.write_bytes(data)
    else:
        cached.unlink()
        real.sql(f"UPDATE object_chunk SET bytes = set_byte(bytes, 99, 255 - get_byte(bytes, 99)) WHERE n = 0 AND blob ="
                 f" (SELECT blob FROM object WHERE sha256 = '{sha}')")
    real.wait_rollout(real.roll_out(version), "completed")
    assert real.running() == {"real": version}
    again = where == "database" and downloaded(real) == int(ready["size"])
    assert again or downloaded(real) >= int(wanted["size"]), "the whole bundle"
    assert f"sha256={sha}" in real.server.log.read_text()
