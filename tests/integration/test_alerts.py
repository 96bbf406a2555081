"""Alerts on real beats over a real broker: one per device and rule, by themselves over, and nobody is blamed for the server's own absence."""

from __future__ import annotations

import json
import threading
import time

import pytest
from contract import Contract
from device import Device
from stack import wait_for

BEAT_S = 1


class Beating:
    """A Device that says hello and then beats; `margin` is what it says of its temperature."""

    def __init__(self, lab, folder, name: str):
        self.device, self.name, self.margin = Device(lab, folder, name), name, 20.0
        self.quiet, self.ended = threading.Event(), threading.Event()
        self.session = 0
        self.start = time.monotonic()
        self.join()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def join(self) -> None:
        self.session += 1
        self.device.connect(subscribe=False)
        self.device.client.reconnect_delay_set(1, 1)  # well within the three beats that it has after a break
        wait_for("the connection", lambda: self.device.client.is_connected(), 10)
        self.device.publish("up/hello", {"session": str(self.session), "boot_id": "b", "agent_version": "0.1.0", "generation": "0",
                                         "spool": {"epoch": "00000000000000aa", "first": "1", "last": "0"}})

    def beat(self) -> dict:
        return {"session": str(self.session), "t": int(time.time() * 1000), "uptime_s": int(time.monotonic() - self.start), "generation": "0",
                "margin_c": self.margin, "throttled": False, "slots": {}}

    def _run(self) -> None:
        while not self.ended.wait(BEAT_S):
            if not self.quiet.is_set():  # while the broker is away it goes nowhere
                self.device.client.publish(self.device.topic("up/beat"), json.dumps(self.beat()))

    def end(self) -> None:
        self.ended.set()
        self.thread.join()
        self.device.close()


@pytest.fixture(scope="module")
def fast(make_lab):
    lab = make_lab()
    lab.start_services({"beat_s": BEAT_S, "alert_period_ms": 100})
    lab.sql("UPDATE alert_rule SET for_s = 1 WHERE kind = 'temperature'")
    return lab


@pytest.fixture()
def device(fast, tmp_path, request):
    made = Beating(fast, tmp_path, request.node.name.replace("_", "-")[:60])
    wait_for("it to be online", lambda: fast.devices()[made.name]["liveness"] == "online", 10)
    yield made
    made.end()
    fast.sql(f"UPDATE device SET retired_at = now() WHERE id = '{made.device.id}'")
    wait_for("alerts of a retired device to be over", lambda: not alerts(fast, made, "firing"), 5)


def alerts(lab, device: Beating, state: str = "") -> list[dict]:
    return lab.get(f"/api/v1/alerts?device={device.name}" + (f"&state={state}" if state else ""))["alerts"]


def states(lab, device: Beating) -> list[str]:
    events = lab.get(f"/api/v1/devices/{device.name}/events")["events"]
    return [e["data"]["state"] for e in reversed(events) if e["kind"] == "alert.state"]


def test_silence_fires_once_and_resolves_by_itself(fast, device, openapi):
    time.sleep(3 * BEAT_S + 1)
    assert not alerts(fast, device)
    device.quiet.set()
    begin = time.monotonic()
    alert = wait_for("the alert", lambda: alerts(fast, device, "firing"), 10)[0]
    assert time.monotonic() - begin < 3 * BEAT_S + 3
    assert alert["kind"] == "heartbeat_missing" and alert["severity"] == "critical" and alert["value"] > 3
    assert alert["since"] < alert["fired_at"] and alert["resolved_at"] is None
    assert alert["summary"].startswith(f"{device.name} has not been heard for ") and "its beat is 1 s" in alert["summary"]
    status, answer, headers = fast.call("GET", "/api/v1/alerts")
    Contract(openapi).check("GET", "/api/v1/alerts", status, answer, headers)
    time.sleep(2)
    assert len(alerts(fast, device)) == 1
    device.quiet.clear()
    wait_for("it to resolve", lambda: not alerts(fast, device, "firing"), 5)
    over = alerts(fast, device)[0]
    assert over["id"] == alert["id"] and over["state"] == "resolved" and over["resolved_at"] > over["fired_at"]
    assert states(fast, device) == ["firing", "resolved"]


def test_heat_must_last(fast, device):
    device.margin = 3.0
    wait_for("a pending alert", lambda: alerts(fast, device, "pending"), 5)
    device.margin = 20.0
    wait_for("it to be dropped", lambda: not alerts(fast, device), 5)
    assert states(fast, device) == []
    device.margin = 3.0
    alert = wait_for("the alert", lambda: alerts(fast, device, "firing"), 5)[0]
    assert alert["kind"] == "temperature" and alert["severity"] == "warning" and alert["value"] == pytest.approx(3.0)
    assert alert["fired_at"] - alert["since"] >= 1000
    assert "3.0 °C from a trip point; the limit is 5 °C" in alert["summary"]
    device.margin = 5.5  # above the threshold, but not yet by a degree
    time.sleep(3 * BEAT_S)
    assert alerts(fast, device, "firing")
    device.margin = 6.5
    wait_for("it to resolve", lambda: alerts(fast, device, "resolved"), 5)


def test_nobody_is_blamed_for_a_broken_broker(fast, device):
    fast.stack.broker.stop()
    time.sleep(6 * BEAT_S + 1)
    assert not alerts(fast, device)
    fast.stack.broker.start()
    wait_for("the device to be back", lambda: device.device.client.is_connected(), 20)
    wait_for("the server to be back", fast.server.ready, 20)
    time.sleep(6 * BEAT_S)
    assert not alerts(fast, device)


def test_a_firing_alert_survives_a_restart_of_the_server(fast, device):
    device.quiet.set()
    alert = wait_for("the alert", lambda: alerts(fast, device, "firing"), 10)[0]
    fast.server.stop()
    fast.server.start()
    time.sleep(2)
    assert [a["id"] for a in alerts(fast, device, "firing")] == [alert["id"]]
    assert states(fast, device) == ["firing"]
    device.quiet.clear()
    wait_for("it to resolve", lambda: not alerts(fast, device, "firing"), 5)


def test_acknowledge(fast, device):
    device.quiet.set()
    alert = wait_for("the alert", lambda: alerts(fast, device, "firing"), 10)[0]
    path = f"/api/v1/alerts/{alert['id']}/ack"
    for body, field in [({"notes": "x"}, "notes"), ({"note": 1}, "note"), ({"note": "x" * 501}, "note")]:
        status, answer, _ = fast.call("POST", path, body)
        assert status == 400 and answer["field_errors"][0]["field"] == field, answer
    status, answer, _ = fast.call("POST", path, {"note": "on my way"})
    assert status == 200 and answer["acked_by"] == "token:tests" and answer["ack_note"] == "on my way" and answer["state"] == "firing"
    assert answer["acked_at"] is not None
    assert fast.sql(f"SELECT actor || ' ' || action || ' ' || (after->>'ack_note') FROM audit WHERE target = 'alert:{alert['id']}'") == \
        "token:tests alert.ack on my way"
    assert [e["data"]["note"] for e in fast.get(f"/api/v1/devices/{device.name}/events")["events"] if e["kind"] == "alert.ack"] == ["on my way"]
    device.quiet.clear()
    wait_for("it to resolve", lambda: not alerts(fast, device, "firing"), 5)
    status, answer, _ = fast.call("POST", path, {})
    assert status == 409 and answer["code"] == "alert_resolved"


def test_filters_and_pages(fast, device):
    for _ in range(2):
        device.quiet.set()
        wait_for("the alert", lambda: alerts(fast, device, "firing"), 10)
        device.quiet.clear()
        wait_for("it to resolve", lambda: not alerts(fast, device, "firing"), 5)
    found = alerts(fast, device)
    assert len(found) == 2 and [int(a["id"]) for a in found] == sorted((int(a["id"]) for a in found), reverse=True)
    page = fast.get(f"/api/v1/alerts?device={device.device.id}&limit=1&before={found[0]['id']}")["alerts"]
    assert [a["id"] for a in page] == [found[1]["id"]]
    assert fast.get("/api/v1/alerts?device=nobody")["alerts"] == []
    for query in ("state=none", "state=open", "limit=0", "limit=501", "before=x"):
        assert fast.call("GET", f"/api/v1/alerts?{query}")[0] == 400, query
