"""kill -9 of musterd, Mosquitto and PostgreSQL in turn while agents report: afterwards every sequence number is there once."""

import os
import signal
import time
from pathlib import Path

from conftest import Lab
from stack import Postgres, wait_for
from test_reconcile import gaps_and_repeats


def kill_postgres(postgres: Postgres) -> None:
    """The postmaster and its children at once, as a power cut would."""
    master = postgres.process.pid
    children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and parent_of(p) == master]
    for pid in [master, *children]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    postgres.process.child.wait()


def parent_of(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def test_crash_of_each_in_turn(tmp_path_factory):
    base = tmp_path_factory.mktemp("crash")
    for folder in [base, *base.parents[:2]]:
        folder.chmod(0o755)
    postgres = Postgres(base / "cluster", base / "log")
    postgres.start()
    lab = Lab(base / "lab", postgres, "crash")
    try:
        lab.start_services()
        for i in range(3):
            lab.add_agent(f"crash-{i}", data_s=1, health_s=1)
        lab.wait_online(3)
        lab.upload("1.0.0")
        lab.wait_rollout(lab.roll_out("1.0.0"), "completed")
        for _ in range(2):
            for kill, start in [(lambda: lab.server.process.kill(), lab.server.start), (lambda: lab.stack.broker.process.kill(), lab.stack.broker.start),
                                (lambda: kill_postgres(postgres), postgres.start)]:
                time.sleep(3)
                kill()
                time.sleep(2)
                start()
        wait_for("musterd to be ready again", lab.server.ready, 60)
        lab.wait_online(3, 60)
        reported = batches(lab)
        wait_for("new batches of everyone", lambda: all(n > reported[d] + 3 for d, n in batches(lab).items()), 60)
        assert gaps_and_repeats(lab) == "0|0"
        assert set(lab.running().values()) == {"1.0.0"}
        assert lab.sql("SELECT count(*) FROM ingest_batch b LEFT JOIN spool_position p USING (device_id, epoch) WHERE p.last_seq IS NULL OR b.seq > p.last_seq") == "0"
    finally:
        lab.stop()
        postgres.stop()


def batches(lab) -> dict[str, int]:
    rows = lab.sql("SELECT device_id, max(seq) FROM ingest_batch GROUP BY device_id").splitlines()
    return {d: int(n) for d, n in (row.split("|") for row in rows)}
