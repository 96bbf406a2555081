#!/usr/bin/python3
"""What publishing on a grid costs and saves: the fine-tunes of the digits network at three steps, checked on images that none
of them has seen. Prints the table of docs/design/grid-publishing.md: the delta at `fast` in % of the model, and what changed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from models import DATA, ROOT, Shelf
from pairs import PAIRS, V1

STEPS = ["rms", "rms/2", "rms/4"]
UNSEEN = 540  # the last images of the file
RUNTIME = ["--onnxruntime", os.environ["MUSTER_ONNXRUNTIME"]] if os.environ.get("MUSTER_ONNXRUNTIME") else []
CLEAN, SHIFTED = DATA / "digits_test_16x16_f32.bin", DATA / "digits_test_shifted_16x16_f32.bin"
ROWS = [("cnn-short", "short, clean images", CLEAN), ("cnn-long", "long, clean images", CLEAN), ("cnn-long", "long, shifted images", SHIFTED),
        ("cnn-head", "head made anew and retrained, shifted images", SHIFTED)]


def published(build: Path, new: Path, old: Path, data: Path, step: str) -> dict:
    """The report of one try; the bundle itself is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels.u8"
        labels.write_bytes((DATA / "digits_test_u8.bin").read_bytes()[-UNSEEN:])
        words = [build / "musterctl", "bundle", "create", "--slot", "digits", "--version", "2.0.0", "--counter", "2", "--model", new, "--from", old,
                 f"--grid={step}", "--check", data, "--labels", labels, "--out", Path(folder) / "b.mub", "--output", "json", *RUNTIME]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
        if not done.stdout:
            raise SystemExit(f"bench-grid: {done.stderr.strip()}")
        return json.loads(done.stdout)["grid"]


def cell(report: dict, size: int) -> str:
    trial = report["trials"][-1]
    gained = trial["accuracy"]["after"] - trial["accuracy"]["before"]
    answers = "same answers" if trial["agreement"] == 100 else f"{trial['agreement']:.1f} % agree, {gained:+.2f} points"
    return f"{100 * int(trial['delta_size']) / size:.1f}, {answers}{'' if report['passed'] else ': refused'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    build = parser.parse_args().build.resolve()
    shelf, pairs = Shelf(build / "bench/models", build), {p.name: p for p in PAIRS}
    print("| fine-tune | without |", " | ".join(STEPS), "|", flush=True)
    for name, title, data in ROWS:
        new, old = pairs[name].new(shelf), V1(shelf)
        size = new.stat().st_size
        reports = [published(build, new, old, data, step) for step in STEPS]
        print(f"| {title} | {100 * int(reports[0]['delta_size']) / size:.1f} |", " | ".join(cell(r, size) for r in reports), "|", flush=True)


if __name__ == "__main__":
    main()
