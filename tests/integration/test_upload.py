"""Bundles on their way in, in parts: over restarts and several servers, wrong parts, and what is never kept."""

import hashlib
import os
import subprocess
import threading
import time

import pytest
from contract import Contract
from stack import BUILD, StackError, run, wait_for

MIB = 1 << 20


@pytest.fixture(scope="module")
def contract(openapi):
    return Contract(openapi)


@pytest.fixture(scope="module")
def second(lab):
    """Another musterd on the same database, with its own cache."""
    server = lab.stack.server("musterd-2")
    server.start()
    return server


def make(lab, version: str, size: int, slot: str = "digits", key: str = "release.key", counter: int = 1):
    """A signed bundle file of about `size` bytes of noise."""
    folder = lab.base / "made"
    folder.mkdir(exist_ok=True)
    out, model = folder / f"{slot}-{version}.mub", folder / f"{slot}-{version}.bin"
    model.write_bytes(os.urandom(size))
    run([BUILD / "musterctl", "bundle", "create", "--slot", slot, "--version", version, "--counter", str(counter), "--model", model,
         "--input", "input:float32:1,1,16,16", "--out", out])
    run([BUILD / "musterctl", "bundle", "sign", out, "--key", lab.stack.keys / key])
    return out


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(lab, data: bytes, first: int, last: int, *, sha: str = "", total: int = 0, server=None, token: str = ""):
    """Bytes first … last-1 as one part."""
    head = {"Content-Range": f"bytes {first}-{last - 1}/{total or len(data)}"}
    return (server or lab.server).request("PUT", f"/api/v1/uploads/{sha or digest(data)}", raw=data[first:last], headers=head,
                                          token=token or lab.token)


def kept(lab) -> str:
    return lab.sql("SELECT (SELECT count(*) FROM upload) || ' ' || (SELECT count(*) FROM blob b WHERE NOT EXISTS"
                   " (SELECT 1 FROM object o WHERE o.blob = b.id))")


def test_parts_on_two_servers(lab, second, contract):
    data = make(lab, "1.0.0", 5 * MIB + 1234).read_bytes()
    path = f"/api/v1/uploads/{digest(data)}"
    status, answer, headers = lab.call("GET", path)
    assert status == 404 and answer["code"] == "upload_not_found"
    contract.problem(answer, headers, 404)
    status, answer, headers = put(lab, data, 0, 2 * MIB)
    assert status == 202 and answer["received"] == str(2 * MIB) and answer["bundle"] is None
    contract.check("PUT", path, status, answer, headers)
    assert put(lab, data, 2 * MIB, 3 * MIB, server=second)[1]["received"] == str(3 * MIB)
    status, answer, headers = lab.call("GET", path)
    assert status == 200 and answer["received"] == str(3 * MIB) and answer["size"] == str(len(data))
    contract.check("GET", path, status, answer, headers)
    status, answer, _ = put(lab, data, 3 * MIB, 4 * MIB)
    assert status == 202 and answer["received"] == str(4 * MIB), "this server has not seen what the other one took"
    assert lab.call("GET", "/api/v1/bundles/digits@1.0.0")[0] == 404
    status, answer, headers = put(lab, data, 4 * MIB, len(data), server=second)
    assert status == 201 and answer["version"] == "1.0.0" and answer["object_sha256"] == digest(data)
    contract.check("PUT", path, status, answer, headers)
    assert kept(lab) == "0 0"
    assert lab.get(path)["bundle"] == answer["id"]
    assert put(lab, data, 0, MIB)[0] == 200, "it is there already: any part says so"
    got = lab.call("GET", f"/api/v1/objects/{digest(data)}")
    assert got[0] == 200 and got[1] == data
    audit = [e for e in lab.get("/api/v1/audit")["entries"] if e["action"] == "bundle.upload"]
    assert len(audit) == 1 and audit[0]["target"] == f"bundle:{answer['id']}"


def test_whole_file_in_one_request(lab):
    data = make(lab, "1.1.0", 100_000).read_bytes()
    status, answer, _ = lab.call("PUT", f"/api/v1/uploads/{digest(data)}", raw=data)
    assert status == 201 and answer["version"] == "1.1.0"


def test_order_and_overlap(lab, contract):
    data = make(lab, "1.2.0", 4 * MIB).read_bytes()
    path = f"/api/v1/uploads/{digest(data)}"
    status, answer, headers = put(lab, data, MIB, 2 * MIB)
    assert status == 409 and answer["code"] == "upload_out_of_order"
    contract.problem(answer, headers, 409)
    assert put(lab, data, 0, MIB + 777)[1]["received"] == str(MIB), "only whole chunks are kept"
    assert put(lab, data, 0, 500)[1]["received"] == str(MIB), "what is here is skipped"
    assert put(lab, data, 500, 3 * MIB)[1]["received"] == str(3 * MIB)
    assert put(lab, data, 3 * MIB + 1, len(data))[0] == 409
    status, answer, _ = put(lab, data, 3 * MIB, len(data) - 1, total=len(data) - 1)
    assert status == 409 and answer["code"] == "upload_size_differs"
    assert put(lab, data, 3 * MIB, len(data))[0] == 201
    assert lab.call("DELETE", path)[0] == 404


@pytest.mark.parametrize("range_", ["bytes 0-9/100", "bytes 5-4/100", "bytes 0-99/50", "bytes */100", "0-99/100", "bytes 0-99/*",
                                    "bytes 0-99/99999999999999999999", "bytes -1-98/100", "items 0-99/100"])
def test_bad_ranges(lab, contract, range_):
    status, answer, headers = lab.call("PUT", f"/api/v1/uploads/{'a' * 64}", raw=b"x" * 100, headers={"Content-Range": range_})
    assert status == 400 and answer["code"] == "content_range_invalid", answer
    contract.problem(answer, headers, 400)
    assert kept(lab) == "0 0"


def test_bad_names_and_sizes(lab, contract):
    for name in ["a" * 63, "A" * 64, "..%2f", "x"]:
        assert lab.call("GET", f"/api/v1/uploads/{name}")[0] in (400, 404)
    status, answer, headers = lab.call("PUT", f"/api/v1/uploads/{'a' * 64}", raw=b"")
    assert status == 400 and answer["code"] == "body_empty"
    status, answer, headers = lab.call("PUT", f"/api/v1/uploads/{'a' * 64}", raw=b"x", headers={"Content-Range": f"bytes 0-0/{1 << 60}"})
    assert status == 413
    contract.problem(answer, headers, 413)
    viewer = lab.server.command("token", "create", "v", "--role", "operator").split()[-1]
    assert put(lab, b"x" * 10, 0, 10, token=viewer)[0] == 403


def test_wrong_signature_is_said_at_once(lab, contract):
    """The first part of many is refused, and nothing of it stays."""
    run([BUILD / "musterctl", "key", "generate", "--out", lab.stack.keys / "stranger"])
    data = make(lab, "1.3.0", 6 * MIB, key="stranger.key").read_bytes()
    status, answer, headers = put(lab, data, 0, MIB)
    assert status == 422 and answer["code"] == "signature_untrusted", answer
    contract.problem(answer, headers, 422)
    assert kept(lab) == "0 0"


@pytest.mark.parametrize("at", [0.3, 0.7, 0.999])
def test_wrong_byte_is_said_when_seen(lab, at):
    """A flipped bit anywhere ends the upload; begun again with the right bytes it is fine."""
    good = make(lab, f"1.4.{int(at * 1000)}", 3 * MIB).read_bytes()
    bad = bytearray(good)
    bad[int(len(bad) * at)] ^= 1
    status = 0
    for first in range(0, len(bad), MIB):
        status, answer, _ = put(lab, bytes(bad), first, min(first + MIB, len(bad)), sha=digest(good))
        if status != 202:
            break
    assert status == 422 and answer["code"] in ("payload_mismatch", "bundle_malformed"), answer
    assert kept(lab) == "0 0"
    for first in range(0, len(good), MIB):
        status, answer, _ = put(lab, good, first, min(first + MIB, len(good)))
    assert status == 201


def test_digest_decides(lab):
    """A good bundle under another name than its own."""
    data = make(lab, "1.5.0", MIB).read_bytes()
    status, answer, _ = put(lab, data, 0, len(data), sha="b" * 64)
    assert status == 422 and answer["code"] == "upload_digest_mismatch"
    assert kept(lab) == "0 0" and lab.call("GET", "/api/v1/bundles/digits@1.5.0")[0] == 404


@pytest.mark.parametrize("data,why", [
    (b"x" * 3 * MIB, "does not begin like one"), (os.urandom(2 * MIB), "does not begin like one"),
    (b"a text\n", "does not begin like one"), (b"\0" * 2 * MIB, "nothing in it"),
], ids=["letters", "noise", "text", "zeros"])
def test_not_a_bundle(lab, contract, data, why):
    """What it is not, and what is expected: to send it again would not help."""
    status, answer, headers = put(lab, data, 0, min(MIB, len(data)))
    assert status == 422 and answer["code"] == "bundle_malformed" and why in answer["detail"], answer
    assert answer["title"] == "Not a whole bundle" and "`musterctl bundle create`" in answer["next"] and "end it again" not in answer["next"]
    contract.problem(answer, headers, 422)
    assert kept(lab) == "0 0"


def test_version_taken(lab):
    lab.ctl.json("bundle", "upload", make(lab, "1.6.0", MIB))
    other = make(lab, "1.6.0", MIB).read_bytes()
    status, answer, _ = put(lab, other, 0, len(other))
    assert status == 409 and answer["code"] == "version_taken"
    assert kept(lab) == "0 0"


def test_two_owners_do_not_meet(lab):
    data = make(lab, "1.7.0", 2 * MIB).read_bytes()
    other = lab.server.command("token", "create", "other", "--role", "releaser").split()[-1]
    assert put(lab, data, 0, MIB)[0] == 202
    wrong = os.urandom(len(data))
    assert put(lab, wrong, 0, MIB, sha=digest(data), token=other)[0] == 422, "another one's wrong bytes"
    assert lab.get(f"/api/v1/uploads/{digest(data)}")["received"] == str(MIB)
    assert put(lab, data, 0, MIB, token=other)[0] == 202
    assert put(lab, data, MIB, len(data))[0] == 201
    assert put(lab, data, MIB, len(data), token=other)[0] == 200
    assert kept(lab) == "1 1"
    lab.sql("UPDATE upload SET expires_at = now() - interval '1 s'")
    wait_for("the other's upload to go", lambda: kept(lab) == "0 0", 30)


def test_several_clients_send_one_upload(lab, second):
    """Four at once, on two servers: together they make exactly one bundle."""
    data = make(lab, "1.8.0", 8 * MIB).read_bytes()
    results: list[int] = []

    def send(server) -> None:
        at = 0
        for _ in range(200):
            status, answer, _ = put(lab, data, at, min(at + MIB, len(data)), server=server)
            if status in (200, 201):
                results.append(status)
                return
            if status == 202:
                at = int(answer["received"])
            else:
                got = server.request("GET", f"/api/v1/uploads/{digest(data)}", token=lab.token)
                at = int(got[1].get("received", 0)) if got[0] == 200 else 0
                at = min(at, len(data) - 1)
                time.sleep(0.02)

    threads = [threading.Thread(target=send, args=(s,)) for s in [lab.server, second] * 2]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(results) == [200, 200, 200, 201]
    assert lab.call("GET", f"/api/v1/objects/{digest(data)}")[1] == data
    assert kept(lab) == "0 0"


def test_expired_begins_again(lab):
    data = make(lab, "1.9.0", 3 * MIB).read_bytes()
    assert put(lab, data, 0, 2 * MIB)[0] == 202
    lab.sql("UPDATE upload SET expires_at = now() - interval '1 s'")
    assert lab.call("GET", f"/api/v1/uploads/{digest(data)}")[0] == 404
    assert put(lab, data, 2 * MIB, len(data))[0] == 409, "it is gone, with what it had"
    assert put(lab, data, 0, len(data))[0] == 201
    assert kept(lab) == "0 0"


def test_giving_up(lab, contract):
    data = make(lab, "1.10.0", 3 * MIB).read_bytes()
    assert put(lab, data, 0, MIB)[0] == 202
    status, answer, headers = lab.call("DELETE", f"/api/v1/uploads/{digest(data)}")
    assert status == 204
    contract.check("DELETE", f"/api/v1/uploads/{digest(data)}", status, answer, headers)
    assert kept(lab) == "0 0"


def test_caps(lab, contract):
    """Sixteen unfinished ones for each; and all together a number of bytes."""
    data = make(lab, "1.11.0", 2 * MIB).read_bytes()
    for i in range(16):
        assert put(lab, data, 0, MIB, sha=digest(str(i).encode()))[0] == 202
    status, answer, headers = put(lab, data, 0, MIB, sha=digest(b"17"))
    assert status == 429 and answer["code"] == "too_many_uploads"
    contract.problem(answer, headers, 429)
    lab.sql("UPDATE upload SET size = 16384::bigint << 20 WHERE id = (SELECT min(id) FROM upload)")
    other = lab.server.command("token", "create", "cap", "--role", "releaser").split()[-1]
    assert put(lab, data, 0, MIB, token=other)[0] == 429
    lab.sql("DELETE FROM blob WHERE id IN (SELECT blob FROM upload)")


def test_killed_in_the_middle(lab):
    """kill -9 of the server between two parts: the next life goes on with what was kept."""
    data = make(lab, "1.12.0", 6 * MIB).read_bytes()
    assert put(lab, data, 0, 3 * MIB)[0] == 202
    lab.server.process.kill()
    lab.server.start()
    assert lab.get(f"/api/v1/uploads/{digest(data)}")["received"] == str(3 * MIB)
    assert put(lab, data, 3 * MIB, len(data))[0] == 201
    assert lab.call("GET", f"/api/v1/objects/{digest(data)}")[1] == data


def test_musterctl_outlives_the_server(lab):
    """`bundle upload` while its server is killed again and again: it waits, goes on, and sends nothing twice that was kept."""
    bundle = make(lab, "1.13.0", 150 * MIB)
    child = subprocess.Popen([BUILD / "musterctl", "--config", lab.ctl.conf, "bundle", "upload", bundle], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(2):
        before = lab.sql("SELECT coalesce(max(received), 0) FROM upload")
        wait_for("progress", lambda: child.poll() is not None or int(lab.sql("SELECT coalesce(max(received), 0) FROM upload")) > int(before), 60)
        if child.poll() is not None:
            break
        lab.server.process.kill()
        time.sleep(1)
        lab.server.start()
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert "trying again" in err and "stored" in out
    data = bundle.read_bytes()
    assert lab.get(f"/api/v1/uploads/{digest(data)}")["bundle"]
    assert "already there" in lab.ctl.run("bundle", "upload", bundle).stdout
    assert kept(lab) == "0 0"


def test_musterctl_download(lab, tmp_path):
    made, out = make(lab, "1.14.0", 2 * MIB), tmp_path / "got.mub"
    lab.ctl.run("bundle", "upload", made)
    lab.ctl.run("bundle", "download", "digits@1.14.0", "--out", out)
    assert out.read_bytes() == made.read_bytes()
    with pytest.raises(StackError, match="there already"):
        lab.ctl.run("bundle", "download", "digits@1.14.0", "--out", out)
    lab.sql("UPDATE object_chunk SET bytes = set_byte(bytes, 9, 1 + get_byte(bytes, 9) % 255) WHERE n = 1 AND blob ="
            " (SELECT o.blob FROM object o JOIN bundle b ON b.object_sha256 = o.sha256 WHERE b.version = '1.14.0')")
    for cached in (lab.server.base / "cache").glob("??/*"):
        cached.unlink()
    with pytest.raises(StackError, match="damaged"):
        lab.ctl.run("bundle", "download", "digits@1.14.0", "--out", tmp_path / "again.mub", "--patience", "0")
    assert not (tmp_path / "again.mub").exists()


def test_threshold_of_signatures(lab, contract):
    """release_signatures = 2: one key is not enough, the same key twice neither, two are. More than there are keys: it does not start."""
    second = lab.stack.keys / "second"
    run([BUILD / "musterctl", "key", "generate", "--out", second])
    (lab.stack.keys / "trusted/second.pub").write_text(second.with_suffix(".pub").read_text())
    strict = lab.stack.server("strict", {"release_signatures": 2})
    strict.start()
    try:
        made = make(lab, "1.15.0", 2 * MIB)
        data = made.read_bytes()
        status, answer, headers = put(lab, data, 0, MIB, server=strict)
        assert status == 422 and answer["code"] == "signature_untrusted" and "2" in answer["detail"]
        contract.problem(answer, headers, 422)
        assert strict.request("PUT", "/api/v1/bundles", raw=data, token=lab.token)[0] == 422
        run([BUILD / "musterctl", "bundle", "sign", made, "--key", second.with_suffix(".key")])
        data = made.read_bytes()
        status, answer, _ = put(lab, data, 0, len(data), server=strict)
        assert status == 201 and len(answer["key_ids"]) == 2
    finally:
        strict.stop()
    strict.settings["release_signatures"] = 3
    with pytest.raises(StackError, match="release_signatures = 3.* 2 release keys"):
        strict.start()
    (lab.stack.keys / "trusted/second.pub").unlink()
