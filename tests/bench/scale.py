#!/usr/bin/python3
"""What large fleets cost a server, and what the agent costs a device: the figures of docs/design/{rollouts,alerts,agent}.md.

Devices of the fleets are rows in the database of a private server; what they say is written there as their beats would be. The
agent is a real one with its default settings, watched for two minutes. Needs ten minutes of a machine that does nothing else."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/demo"))

from fleet import Fleet  # noqa: E402
from stack import BUILD, wait_for  # noqa: E402

IN_ROLLOUT, SILENT = 20_000, 10_000
TICKS_S = os.sysconf("SC_CLK_TCK")


def timed(work) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


class Server:
    """A private server with rows for devices."""

    def __init__(self, fleet: Fleet):
        self.fleet = fleet

    def sql(self, text: str) -> str:
        return self.fleet.stack.postgres.psql(self.fleet.stack.database, text)

    def post(self, path: str, body: dict) -> dict:
        status, answer, _ = self.fleet.server.request("POST", path, body, token=self.fleet.token, timeout=120)
        if status not in (200, 201):
            raise SystemExit(f"POST {path}: {status} {answer}")
        return answer

    def add_devices(self, count: int, beat_s: float, running: str | None = None) -> None:
        """They are there now, and are to say so again in beat_s."""
        self.sql("DELETE FROM device_slot; DELETE FROM liveness; INSERT INTO site (name) VALUES ('bench') ON CONFLICT DO NOTHING")
        self.sql("INSERT INTO device (id, name, site_id) SELECT rpad(translate(n::text, '0123456789', 'abcdefghij'), 26, 'z'), 'bench-' || n,"
                 f" (SELECT id FROM site WHERE name = 'bench') FROM generate_series(1, {count}) n ON CONFLICT DO NOTHING")
        self.sql(f"INSERT INTO liveness (device_id, last_seen, session, beat_s) SELECT id, now(), 1, {beat_s} FROM device WHERE name LIKE 'bench-%'")
        if running:
            self.sql("INSERT INTO device_slot (device_id, slot, phase, target, running) SELECT id, 'digits', 'running',"
                     f" '{running}', '{running}' FROM device WHERE name LIKE 'bench-%'")
        self.sql("ANALYZE")

    def say(self, phase: str, target: str, running: str, previous: str) -> None:
        """Every device's next beat, which answers its newest document."""
        self.sql(f"UPDATE device_slot s SET phase = '{phase}', target = '{target}', running = '{running}', previous = '{previous}',"
                 " generation = d.generation, reported_at = now() FROM desired d WHERE d.device_id = s.device_id")


def rollouts(server: Server, one: str, two: str) -> None:
    server.add_devices(IN_ROLLOUT, 3600, one)
    body = {"bundle": two, "all": True, "waves": [{"percent": 100, "soak_s": 0}], "probation_s": 1}
    rid = None

    def create() -> None:
        nonlocal rid
        rid = server.post("/api/v1/rollouts", body)["id"]

    def states(state: str) -> int:
        return int(server.sql(f"SELECT count(*) FROM assignment WHERE rollout_id = {rid} AND state = '{state}'"))

    def act(action: str, reason: str = "bench") -> float:
        return timed(lambda: server.post(f"/api/v1/rollouts/{rid}/{action}", {"reason": reason}))

    print(f"rollout of {IN_ROLLOUT:,} devices in one wave")
    print(f"  created                   {timed(create):.1f} s", flush=True)
    offered = timed(lambda: wait_for("all offers", lambda: states("offered") == IN_ROLLOUT, 300, 0.2))
    print(f"  all offered after         {offered:.0f} s", flush=True)
    server.say("downloading", two, one, one)
    wait_for("all to load", lambda: states("downloading") == IN_ROLLOUT, 120, 0.5)
    looks = sorted(act(action) for action in ("pause", "resume") * 3)
    print(f"  a look, nothing happens   {looks[len(looks) // 2]:.1f} s", flush=True)
    server.say("running", two, two, one)
    print(f"  all succeed               {act('pause'):.1f} s", flush=True)
    wait_for("all to succeed", lambda: states("succeeded") == IN_ROLLOUT, 120, 0.5)
    print(f"  rollback of all           {act('rollback'):.1f} s", flush=True)


def alerts(server: Server) -> None:
    """All fall silent at once: from the begin of the look that finds it to its commit."""
    server.sql("DELETE FROM assignment; DELETE FROM desired_slot; DELETE FROM desired; DELETE FROM device_slot; DELETE FROM liveness;"
               f" DELETE FROM event; DELETE FROM device WHERE name LIKE 'bench-%' AND substr(name, 7)::integer > {SILENT}")
    server.add_devices(SILENT, 1)
    took = wait_for("all alerts", lambda: server.sql("SELECT CASE WHEN count(*) = " + str(SILENT) +
                                                     " THEN extract(epoch FROM clock_timestamp() - max(fired_at)) END FROM alert WHERE state = 'firing'"),
                    120, 0.05)
    print(f"{SILENT:,} devices fall silent: their alerts take {float(took):.1f} s", flush=True)


def mapped(pid: int) -> dict[str, tuple[str, int, int]]:
    """KiB resident of each mapping by its line: (file, resident, private)."""
    out, line, sizes = {}, "", {}
    for text in [*Path(f"/proc/{pid}/smaps").read_text().splitlines(), "0-0 end"]:
        words = text.split()
        if words[0].endswith(":"):
            sizes[words[0]] = words[1]
            continue
        if line:
            parts = line.split(maxsplit=5)
            out[line] = (parts[5] if len(parts) > 5 else "", int(sizes["Rss:"]), int(sizes["Private_Clean:"]) + int(sizes["Private_Dirty:"]))
        line = text
    return out


def agent(fleet: Fleet) -> None:
    """Idle beside the server and its services; and as if only its muster-infer mapped the same libraries."""
    settings = {**fleet.agent_settings("bench"), "health_s": 30, "data_s": 5, "poll_s": 900}
    one = fleet.stack.agent("bench", "bench", settings)
    one.start(fleet.server, fleet.ctl.json("enrol-token", "create", "--site", "bench", "--uses", "1")["secret"])
    wait_for("the agent", lambda: "bench" in fleet.devices() and fleet.devices()["bench"]["liveness"] == "online", 60)
    fleet.ctl.run("rollout", "create", "--bundle", "digits@1.0.0", "--query", "name:bench", "--wave", "100%:soak=0", "--probation", "1")
    wait_for("1.0.0 to run", lambda: fleet.running()["bench"] == "1.0.0", 120)
    time.sleep(60)
    pid = one.process.pid
    sums = {w[0]: int(w[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if len(w := line.split()) == 3}
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    theirs = {file for file, _, _ in mapped(child).values() if file.startswith("/")}
    alone, private = 0.0, 0
    for file, resident, own in mapped(pid).values():
        shared = file in theirs
        alone += (resident - own) / 2 + own if shared else resident
        private += own if shared else resident

    def ticks() -> int:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(words[11]) + int(words[12])

    before = ticks()
    time.sleep(60)
    print(f"agent, idle: PSS {sums['Pss:'] / 1000:.1f} MB, private {(sums['Private_Clean:'] + sums['Private_Dirty:']) / 1000:.1f} MB beside the server;"
          f" alone with its muster-infer about {alone / 1000:.1f} and {private / 1000:.1f} MB")
    print(f"  {1000 * (ticks() - before) / TICKS_S:.0f} ms of processor time in a minute", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    base = BUILD.resolve() / "bench" / f"scale-{os.getpid()}"
    fleet = Fleet(base, lambda _text: None, {"beat_s": 30, "delta_make": "false"})
    try:
        fleet.start_services()
        one, two = (fleet.upload(version)["id"] for version in ("1.0.0", "2.0.0"))
        agent(fleet)
        fleet.stack.agents["bench"].stop()
        server = Server(fleet)
        rollouts(server, one, two)
        alerts(server)
    finally:
        fleet.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
