"""Bad input: the right status, a problem body a person can act on, and nothing changed."""

import json
import socket
import ssl

import pytest
from contract import Contract

TABLES = ["account", "api_token", "site", "enrolment_token", "device", "bundle", "object", "rollout", "assignment", "hold", "audit"]


@pytest.fixture(scope="module")
def contract(openapi):
    return Contract(openapi)


@pytest.fixture(autouse=True)
def nothing_changes(lab):
    before = counts(lab)
    yield
    assert counts(lab) == before


def counts(lab) -> str:
    """Rows of every table, in one query: this runs twice for each test."""
    return lab.sql(" UNION ALL ".join(f"SELECT '{t}', count(*) FROM {t}" for t in TABLES))


@pytest.mark.parametrize("method,path,body,status,code", [
    ("GET", "/api/v1/nothing", None, 404, None),
    ("GET", "/api/v2/devices", None, 404, None),
    ("DELETE", "/api/v1/devices", None, 405, "method_not_allowed"),
    ("POST", "/api/v1/fleet", {}, 405, "method_not_allowed"),
    ("GET", "/api/v1/devices/nobody", None, 404, None),
    ("GET", "/api/v1/rollouts/999", None, 404, None),
    ("GET", "/api/v1/rollouts/abc", None, 404, None),
    ("GET", "/api/v1/bundles/digits@9.9.9", None, 404, None),
    ("GET", "/api/v1/devices?q=colour:red", None, 400, None),
    ("GET", "/api/v1/devices?q=", None, 400, None),
    ("GET", "/api/v1/devices?limit=0", None, 400, None),
    ("GET", "/api/v1/devices?limit=many", None, 400, None),
    ("GET", "/api/v1/devices/a%2Fb", None, 400, None),
    ("GET", "/api/v1/devices/a%00b", None, 400, None),
    ("POST", "/api/v1/enrolment-tokens", {"site": "Not A Site!"}, 400, None),
    ("POST", "/api/v1/enrolment-tokens", {"site": "lab", "uses": 0}, 400, None),
    ("POST", "/api/v1/enrolment-tokens", {"site": "lab", "uses": "3"}, 400, None),
    ("POST", "/api/v1/enrolment-tokens", {"site": "lab", "colour": "red"}, 400, "unknown_field"),
    ("POST", "/api/v1/enrolment-tokens", {}, 400, None),
    ("POST", "/api/v1/enrolment-tokens", [1, 2], 400, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0"}, 400, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0", "q": "site:x", "all": True}, 400, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0", "all": False}, 400, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0", "all": True}, 404, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0", "all": True, "waves": [{"percent": 50}]}, 400, None),
    ("POST", "/api/v1/rollouts", {"bundle": "digits@1.0.0", "all": True, "waves": [{"percent": 120}]}, 400, None),
    ("POST", "/api/v1/rollouts/999/pause", {}, 404, None),
    ("POST", "/api/v1/rollouts/999/explode", {}, 404, None),
    ("POST", "/api/v1/alerts/999/ack", {}, 404, None),
    ("POST", "/api/v1/devices/nobody/hold", {"reason": "x"}, 404, None),
    ("DELETE", "/api/v1/tokens/999", None, 403, None),  # an API token may not touch tokens
])
def test_refused(lab, contract, method, path, body, status, code):
    got, answer, headers = lab.call(method, path, body)
    assert got == status, answer
    contract.problem(answer, headers, status)
    if code:
        assert answer["code"] == code
    if status == 405:
        assert headers["Allow"]


def test_query_error_has_an_offset(lab):
    _, answer, _ = lab.call("GET", "/api/v1/devices?q=site:berlin%20colour:red")
    (error,) = answer["field_errors"]
    assert error["field"] == "q" and error["offset"] == len("site:berlin ")


@pytest.mark.parametrize("raw,status", [
    (b"{", 400), (b"", 400), (b'{"site": "a", "site": "b"}', 400), (b'{"site": "\\u0000"}', 400), (b'{"site": "\xff"}', 400),
    (b'"text"', 400), (b"[" * 100000 + b"]" * 100000, 400), (b'{"site":"' + b"a" * 300000 + b'"}', 413),
], ids=["unclosed", "empty", "duplicate", "nul", "not-utf8", "no-object", "deep", "large"])
def test_malformed_bodies(lab, contract, raw, status):
    got, answer, headers = lab.call("POST", "/api/v1/enrolment-tokens", raw=raw, headers={"Content-Type": "application/json"})
    assert got == status, answer
    contract.problem(answer, headers, status)


def test_wrong_content_type(lab, contract):
    got, answer, headers = lab.call("POST", "/api/v1/enrolment-tokens", raw=b"site=lab", headers={"Content-Type": "text/plain"})
    assert got == 415
    contract.problem(answer, headers, 415)


@pytest.mark.parametrize("head", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}, {"Cookie": "__Host-muster=nonsense"}])
@pytest.mark.parametrize("method,path", [("GET", "/api/v1/devices"), ("POST", "/api/v1/rollouts"), ("GET", "/api/v1/stream"), ("PUT", "/api/v1/bundles")])
def test_no_or_wrong_credentials(lab, contract, method, path, head):
    raw = b"{}" if method != "GET" else None
    kind = {"Content-Type": "application/json"} if method == "POST" else {}
    got, answer, headers = lab.call(method, path, token=None, headers={**head, **kind}, raw=raw)
    assert got == 401, answer
    contract.problem(answer, headers, 401)


def _content(openapi: dict, operation: dict) -> dict:
    body = operation["requestBody"]
    return (openapi["components"]["requestBodies"][body["$ref"].split("/")[-1]] if "$ref" in body else body)["content"]


def test_every_route_wants_credentials(lab, openapi):
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/device/") or operation.get("security") == []:
                continue
            real = path.replace("{id}", "1").replace("{action}", "pause")
            raw = b"{}" if "requestBody" in operation else None
            kind = {"Content-Type": "application/json"} if raw and "application/json" in _content(openapi, operation) else {}
            got, _, _ = lab.call(method.upper(), real, token=None, raw=raw, headers=kind)
            assert got == 401, (method, path)


def test_large_upload_is_cut(lab, contract):
    """A body that says it is larger than the limit is refused before it is sent."""
    raw = socket.create_connection(("127.0.0.1", lab.server.api_port), timeout=10)
    with lab.server.tls().wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(b"PUT /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + lab.token.encode() +
                  b"\r\nContent-Type: application/octet-stream\r\nContent-Length: 9999999999999\r\n\r\n")
        assert b" 413 " in s.recv(4096).split(b"\r\n")[0]


def test_garbage_on_the_tls_port(lab):
    for raw in [b"\x00" * 64, b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"a" * 400]:
        with socket.create_connection(("127.0.0.1", lab.server.api_port), timeout=5) as s:
            s.sendall(raw)
            s.settimeout(5)
            try:
                s.recv(100)
            except (TimeoutError, ConnectionError):
                pass
    assert lab.server.get_json("/healthz")["status"] == "ok"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # asking for old TLS is the test
def test_old_tls_is_refused(lab):
    context = lab.server.tls()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with socket.create_connection(("127.0.0.1", lab.server.api_port), timeout=5) as s:
            context.wrap_socket(s, server_hostname="localhost")


def test_bundles_that_are_none(lab, contract):
    for raw in [b"", b"not a tar", b"\x00" * 10240, json.dumps({"a": 1}).encode()]:
        got, answer, headers = lab.call("PUT", "/api/v1/bundles", raw=raw)
        assert got in (400, 422), answer
        contract.problem(answer, headers, got)
