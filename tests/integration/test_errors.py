"""api/errors.md names every code that the server can answer with."""

import re

from conftest import ROOT

# Codes that never leave a program: of key files and signing on the command line, of the leader's fence, of the server's own start,
# of the model runtime, of deltas.
NOT_HTTP = {"key_invalid", "key_encrypted", "already_signed", "not_leader", "no_release_keys", "runtime_missing", "runtime_unfit",
            "delta_wrong_base", "delta_invalid", "delta_unsupported", "lease_lost"}


def test_every_code_is_documented():
    found = set()
    for path in [*ROOT.glob("server/**/*.c"), *ROOT.glob("common/**/*.c")]:
        text = path.read_text()
        for call in re.findall(r"err_code\([^;]*?ERR_[A-Z_]+,\s*([^;]*?);", text, re.S):
            # `"code"`, or `condition ? "code" : "code"`, up to the comma before the text for people
            found |= set(re.findall(r'"([a-z]+(?:_[a-z]+)*)"', call.split(",")[0]))
        found |= set(re.findall(r'text_copy\(info->code, sizeof info->code, "([a-z_]+)"\)', text))
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "api/errors.md").read_text()))
    assert len(found) > 30
    assert found - NOT_HTTP <= documented, f"not in api/errors.md: {sorted(found - NOT_HTTP - documented)}"


def test_every_error_has_its_code_documented():
    names = re.findall(r'\[ERR_[A-Z_]+\] = "([a-z_]+)"', (ROOT / "common/base/err.c").read_text())
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "api/errors.md").read_text()))
    assert len(names) > 15 and set(names) - {"ok"} <= documented
