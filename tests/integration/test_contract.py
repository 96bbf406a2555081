"""Every documented route is there and answers as api/openapi.yaml says, with a live fleet behind it."""

import re
import time

import pytest
from conftest import ROOT
from contract import Contract
from stack import wait_for


@pytest.fixture(scope="module")
def alive(lab):
    """One device that runs 1.0.0 with figures, one that is dead (an alert), one held device."""
    for name in ("alive-1", "alive-2"):
        lab.add_agent(name)
    lab.wait_online(2)
    lab.upload("1.0.0")
    rid = lab.roll_out("1.0.0")
    lab.wait_rollout(rid, "completed")
    wait_for("figures", lambda: lab.get("/api/v1/devices/alive-1/inference")["windows"] and lab.get("/api/v1/devices/alive-1/drift")["features"], 30)
    lab.stack.agents["alive-2"].kill()
    wait_for("an alert", lambda: lab.get("/api/v1/alerts?state=firing")["alerts"], 30)
    lab.call("POST", "/api/v1/devices/alive-1/hold", {"reason": "contract", "expires_in_s": 600})
    return lab, rid


PATHS = [
    "/healthz", "/readyz", "/api/v1/me", "/api/v1/tokens", "/api/v1/audit", "/api/v1/enrolment-tokens", "/api/v1/fleet", "/api/v1/sites",
    "/api/v1/devices", "/api/v1/devices?q=site:lab%20-name:none&limit=1", "/api/v1/devices/alive-1", "/api/v1/devices/alive-2",
    "/api/v1/devices/alive-1/health", "/api/v1/devices/alive-1/inference", "/api/v1/devices/alive-1/drift", "/api/v1/devices/alive-1/events",
    "/api/v1/bundles", "/api/v1/bundles?slot=digits", "/api/v1/bundles/digits@1.0.0", "/api/v1/bundles/digits@1.0.0/deltas",
    "/api/v1/deltas", "/api/v1/deltas?limit=1&before=9", "/api/v1/rollouts", "/api/v1/rollouts/{rid}",
    "/api/v1/rollouts/{rid}/devices", "/api/v1/rollouts/{rid}/devices?state=succeeded", "/api/v1/rollouts/{rid}/events", "/api/v1/alerts",
    "/api/v1/alerts?state=firing&device=alive-2",
]


@pytest.mark.parametrize("path", PATHS)
def test_answers(alive, openapi, path):
    lab, rid = alive
    real = path.replace("{rid}", rid)
    status, answer, headers = lab.call("GET", real)
    assert status == 200, answer
    Contract(openapi).check("GET", real, status, answer, headers)


def test_writes(alive, openapi):
    lab, rid = alive
    contract = Contract(openapi)
    alert = lab.get("/api/v1/alerts?state=firing")["alerts"][0]["id"]
    lab.upload("1.1.0")
    for method, path, body, expected in [
        ("POST", "/api/v1/rollout-plans", {"bundle": "digits@1.1.0", "all": True}, 200),
        ("POST", "/api/v1/rollouts", {"bundle": "digits@1.1.0", "q": ""}, 400),
        ("POST", "/api/v1/rollouts", {"bundle": "digits@1.1.0", "q": "name:nobody"}, 400),
        ("POST", "/api/v1/rollouts", {"bundle": "digits@1.1.0", "all": True, "canaries": ["nobody"]}, 400),
        ("POST", "/api/v1/rollouts", {"bundle": "digits@1.1.0", "q": "name:alive-2"}, 201),
        ("POST", "/api/v1/rollouts/{new}/pause", {}, 200), ("POST", "/api/v1/rollouts/{new}/resume", {}, 200),
        ("POST", "/api/v1/rollouts/{new}/abort", {"reason": "contract"}, 200), ("POST", "/api/v1/rollouts/{new}/pause", {}, 409),
        ("POST", "/api/v1/bundles/digits@1.1.0/deltas", {"from": "digits@1.0.0"}, 202),
        ("POST", "/api/v1/bundles/digits@1.1.0/deltas", {"from": "digits@1.1.0"}, 400),
        ("POST", "/api/v1/bundles/digits@1.1.0/deltas", {"from": "digits@7.0.0"}, 404),
        ("POST", f"/api/v1/alerts/{alert}/ack", {"note": "on it"}, 200), ("DELETE", "/api/v1/devices/alive-1/hold", None, 204),
        ("POST", "/api/v1/devices/alive-1/hold", {"reason": "again", "then": "cancel"}, 201),
        ("POST", "/api/v1/tokens", {"name": "x", "role": "viewer"}, 403), ("POST", "/api/v1/enrolment-tokens", {"site": "new-site"}, 201),
    ]:
        if "{new}" in path:
            path = path.replace("{new}", lab.get("/api/v1/rollouts")["rollouts"][0]["id"])
        status, answer, headers = lab.call(method, path, body)
        assert status == expected, (method, path, answer)
        contract.check(method, path, status, answer, headers)


def test_every_documented_route_is_asked(openapi):
    asked = {re.sub(r"\{rid\}|alive-\d|digits@1.0.0", "{id}", p.split("?")[0]) for p in PATHS}
    documented = {p for p, methods in openapi["paths"].items() if "get" in methods and not p.startswith("/device/")}
    assert documented - asked == {"/api/v1/stream", "/api/v1/uploads/{sha256}", "/api/v1/objects/{sha256}"}, "the last two: test_upload.py, test_objects.py"


def test_stream(alive):
    """A change arrives as a topic within two seconds; the first frame is resync."""
    import urllib.request
    lab, _ = alive
    request = urllib.request.Request(lab.server.url + "/api/v1/stream", headers={"Authorization": f"Bearer {lab.token}"})
    with urllib.request.urlopen(request, context=lab.server.tls(), timeout=10) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.readline().decode().strip() == "event: resync"
        device = lab.get("/api/v1/devices/alive-1")["id"]
        begin = time.monotonic()
        while time.monotonic() - begin < 10:
            line = stream.readline().decode()
            if line.startswith("data:") and f"device:{device}" in line:
                return
    raise AssertionError("no frame about a device that beats every two seconds")


def test_events_of_mqtt_md_are_the_code(alive):
    """Every phase and code the schema knows is in api/mqtt.md."""
    text = (ROOT / "api/mqtt.md").read_text()
    phases = alive[0].sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'device_slot_phase_check'")
    assert all(f"`{p}`" in text for p in re.findall(r"'(\w+)'", phases))
