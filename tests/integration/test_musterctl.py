"""musterctl against a real server, as a person and as a script use it."""

import json
import os
import pty
import re
import select
import subprocess
import time

import jsonschema
import pytest
from conftest import ROOT
from stack import BUILD, DATA

MUSTERCTL = BUILD / "musterctl"
PASSWORD = "a long new password"


class Person:
    """A shell with its own home, and no settings but the server's address and CA."""

    def __init__(self, lab, home):
        self.home = home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "MUSTERCTL_SERVER": lab.server.url,
                    "MUSTERCTL_CA": str(lab.stack.pki / "server-ca.pem")}

    def run(self, *argv, text: str = "", env: dict | None = None) -> subprocess.CompletedProcess:
        return subprocess.run([str(a) for a in (MUSTERCTL, *argv)], input=text, capture_output=True, text=True, timeout=60, check=False,
                              cwd=self.home, env={**self.env, **(env or {})})

    def type(self, *argv, answers: list[str]) -> tuple[int, str]:
        """Runs it on a terminal and types an answer whenever it waits: exit status and what was seen."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(MUSTERCTL, [str(a) for a in (MUSTERCTL, *argv)], self.env)
        seen, answers, deadline = "", list(answers), time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([fd], [], [], 1.0)[0]:
                if answers:
                    os.write(fd, answers.pop(0).encode() + b"\n")
                continue
            try:
                seen += os.read(fd, 4096).decode()
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


@pytest.fixture(scope="module")
def person(lab, tmp_path_factory):
    """Logged in by a one-time password, which was changed on the way."""
    person = Person(lab, tmp_path_factory.mktemp("home"))
    done = person.run("whoami")
    assert done.returncode == 1 and "musterctl login" in done.stderr
    one_time = lab.server.command("user", "reset-password", "admin").split()[-1]
    done = person.run("login", "--user", "admin", "--password-stdin", text=one_time + "\n")
    assert done.returncode == 1 and "second line" in done.stderr
    done = person.run("login", "--user", "admin", "--password-stdin", text=f"{one_time}\n{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    return person


@pytest.fixture(scope="module")
def bundle(lab, tmp_path_factory):
    """An unsigned bundle, made with everything that can be in one."""
    folder = tmp_path_factory.mktemp("bundle")
    profile, out = folder / "profile.json", folder / "digits-1.0.0.mub"
    subprocess.run([MUSTERCTL, "profile", "create", "--data", DATA / "digits_test_16x16_f32.bin", "--shape", "1,16,16", "--out", profile],
                   check=True, capture_output=True)
    subprocess.run([MUSTERCTL, "bundle", "create", "--slot", "digits", "--version", "1.0.0", "--counter", "1", "--model",
                    DATA / "cnn_v1.onnx", "--input", "input:float32:1,1,16,16", "--profile", profile, "--hardware", "demo", "--file",
                    f"{DATA}/README.md=doc/README.md", "--out", out], check=True, capture_output=True)
    return out


def test_login_on_a_terminal(person):
    status, seen = person.type("login", answers=["admin", PASSWORD])
    assert status == 0 and "logged in as user:admin" in seen
    assert PASSWORD not in seen, "the password must not be echoed"
    token = person.home / ".config/muster/token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert json.loads(person.run("whoami", "--output", "json").stdout)["role"] == "admin"


def test_wrong_password(person):
    done = person.run("login", "--password-stdin", text="wrong\n")
    assert done.returncode == 1
    assert re.search(r"^musterctl: .+\n  why: .+\n  next: .+\n  code: +login_refused\n  request: \w+\n$", done.stderr)


def test_only_the_right_server_is_talked_to(person):
    done = person.run("fleet", env={"MUSTERCTL_CA": ""})
    assert done.returncode == 1 and "not who it says" in done.stderr and "--ca" in done.stderr
    assert person.run("fleet", "--server", "http://localhost:1").returncode == 1


def test_tokens_are_made_in_person(lab, person):
    done = person.run("token", "create", "ci", "--role", "viewer", "--password-stdin", text=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    assert re.fullmatch(r"\S+", secret), "the secret alone is on stdout"
    env = {"MUSTERCTL_TOKEN": secret}
    assert person.run("fleet", env=env).returncode == 0
    done = person.run("enrol-token", "create", "--site", "berlin", env=env)
    assert done.returncode == 1 and "forbidden" in done.stderr
    ids = {t["name"]: t["id"] for t in json.loads(person.run("token", "list", "--output", "json").stdout)["tokens"]}
    done = person.run("token", "revoke", ids["ci"], "--password-stdin", text=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert person.run("fleet", env=env).returncode == 1


def test_a_bundle_from_file_to_server(lab, person, bundle):
    def upload(path):
        return person.run("bundle", "upload", path)

    done = upload(bundle)
    assert done.returncode == 1 and "signature_untrusted" in done.stderr
    assert person.run("bundle", "sign", bundle, "--key", lab.stack.keys / "release.key").returncode == 0
    done = upload(bundle)
    assert done.returncode == 0 and done.stdout.startswith("stored"), done.stderr
    assert upload(bundle).stdout.startswith("already there")
    damaged = bundle.with_name("damaged.mub")
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    done = upload(damaged)
    assert done.returncode == 1 and "payload_mismatch" in done.stderr
    shown = json.loads(person.run("bundle", "show", "digits@1.0.0", "--output", "json").stdout)
    assert shown == lab.get(f"/api/v1/bundles/{shown['id']}")
    assert "digits" in person.run("bundle", "list").stdout


def test_extracted_and_checked_by_minisign(lab, person, bundle, tmp_path):
    trusted = lab.stack.keys / "trusted"
    person.run("bundle", "sign", bundle, "--key", lab.stack.keys / "release.key")
    done = person.run("bundle", "extract", bundle, "--trust", trusted, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    signature = next((tmp_path / "out").glob("*.minisig"))
    check = ["minisign", "-Vm", tmp_path / "out/manifest.json", "-x", signature, "-p", trusted / "release.pub"]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "out/cnn_v1.onnx").read_bytes() == (DATA / "cnn_v1.onnx").read_bytes()
    done = person.run("bundle", "extract", bundle, "--trust", trusted, "--out", tmp_path / "out")
    assert done.returncode == 1, "nothing is overwritten"


def test_manifest_is_as_the_schema_says(bundle):
    schema = json.loads((ROOT / "api/manifest.schema.json").read_text())
    shown = subprocess.run([MUSTERCTL, "--output", "json", "bundle", "inspect", bundle], capture_output=True, check=True)
    jsonschema.validate(json.loads(shown.stdout)["manifest"], schema)


def test_rollouts_without_devices(person, bundle, lab):
    person.run("bundle", "sign", bundle, "--key", lab.stack.keys / "release.key")
    person.run("bundle", "upload", bundle)
    done = person.run("rollout", "create", "--bundle", "digits@1.0.0", "--query", "name:nobody")
    assert done.returncode == 1 and "next:" in done.stderr
    done = person.run("rollout", "plan", "--bundle", "digits@9.9.9", "--all")
    assert done.returncode == 1 and "bundle_not_found" in done.stderr
    done = person.run("rollout", "watch", "99", "--timeout", "5")
    assert done.returncode == 1 and "rollout_not_found" in done.stderr


@pytest.mark.parametrize("argv", [
    ["nonsense"], ["device", "show"], ["device", "hold", "edge-1"], ["rollout", "create", "--bundle", "a@1.0.0"],
    ["rollout", "create", "--bundle", "a@1.0.0", "--all", "--wave", "0%"], ["rollout", "watch", "1", "--until", "soon"],
    ["--output", "xml", "fleet"], ["fleet", "--colour", "red"], ["bundle", "create", "--slot", "A", "--version", "1.0.0", "--counter",
                                                                 "1", "--model", "x"]])
def test_wrong_calls_exit_with_2(person, argv):
    done = person.run(*argv)
    assert done.returncode == 2 and done.stderr.startswith("musterctl: ") and done.stdout == ""


def test_output_that_cannot_be_written_is_a_failure(person):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([MUSTERCTL, "--version"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"cannot write" in done.stderr
