#!/usr/bin/python3
"""`make demo-check`: the whole story, unattended. One line a step with the time it took; exit status 1 if any step is not as it should be."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from pathlib import Path

from fleet import HOT, SITES, Fleet, make_bundle
from stack import BUILD, DATA, ROOT, StackError, run, wait_for

BASE = ROOT / "var/demo-check"
ALL = [name for names in SITES.values() for name in names]
CANARY, HELD, VICTIM = "berlin-gate-1", "lyon-dock-2", "berlin-yard-1"


class Wrong(AssertionError):
    """A step is not as it should be."""


def expect(true: object, text: str) -> None:
    if not true:
        raise Wrong(text)


class Story:
    """The steps, in order. Each returns the sentence that is printed when it went well."""

    def __init__(self, fleet: Fleet):
        self.fleet = fleet

    # ---------------------------------------------------------------- helpers

    def create(self, version: str, *argv: str) -> str:
        return self.fleet.ctl.json("rollout", "create", "--bundle", f"digits@{version}", *argv)["id"]

    def rollout(self, rid: str) -> dict:
        return self.fleet.get(f"/api/v1/rollouts/{rid}")

    def wait_state(self, rid: str, state: str, timeout: float = 90) -> dict:
        def probe():
            now = self.rollout(rid)
            if now["state"] != state and now["state"] in ("completed", "aborted", "rolled_back", "paused"):
                raise Wrong(f"rollout {rid} is {now['state']} ({now['reason']}), expected {state}")
            return now if now["state"] == state else None
        return wait_for(f"rollout {rid} to be {state}", probe, timeout)

    def expect_running(self, expected: dict[str, str]) -> None:
        now = self.fleet.running()
        wrong = {n: now[n] for n, v in expected.items() if now[n] != v}
        expect(not wrong, f"devices run {wrong}, expected {expected}")

    def firing(self, kind: str) -> dict[str, dict]:
        alerts = self.fleet.get("/api/v1/alerts?state=firing")["alerts"]
        return {a["device"]["name"]: a for a in alerts if a["kind"] == kind}

    def flipped(self, source: Path, out: Path) -> Path:
        """A copy with one bit of the model flipped, in the middle of the file."""
        data = bytearray(source.read_bytes())
        data[len(data) // 2] ^= 0x10
        out.write_bytes(data)
        return out

    def delta(self, bundle: str) -> dict:
        """The delta from 1.0.0 to a bundle, when the server has made it."""
        def probe():
            pairs = self.fleet.get(f"/api/v1/bundles/{bundle}/deltas")["deltas"]
            pair = next((d for d in pairs if d["from_version"] == "1.0.0"), None)
            if pair and pair["state"] in ("failed", "not_worth_it"):
                raise Wrong(f"the delta is {pair['state']}: {pair['error']}")
            return pair if pair and pair["state"] == "ready" else None
        return wait_for(f"the delta from 1.0.0 to {bundle}", probe, 300)

    def agent(self, name: str, *argv: str) -> str:
        """What muster-agent says to somebody who stands at the device."""
        return run([BUILD / "muster-agent", *argv, "--config", self.fleet.agents[name].base / "muster-agent.conf"]).stdout

    # ---------------------------------------------------------------- steps

    def services(self) -> str:
        self.fleet.start_services()
        return f"PostgreSQL, Mosquitto and musterd are up ({self.fleet.server.url})"

    def enrolment(self) -> str:
        self.fleet.start_agents()
        ids = {d["id"] for d in self.fleet.devices().values()}
        expect(len(ids) == 6 and all(len(i) == 26 for i in ids), f"identities {ids}")
        return "six agents enrolled over TLS and are online over mutual-TLS MQTT"

    def no_plaintext(self) -> str:
        """An MQTT CONNECT in the clear gets no CONNACK, and no certificate gets no session."""
        connect = bytes.fromhex("101000044d5154540502003c00000003") + b"abc"
        with socket.create_connection(("127.0.0.1", self.fleet.stack.broker_port), timeout=5) as s:
            s.sendall(connect)
            try:
                answer = s.recv(64)
            except ConnectionError:
                answer = b""
        expect(not answer.startswith(b"\x20"), "the broker answered a plaintext CONNECT")
        return "the broker refuses plaintext"

    def telemetry(self) -> str:
        def probe():
            seen = {}
            for name, device in self.fleet.devices().items():
                series = self.fleet.get(f"/api/v1/devices/{device['id']}/health")
                if series["t"] and series["temps"]:
                    seen[name] = series["temps"][0]["c"][-1]
            return seen if len(seen) == 6 else None
        temps = wait_for("health of six devices", probe, 30)
        expect(temps[HOT] == max(temps.values()) and temps[HOT] > 80, f"temperatures {temps}")
        inventory = self.fleet.get(f"/api/v1/devices/{HOT}")["inventory"]
        expect(inventory.get("kernel") and inventory.get("cpus"), f"inventory {inventory}")
        return f"inventory, beats, health and thermals are stored; {HOT} is at {temps[HOT]:.0f} °C"

    def bundles(self) -> str:
        first, second = self.fleet.upload("1.0.0"), self.fleet.upload("2.0.0")
        expect(first["key_ids"] and second["key_ids"], "no verified key")
        return f"digits 1.0.0 and 2.0.0 created, signed by {first['key_ids'][0]}, uploaded"

    def first_version(self) -> str:
        rid = self.create("1.0.0", "--all", "--wave", "1:soak=1", "--wave", "100%:soak=1", "--probation", "2")
        self.wait_state(rid, "completed")
        self.expect_running(dict.fromkeys(ALL, "1.0.0"))
        return "digits 1.0.0 is on all six, proven by the digest each one runs"

    def inference(self) -> str:
        def probe():
            totals = {n: self.fleet.get(f"/api/v1/devices/{n}/inference")["total"] for n in ALL}
            return totals if all(t["count"] > 40 for t in totals.values()) else None
        totals = wait_for("inference figures of six devices", probe, 40)
        expect(all(t["errors"] == 0 and t["p95_ms"] for t in totals.values()), f"figures {totals}")
        drift = wait_for("drift counts", lambda: self.fleet.get(f"/api/v1/devices/{CANARY}/drift")["features"], 20)
        expect(all(f["samples"] > 0 for f in drift), f"drift {drift}")
        worst = max(t["p95_ms"] for t in totals.values())
        return f"{sum(t['count'] for t in totals.values())} real digits classified, 0 errors, p95 at most {worst:.1f} ms; drift counts arrive"

    def delta_made(self) -> str:
        self.travels = self.delta("digits@2.0.0")
        size, full = int(self.travels["size"]), int(self.travels["full_size"])
        expect(size < full / 2, f"the delta has {size} of {full} bytes")
        return f"the server made the delta from 1.0.0 to 2.0.0: {size / 1e6:.1f} of {full / 1e6:.1f} MB, {100 * size / full:.0f} %"

    def flipped_upload(self) -> str:
        bad = self.flipped(make_bundle(self.fleet.stack, "2.0.0", DATA / "cnn_v2_ft_long.onnx", 2), BASE / "flipped.mub")
        before = len(self.fleet.get("/api/v1/bundles")["bundles"])
        done = self.fleet.ctl.run("bundle", "upload", bad, check=False)
        expect(done.returncode != 0, "the flipped bundle was accepted")
        expect(len(self.fleet.get("/api/v1/bundles")["bundles"]) == before, "the refused bundle was stored")
        why = next(line.split("why:")[1].strip() for line in done.stderr.splitlines() if "why:" in line)
        return f"a bundle with one flipped bit is refused by the server: {why}"

    def flipped_behind(self) -> str:
        """The canary gets 1.5.0; then one bit flips in all that the server's cache has of it, and the next devices refuse it."""
        make = make_bundle(self.fleet.stack, "1.5.0", DATA / "cnn_v2_ft_long.onnx", 1)
        full = self.fleet.ctl.json("bundle", "upload", make)["object_sha256"]
        self.fleet.ctl.run("delta", "make", "digits@1.5.0", "--from", "digits@1.0.0")
        delta = self.delta("digits@1.5.0")["object_sha256"]
        lyon = SITES["lyon"]
        rid = self.create("1.5.0", "--query", "site:lyon", "--canary", lyon[0], "--wave", "1:soak=6", "--wave", "100%:soak=1",
                          "--probation", "2")
        wait_for("the canary", lambda: self.fleet.running()[lyon[0]] == "1.5.0", 60)
        damaged = [path for sha in (full, delta) for path in (self.fleet.server.base / "cache").rglob(sha)]
        expect(damaged, "the server's cache has nothing of 1.5.0")
        for path in damaged:
            os.chmod(path, 0o644)
            self.flipped(path, path)
        paused = wait_for("the rollout to pause", lambda: (r := self.rollout(rid))["state"] == "paused" and r, 90)
        failed = [a for a in self.fleet.get(f"/api/v1/rollouts/{rid}/devices")["assignments"] if a["state"] == "failed"]
        expect(failed and all(a["code"] == "object_digest_mismatch" and a["device_left"] == "no_change" for a in failed),
               f"assignments {failed}")
        self.expect_running(dict.fromkeys(lyon[1:], "1.0.0"))
        self.fleet.ctl.run("rollout", "rollback", rid, "--reason", "the object is damaged")
        self.wait_state(rid, "rolled_back")
        self.expect_running(dict.fromkeys(ALL, "1.0.0"))
        for path in damaged:
            path.unlink(missing_ok=True)
        return f"one flipped behind the server's back is refused by {len(failed)} agents, which keep 1.0.0; the rollout paused: {paused['reason']}"

    def canary(self) -> str:
        self.fleet.ctl.run("device", "hold", HELD, "--reason", "shift change")
        self.rid = self.create("2.0.0", "--all", "--canary", CANARY, "--wave", "1:soak=4", "--wave", "50%:soak=2", "--wave", "100%:soak=2",
                               "--probation", "2")
        wait_for("the canary to soak", lambda: self.rollout(self.rid)["waves"][0]["state"] == "soaking", 60)
        expected = dict.fromkeys(ALL, "1.0.0") | {CANARY: "2.0.0"}
        self.expect_running(expected)
        return f"2.0.0 is on the canary {CANARY} alone, its digest seen in a beat; it soaks"

    def waves(self) -> str:
        others = dict.fromkeys([n for n in ALL if n != HELD], "2.0.0")
        wait_for("the waves", lambda: all(self.fleet.running()[n] == v for n, v in others.items()), 90)
        states = [w["state"] for w in self.rollout(self.rid)["waves"]]
        expect(states[0] == "passed", f"waves {states}")
        full = self.fleet.get("/api/v1/bundles/digits@2.0.0")["object_sha256"]
        served = self.fleet.server.log.read_text()
        expect(self.travels["object_sha256"] in served, "no device fetched the delta")
        expect(f"/device/v1/objects/{full}" not in served, "a device fetched the whole bundle")
        return "the rest followed wave by wave; every one fetched the delta and nothing else"

    def held(self) -> str:
        wait_for(f"{HELD} to be held", lambda: self.fleet.devices()[HELD]["status"] == "held", 60)
        time.sleep(3)
        self.expect_running({HELD: "1.0.0"})
        expect(self.rollout(self.rid)["state"] == "running", "the rollout ended without its held device")
        words = self.agent(HELD, "status")
        expect("shift change" in words, f"muster-agent status says\n{words}")
        return f"{HELD} has 2.0.0 staged and waits: shift change; muster-agent status says so at the device"

    def released(self) -> str:
        self.fleet.ctl.run("device", "release", HELD)
        self.wait_state(self.rid, "completed")
        self.expect_running(dict.fromkeys(ALL, "2.0.0"))
        return f"released, {HELD} went on; all six run 2.0.0"

    def alert(self) -> str:
        agent = self.fleet.agents[VICTIM]
        agent.kill()
        begin = time.monotonic()
        alert = wait_for("heartbeat_missing", lambda: self.firing("heartbeat_missing").get(VICTIM), 30)
        took = time.monotonic() - begin
        expect(list(self.firing("heartbeat_missing")) == [VICTIM], f"alerts {self.firing('heartbeat_missing')}")
        agent.start(self.fleet.server)
        wait_for("the alert to resolve", lambda: VICTIM not in self.firing("heartbeat_missing"), 30)
        wait_for("the device to run 2.0.0", lambda: self.fleet.running()[VICTIM] == "2.0.0", 30)
        return f"{VICTIM} killed with SIGKILL: {alert['kind']} fired after {took:.1f} s and resolved after its restart"

    def rollback(self) -> str:
        served = self.objects_served()
        self.fleet.ctl.run("rollout", "rollback", self.rid, "--reason", "the check rolls back")
        begin = time.monotonic()
        self.wait_state(self.rid, "rolled_back")
        took = time.monotonic() - begin
        self.expect_running(dict.fromkeys(ALL, "1.0.0"))
        expect(self.objects_served() == served, "a device downloaded during the rollback")
        return f"rollout rollback returned all six to 1.0.0 in {took:.1f} s without a download"

    def rollback_here(self) -> str:
        served = self.objects_served()
        self.agent(VICTIM, "rollback", "digits", "--yes")
        wait_for(f"{VICTIM} to be at 2.0.0", lambda: self.fleet.running()[VICTIM] == "2.0.0", 60)
        expect(self.objects_served() == served, "the device downloaded during its rollback")
        return f"muster-agent rollback at {VICTIM}: 2.0.0 runs there again, from its own disk, and the server sees it"

    def objects_served(self) -> int:
        return self.fleet.server.log.read_text().count("/device/v1/objects/")

    def ended(self) -> str:
        self.fleet.stop()
        return "everything stopped, nothing is left running"

    STEPS = ["services", "enrolment", "no_plaintext", "telemetry", "bundles", "first_version", "inference", "delta_made", "flipped_upload",
             "flipped_behind", "canary", "waves", "held", "released", "alert", "rollback", "rollback_here", "ended"]


def main() -> int:
    shutil.rmtree(BASE, ignore_errors=True)
    fleet = Fleet(BASE, lambda _: None)
    story = Story(fleet)
    begin = time.monotonic()
    passed, failure = 0, ""
    try:
        for name in Story.STEPS:
            start = time.monotonic()
            sentence = getattr(story, name)()
            passed += 1
            print(f"ok   {time.monotonic() - start:5.1f} s  {sentence}", flush=True)
    except (Wrong, StackError, RuntimeError, OSError, ValueError, KeyError) as error:
        failure = f"{name}: {error}"
        print(f"FAIL {time.monotonic() - start:5.1f} s  {failure}", flush=True)
        print(f"     logs are in {fleet.stack.logs}", flush=True)
    finally:
        fleet.stop()
    total = len(Story.STEPS)
    print(f"demo-check: {passed} of {total} steps as they should be, {time.monotonic() - begin:.0f} s")
    return 0 if passed == total else 1


if __name__ == "__main__":
    sys.exit(main())
