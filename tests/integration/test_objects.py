"""How objects are served: ranges, entity tags, HEAD; and a disk cache that has a bound and may be full."""

import hashlib
import http.client
import threading
import time

import pytest
from stack import wait_for
from test_upload import MIB, make

SIZE = 4 * MIB


@pytest.fixture(scope="module")
def lab(make_lab):
    """A cache of 10 MiB: room for two bundles."""
    lab = make_lab()
    lab.start_services({"cache_mb": 10})
    return lab


@pytest.fixture(scope="module")
def stored(lab):
    """Four bundles of 4 MiB: (digest, bytes)."""
    files = []
    for i in range(4):
        path = make(lab, f"1.{i}.0", SIZE - 20_000)
        lab.ctl.json("bundle", "upload", path)
        data = path.read_bytes()
        files.append((hashlib.sha256(data).hexdigest(), data))
    return files


def cached(lab) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in (lab.server.base / "cache").glob("??/*")}


def get(lab, sha: str, **headers):
    return lab.call("GET", f"/api/v1/objects/{sha}", headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture(params=["disk", "database"])
def where(request, lab, stored):
    """The same answers from the disk cache, and from the database when the cache cannot be written."""
    cache = lab.server.base / "cache"
    if request.param == "database":
        for p in cache.glob("??/*"):
            p.unlink()
        (cache / "parts").rename(cache / "parts.away")
        (cache / "parts").touch()
    yield request.param
    if request.param == "database":
        assert not cached(lab)
        (cache / "parts").unlink()
        (cache / "parts.away").rename(cache / "parts")


@pytest.mark.parametrize("range_,first,last", [
    ("bytes=0-0", 0, 0), ("bytes=0-", 0, None), ("bytes=1000-1999", 1000, 1999), ("bytes=-1", -1, None), ("bytes=-70000", -70000, None),
    (f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB), (f"bytes={MIB}-{2 * MIB - 1}", MIB, 2 * MIB - 1), (f"bytes={3 * MIB + 5}-", 3 * MIB + 5, None),
    ("bytes=100-99999999999", 100, None), ("bytes=-99999999999", 0, None), (f"bytes={MIB // 2}-{3 * MIB}", MIB // 2, 3 * MIB),
])
def test_ranges(lab, stored, where, range_, first, last):
    sha, data = stored[0]
    want = data[first:] if last is None else data[first:last + 1]
    status, got, headers = get(lab, sha, Range=range_)
    assert status == 206 and got == want
    start = first if first >= 0 else len(data) + first
    assert headers["Content-Range"] == f"bytes {start}-{start + len(want) - 1}/{len(data)}"
    assert headers["Content-Length"] == str(len(want)) and headers["ETag"] == f'"{sha}"' and headers["Accept-Ranges"] == "bytes"


def test_whole_and_conditions(lab, stored, where):
    sha, data = stored[0]
    status, got, headers = get(lab, sha)
    assert status == 200 and got == data and headers["Content-Length"] == str(len(data))
    assert get(lab, sha, Range="bytes=5-9", If_Range=f'"{sha}"')[:2] == (206, data[5:10])
    assert get(lab, sha, Range="bytes=5-9", If_Range='"other"')[0] == 200
    assert get(lab, sha, If_None_Match=f'"{sha}"')[0] == 304
    for bad in [f"bytes={len(data)}-", "bytes=-0"]:
        status, answer, _ = get(lab, sha, Range=bad)
        assert status == 416 and answer["code"] == "range_not_satisfiable"
    for whole in ["bytes=9-5", "items=0-5", "bytes=0-1,5-6", "bytes=x-"]:
        assert get(lab, sha, Range=whole)[0] == 200
    assert get(lab, "0" * 64)[0] == 404


def test_head(lab, stored, where):
    sha, data = stored[0]
    c = http.client.HTTPSConnection("localhost", lab.server.api_port, context=lab.server.tls(), timeout=10)
    c.request("HEAD", f"/api/v1/objects/{sha}", headers={"Authorization": f"Bearer {lab.token}"})
    answer = c.getresponse()
    assert answer.status == 200 and answer.getheader("Content-Length") == str(len(data)) and answer.read() == b""
    c.request("GET", f"/api/v1/objects/{sha}", headers={"Authorization": f"Bearer {lab.token}", "Range": "bytes=1-3"})
    assert c.getresponse().read() == data[1:4], "the connection goes on"
    c.close()


def test_least_recently_used_goes_first(lab, stored):
    (a, _), (b, _), (c, _), (d, _) = stored
    get(lab, a), get(lab, b), get(lab, a), get(lab, c)
    assert set(cached(lab)) == {a, c}, "b was not used for longest"
    get(lab, d)
    assert set(cached(lab)) == {c, d}
    assert sum(cached(lab).values()) <= 10 * MIB


def test_the_bound_holds_for_the_next_life(lab, stored):
    (a, data), (b, _), _, _ = stored
    get(lab, b), get(lab, a)
    lab.server.stop()
    lab.server.settings["cache_mb"] = 5
    lab.server.start()
    try:
        assert set(cached(lab)) == {a}, "what was used last stays"
        assert get(lab, a)[1] == data
    finally:
        lab.server.stop()
        lab.server.settings["cache_mb"] = 10
        lab.server.start()


def test_what_is_open_stays(lab, stored):
    """Two slow readers keep both files; a third object comes from the database meanwhile, and nothing is removed below them."""
    (a, data_a), (b, data_b), (c, data_c), _ = stored
    readers = []
    for sha, data in [(a, data_a), (b, data_b)]:
        connection = http.client.HTTPSConnection("localhost", lab.server.api_port, context=lab.server.tls(), timeout=30)
        connection.request("GET", f"/api/v1/objects/{sha}", headers={"Authorization": f"Bearer {lab.token}"})
        answer = connection.getresponse()
        readers.append((connection, answer, answer.read(1000), data))
    status, got, _ = get(lab, c)
    assert status == 200 and got == data_c
    assert set(cached(lab)) == {a, b}
    assert "object_not_cached" in lab.server.log.read_text()
    for connection, answer, begun, data in readers:
        assert begun + answer.read() == data
        connection.close()
    wait_for("c to be cached", lambda: get(lab, c)[0] == 200 and c in cached(lab), 10)


def test_larger_than_the_cache(lab):
    path = make(lab, "2.0.0", 12 * MIB)
    lab.ctl.json("bundle", "upload", path)
    data = path.read_bytes()
    before = cached(lab)
    sha = hashlib.sha256(data).hexdigest()
    assert get(lab, sha)[1] == data
    assert cached(lab) == before, "nothing is thrown away for what cannot fit"


def test_many_readers_at_once(lab, stored):
    """More objects than fit, read by many: every one gets the right bytes."""
    wrong: list = []

    def read(n: int) -> None:
        for i in range(6):
            sha, data = stored[(n + i) % 4]
            for _ in range(50):
                status, got, _ = get(lab, sha)
                if status != 503:
                    break
                time.sleep(0.1)
            if (status, got) != (200, data):
                wrong.append((n, i, status))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(90)
    assert not wrong
    assert sum(cached(lab).values()) <= 10 * MIB
