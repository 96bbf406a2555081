#!/usr/bin/python3
"""How fast a bundle is verified: `musterctl bundle verify` beside sha256sum on the same file of 500 MB, in turns, both
from the page cache. Prints the median of the ratios; exit status 1 when it is under 0.7. Where sha256sum does not use
the processor's instructions for SHA-256 (Debian 12), that is easy: `openssl dgst`, which does, is shown beside it."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEAST = 0.7


def timed(*words) -> float:
    begin = time.monotonic()
    subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def make(musterctl: Path, folder: Path, size: int) -> Path:
    """A signed bundle around bytes that nothing can compress."""
    def run(*words):
        subprocess.run([str(w) for w in (musterctl, *words)], check=True, stdout=subprocess.DEVNULL)

    payload, bundle, keys = folder / "payload.bin", folder / "bench.mub", folder / "keys"
    with payload.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    keys.mkdir()
    run("bundle", "create", "--slot", "bench", "--version", "1.0.0", "--counter", "1", "--model", payload, "--out", bundle)
    payload.unlink()
    run("key", "generate", "--out", folder / "bench")
    run("bundle", "sign", bundle, "--key", folder / "bench.key")
    shutil.copy(folder / "bench.pub", keys)
    return bundle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="100 MB, fewer runs")
    arguments = parser.parse_args()
    musterctl = arguments.build.resolve() / "musterctl"
    folder = arguments.build.resolve() / "bench" / f"verify-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        bundle = make(musterctl, folder, (100 if arguments.quick else 500) << 20)
        megabytes, ratios, strict = bundle.stat().st_size / 1e6, [], []
        timed("sha256sum", bundle)  # into the page cache
        for _ in range(3 if arguments.quick else 7):
            theirs = timed("sha256sum", bundle)
            ours = timed(musterctl, "bundle", "verify", bundle, "--trust", folder / "keys")
            openssl = timed("openssl", "dgst", "-sha256", bundle)
            ratios.append(theirs / ours)
            strict.append(openssl / ours)
            print(f"sha256sum {megabytes / theirs:5.0f} MB/s   openssl {megabytes / openssl:5.0f} MB/s   bundle verify {megabytes / ours:5.0f} MB/s",
                  flush=True)
    finally:
        shutil.rmtree(folder)
    ratio = statistics.median(ratios)
    kept = ratio >= LEAST
    print(f"beside openssl dgst: {statistics.median(strict):.2f}")
    print(f"bundle verify runs at {ratio:.2f} of the speed of sha256sum on {megabytes:.0f} MB (median of {len(ratios)}); at least {LEAST}: "
          f"{'ok' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
