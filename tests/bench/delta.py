#!/usr/bin/python3
"""How small deltas are and how fast: mdelta beside zstd, xdelta3 and bsdiff, on models that are made here.

Prints sizes in % of the new file, times and memory, and then every limit with ok or MISSED; exit status 1 when one is
missed. Every delta of ours is applied, and the result compared byte by byte. What was made and what the other tools gave
is kept in the build folder for the next run.

--extra DIR compares other files: DIR/pairs.txt has a line `NAME OLD NEW [PERCENT]` for each pair, with files of DIR;
PERCENT is what our best delta may have at most."""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models import ROOT, Shelf
from pairs import PAIRS, Pair

MB = 1e6
ADDRESS_SPACE_KIB = 65536
PEERS = ("zstd", "xdelta3", "patch-from", "bsdiff")
HEADER = 256  # bytes: digests and sizes, which the other tools do not carry; no limit turns on them


@dataclass
class Cost:
    """What one run of a program took."""
    status: int
    wall: float
    cpu: float
    memory: int
    busy: bool  # others wanted the processor as well

    @property
    def seconds(self) -> float:
        """Wall time, or on a busy machine what wall time would be on an idle one: that of the processor."""
        return min(self.cpu, self.wall) if self.busy else self.wall


@dataclass
class Row:
    name: str
    title: str
    old: Path
    new: Path
    model: bool
    tools: tuple[str, ...] = PEERS  # the others that it is compared with; some would need minutes
    at_most: float | None = None  # % of the file
    peers: dict[str, int] = field(default_factory=dict)
    ours: dict[str, int] = field(default_factory=dict)
    create: dict[str, Cost] = field(default_factory=dict)
    apply: dict[str, list[Cost]] = field(default_factory=dict)
    small_space: bool = False
    exact: bool = True

    @property
    def size(self) -> int:
        return self.new.stat().st_size

    def percent(self, size: int) -> float:
        return 100 * size / self.size

    def fastest(self, tool: str) -> float:
        return min(c.seconds for c in self.apply[tool])

    def memory(self, tool: str) -> int:
        return max(c.memory for c in self.apply[tool])


class Bench:
    def __init__(self, build: Path, folder: Path, repeats: int):
        self.build, self.folder, self.repeats = build, folder, repeats
        self.work = folder / f"work-{os.getpid()}"
        self.work.mkdir(parents=True)
        self.busy = os.getloadavg()[0] > 0.8 * os.cpu_count()

    def run(self, *words, limit_space: bool = False, quiet: bool = False, report: Path | None = None) -> Cost:
        report = report or self.work / "cost"
        report.unlink(missing_ok=True)
        command = [self.build / "bench/measure", *(["-a", ADDRESS_SPACE_KIB] if limit_space else []), report, *words]
        done = subprocess.run([str(w) for w in command], capture_output=True, text=True, check=False)
        if done.returncode != 0 and not quiet:
            raise SystemExit(f"bench: `{' '.join(str(w) for w in words)}` ended with {done.returncode}: {done.stderr.strip()}")
        wall, user, system, memory = (int(n) for n in report.read_text().split())
        return Cost(done.returncode, wall / 1e6, (user + system) / 1e6, memory * 1024, self.busy)

    # ---- the other tools ----

    def peer(self, tool: str, row: Row) -> Path:
        """Its delta, made once: some need minutes."""
        key = hashlib.sha256(tool.encode())
        for path in (row.old, row.new):
            key.update(hashlib.sha256(path.read_bytes()).digest())
        out = self.folder / "peers" / f"{tool}-{key.hexdigest()[:24]}"
        half = self.work / out.name
        if not out.exists():
            commands = {"zstd": ["zstd", "-q", "-f", "-19", row.new, "-o", half],
                        "xdelta3": ["xdelta3", "-q", "-f", "-e", "-9", "-s", row.old, row.new, half],
                        "patch-from": ["zstd", "-q", "-f", "-19", f"--patch-from={row.old}", row.new, "-o", half],
                        "bsdiff": ["bsdiff", row.old, row.new, half]}
            out.parent.mkdir(exist_ok=True)
            self.run(*commands[tool], report=self.work / f"cost-{out.name}")
            shutil.move(half, out)
        return out

    def peers(self, rows: list[Row]) -> None:
        """All of them first, on all cores; nothing is timed here."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for row, made in [(r, {t: pool.submit(self.peer, t, r) for t in r.tools}) for r in rows]:
                row.peers = {tool: path.result().stat().st_size for tool, path in made.items()}

    # ---- ours ----

    def create(self, row: Row, effort: str, out: Path, *more) -> Cost:
        out.unlink(missing_ok=True)
        return self.run(self.build / "musterctl", "delta", "create", row.old, row.new, "-o", out, "--effort", effort, *more)

    def apply(self, row: Row, delta: Path, **more) -> Cost:
        out = self.work / "rebuilt"
        out.unlink(missing_ok=True)
        cost = self.run(self.build / "musterctl", "delta", "apply", row.old, delta, "-o", out, **more)
        if cost.status == 0:
            row.exact = row.exact and filecmp.cmp(out, row.new, shallow=False)
        return cost

    def bspatch(self, row: Row) -> Cost:
        out = self.work / "rebuilt"
        out.unlink(missing_ok=True)
        return self.run("bspatch", row.old, out, self.peer("bsdiff", row))

    def measure(self, row: Row) -> None:
        deltas = {effort: self.work / f"delta-{effort}" for effort in ("fast", "best")}
        row.create = {"fast": self.create(row, "fast", deltas["fast"], "--threads", "1"), "best": self.create(row, "best", deltas["best"])}
        row.ours = {effort: path.stat().st_size for effort, path in deltas.items()}
        row.apply = {"fast": [], "best": [self.apply(row, deltas["best"])], "bspatch": []}
        for _ in range(self.repeats):  # in turns, so that both have the same neighbours
            row.apply["fast"].append(self.apply(row, deltas["fast"]))
            if "bsdiff" in row.tools:
                row.apply["bspatch"].append(self.bspatch(row))
        row.small_space = all(self.apply(row, d, limit_space=True, quiet=True).status == 0 for d in deltas.values())

    def same_with_any_threads(self, row: Row) -> bool:
        one, all_of_them = self.work / "delta-one", self.work / "delta-all"
        self.create(row, "fast", one, "--threads", "1")
        self.create(row, "fast", all_of_them)
        return filecmp.cmp(one, all_of_them, shallow=False)


# ---- what is printed ----

def table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for r in [head, ["-" * w for w in widths], *rows]:
        print("| " + " | ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(r, widths, strict=True))) + " |")
    print(flush=True)


def sizes(rows: list[Row]) -> None:
    print("\nSize of the delta, % of the new file\n")
    def line(r: Row) -> list[str]:
        deltas = (*(r.peers.get(tool) for tool in PEERS), *r.ours.values())
        return [r.title, f"{r.size / MB:.1f}", *(f"{r.percent(n):.2f}" if n else "" for n in deltas)]

    table(["pair", "MB", "zstd -19 full", "xdelta3 -9", "zstd --patch-from", "bsdiff", "ours fast", "ours best"], [line(r) for r in rows])


def times(rows: list[Row], busy: bool) -> None:
    print("Times and memory. Create: MB of the new file per second of processor time at fast, seconds at best with all cores.\n"
          "Apply: the shortest of several runs in turns with bspatch on the same pair; memory is the program's peak.")
    print("This machine is busy with other things: apply is told in processor time.\n" if busy else "")
    table(["pair", "create fast MB/s", "create best s", "apply fast s", "MB/s", "bspatch s", "ratio", "memory MB", "bspatch MB",
           "apply best s", "in 64 MiB"],
          [[r.title, f"{r.size / MB / r.create['fast'].cpu:.1f}", f"{r.create['best'].seconds:.1f}", f"{r.fastest('fast'):.3f}",
            f"{r.size / MB / r.fastest('fast'):.0f}",
            *([f"{r.fastest('bspatch'):.3f}", f"{r.fastest('fast') / r.fastest('bspatch'):.2f}"] if r.apply["bspatch"] else ["", ""]),
            f"{r.memory('fast') / MB:.1f}", f"{r.memory('bspatch') / MB:.1f}" if r.apply["bspatch"] else "",
            f"{r.fastest('best'):.3f}", "yes" if r.small_space else "NO"] for r in rows])


@dataclass
class Limit:
    """One promise, judged on every row that it is about."""
    text: str
    missed: list[str] = field(default_factory=list)
    worst: tuple[float, str] | None = None

    def judge(self, row: str, value: float, limit: float, shown: str) -> None:
        """value may not be over limit; the row that comes nearest to it, or goes farthest over it, is shown."""
        if value > limit:
            self.missed.append(f"{row} ({shown})")
        over = value - limit
        if self.worst is None or over > self.worst[0]:
            self.worst = (over, f"{row}: {shown}")


def judged(rows: list[Row], same_bytes: bool) -> list[Limit]:
    exact = Limit("every rebuilt file is bit-exact")
    peers = Limit("best: at most 0.1 % of the file larger than the smallest of bsdiff, xdelta3 -9, zstd --patch-from")
    given = Limit("best: at most what pairs.txt says")
    generic = Limit(f"best, no model: at most 1 % (and {HEADER} bytes) larger than zstd --patch-from")
    fast = Limit(f"fast: at most 10 % (and {HEADER} bytes) larger than best")
    faster = Limit("apply at fast: at least as fast as bspatch")
    speed = Limit("apply at fast: at least 15 MB/s")
    memory = Limit("apply at fast: at most 24 MB resident")
    space = Limit("apply works in 64 MiB of address space")
    create = Limit("create at fast: at least 8 MB/s per core")
    best = Limit("create at best: at most 60 s for each 5 MB")
    threads = Limit("the delta's bytes do not depend on the number of threads")
    threads.judge("fast", 0 if same_bytes else 1, 0, "same" if same_bytes else "DIFFERENT")
    for r in rows:
        exact.judge(r.name, 0 if r.exact else 1, 0, "yes" if r.exact else "NO")
        if len(r.peers) > 1:
            over = r.percent(r.ours["best"] - min(size for tool, size in r.peers.items() if tool != "zstd"))
            peers.judge(r.name, over, 0.1, f"{over:+.3f} %")
        if r.apply["bspatch"]:
            ratio = r.fastest("fast") / r.fastest("bspatch")
            faster.judge(r.name, ratio, 1, f"{ratio:.2f} of its time")
        if r.at_most is not None:
            given.judge(r.name, r.percent(r.ours["best"]), r.at_most, f"{r.percent(r.ours['best']):.2f} %, {r.at_most:g} allowed")
        if not r.model:
            more = 100 * (r.ours["best"] / r.peers["patch-from"] - 1)
            generic.judge(r.name, r.ours["best"] - HEADER - 1.01 * r.peers["patch-from"], 0, f"{more:+.1f} %")
        more = 100 * (r.ours["fast"] / r.ours["best"] - 1)
        fast.judge(r.name, more - 100 * HEADER / r.ours["best"], 10, f"{more:+.1f} %")
        rate = r.size / MB / r.fastest("fast")
        speed.judge(r.name, -rate, -15, f"{rate:.0f} MB/s")
        peak = r.memory("fast") / MB
        memory.judge(r.name, peak, 24, f"{peak:.1f} MB")
        space.judge(r.name, 0 if r.small_space else 1, 0, "yes" if r.small_space else "NO")
        rate = r.size / MB / r.create["fast"].cpu
        create.judge(r.name, -rate, -8, f"{rate:.1f} MB/s")
        allowed = 60 * max(1.0, r.size / (5 * MB))
        best.judge(r.name, r.create["best"].seconds / allowed, 1, f"{r.create['best'].seconds:.1f} s, {allowed:.0f} allowed")
    return [limit for limit in (exact, peers, given, generic, fast, faster, speed, memory, space, create, best, threads) if limit.worst]


def print_limits(limits: list[Limit]) -> int:
    for limit in limits:
        what = f"MISSED by {', '.join(limit.missed)}" if limit.missed else f"ok      worst: {limit.worst[1]}"
        print(f"{limit.text}\n    {what}")
    missed = sum(bool(limit.missed) for limit in limits)
    print(f"\n{len(limits) - missed} limits kept, {missed} missed")
    return 1 if missed else 0


def tools_for(pair: Pair, quick: bool) -> tuple[str, ...]:
    if quick and pair.large:
        return ()
    return PEERS if pair.bsdiff else tuple(t for t in PEERS if t != "bsdiff")


def extra_rows(folder: Path) -> list[Row]:
    rows = []
    for number, line in enumerate((folder / "pairs.txt").read_text().splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) not in (3, 4):
            raise SystemExit(f"bench: {folder}/pairs.txt:{number}: NAME OLD NEW [PERCENT] is expected")
        old, new = folder / words[1], folder / words[2]
        rows.append(Row(words[0], words[0], old, new, new.suffix in (".onnx", ".safetensors"),
                        at_most=float(words[3]) if len(words) == 4 else None))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="a few pairs only")
    parser.add_argument("--extra", type=Path, metavar="DIR", help="the pairs of DIR/pairs.txt instead of our own")
    parser.add_argument("--only", metavar="NAME,…", help="these pairs only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also the sizes, for programs")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    begin = time.monotonic()
    bench = Bench(build, build / "bench", 3 if arguments.quick else 5)
    if arguments.extra:
        rows = extra_rows(arguments.extra)
    else:
        shelf = Shelf(build / "bench/models", build)
        rows = [Row(p.name, p.title, p.old(shelf), p.new(shelf), p.model, tools_for(p, arguments.quick))
                for p in PAIRS if p.quick or not arguments.quick]
    if arguments.only:
        rows = [r for r in rows if r.name in arguments.only.split(",")]
    if not rows:
        raise SystemExit("bench: there is no such pair")
    try:
        bench.peers(rows)
        for number, row in enumerate(rows, 1):
            print(f"[{number}/{len(rows)}] {row.name} ({time.monotonic() - begin:.0f} s)", file=sys.stderr, flush=True)
            bench.measure(row)
        same_bytes = bench.same_with_any_threads(rows[0])
    finally:
        shutil.rmtree(bench.work)
    sizes(rows)
    times(rows, bench.busy)
    if not arguments.extra:
        print("CNN: trained for real. ResNet-18 (sim.): its shapes, with made weights and simulated steps of Adam.\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({r.name: {"size": r.size, **r.peers, **r.ours} for r in rows}, indent=1) + "\n")
    status = print_limits(judged(rows, same_bytes))
    print(f"{len(rows)} pairs in {time.monotonic() - begin:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
