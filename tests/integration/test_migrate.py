"""Migrations: from empty, again, by several servers at once, and a file that was changed after it was applied."""

import shutil
import subprocess

import pytest
from conftest import ROOT
from stack import BUILD, StackError

FILES = sorted(p.name for p in (ROOT / "migrations").glob("*.sql"))


@pytest.fixture()
def fresh(make_lab, request):
    lab = make_lab("_" + request.node.name.removeprefix("test_")[:20])
    lab.stack.start_database()
    return lab, lab.stack.server()


def applied(lab) -> list[str]:
    return lab.sql("SELECT name FROM schema_migration ORDER BY version").splitlines()


def test_empty_then_again(fresh):
    lab, server = fresh
    server.command("migrate")
    assert applied(lab) == FILES
    again = server.command("migrate")
    assert applied(lab) == FILES and "0" in again or "nothing" in again


def test_several_at_once(fresh):
    lab, server = fresh
    server.write_conf()
    children = [subprocess.Popen([str(BUILD / "musterd"), "--config", str(server.conf), "migrate"], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True) for _ in range(6)]
    outputs = [c.communicate(timeout=60)[0] for c in children]
    assert [c.returncode for c in children] == [0] * 6, outputs
    assert applied(lab) == FILES


def test_objects_of_the_first_schema_survive(fresh, tmp_path):
    """0002 gives bytes a name of their own: every chunk stays with its object."""
    lab, server = fresh
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(ROOT / "migrations" / FILES[0], first)
    all_files, server.settings["migrations_dir"] = server.settings["migrations_dir"], first
    server.command("migrate")
    digests = ["a" * 64, "b" * 64, "c" * 64]
    for i, sha in enumerate(digests):
        lab.sql(f"INSERT INTO object (sha256, size) VALUES ('{sha}', {i * 5000})")
        lab.sql(f"INSERT INTO object_chunk (sha256, n, bytes) SELECT '{sha}', n, decode(repeat(md5('{i}' || n), 200), 'hex') FROM generate_series(0, {i} - 1) n")
    before = lab.sql("SELECT sha256, n, md5(bytes) FROM object_chunk ORDER BY 1, 2")
    server.settings["migrations_dir"] = all_files
    server.command("migrate")
    assert applied(lab) == FILES and len(before.splitlines()) == 3
    assert lab.sql("SELECT o.sha256, c.n, md5(c.bytes) FROM object_chunk c JOIN object o ON o.blob = c.blob ORDER BY 1, 2") == before
    assert lab.sql("SELECT count(DISTINCT blob) FROM object") == "3"
    assert int(lab.sql("INSERT INTO blob DEFAULT VALUES RETURNING id")) > int(lab.sql("SELECT max(blob) FROM object")), "ids go on"
    lab.sql("INSERT INTO site (name) VALUES ('s')")
    lab.sql("INSERT INTO device (id, name, site_id) VALUES (repeat('a', 26), 'd', 1)")
    lab.sql("INSERT INTO device_slot (device_id, slot, phase) VALUES (repeat('a', 26), 'x', 'testing')")
    lab.sql("INSERT INTO liveness (device_id, last_seen, beat_s) VALUES (repeat('a', 26), now(), 30)")
    assert lab.sql("SELECT cause FROM device_state") == "updating"


def test_changed_file_is_named(fresh, tmp_path):
    lab, server = fresh
    server.command("migrate")
    copy = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", copy)
    (copy / FILES[0]).write_text((copy / FILES[0]).read_text() + "\n-- changed\n")
    server.settings["migrations_dir"] = copy
    with pytest.raises(StackError, match=FILES[0]):
        server.command("migrate")


def test_broken_file_changes_nothing(fresh, tmp_path):
    lab, server = fresh
    copy = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", copy)
    broken = f"{len(FILES) + 1:04}_broken.sql"
    (copy / broken).write_text("CREATE TABLE half (a int);\nSELECT no_such_function();\n")
    server.settings["migrations_dir"] = copy
    with pytest.raises(StackError, match=broken):
        server.command("migrate")
    assert applied(lab) == FILES
    assert lab.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'half'") == "0"


def test_database_away_is_said(make_lab):
    lab = make_lab("_away")
    server = lab.stack.server(settings={"database_url": "postgresql:///nowhere?host=/nonexistent"})
    with pytest.raises(StackError, match="database"):
        server.command("migrate")
