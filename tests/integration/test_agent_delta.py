"""Downloads of the agent and of muster-fetch: deltas and what follows when one is no good, limits, resuming, waiting when told to."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from appkit import at_device, roll_out, slot_of, wait_slot
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stack import BUILD, DATA, run, wait_for
from test_agent_local import current, slot_status

MIB = 1 << 20
V1, V2 = DATA / "cnn_v1.onnx", DATA / "cnn_v2_ft_long.onnx"


# ---------------------------------------------------------------- muster-fetch alone


class Port:
    """An HTTPS server that answers as the test says; its certificate is its own CA."""

    def __init__(self, folder: Path):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
                .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
                .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
        self.cert, self.key = folder / "port.pem", folder / "port.key"
        self.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.requests: list[str | None] = []  # their Range
        self.answer = lambda handler: handler.send_error(404)
        port = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                port.requests.append(self.headers.get("Range"))
                port.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fetch(self, **members) -> dict:
        request = {"operation": "object", "url": self.url, "ca": str(self.cert), "certificate": str(self.cert), "key": str(self.key), **members}
        return fetch(request)


def fetch(request: dict) -> dict:
    done = subprocess.run([str(BUILD / "muster-fetch")], input=json.dumps(request), capture_output=True, text=True, check=False, timeout=60)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def port(tmp_path):
    port = Port(tmp_path)
    yield port
    port.server.shutdown()
    port.server.server_close()


def serve(data: bytes, ranges: bool = True):
    def answer(handler):
        begin = int(handler.headers["Range"].split("=")[1].split("-")[0]) if ranges and handler.headers.get("Range") else 0
        handler.send_response(206 if begin else 200)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - begin))
        handler.end_headers()
        handler.wfile.write(data[begin:])
    return answer


def refuse(status: int, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    return answer


@pytest.mark.parametrize("status,headers,code,wait", [
    (503, {"Retry_After": "17"}, "server_unavailable", 17), (429, {"Retry_After": "3"}, "server_unavailable", 3),
    (503, {}, "server_unavailable", None), (500, {}, "server_failed", None), (404, {"Retry_After": "17"}, "object_not_found", None)])
def test_what_a_server_asks_for(port, tmp_path, status, headers, code, wait):
    port.answer = refuse(status, **headers)
    answer = port.fetch(sha256="0" * 64, size="5", file=str(tmp_path / "part"))
    assert answer["ok"] is False and answer["code"] == code and answer["transient"] is (status != 404)
    assert answer.get("retry_after_s") == wait


def test_a_limit_is_kept(port, tmp_path):
    """libcurl may be ahead of the limit by a second or two where the machine is busy: what is fetched takes longer than that."""
    data = os.urandom(10 * MIB)
    port.answer = serve(data)
    members = {"sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data))}
    begin = time.monotonic()
    assert port.fetch(**members, file=str(tmp_path / "free")) == {"ok": True}
    free = time.monotonic() - begin
    begin = time.monotonic()
    assert port.fetch(**members, file=str(tmp_path / "limited"), bytes_s=str(MIB)) == {"ok": True}
    limited = time.monotonic() - begin
    assert free < 2 and 7 <= limited < 24, (free, limited)
    assert (tmp_path / "limited").read_bytes() == data


def test_resuming_whatever_is_there(port, tmp_path):
    """A part that is right is kept, whichever server has sent it; one that is too long or wrong is not."""
    data = os.urandom(MIB)
    part = tmp_path / "part"
    members = {"sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data)), "file": str(part)}
    port.answer = serve(data)
    part.write_bytes(data[:300_000])
    assert port.fetch(**members) == {"ok": True} and port.requests == ["bytes=300000-"] and part.read_bytes() == data
    port.requests.clear()
    assert port.fetch(**members) == {"ok": True} and port.requests == []  # all of it is here
    part.write_bytes(data + b"more")
    assert port.fetch(**members) == {"ok": True} and port.requests == [None] and part.read_bytes() == data
    port.requests.clear()
    port.answer = serve(data, ranges=False)  # a server that cannot go on
    part.write_bytes(data[:300_000])
    assert port.fetch(**members) == {"ok": True} and part.read_bytes() == data
    part.write_bytes(b"x" * 300_000)
    port.answer = serve(data)
    assert port.fetch(**members)["code"] == "object_digest_mismatch" and part.stat().st_size == 0
    assert port.fetch(**members) == {"ok": True} and part.read_bytes() == data


def test_damage_costs_a_block(port, store):
    """What lies before the first wrong block is kept, because the signed manifest in the download says that it is right."""
    data = (store.folder / "2.0.0.mub").read_bytes()
    block = 64 * 1024  # the model's has about 80
    begin = data.index(V2.read_bytes())
    wrong_at, kept = begin + 50 * block + 7, begin + 50 * block
    damaged = data[:wrong_at] + bytes([data[wrong_at] ^ 1]) + data[wrong_at + 1:]
    part = store.folder / "part"
    members = {"sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data)), "file": str(part), "trust_dir": str(store.keys)}
    port.answer = serve(damaged)  # on its way
    assert port.fetch(**members)["code"] == "object_digest_mismatch" and part.stat().st_size == kept
    port.answer = serve(data)
    assert port.fetch(**members) == {"ok": True} and port.requests == [None, f"bytes={kept}-"] and part.read_bytes() == data
    port.requests.clear()
    part.write_bytes(data[:wrong_at - 3] + bytes(2 * block))  # on the disk, before a power cut
    assert port.fetch(**members) == {"ok": True} and port.requests == [f"bytes={kept}-"] and part.read_bytes() == data
    port.requests.clear()
    part.write_bytes(data[:wrong_at])  # a block that is not whole is no wrong one
    assert port.fetch(**members) == {"ok": True} and port.requests == [f"bytes={wrong_at}-"] and part.read_bytes() == data
    part.write_bytes(damaged)
    port.answer = serve(data)
    port.requests.clear()
    assert port.fetch(**{**members, "trust_dir": str(store.folder)})["code"] == "object_digest_mismatch"  # not signed by anybody here
    assert part.stat().st_size == 0 and port.requests == []


def test_block_lists_that_lie_do_no_harm(port, store):
    """Signed or not, a list decides only what is asked for again: the digest of the whole says what is right."""
    out, part = store.folder / "lies.mub", store.folder / "part"
    run([BUILD / "musterctl", "bundle", "create", "--slot", "digits", "--version", "3.0.0", "--counter", "3", "--model", V2,
         "--input", "input:float32:1,1,16,16", "--out", out])
    unsigned = out.read_bytes()
    third = hashlib.sha256(V2.read_bytes()[2 * 65536:3 * 65536]).hexdigest().encode()
    assert unsigned.count(third) == 1
    out.write_bytes(unsigned.replace(third, b"0" * 64))
    run([BUILD / "musterctl", "bundle", "sign", out, "--key", store.folder / "one.key"])
    data = out.read_bytes()
    members = {"sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data)), "file": str(part), "trust_dir": str(store.keys)}
    port.answer = serve(data)
    assert port.fetch(**members) == {"ok": True} and part.read_bytes() == data
    part.write_bytes(data[:len(data) // 2])
    port.requests.clear()
    assert port.fetch(**members) == {"ok": True} and part.read_bytes() == data
    assert port.requests == [f"bytes={data.index(V2.read_bytes()) + 2 * 65536}-"]


def test_no_room_is_said_before_anything_is_sent(port, tmp_path):
    port.answer = serve(b"x")
    answer = port.fetch(sha256="0" * 64, size=str(1 << 40), file=str(tmp_path / "part"))
    assert answer["code"] == "does_not_fit" and "MiB of free disk" in answer["detail"] and port.requests == []
    answer = port.fetch(sha256="0" * 64, size="10", unpacked=str(1 << 40), file=str(tmp_path / "part"))
    assert answer["code"] == "does_not_fit" and port.requests == []


# ---------------------------------------------------------------- unpacking


class Store:
    """Two bundles, the delta bundle between them, and a device's object store."""

    def __init__(self, folder: Path):
        self.folder, self.ids = folder, {}
        self.keys = folder / "trusted"
        self.keys.mkdir()
        for key in ["one", "two"]:
            run([BUILD / "musterctl", "key", "generate", "--out", folder / key])
        (folder / "one.pub").rename(self.keys / "one.pub")
        for version, model in {"1.0.0": V1, "2.0.0": V2}.items():
            out = folder / f"{version}.mub"
            run([BUILD / "musterctl", "bundle", "create", "--slot", "digits", "--version", version, "--counter", version[0], "--model", model,
                 "--file", f"{DATA / 'README.md'}=notes.md", "--input", "input:float32:1,1,16,16", "--out", out])
            run([BUILD / "musterctl", "bundle", "sign", out, "--key", folder / "one.key"])
            self.ids[version] = json.loads(run([BUILD / "musterctl", "bundle", "inspect", out, "--output", "json"]).stdout)["id"]
        run([BUILD / "musterctl", "bundle", "delta", folder / "1.0.0.mub", folder / "2.0.0.mub", "--effort", "fast", "--trust", self.keys,
             "--out", folder / "delta.mub"])

    def unpack(self, file: str, version: str, **more) -> dict:
        return fetch({"operation": "unpack", "url": "https://-", "ca": "-", "certificate": "-", "key": "-", "file": str(self.folder / file),
                      "bundle": self.ids[version], "trust_dir": str(self.keys), "objects": str(self.folder / "objects"),
                      "scratch": str(self.folder / "scratch"), **more})

    def objects(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (self.folder / "objects").glob("*/*")}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_unpack_rebuilds_from_the_object_store(store):
    assert store.unpack("delta.mub", "2.0.0")["code"] == "delta_wrong_base"  # nothing is here
    assert store.objects() == {} and not (store.folder / "scratch").exists()
    assert store.unpack("1.0.0.mub", "1.0.0") == {"ok": True}
    assert (store.folder / "delta.mub").stat().st_size < 0.6 * V2.stat().st_size
    assert store.unpack("delta.mub", "2.0.0") == {"ok": True}
    got = store.objects()
    for data in [V1.read_bytes(), V2.read_bytes(), (DATA / "README.md").read_bytes()]:
        assert got[hashlib.sha256(data).hexdigest()] == data
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in got.items())


def test_unpack_of_a_bad_delta_leaves_nothing(store):
    assert store.unpack("1.0.0.mub", "1.0.0") == {"ok": True}
    before = store.objects()
    good = (store.folder / "delta.mub").read_bytes()
    for at in [len(good) // 2, len(good) // 3, len(good) * 9 // 10]:
        bad = bytearray(good)
        bad[at] ^= 0x10
        (store.folder / "bad.mub").write_bytes(bad)
        answer = store.unpack("bad.mub", "2.0.0")
        assert answer["ok"] is False and answer["code"] in ("delta_invalid", "payload_mismatch"), answer
        assert store.objects() == before and not (store.folder / "scratch").exists()
    old = next((store.folder / "objects").glob(f"*/{hashlib.sha256(V1.read_bytes()).hexdigest()}"))
    old.chmod(0o600)
    data = bytearray(V1.read_bytes())
    data[1000] ^= 1
    old.write_bytes(data)  # the disk has gone bad
    answer = store.unpack("delta.mub", "2.0.0")
    assert answer["ok"] is False and answer["code"] in ("delta_wrong_base", "delta_invalid"), answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("mib,fits", [(24, False), (28, True)])
def test_unpack_looks_for_room_first(store, mib, fits):
    """What the signed manifest lists and 16 MiB more must be free; nothing is removed, and nothing begun, without."""
    disk = store.folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", disk], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        (disk / "objects/ab").mkdir(parents=True)
        (disk / "objects/ab/old").write_bytes(b"x" * MIB)
        (disk / "full.mub").write_bytes((store.folder / "2.0.0.mub").read_bytes())
        answer = store.unpack("disk/full.mub", "2.0.0", objects=str(disk / "objects"), scratch=str(disk / "scratch"))
        left = sorted(str(p.relative_to(disk)) for p in disk.rglob("*") if p.is_file())
        if fits:
            assert answer == {"ok": True} and len(left) == 5
        else:
            assert answer["code"] == "does_not_fit" and "the update needs 21 MiB of free disk and 18 MiB are free" in answer["detail"], answer
            assert left == ["full.mub", "objects/ab/old"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_as_many_signatures_as_asked_for(store):
    answer = store.unpack("1.0.0.mub", "1.0.0", signatures=2)
    assert answer["code"] == "signature_untrusted" and "2 different trusted keys" in answer["detail"] and store.objects() == {}
    (store.folder / "two.pub").rename(store.keys / "two.pub")
    assert store.unpack("1.0.0.mub", "1.0.0", signatures=2)["code"] == "signature_untrusted"  # trusted, but has not signed
    run([BUILD / "musterctl", "bundle", "sign", store.folder / "1.0.0.mub", "--key", store.folder / "two.key"])
    assert store.unpack("1.0.0.mub", "1.0.0", signatures=2) == {"ok": True}
    assert store.unpack("1.0.0.mub", "1.0.0", signatures=0)["code"] == "request_invalid"


# ---------------------------------------------------------------- an agent


@pytest.fixture(scope="module")
def lab(make_lab):
    lab = make_lab()
    lab.start_services({"delta_make": "true", "delta_effort": "fast", "delta_period_ms": 200})
    lab.upload("1.0.0")
    return lab


@pytest.fixture(scope="module")
def plain_lab(make_lab):
    """Its server makes no deltas."""
    lab = make_lab("_plain")
    lab.start_services({"delta_make": "false"})
    lab.upload("1.0.0")
    return lab


@pytest.fixture
def device(lab, request):
    """A fresh device that runs 1.0.0: (lab, its name, its agent)."""
    yield from fresh_device(lab, request)


@pytest.fixture
def plain_device(plain_lab, request):
    """The same, of the server without deltas."""
    yield from fresh_device(plain_lab, request)


def fresh_device(lab, request):
    name = request.node.name.replace("test_", "").replace("_", "-")[:60]
    agent = lab.add_agent(name, data_s=1, health_s=1)
    wait_for(f"{name} online", lambda: name in lab.devices() and lab.devices()[name]["liveness"] == "online", 30)
    roll_out(lab, name, "1.0.0")
    wait_slot(lab, name, phase="running", running_version="1.0.0")
    yield lab, name, agent
    agent.stop()


def delta_to(lab, version: str, base: str = "1.0.0") -> dict:
    return wait_for(f"the delta to {version}", lambda: next((d for d in lab.get(f"/api/v1/bundles/digits@{version}/deltas")["deltas"]
                                                            if d["from_version"] == base and d["state"] == "ready"), None), 60)


def restart(agent, lab, **settings) -> None:
    """The server knows afterwards what it runs."""
    agent.stop()
    agent.settings.update(settings)
    lab.sql(f"UPDATE device_slot SET running = NULL WHERE device_id = (SELECT id FROM device WHERE name = '{agent.name}')")
    agent.start(lab.server)
    wait_slot(lab, agent.name, phase="running", running_version="1.0.0")


def test_delta_then_all_the_way(device):
    """The delta is what travels; status tells of it; the files are what the manifest says."""
    lab, name, agent = device
    lab.upload("2.0.0", "cnn_v2_ft_long.onnx")
    size = int(delta_to(lab, "2.0.0")["size"])
    restart(agent, lab, download_kbps=4000)  # 0.5 MB/s: slow enough to be seen
    roll_out(lab, name, "2.0.0")
    seen = wait_for("the download to be seen", lambda: (s := slot_status(agent)) and s["phase"] == "downloading" and s["object"]
                    and int(s["object"]["downloaded"]) > 0 and s, 30)
    fetch = subprocess.run(["pgrep", "-P", str(agent.process.pid), "-x", "muster-fetch"], capture_output=True, text=True, check=True).stdout
    assert os.getpriority(os.PRIO_PROCESS, int(fetch)) >= 10  # inference comes first
    assert seen["object"]["encoding"] == "delta" and seen["object"]["size"] == str(size) and seen["object"]["from"] == "1.0.0"
    assert seen["text"].startswith("downloading 2.0.0 as a delta from 1.0.0: ") and seen["text"].endswith("%")
    wait_slot(lab, name, phase="running", running_version="2.0.0")
    assert current(agent) == "2.0.0"
    assert (agent.base / "state/slots/digits/current/cnn_v2_ft_long.onnx").read_bytes() == V2.read_bytes()
    reports = [e["data"] for e in lab.get(f"/api/v1/devices/{name}/events")["events"] if e["data"].get("step") == "downloaded"]
    assert any("a delta from 1.0.0" in r["detail"] for r in reports), reports


def test_base_is_damaged_on_the_device(device):
    """The rebuild finds it out, says so, and the full bundle does it; the update has not failed."""
    lab, name, agent = device
    lab.upload("2.1.0", "cnn_v2_ft_long.onnx")
    delta_to(lab, "2.1.0")
    old = agent.base / "state/slots/digits/current/cnn_v1.onnx"
    data = bytearray(old.read_bytes())
    data[len(data) // 2] ^= 1
    old.chmod(0o600)
    old.write_bytes(data)  # muster-infer has read it already
    roll_out(lab, name, "2.1.0")
    wait_slot(lab, name, phase="running", running_version="2.1.0")
    events = [e["data"] for e in lab.get(f"/api/v1/devices/{name}/events")["events"]]
    failed = [e for e in events if e.get("name") == "delta_failed"]
    assert len(failed) == 1 and failed[0]["detail"].startswith("delta_"), events
    assert not any(e.get("step") == "failed" for e in events)
    assert not list((agent.base / "state/download").iterdir())


def test_resumes_across_agents_and_servers(plain_device):
    """Both are killed in the middle, and the part is damaged once: then it begins anew, once."""
    lab, name, agent = plain_device
    lab.upload("3.0.0", "cnn_v2_ft_long.onnx")
    full = int(lab.get("/api/v1/bundles/digits@3.0.0")["size"])
    restart(agent, lab, download_kbps=8000)
    roll_out(lab, name, "3.0.0")
    download = agent.base / "state/download"

    def part_size() -> int:
        return max((p.stat().st_size for p in download.glob("*.part")), default=0)

    wait_for("a part", lambda: part_size() > MIB // 2, 30, 0.05)
    agent.kill()
    kept = part_size()
    assert "downloading 3.0.0 in full: " in at_device(agent, "status")  # without an agent, from its files
    agent.start(lab.server)
    wait_for("it to go on", lambda: part_size() > kept + MIB // 4, 30, 0.05)
    lab.server.process.kill()
    time.sleep(1)
    kept = part_size()
    lab.server.start()
    wait_for("it to go on, from another server", lambda: part_size() > kept, 40, 0.05)
    agent.kill()
    part = next(download.glob("*.part"))
    assert kept <= part.stat().st_size < full
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(data)
    agent.start(lab.server)
    wait_slot(lab, name, timeout=90, phase="running", running_version="3.0.0")
    log = agent.log.read_text(errors="replace")
    assert log.count("code=object_digest_mismatch") == 1


def test_downloads_share_the_limit(plain_device):
    """Two slots, one after the other."""
    lab, name, agent = plain_device
    restart(agent, lab, download_kbps=16000)
    for number, kind in enumerate(["faces", "gates"]):
        out = lab.base / f"{kind}.mub"
        run([BUILD / "musterctl", "bundle", "create", "--slot", kind, "--version", "1.0.0", "--counter", "1", "--model", V1, "--file",
             f"{DATA / 'README.md'}=n{number}.md", "--input", "input:float32:1,1,16,16", "--out", out])
        run([BUILD / "musterctl", "bundle", "sign", out, "--key", lab.stack.keys / "release.key"])
        lab.ctl.json("bundle", "upload", out)
        lab.ctl.json("rollout", "create", "--bundle", f"{kind}@1.0.0", "--query", f"name:{name}", "--wave", "100%:soak=0", "--probation", "1")
    most = 0
    begin = time.monotonic()

    def both() -> bool:
        nonlocal most
        most = max(most, sum(1 for p in (agent.base / "state/download").glob("*.part") if 0 < p.stat().st_size < V1.stat().st_size))
        slots = {s["slot"]: s for s in lab.devices()[name]["slots"]}
        return all(slots.get(k, {}).get("phase") == "running" for k in ["faces", "gates"])

    wait_for("both", both, 60, 0.1)
    assert time.monotonic() - begin > 4  # 10 MB at 2 MB/s
    assert most == 1, "one at a time"
    assert slot_of(lab, name)["running_version"] == "1.0.0"
