"""Sessions, tokens and roles."""

import time

import pytest
from contract import Contract


@pytest.fixture(scope="module")
def contract(openapi):
    return Contract(openapi)


def login(lab, password, **more):
    return lab.call("POST", "/api/v1/session", {"user": "admin", "password": password, **more}, token=None)


def cookie(headers) -> str:
    return headers["Set-Cookie"].split(";")[0]


@pytest.fixture(scope="module")
def password(lab):
    one_time = lab.server.command("user", "reset-password", "admin").splitlines()[-1].split()[-1]
    status, answer, _ = login(lab, one_time)
    assert status == 403 and answer["code"] == "password_change_required"
    assert login(lab, one_time, new_password="short")[0] == 400
    assert login(lab, one_time, new_password="a long new password")[0] == 200
    assert login(lab, one_time)[0] == 401, "a one-time password is good once"
    return "a long new password"


def test_session(lab, password, contract):
    status, answer, headers = login(lab, password)
    assert status == 200
    contract.check("POST", "/api/v1/session", status, answer, headers)
    attributes = headers["Set-Cookie"]
    assert attributes.startswith("__Host-muster=") and all(a in attributes for a in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"))
    head = {"Cookie": cookie(headers)}
    assert lab.call("GET", "/api/v1/me", token=None, headers=head)[1]["actor"] == "user:admin"
    refused = lab.call("POST", "/api/v1/enrolment-tokens", {"site": "lab"}, token=None, headers=head)
    assert refused[0] == 403, "a change by cookie needs the CSRF header"
    head["X-Muster-Csrf"] = "1"
    assert lab.call("POST", "/api/v1/enrolment-tokens", {"site": "lab"}, token=None, headers=head)[0] == 201
    assert lab.call("DELETE", "/api/v1/session", token=None, headers=head)[0] == 204
    assert lab.call("GET", "/api/v1/me", token=None, headers=head)[0] == 401


def test_secrets_are_stored_as_digests(lab, password):
    _, _, headers = login(lab, password)
    secret = cookie(headers).split("=", 1)[1]
    for table in ("session", "api_token", "account", "audit", "event"):
        dump = lab.sql(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t")
        assert secret not in dump and lab.token not in dump and password not in dump
    log = lab.server.log.read_text()
    assert secret not in log and lab.token not in log and password not in log


def test_wrong_user_and_password_look_alike(lab, password):
    wrong = login(lab, "not the password")
    unknown = lab.call("POST", "/api/v1/session", {"user": "nobody", "password": "x"}, token=None)
    assert wrong[0] == unknown[0] == 401
    assert {k: wrong[1][k] for k in ("code", "detail")} == {k: unknown[1][k] for k in ("code", "detail")}


@pytest.fixture()
def admin(lab, password):
    """The headers of a person who is logged in: only people make tokens."""
    _, _, headers = login(lab, password)
    return {"Cookie": cookie(headers), "X-Muster-Csrf": "1"}


def test_revoked_and_expired_tokens(lab, admin):
    wish = {"name": "temporary", "role": "viewer"}
    assert lab.call("POST", "/api/v1/tokens", wish)[0] == 403, "an API token may not make tokens"
    _, made, _ = lab.call("POST", "/api/v1/tokens", wish, token=None, headers=admin)
    assert lab.call("GET", "/api/v1/me", token=made["secret"])[1]["role"] == "viewer"
    assert lab.call("DELETE", f"/api/v1/tokens/{made['id']}")[0] == 403
    assert lab.call("DELETE", f"/api/v1/tokens/{made['id']}", token=None, headers=admin)[0] == 204
    assert lab.call("GET", "/api/v1/me", token=made["secret"])[0] == 401
    _, made, _ = lab.call("POST", "/api/v1/tokens", {**wish, "expires_in_s": 60}, token=None, headers=admin)
    lab.sql(f"UPDATE api_token SET expires_at = now() - interval '1 s' WHERE id = {made['id']}")
    assert lab.call("GET", "/api/v1/me", token=made["secret"])[0] == 401


# Which role may: one line a route that changes something; every lower role is refused.
RIGHTS = [
    ("operator", "POST", "/api/v1/devices/nobody/hold", {"reason": "x"}, 404),
    ("operator", "DELETE", "/api/v1/devices/nobody/hold", None, 404),
    ("operator", "POST", "/api/v1/alerts/1/ack", {}, 404),
    ("operator", "POST", "/api/v1/rollouts/1/pause", {}, 404),
    ("releaser", "POST", "/api/v1/rollouts/1/resume", {}, 404),
    ("releaser", "POST", "/api/v1/rollouts/1/abort", {"reason": "x"}, 404),
    ("releaser", "POST", "/api/v1/rollouts/1/rollback", {"reason": "x"}, 404),
    ("releaser", "POST", "/api/v1/rollouts", {"bundle": "a@1.0.0", "all": True}, 404),
    ("releaser", "PUT", "/api/v1/bundles", None, 400),
    ("admin", "GET", "/api/v1/tokens", None, 200),
    ("admin", "GET", "/api/v1/audit", None, 200),
    ("admin", "GET", "/api/v1/enrolment-tokens", None, 200),
    ("admin", "POST", "/api/v1/enrolment-tokens", {}, 400),
    ("admin", "DELETE", "/api/v1/enrolment-tokens/1", None, 404),
]
ROLES = ["viewer", "operator", "releaser", "admin"]


@pytest.fixture(scope="module")
def tokens(lab):
    return {role: lab.server.command("token", "create", role, "--role", role).splitlines()[-1].split()[-1] for role in ROLES}


@pytest.mark.parametrize("least,method,path,body,status", RIGHTS)
def test_roles(lab, tokens, least, method, path, body, status):
    lab.sql("DELETE FROM enrolment_token")
    for role in ROLES:
        more = {"raw": b"x"} if method == "PUT" else {}
        got = lab.call(method, path, body, token=tokens[role], **more)[0]
        if ROLES.index(role) < ROLES.index(least):
            assert got == 403, f"{role} may {method} {path}"
        else:
            assert got == status or (status == 400 and got in (400, 422)), f"{role} {method} {path}: {got}"


def test_changes_are_audited(lab):
    _, made, _ = lab.call("POST", "/api/v1/enrolment-tokens", {"site": "audited"})
    (entry,) = [e for e in lab.get("/api/v1/audit?limit=5")["entries"] if e["target"].endswith(f":{made['id']}")][:1]
    assert entry["actor"] == "token:tests" and "enrol" in entry["action"] and entry["request_id"]
    assert made["secret"] not in str(entry)


def test_login_is_rate_limited(make_lab):
    lab = make_lab("_rate")
    lab.start_services({"login_per_minute": 3})
    statuses = [login(lab, "wrong")[0] for _ in range(8)]
    assert 429 in statuses and statuses[0] == 401
    _, answer, headers = login(lab, "wrong")
    assert answer["code"] == "rate_limited" and int(headers["Retry-After"]) > 0
    begin = time.monotonic()
    assert lab.server.get_json("/healthz")["status"] == "ok" and time.monotonic() - begin < 2
