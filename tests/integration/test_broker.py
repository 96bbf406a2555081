"""The broker: mutual TLS only, and a device reaches its own topics and nobody else's."""

import queue
import socket
import ssl
import time

import paho.mqtt.client as mqtt
import pytest
from device import Device


@pytest.fixture(scope="module")
def pair(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    devices = Device(lab, folder, "broker-a"), Device(lab, folder, "broker-b")
    for device in devices:
        device.connect()
    time.sleep(0.5)
    yield devices
    for device in devices:
        device.close()


@pytest.mark.parametrize("whose", ["devices", "servers"])
def test_plaintext_is_refused(lab, whose):
    port = lab.stack.broker_port if whose == "devices" else lab.stack.broker.server_port
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(bytes.fromhex("101000044d5154540502003c00000003") + b"abc")
        try:
            assert not s.recv(64).startswith(b"\x20")
        except ConnectionError:
            pass


def test_only_two_ports_listen(lab):
    """The devices' and the servers', both TLS only."""
    inodes = {line.split()[9]: line.split()[1] for path in ("/proc/net/tcp", "/proc/net/tcp6") for line in open(path).readlines()[1:]
              if line.split()[3] == "0A"}
    import os
    ports = set()
    for fd in os.listdir(f"/proc/{lab.stack.broker.process.pid}/fd"):
        target = os.readlink(f"/proc/{lab.stack.broker.process.pid}/fd/{fd}")
        if target.startswith("socket:[") and target[8:-1] in inodes:
            ports.add(int(inodes[target[8:-1]].split(":")[1], 16))
    assert ports == {lab.stack.broker_port, lab.stack.broker.server_port}


def test_no_certificate_no_session(lab):
    client = mqtt.Client(client_id="nobody", protocol=mqtt.MQTTv5)
    client.tls_set_context(lab.server.tls())
    connected = []
    client.on_connect = lambda *a: connected.append(a)
    try:
        client.connect("localhost", lab.stack.broker_port)
        for _ in range(20):
            client.loop(0.1)
    except (ssl.SSLError, ConnectionError, OSError):
        pass
    assert not [a for a in connected if a[3] == 0]


def test_another_devices_topics(pair):
    """A publishes to and listens on everything of B; B's and the server's messages never reach A."""
    a, b = pair
    a.client.subscribe([("#", 0), (b.topic("#"), 0), ("muster/v1/+/down/#", 0), ("$share/musterd/muster/v1/+/up/#", 0)])
    time.sleep(0.5)
    before = a.inbox.qsize()
    a.client.publish(b.topic("down/desired"), '{"generation": "99"}')
    a.client.publish(b.topic("up/beat"), '{"session": "1"}')
    b.client.publish(b.topic("up/ping"), "{}")
    a.lab.server  # the server publishes to B below
    time.sleep(1)
    assert a.inbox.qsize() == before
    with pytest.raises(queue.Empty):
        b.receive("desired", timeout=1, where=lambda p: p.get("generation") == "99")


def test_foreign_client_id_does_not_kick(pair, lab):
    """A connects with B's id as client id; B stays."""
    a, b = pair
    dropped = []
    b.client.on_disconnect = lambda *args: dropped.append(args)
    spare = Device(lab, a.folder.parent, "broker-c")
    spare.connect(client_id=b.id, subscribe=False)
    time.sleep(1)
    spare.close()
    assert not dropped
