"""A device made of Python, for tests of the protocol's edges: its own key, certificate and TLS contexts."""

from __future__ import annotations

import json
import queue
import ssl
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Key:
    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())

    def csr(self, name: str = "whatever") -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM).decode()

    def pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def enrol(lab, token: str, key: Key, name: str = "py-1", csr: str | None = None):
    return lab.server.request("POST", "/device/v1/enrol", {"token": token, "csr": csr or key.csr(), "name": name}, port="device")


class Device:
    """An enrolled device. request() is HTTPS, connect() is MQTT; received messages are in `inbox`."""

    def __init__(self, lab, folder: Path, name: str = "py-1", site: str = "lab"):
        self.lab, self.key = lab, Key()
        status, answer, _ = enrol(lab, lab.enrolment_token(site), self.key, name)
        assert status == 201, answer
        self.id, self.certificate = answer["device"], answer["certificate"]
        self.folder = folder / self.id
        self.folder.mkdir()
        (self.folder / "key.pem").write_bytes(self.key.pem())
        (self.folder / "cert.pem").write_text(self.certificate)
        self.inbox: queue.Queue = queue.Queue()
        self.client: mqtt.Client | None = None

    def context(self) -> ssl.SSLContext:
        context = self.lab.server.tls()
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        return context

    def request(self, method: str, path: str, body=None, **more):
        return self.lab.server.request(method, path, body, port="device", context=self.context(), **more)

    def topic(self, rest: str) -> str:
        return f"muster/v1/{self.id}/{rest}"

    def connect(self, client_id: str = "", subscribe: bool = True) -> None:
        self.client = mqtt.Client(client_id=client_id or self.id, protocol=mqtt.MQTTv5)
        self.client.tls_set_context(self.context())
        self.client.on_message = lambda _c, _u, m: self.inbox.put((m.topic, json.loads(m.payload or b"null")))
        self.client.connect("localhost", self.lab.stack.broker_port, keepalive=10)
        self.client.loop_start()
        if subscribe:
            self.client.subscribe(self.topic("down/#"))

    def beat(self, session: int = 1, **more) -> None:
        """A beat of a device that is well; `more` replaces members."""
        self.publish("up/beat", {"session": str(session), "t": int(time.time() * 1000), "uptime_s": 5, "generation": "0", "margin_c": 10.0,
                                 "throttled": False, "slots": {}, **more})

    def publish(self, rest: str, payload) -> None:
        assert self.client is not None
        self.client.publish(self.topic(rest), payload if isinstance(payload, (bytes, str)) else json.dumps(payload)).wait_for_publish(5)

    def receive(self, rest: str, timeout: float = 10, where=lambda _: True):
        """The next message on down/`rest` that fits."""
        while True:
            topic, payload = self.inbox.get(timeout=timeout)
            if topic == self.topic("down/" + rest) and where(payload):
                return payload

    def close(self) -> None:
        if self.client:
            self.client.disconnect()
            self.client.loop_stop()
