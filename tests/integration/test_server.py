"""musterd as a process: slow queries, several servers, a missing database, and how it ends."""

import subprocess
import threading
import time

import pytest
from stack import BUILD, wait_for


class Lock:
    """Holds a table for a while, so that every query on it waits: a slow database for a part of the requests."""

    def __init__(self, lab, table: str, seconds: float):
        self.child = subprocess.Popen(["psql", "-X", "-q", lab.stack.postgres.url(lab.stack.database), "-c",
                                       f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT"],
                                      stdout=subprocess.DEVNULL)
        time.sleep(0.4)

    def wait(self):
        self.child.wait()


def timed(call) -> float:
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def test_slow_query_delays_nobody(lab):
    """Two requests hang in a two-second query; /healthz and another query answer at once. With every worker stuck, /healthz still does."""
    lab.get("/api/v1/me")
    lock = Lock(lab, "bundle", 2)
    stuck = [threading.Thread(target=lambda: lab.get("/api/v1/bundles")) for _ in range(2)]
    for thread in stuck:
        thread.start()
    time.sleep(0.1)
    assert max(timed(lambda: lab.server.get_json("/healthz")) for _ in range(10)) < 0.5
    assert max(timed(lambda: lab.get("/api/v1/me")) for _ in range(5)) < 0.8
    more = [threading.Thread(target=lambda: lab.get("/api/v1/bundles")) for _ in range(10)]
    for thread in more:
        thread.start()
    time.sleep(0.1)
    assert max(timed(lambda: lab.server.get_json("/healthz")) for _ in range(10)) < 0.5
    assert any(t.is_alive() for t in stuck), "the lock was gone too early for this test to say anything"
    lock.wait()
    for thread in stuck + more:
        thread.join(10)


def test_two_servers_one_decides(lab):
    """A second musterd on the same database serves the same API and devices; the rollout goes on when the first one, which led it, dies."""
    first, second = lab.server, lab.stack.server("second")
    second.start()
    lab.server = second
    try:
        lab.add_agent("pair-1"), lab.add_agent("pair-2")
        lab.wait_online(2)
        lab.upload("1.0.0")
        rid = lab.roll_out("1.0.0", "--query", "name:pair-*", "--wave", "1:soak=3", "--wave", "100%:soak=0", "--probation", "1")
        wait_for("the first wave", lambda: lab.rollout(rid)["waves"][0]["state"] == "soaking", 30)
        assert first.request("GET", f"/api/v1/rollouts/{rid}", token=lab.token)[1]["state"] == "running"
        first.process.kill()
        assert lab.wait_rollout(rid, "completed", 60)["counts"] == {"succeeded": 2}
    finally:
        lab.server = first
        if not first.process.alive():
            first.start()
        second.stop()


def test_sigterm_ends_at_once_and_clean(make_lab):
    lab = make_lab("_sigterm")
    lab.start_services()
    assert timed(lambda: lab.server.process.stop()) < 5
    assert lab.server.process.child.returncode == 0, lab.server.log.read_text()[-2000:]


def test_database_away_and_back(make_lab, postgres):
    """Requests say 503 and what to do; /healthz stays, /readyz says which part is away."""
    lab = make_lab("_away")
    lab.start_services()
    postgres.psql("postgres", f"ALTER DATABASE {lab.stack.database} ALLOW_CONNECTIONS false")
    postgres.psql("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{lab.stack.database}'")
    status, answer, _ = lab.call("GET", "/api/v1/devices")
    assert status == 503 and answer["code"] == "database_unavailable" and answer["next"]
    assert lab.server.get_json("/healthz")["status"] == "ok"
    status, answer, _ = lab.server.request("GET", "/readyz")
    assert status == 503 and answer["database"] is False
    postgres.psql("postgres", f"ALTER DATABASE {lab.stack.database} ALLOW_CONNECTIONS true")
    wait_for("the API to be back", lambda: lab.call("GET", "/api/v1/devices")[0] == 200, 20)


@pytest.mark.parametrize("command", [["migrate", "sideways"], ["no-such-command"], ["user"], ["token", "create"], ["pki"]])
def test_wrong_commands_say_usage(lab, command):
    done = subprocess.run([str(BUILD / "musterd"), "--config", str(lab.server.conf), *command], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2 and "usage" in done.stderr.lower()


def test_static_files_and_headers(lab):
    for path in ("/", "/devices", "/rollouts/1"):
        status, page, headers = lab.server.request("GET", path, headers={"Accept": "text/html"})
        assert status == 200 and b"<html" in page.lower() and headers["Cache-Control"] == "no-cache"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/assets/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"):
        status, page, _ = lab.server.request("GET", path)
        assert b"root:" not in (page if isinstance(page, bytes) else b""), path
