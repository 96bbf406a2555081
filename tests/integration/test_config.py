"""Settings: files, environment and flags, and errors a person can act on. No server is needed."""

import re
import subprocess

import pytest
from conftest import ROOT
from stack import BUILD

PROGRAMS = {"musterd": "musterd.8", "muster-agent": "muster-agent.8", "musterctl": "musterctl.1", "muster-infer": "muster-infer.8"}


def run(*argv, env=None):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20, env=env, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version(program):
    done = run(BUILD / program, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert re.search(r"\d+\.\d+\.\d+", run(BUILD / program, "--version").stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_is_in_the_manual(program):
    manual = (ROOT / "docs/man" / PROGRAMS[program]).read_text().replace("\\-", "-")
    flags = re.findall(r"^  --([a-z0-9-]+) ", run(BUILD / program, "--help").stdout, re.M)
    assert flags
    missing = [f for f in flags if f not in manual and f.replace("-", "_") not in manual]
    assert not missing, f"{PROGRAMS[program]} does not name {missing}"


@pytest.mark.parametrize("program", ["musterd", "muster-agent"])
class TestErrors:
    def conf(self, tmp_path, text):
        path = tmp_path / "program.conf"
        path.write_text(text)
        return path

    def test_unknown_key(self, program, tmp_path):
        path = self.conf(tmp_path, "no_such_key = 1\n")
        done = run(BUILD / program, "--config", path)
        assert done.returncode != 0
        assert "no_such_key" in done.stderr and str(path) in done.stderr and "--help" in done.stderr

    def test_wrong_type(self, program, tmp_path):
        key = "http_workers" if program == "musterd" else "health_s"
        path = self.conf(tmp_path, f"{key} = many\n")
        done = run(BUILD / program, "--config", path)
        assert done.returncode != 0
        assert key in done.stderr and str(path) in done.stderr and "number" in done.stderr

    def test_missing_file(self, program, tmp_path):
        done = run(BUILD / program, "--config", tmp_path / "nowhere.conf")
        assert done.returncode != 0 and "nowhere.conf" in done.stderr

    def test_not_key_value(self, program, tmp_path):
        path = self.conf(tmp_path, "just words\n")
        done = run(BUILD / program, "--config", path)
        assert done.returncode != 0 and str(path) in done.stderr and "line 1" in done.stderr

    def test_unknown_flag(self, program, tmp_path):
        done = run(BUILD / program, "--no-such-flag", "1")
        assert done.returncode != 0 and "no-such-flag" in done.stderr

    def test_environment_is_named(self, program, tmp_path):
        key = "http_workers" if program == "musterd" else "health_s"
        variable = f"{program.upper().replace('-', '_')}_{key.upper()}"
        done = run(BUILD / program, env={"PATH": "/usr/bin", variable: "x"})
        assert done.returncode != 0 and variable in done.stderr
