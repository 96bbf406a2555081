"""Enrolment, renewal and the device port: who gets in, and that nobody gets what is another's."""

import socket
import ssl

import pytest
from contract import Contract
from cryptography import x509
from device import Device, Key, enrol
from stack import wait_for


@pytest.fixture(scope="module")
def contract(openapi):
    return Contract(openapi)


@pytest.fixture(scope="module")
def pair(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    return Device(lab, folder, "port-a"), Device(lab, folder, "port-b")


def test_enrolment_gives_an_identity(lab, contract):
    key = Key()
    status, answer, headers = enrol(lab, lab.enrolment_token(), key, "enrol-1", key.csr("i-am-root"))
    assert status == 201
    contract.check("POST", "/device/v1/enrol", status, answer, headers)
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    names = [a.value for a in certificate.subject]
    assert names == [answer["device"]] and len(answer["device"]) == 26, "the CSR's subject must not count"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH] if hasattr(x509, "ExtendedKeyUsageOID") else len(list(usage)) == 1
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_same_token_and_key_is_the_same_device(lab):
    token, key = lab.enrolment_token(), Key()
    first, again = enrol(lab, token, key, "enrol-2"), enrol(lab, token, key, "enrol-2")
    assert first[0] == again[0] == 201 and first[1]["device"] == again[1]["device"]


def test_used_token_is_refused(lab, contract):
    token = lab.enrolment_token()
    assert enrol(lab, token, Key(), "enrol-3")[0] == 201
    before = lab.sql("SELECT count(*) FROM device")
    status, answer, headers = enrol(lab, token, Key(), "enrol-4")
    assert status == 403 and answer["code"] == "token_used_up"
    contract.problem(answer, headers, 403)
    assert lab.sql("SELECT count(*) FROM device") == before


def test_expired_revoked_and_unknown_tokens(lab):
    token = lab.enrolment_token()
    lab.sql("UPDATE enrolment_token SET expires_at = now() - interval '1 s' WHERE id = (SELECT max(id) FROM enrolment_token)")
    assert enrol(lab, token, Key())[1]["code"] == "token_expired"
    status, made, _ = lab.call("POST", "/api/v1/enrolment-tokens", {"site": "lab"})
    assert lab.call("DELETE", f"/api/v1/enrolment-tokens/{made['id']}")[0] == 204
    assert enrol(lab, made["secret"], Key())[0] in (401, 403)
    assert enrol(lab, "met_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Key())[0] in (401, 403)


def test_bad_csrs(lab):
    token, key = lab.enrolment_token(), Key()
    good = key.csr()
    lines = good.splitlines()
    broken = "\n".join([lines[0], lines[1][::-1], *lines[2:]])
    for csr in ["", "nonsense", good[:-60], broken, good.replace("REQUEST", "CERTIFICATE")]:
        status, answer, _ = enrol(lab, token, key, "bad", csr or " ")
        assert status in (400, 422), (csr, answer)
    assert enrol(lab, token, key, "enrol-5")[0] == 201, "bad requests must not use the token up"


def test_no_certificate_is_401(lab, contract):
    for path in ["/device/v1/desired", "/device/v1/objects/" + "a" * 64]:
        status, answer, headers = lab.server.request("GET", path, port="device")
        assert status == 401, answer
        contract.problem(answer, headers, 401)


def test_foreign_certificate_is_refused(lab, tmp_path):
    """Self-signed, with a real device's name."""
    from datetime import datetime, timedelta
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID
    key = Key()
    device = lab.sql("SELECT id FROM device LIMIT 1")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    fake = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.key.public_key()).serial_number(1)
            .not_valid_before(datetime.utcnow() - timedelta(1)).not_valid_after(datetime.utcnow() + timedelta(1)).sign(key.key, hashes.SHA256()))
    (tmp_path / "c.pem").write_bytes(fake.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(key.pem())
    context = lab.server.tls()
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    try:
        status, _, _ = lab.server.request("GET", "/device/v1/desired", port="device", context=context)
        assert status == 401
    except OSError:
        pass  # refused in the handshake is as good


def test_servers_certificate_is_no_device(lab):
    """musterd's own MQTT identity, signed by the other CA, opens nothing here."""
    context = lab.server.tls()
    context.load_cert_chain(lab.stack.pki / "mqtt-client.pem", lab.stack.pki / "mqtt-client.key")
    try:
        status, _, _ = lab.server.request("GET", "/device/v1/desired", port="device", context=context)
        assert status == 401
    except OSError:
        pass


def test_api_token_is_no_device_and_back(lab, pair):
    assert lab.server.request("GET", "/device/v1/desired", token=lab.token, port="device")[0] == 401
    assert pair[0].lab.server.request("GET", "/api/v1/devices", context=pair[0].context())[0] == 401


def test_desired_document(pair, contract):
    status, answer, headers = pair[0].request("GET", "/device/v1/desired")
    assert status == 200 and answer["slots"] == {}
    contract.check("GET", "/device/v1/desired", status, answer, headers)


def test_only_what_desired_names(lab, pair, contract):
    mine, other = pair
    sha = lab.upload("1.0.0")["object_sha256"]
    status, answer, headers = mine.request("GET", f"/device/v1/objects/{sha}")
    assert status == 404, "nothing is desired yet"
    contract.problem(answer, headers, 404)
    other.connect()
    other.beat()
    lab.roll_out("1.0.0", "--query", "name:port-b", "--wave", "100%:soak=0")
    wait_for("the offer", lambda: other.request("GET", "/device/v1/desired")[1]["slots"], 10)
    whole = other.request("GET", f"/device/v1/objects/{sha}")
    assert whole[0] == 200 and len(whole[1]) > 5_000_000
    assert mine.request("GET", f"/device/v1/objects/{sha}")[0] == 404, "another device's object"
    part = other.request("GET", f"/device/v1/objects/{sha}", headers={"Range": "bytes=1000-1999"})
    assert part[0] == 206 and part[1] == whole[1][1000:2000]
    tail = other.request("GET", f"/device/v1/objects/{sha}", headers={"Range": "bytes=-100"})
    assert tail[0] == 206 and tail[1] == whole[1][-100:]
    assert other.request("GET", f"/device/v1/objects/{sha}", headers={"Range": "bytes=99999999999-"})[0] == 416
    assert other.request("GET", f"/device/v1/objects/{'0' * 64}")[0] == 404
    assert other.request("GET", "/device/v1/objects/..%2f..%2fetc%2fpasswd")[0] in (400, 404)
    other.close()


def test_renewal_keeps_the_device(lab, pair, contract):
    status, answer, headers = pair[0].request("POST", "/device/v1/renew", {"csr": Key().csr()})
    assert status == 201 and answer["device"] == pair[0].id
    contract.check("POST", "/device/v1/renew", status, answer, headers)


def test_revoked_certificate_opens_nothing(lab, tmp_path):
    device = Device(lab, tmp_path, "revoked-1")
    assert device.request("GET", "/device/v1/desired")[0] == 200
    lab.sql(f"UPDATE device_certificate SET revoked_at = now() WHERE device_id = '{device.id}'")
    assert device.request("GET", "/device/v1/desired")[0] == 401


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # asking for old TLS is the test
def test_old_tls_is_refused(lab):
    context = lab.server.tls()
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with socket.create_connection(("127.0.0.1", lab.server.device_port), timeout=5) as s:
            context.wrap_socket(s, server_hostname="localhost")
