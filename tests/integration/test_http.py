"""What the ports do below the API: connections, uploads, files, slow clients, streams."""

import json
import re
import socket
import threading
import time

import pytest
from conftest import ROOT
from stack import wait_for


def connect(lab, seconds: float = 20) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", lab.server.api_port), timeout=seconds)
    return lab.server.tls().wrap_socket(raw, server_hostname="localhost")


def head(lab, method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {lab.token}", *lines, "", ""]).encode()


def answer(reader) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length from a connection that stays open."""
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline().strip()):
        name, value = line.decode().split(": ", 1)
        headers[name] = value
    return status, headers, reader.read(int(headers.get("Content-Length", 0)))


def test_errors_keep_the_connection(lab):
    """A client with a small body sees its error and goes on: on one connection, twenty times."""
    with connect(lab) as s:
        reader = s.makefile("rb")
        for _ in range(20):
            s.sendall(head(lab, "POST", "/api/v1/nothing", "Content-Length: 5") + b"hello")
            assert answer(reader)[0] == 404
            s.sendall(head(lab, "POST", "/api/v1/enrolment-tokens", "Content-Type: text/plain", "Content-Length: 5") + b"hello")
            assert answer(reader)[0] == 415
            s.sendall(head(lab, "GET", "/api/v1/me"))
            assert answer(reader)[0] == 200


@pytest.mark.parametrize("lines,status", [
    (["Content-Length: 99999999", "Authorization: Bearer mst_" + "a" * 52], 401),
    (["Content-Length: 99", "Expect: 100-continue", "Authorization: Bearer mst_" + "a" * 52], 401),
    (["Content-Length: 99", "Expect: 100-continue", "Authorization: Bearer {token}"], 100),
    (["Content-Length: 9999999999999", "Authorization: Bearer {token}"], 413),
    (["Content-Length: 99", "Content-Type: text/html", "Authorization: Bearer {token}"], 415),
])
def test_an_upload_is_judged_by_its_head(lab, lines, status):
    """No byte of the body is sent, and the answer comes all the same."""
    if status == 415:
        lines = [*lines, "Expect: 100-continue"]
    with connect(lab) as s:
        s.sendall("\r\n".join(["PUT /api/v1/bundles HTTP/1.1", "Host: localhost", *lines, "", ""]).format(token=lab.token).encode())
        assert int(s.recv(4096).split()[1]) == status


def test_body_without_a_length(lab):
    """Chunked: too large is found while it comes, and a body that never ends is cut."""
    lines = ["Content-Type: application/json", "Transfer-Encoding: chunked"]
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    for count, status in [(1, 400), (80, 413)]:
        with connect(lab) as s:
            s.sendall(head(lab, "POST", "/api/v1/enrolment-tokens", *lines) + chunk * count + b"0\r\n\r\n")
            assert answer(s.makefile("rb"))[0] == status
    with connect(lab) as s, pytest.raises(OSError):
        s.sendall(head(lab, "POST", "/api/v1/enrolment-tokens", *lines))
        for _ in range(5000):
            s.sendall(chunk)
        raise AssertionError("20 MB of JSON were taken")


def test_queries_are_strict(lab):
    for query in ["limit=1&limit=2", "a=%00", "a=%", "=1", "a=%ff", "&".join(f"a{i}=1" for i in range(40))]:
        status, problem, _ = lab.call("GET", f"/api/v1/audit?{query}")
        assert status == 400 and problem["code"] == "bad_query", query
    assert lab.call("GET", "/api/v1/me?a=" + "a" * 9000)[0] == 414
    assert lab.call("GET", "/api/v1/%6de")[0] == 200, "an escaped letter is that letter"


def test_console_files(lab):
    dist = ROOT / "web/dist"
    script = "/" + str(next(dist.glob("assets/*.js")).relative_to(dist))
    for accepts, encoding in [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip", "gzip"), ("identity", None)]:
        status, _, headers = lab.call("GET", script, headers={"Accept-Encoding": accepts})
        assert status == 200 and headers["Content-Encoding"] == encoding and headers["Vary"] == "Accept-Encoding"
        assert headers["Content-Type"].startswith("text/javascript") and "immutable" in headers["Cache-Control"]
    _, whole, headers = lab.call("GET", script)
    assert lab.call("GET", script, headers={"If-None-Match": headers["ETag"]})[0] == 304
    status, part, more = lab.call("GET", script, headers={"Range": "bytes=10-19"})
    assert status == 206 and part == whole[10:20] and more["Content-Range"] == f"bytes 10-19/{len(whole)}"
    assert lab.call("GET", script, headers={"Range": "bytes=10-19", "If-Range": '"other"'})[0] == 200
    assert lab.call("GET", script, headers={"Range": "bytes=999999999-"})[1]["code"] == "range_not_satisfiable"
    assert lab.call("GET", "/assets/none.js")[0] == 404, "a missing script is not the index"
    assert lab.call("POST", "/devices", {})[0] == 405


def test_stream_tells_what_changes(lab):
    """`resync` first, then one frame for what happened together; none when nothing happens."""
    with connect(lab) as s:
        s.sendall(head(lab, "GET", "/api/v1/stream", "Accept: text/event-stream"))
        reader = s.makefile("rb")
        while reader.readline() != b"event: resync\n":
            pass
        begin = time.monotonic()
        lab.sql("INSERT INTO event (kind, device_id, rollout_id) VALUES ('alert.state', 'abc', 7), ('device.hold', 'def', NULL)")
        while not (line := reader.readline()).startswith(b'data: {"topics"'):
            pass
        assert time.monotonic() - begin < 1.5
        assert json.loads(line.removeprefix(b"data: "))["topics"] == ["alerts", "device:abc", "device:def", "fleet", "rollout:7"]
        s.settimeout(2)
        with pytest.raises(TimeoutError):
            while not reader.readline().startswith(b"event:"):
                pass


def test_log_has_every_request_and_no_secret(lab):
    _, _, headers = lab.call("GET", "/api/v1/audit?limit=1&note=confidential-text")
    request_id = headers["X-Request-Id"]
    line = wait_for("the log line", lambda: next((l for l in lab.server.log.read_text().splitlines() if f"id={request_id}" in l), None), 5)
    assert re.search(r"method=GET route=/api/v1/audit status=200 ms=\d+ actor=token:tests address=127.0.0.1", line)
    assert "confidential-text" not in lab.server.log.read_text()


def test_slow_clients_are_cut(lab):
    """Whoever is silent, or sends a head by the line or a body by the byte, is cut after half a minute; a slow and steady upload is not."""
    clients = {
        "silent": (b"", b""),
        "head": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        "body": (head(lab, "POST", "/api/v1/enrolment-tokens", "Content-Type: application/json", "Content-Length: 9999"), b" "),
        "upload": (head(lab, "PUT", "/api/v1/bundles", "Content-Length: 80000"), b"x" * 2000),
    }
    ends: dict[str, tuple[float, bytes]] = {}

    def drip(name: str, first: bytes, piece: bytes) -> None:
        begin, got = time.monotonic(), b""
        with connect(lab, 60) as s:
            try:
                s.sendall(first)
                for _ in range(40 if piece else 0):
                    s.sendall(piece)
                    time.sleep(1)
                got = s.recv(15)
            except OSError:
                pass
        ends[name] = time.monotonic() - begin, got

    threads = [threading.Thread(target=drip, args=(name, *what)) for name, what in clients.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("silent", "head", "body"):
        assert 25 < ends[name][0] < 39 and ends[name][1] == b"", ends
    assert ends["upload"][0] >= 40 and ends["upload"][1].startswith(b"HTTP/1.1 4"), ends  # taken whole, and judged: it is no bundle
