#!/usr/bin/python3
"""Kills, power cuts, full disks and I/O errors at every system call of an update: the old or the new version always runs.

The last line says how many points were tried and how they ended; the exit status is 1 when one ended badly. docs/design/faults.md."""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/demo"))
sys.path += [str(ROOT / "tests/integration"), str(ROOT / "tests")]

from device import Broken, Device, Inject, Run, copy_state  # noqa: E402
from lab import Lab, standard  # noqa: E402
from places import LOSSY, Image, SmallDisk, loop_mounts, small_disks  # noqa: E402
from scenarios import SCENARIOS, Scenario  # noqa: E402

BAD = {"bricked": "bricked", "half": "half applied", "stuck": "never finished", "silent": "without a reason",
       "journal": "with a wrong journal", "leftover": "with leftovers", "error": "could not be tried"}
# Calls that a broken or full disk can fail. write, openat and read go to more than the disk: they fail once, not for good.
EIO = ("read", "pread64", "write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "unlink", "unlinkat",
       "mkdir", "ftruncate", "getdents64", "readlink")
ENOSPC = ("write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir", "ftruncate")
FOR_GOOD = ("pread64", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir")
STEP_KIB, STEP_KIB_LONG = 64, 4  # of free space
# Up to how many KiB free the disk is full: until muster-fetch has looked it wants 16 MiB more than the files need, while it works the files have
# to fit, later only the journal.
FULL_KIB = {"downloading": 18 * 1024, "verifying": 18 * 1024, "object": 1280, "unpack": 1280}
FULL_KIB_ELSE = 512


@dataclass(frozen=True)
class Point:
    """scenario/kind/where; as text it can be given to --point."""
    scenario: Scenario
    kind: str   # kill, cut, cut-noauto, error, full
    where: str  # program:syscall:n, program:syscall:n:ERRNO[+], or phase:KiB free

    def __str__(self) -> str:
        return f"{self.scenario.name}/{self.kind}/{self.where}"

    def inject(self) -> Inject:
        program, syscall, n, *error = self.where.split(":")
        action = f"error={error[0].rstrip('+')}" if error else "signal=KILL"
        return Inject(program, syscall, int(n), action, bool(error) and error[0].endswith("+"))


class Bench:
    """Tries points, several at a time."""

    def __init__(self, lab: Lab, base: Path, jobs: int):
        self.lab, self.base, self.jobs = lab, base, jobs
        self.starts: dict[str, Path] = {}
        self.images: dict[str, Image] = {}
        self.calls: dict[tuple[str, str], list[str]] = {}
        self.mine = threading.local()
        self.lock = threading.Lock()
        self.count = 0

    # ---- before the points ----

    def ids(self, s: Scenario) -> tuple[str, str]:
        return self.lab.bundles[s.new]["id"], self.lab.bundles[s.old]["id"]

    def settings(self, s: Scenario) -> dict:
        return self.lab.settings(s.slot, s.samples)

    def prepare(self, s: Scenario, disks: bool) -> None:
        """The state directory to begin from, and which system calls an update from there makes."""
        start = self.base / f"start-{s.name}"
        copy_state(self.lab.templates[s.template], start)
        bundle = self.lab.bundles[s.new]
        device = Device(self.base / f"prepare-{s.name}", self.lab.setup)
        device.slot = s.slot
        target, old = self.ids(s)
        if s.delta:  # it is one that works: there is no other way
            copy_state(start, device.state)
            self.lab.want(device.state, s.slot, s.new, s.probation_s, bundle["deltas"])
            device.check_end(device.state, device.run(device.state, target, settings=self.settings(s)), target, old)
        self.lab.want(start, s.slot, s.new, s.probation_s, bundle["deltas"] + bundle["objects"] if s.delta else None)
        self.starts[s.name] = start
        copy_state(start, device.state)
        run = device.run(device.state, target, settings=self.settings(s), record=True)
        try:
            outcome = device.check_end(device.state, run, target, old, strict=not s.connected)
        except Broken as why:
            raise RuntimeError(f"scenario {s.name}, without any fault: {why}\n" + "\n".join(run.lines)) from why
        if outcome not in s.ends:
            raise RuntimeError(f"scenario {s.name} ends with the {outcome} version without any fault\n" + "\n".join(run.lines))
        for program in s.programs:
            self.calls[s.name, program] = device.recorded(program)
            if not self.calls[s.name, program]:
                raise RuntimeError(f"scenario {s.name} makes no system call in {program}")
        for phase in {{"object": "downloading", "unpack": "verifying"}.get(d, d) for d in s.disks} if disks else ():
            copy_state(start, device.state)
            run = device.run(device.state, target, settings=self.settings(s), stop_at=phase)
            if run.phase != phase:
                raise RuntimeError(f"scenario {s.name} was not stopped in phase {phase} but in {run.phase}")
            self.starts[f"{s.name}:{phase}"] = self.base / f"start-{s.name}-{phase}"
            device.power_off(device.state)
            copy_state(device.state, self.starts[f"{s.name}:{phase}"])

    def device(self, s: Scenario) -> Device:
        """This thread's device."""
        if not hasattr(self.mine, "device"):
            with self.lock:
                self.mine.n = self.count
                self.count += 1
            self.mine.device = Device(self.base / f"d{self.mine.n}", self.lab.setup)
        self.mine.device.slot = s.slot
        return self.mine.device

    def begin(self, device: Device, s: Scenario) -> Path:
        """A fresh state directory to begin from."""
        copy_state(self.starts[s.name], device.state)
        if s.connected:
            self.lab.identity(self.mine.n % self.jobs, device.state)
        return device.state

    def image(self, device: Device, s: Scenario) -> Image:
        """The same as an image; made once, for each device that has its own identity."""
        key = f"{s.name}-{self.mine.n}" if s.connected else s.name
        with self.lock:
            if key not in self.images:
                self.images[key] = Image.make(self.base / f"start-{key}.img", self.begin(device, s))
        return self.images[key]

    # ---- one point ----

    def try_point(self, point: Point) -> tuple[Point, str, str]:
        """(point, outcome, explanation). Outcomes: old, new, missed (the call was not made this time), or a key of BAD."""
        try:
            if point.kind == "kill":
                return point, *self.killed(point)
            if point.kind == "error":
                return point, *self.failed(point)
            if point.kind == "full":
                return point, *self.filled(point)
            return point, *self.cut(point)
        except Broken as why:
            return point, why.kind, str(why)
        except Exception:  # pylint: disable=broad-except  # one point must not end the others
            return point, "error", traceback.format_exc()

    def recover(self, device: Device, state: Path, point: Point) -> tuple[str, str]:
        """Starts the agent again, without faults, and judges what it comes to."""
        target, old = self.ids(point.scenario)
        run = device.run(state, target, settings=self.settings(point.scenario))
        try:
            outcome = device.check_end(state, run, target, old, strict=point.kind not in ("full", "error") and not point.scenario.connected)
        except Broken as why:
            raise Broken(why.kind, f"{why}\n      " + "\n      ".join(run.lines)) from why
        row = device.journal(state)
        return outcome, f"{row['code']}: {row['detail']}" if outcome == "old" else ""

    def alone(self, point: Point) -> bool:
        """Every fourth child is killed alone, and the agent has to cope with it."""
        return point.inject().program in ("infer", "selftest") or int(point.where.split(":")[2]) % 4 == 0

    def meet(self, device: Device, state: Path, point: Point) -> Run | None:
        """The life that meets the fault; None when it never came."""
        target, _ = self.ids(point.scenario)
        inject = point.inject()
        run = device.run(state, target, inject, settings=self.settings(point.scenario), alone=self.alone(point))
        return run if run.end == "killed" or device.hit() else None

    def killed(self, point: Point) -> tuple[str, str]:
        device = self.device(point.scenario)
        self.begin(device, point.scenario)
        if self.meet(device, device.state, point) is None:
            return "missed", ""
        device.version_now(device.state)
        return self.recover(device, device.state, point)

    def cut(self, point: Point) -> tuple[str, str]:
        """The life ends on an image that is copied as it lies on the disk, without anything that was not synced."""
        device = self.device(point.scenario)
        options = LOSSY + (",noauto_da_alloc" if point.kind == "cut-noauto" else "")
        image = self.image(device, point.scenario).copy(device.base / "disk.img")
        with image.mounted(device.base / "mnt", options) as root:
            met = self.meet(device, root / "state", point)
            device.power_off(root / "state")
            after = image.copy(device.base / "after.img")
        if met is None:
            return "missed", ""
        with after.mounted(device.base / "mnt", "loop,noatime") as root:
            device.version_now(root / "state")
            return self.recover(device, root / "state", point)

    def failed(self, point: Point) -> tuple[str, str]:
        """A call fails. The agent goes on with the old or the new version, or ends and is started again, as systemd does."""
        device = self.device(point.scenario)
        self.begin(device, point.scenario)
        target, _ = self.ids(point.scenario)
        run = device.run(device.state, target, point.inject(), settings=self.settings(point.scenario), quiet=4)
        if not device.hit():
            return "missed", ""
        self.still_runs(device, device.state, run, point)
        return self.recover(device, device.state, point)

    def filled(self, point: Point) -> tuple[str, str]:
        """The disk has only so much space, from one phase on or from the middle of muster-fetch's work on; then it is given more."""
        where, kib = point.where.split(":")
        s = point.scenario
        device = self.device(s)
        target, _ = self.ids(s)
        phase = {"object": "downloading", "unpack": "verifying"}.get(where)
        with SmallDisk(device.base / "mnt", self.starts[f"{s.name}:{phase or where}"]) as disk:
            if phase:  # it has looked how much space there is, and found enough; now somebody else takes it
                disk.leave_free(40 * 1024)
                wait = Inject(where, "fstatfs", 1, "delay_exit=600000")

                def fill() -> None:
                    time.sleep(0.3)
                    disk.leave_free(int(kib))

                run = device.run(disk.state, target, wait, settings=self.settings(s), at=(phase, fill), quiet=4)
            else:
                disk.leave_free(int(kib))
                run = device.run(disk.state, target, settings=self.settings(s), quiet=4)
            self.still_runs(device, disk.state, run, point)
            disk.leave_free(32 * 1024)
            return self.recover(device, disk.state, point)

    def still_runs(self, device: Device, state: Path, run: Run, point: Point) -> None:
        """An agent that goes on in spite of a fault runs one of the two versions, and all of it is there."""
        now = device.version_now(state)
        if device.slot == "agent":  # it has spoken, so one runs; where no version can be made current it is the installed one
            return
        if run.end in ("done", "quiet", "late") and (not run.running or not any(b.startswith(run.running) for b in self.ids(point.scenario))):
            raise Broken("bricked", f"nothing runs, {now[:12]} is current; {run.end}\n      " + "\n      ".join(run.lines))

    # ---- many ----

    def try_all(self, points: list[Point], budget_s: float) -> list[tuple[Point, str, str]]:
        deadline = time.monotonic() + budget_s
        results: list[tuple[Point, str, str]] = []

        def one(point: Point) -> None:
            if time.monotonic() > deadline:
                return
            result = self.try_point(point)
            with self.lock:
                results.append(result)
                if result[1] in BAD:
                    print(f"  {BAD[result[1]].upper()} {point}: {result[2]}\n    again: tests/faults/run.py --point {point}", flush=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(one, points))
        return results


# ---- which points ----

def numbered(calls: list[str]) -> list[tuple[str, int]]:
    """Each call with how many of its name came before, and itself."""
    seen: Counter = Counter()
    out = []
    for name in calls:
        seen[name] += 1
        out.append((name, seen[name]))
    return out


def spread(items: list, most: int) -> list:
    """`most` of the items at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in sorted({round(i * (len(items) - 1) / max(most - 1, 1)) for i in range(most)})]


# Points per scenario and program in the short form; of kills at least one of each system call that a program makes at all.
SHORT = {"kill": 16, "cut": 10, "cut-noauto": 5, "error": 14, "full": 10}
MODEL_SIDE = ("selftest", "infer")  # they only read: their disk is of little interest


def points_of(bench: Bench, s: Scenario, kinds: list[str], long: bool, met: set[tuple[str, str]]) -> list[Point]:
    """met: program and system call that an earlier scenario has a point for."""
    points: list[Point] = []
    for program in s.programs:
        calls = numbered(bench.calls[s.name, program])
        for kind in ("kill", "cut", "cut-noauto"):
            if kind not in kinds:
                continue
            most = SHORT[kind] // (3 if program in MODEL_SIDE and kind != "kill" else 1)
            some = calls if long else spread(calls, most)
            if kind == "kill" and not long:
                met.update((program, name) for name, _ in some)
                for name, n in calls:
                    if (program, name) not in met:
                        met.add((program, name))
                        some.append((name, n))
            points += [Point(s, kind, f"{program}:{name}:{n}") for name, n in some]
        if "error" in kinds and program not in MODEL_SIDE:
            errors = [f"{program}:{name}:{n}:{errno}" for name, n in calls
                      for errno, names in (("EIO", EIO), ("ENOSPC", ENOSPC), ("EIO+", FOR_GOOD), ("ENOSPC+", set(FOR_GOOD) & set(ENOSPC)))
                      if name in names]
            points += [Point(s, "error", w) for w in (errors if long else spread(errors, SHORT["error"]))]
    for where in s.disks if "full" in kinds else ():
        steps = list(range(0, FULL_KIB.get(where, FULL_KIB_ELSE) + 1, STEP_KIB_LONG if long else STEP_KIB))
        points += [Point(s, "full", f"{where}:{kib}") for kib in (steps if long or len(steps) < 100 else spread(steps, SHORT["full"]))]
    return points


def kinds_here(base: Path, wanted: list[str]) -> list[str]:
    """Those of the wanted kinds that this machine can do; says why for the others."""
    kinds = list(wanted)
    why = loop_mounts(base / "probe") if any(k.startswith("cut") for k in kinds) else ""
    if why:
        print(f"power cuts are skipped: {why}")
        kinds = [k for k in kinds if not k.startswith("cut")]
    why = small_disks(base / "probe") if "full" in kinds else ""
    if why:
        print(f"full disks are skipped (failing calls with ENOSPC are not): {why}")
        kinds.remove("full")
    return kinds


def summary(results: list[tuple[Point, str, str]], seconds: float) -> str:
    count = Counter(outcome for _, outcome, _ in results)
    tried = len(results) - count["missed"]
    bad = ", ".join(f"{count[k]} {BAD[k]}" for k in BAD if k in ("bricked", "half") or count[k])
    kinds = Counter(p.kind for p, outcome, _ in results if outcome != "missed")
    names = {"kill": "kills", "cut": "power cuts", "cut-noauto": "power cuts without auto_da_alloc", "error": "failing calls", "full": "full disks"}
    by = ", ".join(f"{kinds[k]} {names[k]}" for k in names if kinds[k])
    missed = f", {count['missed']} calls were not made again" if count["missed"] else ""
    return f"faults: {tried} points: {count['old']} old version, {count['new']} new version, {bad}; {by}{missed}; {seconds:.0f} s"


def table(results: list[tuple[Point, str, str]]) -> None:
    rows: dict[tuple[str, str, str], Counter] = {}
    for point, outcome, why in results:
        program = point.where.split(":")[0]
        rows.setdefault((point.scenario.name, point.kind, program), Counter())[f"{outcome} {why.split(':')[0]}" if outcome == "old" else outcome] += 1
    for (scenario, kind, program), count in rows.items():
        print(f"  {scenario:10} {kind:10} {program:12} {sum(count.values()):6}: " + ", ".join(f"{n} {o}" for o, n in sorted(count.items())))


# ---- main ----

def own_mounts() -> str | None:
    """As root in a mount namespace of our own: whatever happens, no mount is left behind. Its name; None without one."""
    clone_newns, ms_rec, ms_private = 0x20000, 0x4000, 1 << 18
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(clone_newns) != 0:
        return None
    libc.mount(b"none", b"/", None, ms_rec | ms_private, None)
    return os.readlink("/proc/self/ns/mnt")


def processes_end(base: Path, mounts: str | None) -> None:
    """Ends what a point has left over, like the child of an app whose agent was killed: whoever works in our folder, or sees our mounts."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid() and \
                    (os.readlink(entry / "cwd").startswith(f"{base}/") or os.readlink(entry / "ns/mnt") == mounts):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def fast_folder() -> Path:
    """A new folder in memory where there is enough, else on the disk."""
    shm = Path("/dev/shm")
    good = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 2 << 30
    base = Path(tempfile.mkdtemp(prefix="muster-faults-", dir=shm if good else None))
    base.chmod(0o755)
    return base


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="every point, not a sample")
    parser.add_argument("--point", help="try one point again, like update/kill/agent:rename:2")
    parser.add_argument("--scenario", action="append", choices=[s.name for s in SCENARIOS], help="only this one (may be repeated)")
    parser.add_argument("--kind", action="append", choices=list(SHORT), help="only this one (may be repeated)")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="points at the same time")
    parser.add_argument("--budget", type=float, default=0, help="seconds after which no new point is begun")
    parser.add_argument("--verbose", action="store_true", help="print every point with its outcome and the reason")
    parser.add_argument("--table", action="store_true", help="print the outcomes of each scenario, kind and program")
    return parser.parse_args()


def work(arguments: argparse.Namespace, base: Path, lab: Lab) -> int:
    scenarios = [s for s in SCENARIOS if s.name in (arguments.scenario or [s.name])]
    kinds = arguments.kind or list(SHORT)
    if arguments.point:
        name, kind, where = arguments.point.split("/")
        scenarios, kinds = [s for s in SCENARIOS if s.name == name], [kind]
    kinds = kinds_here(base, kinds)
    bench = Bench(lab, base / "points", arguments.jobs)
    bench.base.mkdir()
    met: set[tuple[str, str]] = set()
    begin = time.monotonic()
    results, left = [], 0
    for connected in (False, True):  # first all of those that are to find nobody at the broker's port
        some = [s for s in scenarios if s.connected == connected]
        if connected and some:
            lab.stack.broker.start()
        for s in some:
            bench.prepare(s, "full" in kinds)
        points = [Point(s, kind, where) for s in some] if arguments.point else \
            [p for s in some for p in points_of(bench, s, kinds, arguments.long, met)]
        random.Random(20261121).shuffle(points)  # so that a run that is cut short has tried some of everything
        share = len(scenarios) and len(some) / len(scenarios)
        tried = bench.try_all(points, arguments.budget * share or 1e9)
        results += tried
        left += len(points) - len(tried)
    for point, outcome, why in results if arguments.verbose else ():
        print(f"  {point}: {outcome} {why}")
    if arguments.table or arguments.long:
        table(results)
    if left:
        print(f"{left} of {left + len(results)} points were not begun within {arguments.budget:g} s")
    print(summary(results, time.monotonic() - begin), flush=True)
    return 1 if not results or any(outcome in BAD for _, outcome, _ in results) else 0


def main() -> int:
    arguments = parse()
    if not shutil.which("strace"):
        print("strace is missing; install Debian's strace", file=sys.stderr)
        return 2
    mounts = own_mounts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = fast_folder()
    lab = None
    try:
        lab = standard(base / "lab", arguments.jobs)
        return work(arguments, base, lab)
    finally:
        if lab:
            lab.stop()
        processes_end(base, mounts)
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
