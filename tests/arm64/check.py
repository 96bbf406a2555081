#!/usr/bin/python3
"""Deltas are the same on every machine: what this machine makes, an arm64 program rebuilds bit by bit, and the delta that
it makes itself has the same bytes. The arm64 program runs under qemu. Skips with a line when a package is missing."""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))
SKIPPED = 77
NAMES = ["cnn-head", "cnn-long", "cnn-adamw", "cnn-lora", "cnn-grid", "cnn-f16", "cnn-bf16", "cnn-i8", "cnn-u8", "program", "text"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="three pairs only")
    parser.add_argument("--effort", choices=("fast", "best"), help="this one only; making deltas at best takes an hour under qemu")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    made = subprocess.run([ROOT / "tests/arm64/build.sh", build], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode == SKIPPED:
        print("check-arm64: skipped")
        return 0
    if made.returncode != 0:
        return 1
    from models import Shelf  # needs numpy, which only benches and this check have installed
    from pairs import PAIRS

    program, root = made.stdout.split()
    libraries = ":".join(f"{root}{folder}/aarch64-linux-gnu" for folder in ("/usr/lib", "/lib"))
    arm64 = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={libraries}:/usr/aarch64-linux-gnu/lib", program]
    shelf, work = Shelf(build / "bench/models", build), build / "arm64" / f"work-{os.getpid()}"
    work.mkdir()
    bad = done = 0
    try:
        for pair in (p for p in PAIRS if p.name in (NAMES[1:9:3] if arguments.quick else NAMES)):
            old, new = pair.old(shelf), pair.new(shelf)
            for effort in [arguments.effort] if arguments.effort else ["fast", "best"]:
                ours, theirs, out = work / "ours", work / "theirs", work / "out"
                subprocess.run([build / "musterctl", "delta", "create", old, new, "--out", ours, "--effort", effort], check=True,
                               stdout=subprocess.DEVNULL)
                subprocess.run([*arm64, "create", effort, old, new, theirs], check=True)
                subprocess.run([*arm64, "apply", old, ours, out], check=False)
                rebuilt, same = filecmp.cmp(out, new, shallow=False), filecmp.cmp(ours, theirs, shallow=False)
                print(f"{pair.name:12} {effort}  rebuilt on arm64: {'exact' if rebuilt else 'WRONG'}  "
                      f"delta made on arm64: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
                bad, done = bad + (not rebuilt) + (not same), done + 1
                ours.unlink()
    finally:
        shutil.rmtree(work)
    print(f"check-arm64: {done} deltas, {bad} differences")
    return 1 if bad or not done else 0


if __name__ == "__main__":
    sys.exit(main())
