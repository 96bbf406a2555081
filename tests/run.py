#!/usr/bin/python3
"""Runs every test and ends with `N passed, N failed`. Exit status 1 when one failed, or when nothing ran."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def unit(build: Path) -> tuple[int, int]:
    """cmocka programs; each prints its own counts, and one that ends badly without them counts as one failure."""
    passed = failed = 0
    for program in sorted((build / "unit").glob("test_*")):
        if program.suffix:
            continue
        try:
            done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=300, check=False)
            output, status = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as late:
            output, status = f"timed out after {late.timeout:g} s", 124
        good = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
        bad = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output))
        if status != 0 and bad == 0:
            bad = 1
        passed, failed = passed + good, failed + bad
        if bad:
            print(output)
        print(f"unit {program.name}: {good} ok{f', {bad} FAILED' if bad else ''}", flush=True)
    return passed, failed


def fuzz(build: Path) -> tuple[int, int]:
    """Each fuzz target once over its corpus."""
    passed = failed = 0
    for program in sorted((build / "fuzz").glob("replay_*")):
        if program.suffix:
            continue
        corpus = ROOT / "tests/fuzz/corpus" / program.name.removeprefix("replay_")
        done = subprocess.run([program, corpus], cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=300, check=False)
        good = done.returncode == 0
        passed, failed = passed + good, failed + (not good)
        print(f"fuzz {corpus.name}: {done.stdout.strip() if good else f'FAILED with status {done.returncode}' + done.stderr}", flush=True)
    return passed, failed


def pytest(build: Path, words: list[str]) -> tuple[int, int]:
    """The files in two halves at once, because most of them wait most of the time. Each half has a PostgreSQL and folders of its own."""
    files = sorted((ROOT / "tests/integration").glob("test_*.py"))
    with tempfile.TemporaryDirectory(prefix="muster-tests-") as base:
        Path(base).chmod(0o755)  # the database may run as another user
        halves = [half_start(build, Path(base) / f"half{i}", files[i::2], words) for i in (0, 1)]
        results = [half_end(*half) for half in halves]
    return sum(r[0] for r in results), sum(r[1] for r in results)


def half_start(build: Path, base: Path, files: list[Path], words: list[str]) -> tuple[subprocess.Popen, Path]:
    report = build / f"pytest-{base.name}.xml"
    report.unlink(missing_ok=True)
    base.mkdir(mode=0o755)
    log = open(base / "log", "w", encoding="utf-8")
    argv = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(base / "t"), "--junitxml", str(report),
            "--continue-on-collection-errors", *words]
    return subprocess.Popen(argv + [str(f) for f in files], cwd=ROOT, env={**os.environ, "MUSTER_BUILD": str(build)},
                            stdout=log, stderr=subprocess.STDOUT), report


def half_end(process: subprocess.Popen, report: Path) -> tuple[int, int]:
    process.wait()
    print(Path(process.args[process.args.index("--basetemp") + 1]).with_name("log").read_text(errors="replace"), flush=True)
    if not report.exists():
        return 0, 1
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return int(suite.get("tests", 0)) - failed - int(suite.get("skipped", 0)), failed


def faults(build: Path, words: list[str]) -> tuple[int, int]:
    """The sample of tests/faults: each point is a test."""
    done = subprocess.run(["/usr/bin/python3", str(ROOT / "tests/faults/run.py"), *words], env={**os.environ, "MUSTER_BUILD": str(build)},
                          stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    said = re.search(r"^faults: (\d+) points: (\d+) old version, (\d+) new version", done.stdout, re.M)
    if not said:
        return 0, 1
    tried, good = int(said[1]), int(said[2]) + int(said[3])
    return good, max(tried - good, 1 if done.returncode else 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--skip-console", action="store_true", help="leave the browser test out")
    parser.add_argument("--skip-faults", action="store_true", help="leave tests/faults out")
    arguments = parser.parse_args()
    build = (ROOT / arguments.build).resolve()
    begin = time.monotonic()
    words = ["-q", "--durations=5"] + (["--deselect", "tests/integration/test_console.py"] if arguments.skip_console else [])
    results = [unit(build), fuzz(build), *([] if arguments.skip_faults else [faults(build, [])]), pytest(build, words)]
    passed, failed = (sum(r[i] for r in results) for i in (0, 1))
    print(f"all tests ran in {time.monotonic() - begin:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
