"""`musterctl bundle` offline: every kind there and back, several keys, deltas, differences, and minisign both ways."""

import io
import json
import os
import subprocess
import tarfile

import jsonschema
import pytest
from conftest import ROOT
from stack import BUILD, DATA

SCHEMA = json.loads((ROOT / "api/manifest.schema.json").read_text())


def ctl(*argv, cwd=None, code=0):
    done = subprocess.run([str(a) for a in (BUILD / "musterctl", *argv)], capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def shown(*argv):
    return json.loads(ctl("--output", "json", *argv).stdout)


def minisign(*argv, code=0):
    done = subprocess.run(["minisign", *(str(a) for a in argv)], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.fixture
def place(tmp_path):
    """A folder with two release keys, whose public halves are in keys/."""
    (tmp_path / "keys").mkdir()
    for name in ("one", "two"):
        ctl("key", "generate", "--out", tmp_path / name)
        (tmp_path / f"{name}.pub").rename(tmp_path / f"keys/{name}.pub")
    return tmp_path


def sign(place, bundle, *names):
    keys = [word for name in names for word in ("--key", place / f"{name}.key")]
    ctl("bundle", "sign", bundle, *keys)
    return bundle


def model(place, version, source, *more):
    out = place / f"digits-{version}.mub"
    ctl("bundle", "create", "--slot", "digits", "--version", version, "--counter", version.split(".")[0], "--model", f"{source}=cnn.onnx",
        "--input", "input:float32:1,1,16,16", "--out", out, *more)
    return out


def app_files(place):
    (place / "app/bin").mkdir(parents=True)
    (place / "app/etc").mkdir()
    program = place / "app/bin/counter"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    (place / "app/etc/table").write_text("\n".join(str(i) for i in range(20000)))
    (place / "app/counter.service").write_text("[Service]\nExecStart=/bin/true\n")
    return place / "app"


# ---------------------------------------------------------------- kinds


def test_a_model_with_a_self_test(place):
    for name in ("in.bin", "out.bin"):
        (place / name).write_bytes(os.urandom(40 if name == "in.bin" else 80))
    out = model(place, "1.0.0", DATA / "cnn_v1.onnx", "--selftest-samples", f"{place}/in.bin=test/in", "--selftest-outputs",
                f"{place}/out.bin=test/out", "--tolerance", "0.01", "--runtime", "1.16.0", "--memory", "64MiB", "--disk", "1000",
                "--accelerator", "cuda", "--accelerator", "hailo-8", "--notes", "the first", "--max-error-rate", "0.05")
    manifest = shown("bundle", "inspect", out)["manifest"]
    jsonschema.validate(manifest, SCHEMA)
    assert manifest["selftest"] == {"samples": "test/in", "outputs": "test/out", "tolerance": 0.01}
    assert manifest["requires"] == {"runtime": "1.16.0", "memory": 64 * 2**20, "disk": 1000, "accelerator": ["cuda", "hailo-8"]}
    assert manifest["health"] == {"max_error_rate": 0.05} and manifest["notes"] == "the first"
    assert {p["encoding"] for p in manifest["payload"]} == {"raw"}, "models are not compressed unless somebody asks"


def test_an_app(place):
    files = app_files(place)
    out = place / "counter.mub"
    ctl("bundle", "create", "--kind", "app", "--slot", "counter", "--version", "1.0.0", "--counter", "1", "--dir", files, "--run",
        "bin/counter --port  80", "--check", "bin/counter", "--check", "a word with spaces", "--stop", "bin/counter stop", "--timeout", "5",
        "--max-restarts", "2", "--out", out)
    sign(place, out, "one")
    manifest = shown("bundle", "verify", out, "--trust", place / "keys")["manifest"]
    jsonschema.validate(manifest, SCHEMA)
    assert manifest["app"] == {"run": ["bin/counter", "--port", "80"], "timeout_s": 5,
                               "commands": {"check": ["bin/counter", "a word with spaces"], "stop": ["bin/counter", "stop"]}}
    assert manifest["critical"] == ["app"] and manifest["health"] == {"max_restarts": 2}
    assert {f["path"]: f["mode"] for f in manifest["files"]} == {"bin/counter": "0555", "counter.service": "0444", "etc/table": "0444"}
    encodings = {p["file"]: p["encoding"] for p in manifest["payload"]}
    table = next(f for f in manifest["files"] if f["path"] == "etc/table")
    assert encodings[table["sha256"]] == "zstd" and out.stat().st_size < table["size"]
    ctl("bundle", "extract", out, "--trust", place / "keys", "--out", place / "out")
    for path in ("bin/counter", "etc/table", "counter.service"):
        assert (place / "out" / path).read_bytes() == (files / path).read_bytes()
    assert os.access(place / "out/bin/counter", os.X_OK)


def test_an_app_with_a_unit(place):
    out = place / "counter.mub"
    files = app_files(place)
    ctl("bundle", "create", "--kind", "app", "--slot", "counter", "--version", "1.0.0", "--counter", "1", "--dir", f"{files}/bin=program",
        "--unit", files / "counter.service", "--before", "program/counter", "--no-compress", "--out", out)
    manifest = shown("bundle", "inspect", out)["manifest"]
    jsonschema.validate(manifest, SCHEMA)
    assert manifest["app"] == {"unit": "counter.service", "commands": {"before": ["program/counter"]}}


def test_the_agent(place):
    out = place / "agent.mub"
    for name in ("muster-agent", "muster-fetch"):
        (place / name).write_bytes(b"\x7fELF" + os.urandom(1000))
    (place / "muster-fetch").chmod(0o755)
    ctl("bundle", "create", "--kind", "agent", "--version", "0.2.0", "--counter", "2", "--program", place / "muster-agent", "--file",
        place / "muster-fetch", "--out", out)
    manifest = shown("bundle", "inspect", out)["manifest"]
    jsonschema.validate(manifest, SCHEMA)
    assert manifest["name"] == "agent" and manifest["agent"] == {"program": "muster-agent"} and manifest["critical"] == ["agent"]
    assert {f["path"]: f["mode"] for f in manifest["files"]} == {"muster-agent": "0555", "muster-fetch": "0555"}


BASE = ["--version", "1.0.0", "--counter", "1"]
MODEL = [*BASE, "--slot", "digits", "--model", "m"]
APP = [*BASE, "--kind", "app", "--slot", "counter"]


@pytest.mark.parametrize("argv, says", [
    ([*BASE, "--slot", "digits"], "--model is missing"),
    ([*BASE, "--model", "m"], "--slot is missing"),
    ([*MODEL, "--kind", "driver"], "model, app or agent"),
    ([*MODEL, "--run", "m"], "--run is not for a bundle of kind model"),
    ([*MODEL, "--selftest-samples", "m"], "only go together"),
    ([*MODEL, "--tolerance", "1"], "--tolerance is for"),
    ([*MODEL, "--selftest-samples", "m", "--selftest-outputs", "n", "--tolerance", "-1"], "0 to 1e9"),
    ([*MODEL, "--memory", "lots"], "like 512MiB"),
    ([*MODEL, "--memory", "2000GiB"], "at most 1024GiB"),
    ([*MODEL, "--memory", "GB"], "like 512MiB"),
    ([*MODEL, "--max-error-rate", "2"], "0 to 1"),
    ([*MODEL, "--compress", "--no-compress"], "only one"),
    ([*MODEL[:-4], "--slot", "agent", "--model", "m"], "--kind agent only"),
    (APP, "an app needs files"),
    ([*APP, "--file", "m", "--model", "m"], "--model is not for"),
    ([*APP, "--file", "m", "--run", "/bin/sh -c true"], "not a file of this bundle"),
    ([*APP, "--file", "m", "--run", " "], "not a file of this bundle"),
    ([*APP, "--file", "m", "--run", "m", "--unit", "x.service"], "not by both"),
    ([*APP, "--file", "m", "--selftest-samples", "m"], "not for a bundle of kind app"),
    ([*BASE, "--kind", "agent"], "--program is missing"),
    ([*BASE, "--kind", "agent", "--program", "m", "--slot", "digits"], "only go together"),
])
def test_what_makes_no_sense_is_said(tmp_path, argv, says):
    (tmp_path / "m").write_bytes(b"m")
    (tmp_path / "x.service").write_bytes(b"x")
    done = ctl("bundle", "create", *argv, cwd=tmp_path, code=2)
    assert says in done.stderr and not list(tmp_path.glob("*.mub"))


@pytest.mark.parametrize("argv, says", [
    ([*APP, "--file", "missing"], "missing: cannot read"),
    ([*APP, "--dir", "links"], "no plain file"),
    ([*APP, "--dir", "empty"], "no file in it"),
    ([*APP, "--dir", "spaced"], "not a path that a bundle may have"),
    ([*APP, "--file", "m", "--unit", "m"], "name of a systemd service"),
    ([*MODEL, "--runtime", "1.16"], "must be a version"),
    ([*MODEL, "--selftest-samples", "m", "--selftest-outputs", "x.service"], "float32"),
])
def test_what_cannot_be_is_said(tmp_path, argv, says):
    for name in ("m", "x.service"):
        (tmp_path / name).write_bytes(b"m")
    for name in ("links", "empty", "spaced"):
        (tmp_path / name).mkdir()
    (tmp_path / "links/passwd").symlink_to("/etc/passwd")
    (tmp_path / "spaced/a b").write_bytes(b"m")
    done = ctl("bundle", "create", *argv, cwd=tmp_path, code=1)
    assert says in done.stderr and not list(tmp_path.glob("*.mub"))


@pytest.mark.parametrize("content, why", [
    (b"", "it does not begin like one"), (b"a text\n", "it does not begin like one"), (bytes(10240), "there is nothing in it"),
    ("tar", 'its first entry is "m", not manifest.json'),
], ids=["empty", "text", "zeros", "tar"])
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_is_no_bundle(place, command, content, why):
    """It is said what it is not, and what to give instead."""
    path = place / "x.mub"
    if content == "tar":
        (place / "m").write_bytes(b"m")
        with tarfile.open(path, "w") as tar:
            tar.add(place / "m", "m")
    else:
        path.write_bytes(content)
    done = ctl("bundle", command, path, *(["--trust", place / "keys"] if command == "verify" else []), code=1)
    assert f"{path}: this is no bundle: {why}" in done.stderr and "next:    Give the .mub file" in done.stderr, done.stderr


# ---------------------------------------------------------------- keys


def test_several_keys(place):
    out = model(place, "1.0.0", DATA / "cnn_v1.onnx")
    done = ctl("bundle", "sign", out, "--key", place / "one.key", "--key", place / "none.key", code=1)
    assert "none.key" in done.stderr
    ctl("bundle", "verify", out, "--trust", place / "keys", code=1)  # the first has not signed either
    sign(place, out, "one")
    ctl("bundle", "verify", out, "--trust", place / "keys")
    done = ctl("bundle", "verify", out, "--trust", place / "keys", "--required", "2", code=1)
    assert "1 missing" in done.stderr
    assert "already signed" in ctl("bundle", "sign", out, "--key", place / "one.key", code=1).stderr
    sign(place, out, "two")
    assert len(shown("bundle", "verify", out, "--trust", place / "keys", "--required", "2")["key_ids"]) == 2
    assert "1 missing" in ctl("bundle", "extract", out, "--trust", place / "keys", "--required", "3", "--out", place / "x", code=1).stderr


# ---------------------------------------------------------------- deltas and differences


@pytest.fixture
def versions(place):
    (place / "labels.txt").write_text("0 1 2 3")
    (place / "new.txt").write_text("new")
    old = model(place, "1.0.0", DATA / "cnn_v1.onnx", "--file", place / "labels.txt")
    new = model(place, "2.0.0", DATA / "cnn_v2_ft_long.onnx", "--file", place / "labels.txt", "--file", place / "new.txt", "--memory", "1MB")
    return sign(place, old, "one"), sign(place, new, "one", "two")


def test_a_delta_bundle(place, versions):
    old, new = versions
    keys = ("--trust", place / "keys")
    made = shown("bundle", "delta", old, new, "--out", place / "d.mub", "--effort", "fast", *keys)
    assert made["delta_size"] == (place / "d.mub").stat().st_size < made["full_size"] == new.stat().st_size
    assert (made["same"], made["delta"], made["full"]) == (1, 1, 1)
    looked, full = shown("bundle", "verify", place / "d.mub", *keys, "--required", "2"), shown("bundle", "inspect", new)
    assert looked["id"] == full["id"] and looked["manifest"] == full["manifest"]
    text = ctl("bundle", "inspect", place / "d.mub").stdout
    assert "delta bundle: needs" in text and shown("bundle", "inspect", old)["manifest"]["files"][0]["sha256"] in text
    done = ctl("bundle", "extract", place / "d.mub", *keys, "--out", place / "out", code=1)
    assert "--old" in done.stderr and not list((place / "out").iterdir())
    done = ctl("bundle", "extract", place / "d.mub", *keys, "--old", new, "--out", place / "out", code=1)
    assert "--old" in done.stderr and not list((place / "out").iterdir())
    ctl("bundle", "extract", place / "d.mub", *keys, "--old", old, "--out", place / "out")
    assert (place / "out/cnn.onnx").read_bytes() == (DATA / "cnn_v2_ft_long.onnx").read_bytes()
    assert (place / "out/new.txt").read_text() == "new"
    ctl("bundle", "delta", old, place / "d.mub", "--out", place / "e.mub", *keys, code=1)
    assert not (place / "e.mub").exists()


def test_the_difference(place, versions):
    old, new = versions
    found = shown("bundle", "diff", old, new)
    assert (found["old"], found["new"]) == ("digits@1.0.0", "digits@2.0.0")
    changes = {c["what"]: (c.get("old"), c.get("new")) for c in found["changes"]}
    assert changes["version"] == ("1.0.0", "2.0.0") and changes["release_counter"] == (1, 2)
    assert changes["requires.memory"] == (None, 1000000) and "model.file" not in changes
    assert {f["path"]: f["change"] for f in found["files"]} == {"cnn.onnx": "changed", "labels.txt": "same", "new.txt": "added"}
    assert "delta" not in found
    back = shown("bundle", "diff", new, old, "--delta", "--effort", "fast")
    assert {f["path"]: f["change"] for f in back["files"]} == {"cnn.onnx": "changed", "labels.txt": "same", "new.txt": "removed"}
    assert back["delta"]["delta_size"] < back["delta"]["full_size"]
    text = ctl("bundle", "diff", old, new).stdout
    assert "requires.memory" in text and "NOT verified" in text
    assert ctl("bundle", "diff", old, new, "--effort", "best", code=2).stderr


# ---------------------------------------------------------------- minisign


def extracted_manifest(place, bundle):
    folder = place / "extracted"
    ctl("bundle", "extract", bundle, "--trust", place / "keys", "--out", folder)
    return folder / "manifest.json", sorted(folder.glob("*.minisig"))


def test_minisign_verifies_ours(place, versions):
    old, new = versions
    ctl("bundle", "delta", old, new, "--out", place / "d.mub", "--effort", "fast", "--trust", place / "keys")
    manifest, signatures = extracted_manifest(place, new)
    assert len(signatures) == 2
    ids = {k: (place / f"keys/{k}.pub").read_text().splitlines()[0].split()[-1] for k in ("one", "two")}
    for name, key_id in ids.items():
        own = next(s for s in signatures if key_id in s.name)
        minisign("-Vm", manifest, "-x", own, "-p", place / f"keys/{name}.pub")
        other = next(s for s in signatures if key_id not in s.name)
        minisign("-Vm", manifest, "-x", other, "-p", place / f"keys/{name}.pub", code=1)
    with tarfile.open(place / "d.mub") as tar:  # a delta bundle has the same manifest and signatures
        assert tar.extractfile("manifest.json").read() == manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b"2.0.0", b"2.0.1"))
    minisign("-Vm", manifest, "-x", signatures[0], "-p", place / "keys/one.pub", code=1)


def put_signature(bundle, out, name, text):
    """The bundle with one more signature behind its manifest."""
    with tarfile.open(bundle) as source, tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as target:
        for i, member in enumerate(source.getmembers()):
            target.addfile(member, source.extractfile(member))
            if i == 0:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o444
                target.addfile(entry, io.BytesIO(text))
    return out


def test_we_verify_minisigns(place):
    bundle = model(place, "1.0.0", DATA / "cnn_v1.onnx")
    for name in ("theirs", "stranger"):
        minisign("-G", "-W", "-p", place / f"{name}.pub", "-s", place / f"{name}.sec")
    (place / "theirs.pub").rename(place / "keys/theirs.pub")
    with tarfile.open(bundle) as tar:
        (place / "manifest.json").write_bytes(tar.extractfile("manifest.json").read())
    (place / "other.json").write_bytes(b"{}")
    key_id = (place / "keys/theirs.pub").read_text().splitlines()[0].split()[-1]
    entry = f"manifest.json.{key_id}.minisig"

    def signature(key, message="manifest.json", *more):
        minisign("-S", "-s", place / f"{key}.sec", "-m", place / message, "-x", place / "sig", *more)
        return (place / "sig").read_bytes()

    def verify(text, code):
        out = put_signature(bundle, place / "signed.mub", entry, text)
        return ctl("bundle", "verify", out, "--trust", place / "keys", code=code)

    assert key_id in verify(signature("theirs"), 0).stdout
    assert key_id in verify(signature("theirs", "manifest.json", "-t", "a comment of our own"), 0).stdout
    edited = signature("theirs").replace(b"trusted comment: timestamp", b"trusted comment: Timestamp")
    for wrong, says in ((signature("theirs", "manifest.json", "-l"), "legacy"), (signature("stranger"), "another key"),
                        (signature("theirs", "other.json"), "is wrong"), (edited, "is wrong"), (b"untrusted comment: none\n", "minisig")):
        assert says in verify(wrong, 1).stderr
    # Theirs counts as one of several, and their key signs with our program.
    verify(signature("theirs"), 0)
    sign(place, place / "signed.mub", "one")
    ctl("bundle", "verify", place / "signed.mub", "--trust", place / "keys", "--required", "2")
    ctl("bundle", "sign", bundle, "--key", place / "theirs.sec")
    ctl("bundle", "verify", bundle, "--trust", place / "keys")
