"""up/data, exactly once; and what a hostile or confused device sends."""

import json
import time

import pytest
from device import Device
from stack import wait_for


@pytest.fixture()
def device(lab, tmp_path, request):
    made = Device(lab, tmp_path, request.node.name.replace("_", "-")[:50].split("[")[0] + f"-{time.monotonic_ns() % 100000}")
    made.connect()
    time.sleep(0.3)
    yield made
    made.close()


def health(t: int = 0, **more) -> dict:
    return {"kind": "health", "t": t or int(time.time() * 1000), "cpu": 0.5, "load1": 1.0, "memory": {"used": "1", "total": "2"},
            "disk": {"used": "1", "total": "2"}, "temps": [{"name": "cpu", "c": 50.0, "trip_c": 85.0}], "throttled": False,
            "throttled_fraction": 0.0, "throttle_reason": None, **more}


def batch(seq: int, items=None, epoch: str = "00000000000000aa") -> dict:
    return {"epoch": epoch, "seq": str(seq), "items": [health()] if items is None else items}


def send(device, payload, timeout: float = 10):
    device.publish("up/data", payload)
    return device.receive("ack", timeout, lambda a: a["seq"] == payload["seq"] and a["epoch"] == payload["epoch"])


def rows(lab, device, table: str = "health") -> int:
    return int(lab.sql(f"SELECT count(*) FROM {table} WHERE device_id = '{device.id}'"))


def test_repeat_is_acknowledged_and_written_never(lab, device):
    for _ in range(5):
        assert "refused" not in send(device, batch(1))
    assert rows(lab, device) == 1 and rows(lab, device, "ingest_batch") == 1


def test_old_seq_again(lab, device):
    for seq in (1, 2, 3, 2, 1, 3):
        send(device, batch(seq))
    assert rows(lab, device) == 3


def test_gap_and_new_epoch(lab, device):
    send(device, batch(1))
    send(device, batch(7))
    send(device, batch(1, epoch="00000000000000bb"))
    assert rows(lab, device) == 3


def test_ack_follows_the_commit(lab, device):
    """The moment the ack is here, the row is there."""
    for seq in range(1, 21):
        send(device, batch(seq))
        assert rows(lab, device) == seq


@pytest.mark.parametrize("items", [
    "not a list", [1], [{"kind": "health"}], [health(cpu="hot")], [health(temps=[{"name": 5}])], [{"t": 1}],
    [{"kind": "infer", "t": 1, "slot": "digits", "bundle": "zz", "count": "-1", "errors": "0"}],
    [{"kind": "drift", "t": 1, "window_ms": 1, "slot": "digits", "bundle": "a" * 64, "features": [{"name": "m", "counts": [1, 2]}]}],
    [health(t=-5)], [health(t=2**62)],
], ids=range(10))
def test_invalid_batch_cannot_block(lab, device, items):
    ack = send(device, batch(1, items))
    assert ack.get("refused"), ack
    assert "refused" not in send(device, batch(2))
    assert rows(lab, device) == 1


def test_unknown_kinds_are_ignored(lab, device):
    assert "refused" not in send(device, batch(1, [{"kind": "future", "t": 1, "x": 1}, health()]))
    assert rows(lab, device) == 1


def test_clock_far_off_is_kept(lab, device):
    send(device, batch(1, [health(t=1), health(t=4102444800000)]))
    assert rows(lab, device) == 2


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"seq": 1}', b"[" * 5000, b'{"epoch":"x","seq":"1","items":[]}',
                                     json.dumps({"epoch": "a" * 5000, "seq": "1", "items": []}).encode()],
                         ids=range(9))
def test_garbage_changes_nothing(lab, device, payload):
    for topic in ("up/data", "up/beat", "up/hello", "up/gone", "up/else"):
        device.publish(topic, payload)
    assert "refused" not in send(device, batch(1))
    assert rows(lab, device) == 1


def liveness(lab, device) -> str:
    return lab.get(f"/api/v1/devices/{device.id}")["liveness"]


def test_will_of_an_older_session_is_ignored(lab, device):
    device.publish("up/hello", {"session": "5", "boot_id": "b", "agent_version": "0.1.0", "generation": "0",
                                "spool": {"epoch": "00000000000000aa", "first": "1", "last": "0"}})
    device.beat(5)
    wait_for("online", lambda: liveness(lab, device) == "online", 5)
    device.publish("up/gone", {"session": "4"})
    time.sleep(0.5)
    assert lab.sql(f"SELECT gone_at IS NULL FROM liveness WHERE device_id = '{device.id}'") == "t"
    device.publish("up/gone", {"session": "5"})
    wait_for("gone", lambda: lab.sql(f"SELECT gone_at IS NULL FROM liveness WHERE device_id = '{device.id}'") == "f", 5)
    device.beat(5)
    wait_for("back", lambda: lab.sql(f"SELECT gone_at IS NULL FROM liveness WHERE device_id = '{device.id}'") == "t", 5)


def test_beat_is_the_whole_truth(lab, device):
    slot = {"phase": "running", "target": "a" * 64, "running": "a" * 64, "previous": None, "progress": 100, "downloaded": "5",
            "stage": None, "code": None, "detail": None, "device_left": None}
    device.beat(1, slots={"one": slot, "two": slot})
    wait_for("two slots", lambda: len(lab.get(f"/api/v1/devices/{device.id}")["slots"]) == 2, 5)
    device.beat(1, slots={"two": slot})
    wait_for("one slot", lambda: [s["slot"] for s in lab.get(f"/api/v1/devices/{device.id}")["slots"]] == ["two"], 5)


def test_desired_is_sent_again_until_seen(lab, device):
    """A device that has not seen the newest generation gets it after a beat, however often."""
    lab.upload("1.0.0")
    device.beat(1)
    wait_for("online", lambda: liveness(lab, device) == "online", 5)
    name = lab.get(f"/api/v1/devices/{device.id}")["name"]
    lab.roll_out("1.0.0", "--query", f"name:{name}", "--wave", "100%:soak=0")
    first = device.receive("desired", 10, lambda d: "digits" in d["slots"])
    for _ in range(2):
        time.sleep(3)
        device.beat(1)
        assert device.receive("desired", 10)["generation"] == first["generation"]
