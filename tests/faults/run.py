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
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/demo"))
sys.path += [str(ROOT / "tests/integration"), str(ROOT / "tests")]

from calls import Call, elsewhere, stretches  # noqa: E402
from device import Broken, Device, Inject, Run, copy_state  # noqa: E402
from lab import Lab, standard  # noqa: E402
from places import LOSSY, Image, SmallDisk, loop_mounts, small_disks  # noqa: E402
from scenarios import SCENARIOS, Scenario  # noqa: E402
from stack import BUILD  # noqa: E402

BAD = {"bricked": "bricked", "half": "half applied", "stuck": "never finished", "silent": "without a reason",
       "journal": "with a wrong journal", "leftover": "with leftovers", "error": "could not be tried"}
# Calls that a broken or full disk can fail. write, openat and read go to more than the disk: they fail once, not for good.
EIO = ("read", "execve", "pread64", "write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "unlink", "unlinkat",
       "mkdir", "ftruncate", "getdents64", "readlink")
ENOSPC = ("write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir", "ftruncate")
FOR_GOOD = ("pread64", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir")
TELL_EVERY = 1000  # points
STEP_KIB, STEP_KIB_LONG = 64, 4  # of free space
# Up to how many KiB free the disk is full: until muster-fetch has looked it wants 16 MiB more than the files need, while it works the files have
# to fit, later only the journal.
FULL_KIB = {"downloading": 18 * 1024, "verifying": 18 * 1024, "object": 1280, "unpack": 1280}
FULL_KIB_ELSE = 512
FULL_KIB_FINE = 1280  # from here on nothing but that look depends on how much there is


@dataclass(frozen=True)
class Point:
    """scenario/kind/where; as text it can be given to --point."""
    scenario: Scenario
    kind: str   # kill, cut, cut-noauto, error, full
    where: str  # program:syscall:n, program:syscall:n:ERRNO[+], program:syscall:n:alone, or phase:KiB free
    others: tuple[str, ...] = field(default=(), compare=False)  # the same point in other words: calls.py

    def __str__(self) -> str:
        return f"{self.scenario.name}/{self.kind}/{self.where}"

    def inject(self) -> Inject:
        program, syscall, n, *more = self.where.split(":")
        error = more[0] if more and more[0] != "alone" else ""
        action = f"error={error.rstrip('+')}" if error else "signal=KILL"
        return Inject(program, syscall, int(n), action, error.endswith("+"), program in MODEL_SIDE or "alone" in more)


def asks(point: Point) -> bool:
    """Whether the server is asked how it has ended. It is where a scenario is there for that; else at every eighth point: a beat may take a second."""
    return point.scenario.connected and (point.scenario.sample or zlib.crc32(str(point).encode()) % 8 == 0)


class Bench:
    """Tries points, several at a time."""

    def __init__(self, lab: Lab, base: Path, jobs: int):
        self.lab, self.base, self.jobs = lab, base, jobs
        self.starts: dict[str, Path] = {}
        self.images: dict[str, Image] = {}
        self.calls: dict[tuple[str, str], list[Call]] = {}
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
        self.lab.want(start, s.slot, s.new, s.probation_s, bundle["deltas"] + bundle["objects"] if s.delta else None,
                      4 if s.connected else 3600)  # a beat may get lost
        self.starts[s.name] = start
        copy_state(start, device.state)
        run = device.run(device.state, target, settings=self.settings(s), record="all")
        try:
            outcome = device.check_end(device.state, run, target, old, strict=not s.connected)
        except Broken as why:
            raise RuntimeError(f"scenario {s.name}, without any fault: {why}\n" + "\n".join(run.lines)) from why
        if outcome not in s.ends:
            raise RuntimeError(f"scenario {s.name} ends with the {outcome} version without any fault\n" + "\n".join(run.lines))
        if "trial" in s.programs:
            copy_state(start, device.state)
            device.run(device.state, target, settings=self.settings(s), record="trial")
        for program in s.programs:
            self.calls[s.name, program] = device.recorded(program)
            if not self.calls[s.name, program] and program == "trial" and os.geteuid() != 0:
                print(f"scenario {s.name}: the version on trial is left out: strace may not be attached to a process here (kernel.yama.ptrace_scope)")
            elif not self.calls[s.name, program]:
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
            self.lab.identity(self.number(), device.state)
            self.meet_server(s, device.state)
        return device.state

    def number(self) -> int:
        """Of the enrolled device that this thread's one is."""
        return self.mine.n % self.jobs

    def meet_server(self, s: Scenario, state: Path) -> None:
        """What this life says is news to the server."""
        if s.connected:
            self.lab.freshen(self.number(), state)
            self.mine.since = self.lab.last_event(self.number())

    def image(self, device: Device, s: Scenario) -> Image:
        """The same as an image; made once, for each device that has its own identity."""
        key = f"{s.name}-{self.mine.n}" if s.connected else s.name
        with self.lock:
            if key not in self.images:
                self.images[key] = Image.make(self.base / f"start-{key}.img", self.begin(device, s))
        return self.images[key]

    # ---- one point ----

    def try_point(self, point: Point) -> tuple[Point, str, str]:
        """As try_once(); when its call was not made this time, one that is as good."""
        result = self.try_once(point)
        for other in point.others[:3]:
            if result[1] == "missed":
                result = self.try_once(replace(point, where=other, others=tuple({point.where, *point.others} - {other})))
        return result

    def try_once(self, point: Point) -> tuple[Point, str, str]:
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
        s = point.scenario
        target, old = self.ids(s)
        strict = point.kind not in ("full", "error")
        said, begin_ms = [""], int(time.time() * 1000)

        def told(run: Run) -> bool:
            said[0] = self.lab.told(self.number(), s.slot, target, self.mine.since, begin_ms, strict)
            return said[0] == "new" if target.startswith(run.running) else said[0].startswith("old ")

        run = device.run(state, target, settings=self.settings(s), told=told if asks(point) else None)
        try:
            outcome = device.check_end(state, run, target, old, strict=strict and not s.connected)
            row = device.journal(state)
            if asks(point) and said[0] != ("new" if outcome == "new" else f"old {row['code']}"):
                raise Broken("silent", f"the server: {said[0] or 'was not asked'}; the journal says {outcome} {row['code']}")
        except Broken as why:
            raise Broken(why.kind, f"{why}\n      " + "\n      ".join(run.lines)) from why
        return outcome, f"{row['code']}: {row['detail']}" if outcome == "old" else ""

    def meet(self, device: Device, state: Path, point: Point) -> Run | None:
        """The life that meets the fault; None when it never came."""
        target, _ = self.ids(point.scenario)
        inject = point.inject()
        run = device.run(state, target, inject, settings=self.settings(point.scenario))
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
            self.meet_server(point.scenario, root / "state")
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
            if s.connected:
                self.lab.identity(self.number(), disk.state)
                self.meet_server(s, disk.state)
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

    def try_all(self, points: list[Point], deadline: float) -> list[tuple[Point, str, str]]:
        results: list[tuple[Point, str, str]] = []

        def one(point: Point) -> None:
            if time.monotonic() > deadline:
                return
            result = self.try_point(point)
            with self.lock:
                results.append(result)
                if result[1] in BAD:
                    print(f"  {BAD[result[1]].upper()} {result[0]}: {result[2]}\n    again: tests/faults/run.py --point {result[0]}", flush=True)
                if len(results) % TELL_EVERY == 0:
                    print(f"  {len(results)} of {len(points)} tried", flush=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(one, points))
        return results


# ---- which points ----

def spread(items: list, most: int) -> list:
    """`most` of the items at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in sorted({round(i * (len(items) - 1) / max(most - 1, 1)) for i in range(most)})]


# Points per scenario and program in the short form; of kills at least one of each system call that a program makes at all.
SHORT = {"kill": 12, "cut": 7, "cut-noauto": 4, "error": 10, "full": 6}
SAMPLE, SAMPLE_LONG = {"kill": 4, "cut": 2, "cut-noauto": 1, "error": 4, "full": 2}, {"kill": 40, "cut": 20, "cut-noauto": 20, "error": 40, "full": 20}
MODEL_SIDE = ("selftest", "infer")  # they only read: their disk is of little interest, and each of them is killed alone
PARENTS = ("agent", "trial", "infer", "selftest")  # they wait for others on the device
Where = tuple[str, tuple[str, ...]]  # of a point, and of others that are the same


class Chooser:
    """The points of a scenario. mode: short, long (one of those that are the same), or every."""

    def __init__(self, bench: Bench, mode: str):
        self.bench, self.mode = bench, mode
        self.met: set[tuple[str, str]] = set()  # program and system call that there is a kill for

    def points(self, s: Scenario, kinds: list[str]) -> list[Point]:
        out: list[Point] = []
        for kind in kinds:
            if kind == "full":
                found = [self.few(s, kind, where, self.disks(where)) for where in s.disks]
            elif kind == "error":
                found = [self.few(s, kind, p, self.errors(p, self.bench.calls[s.name, p])) for p in s.programs if p not in MODEL_SIDE]
            else:
                found = [self.ends(s, kind, p) for p in s.programs]
            out += [Point(s, kind, where, others) for some in found for where, others in some]
        return out

    def few(self, s: Scenario, kind: str, program: str, all_: list[Where]) -> list[Where]:
        """As many as the form wants."""
        if s.sample:
            return spread(all_, (SAMPLE if self.mode == "short" else SAMPLE_LONG)[kind])
        if self.mode == "short":
            return spread(all_, SHORT[kind] // (3 if program in MODEL_SIDE and kind != "kill" else 1))
        return all_

    def ends(self, s: Scenario, kind: str, program: str) -> list[Where]:
        """Kills and power cuts. What the agent starts is killed with it, and alone, too."""
        calls = self.bench.calls[s.name, program]
        lists = [[c] for c in calls] if self.mode == "every" else stretches(calls, kind != "kill", program in PARENTS)
        some = self.few(s, kind, program, [(f"{program}:{one[-1].where}", tuple(f"{program}:{c.where}" for c in one[-2::-1])) for one in lists])
        if kind == "kill" and self.mode == "short" and not s.sample:
            image = {"trial": "agent"}.get(program, program)
            self.met.update((image, where.split(":")[1]) for where, _ in some)
            for call in calls:
                if (image, call.name) not in self.met:
                    self.met.add((image, call.name))
                    some.append((f"{program}:{call.where}", ()))
        if program == "agent" or program in MODEL_SIDE:
            return some
        each = {"short": 3, "long": 1, "every": 1}[self.mode] if kind == "kill" else 4
        alone = [(f"{where}:alone", tuple(f"{o}:alone" for o in others)) for where, others in some]
        if self.mode == "short":
            return [a if i % each == each - 1 else w for i, (w, a) in enumerate(zip(some, alone))]
        return some + alone[::each]

    def errors(self, program: str, calls: list[Call]) -> list[Where]:
        """A loop over files that are not ours meets the same error at each of them; one that reads a file to its end, at each piece after the first."""
        groups: dict[tuple, list[str]] = {}
        for number, stretch in enumerate([[c] for c in calls] if self.mode == "every" else stretches(calls, False, program in PARENTS)):
            piece = 0
            for before, call in zip([None, *stretch], stretch):
                same = before and (before.name, before.file) == (call.name, call.file) and call.file
                piece = piece if same and piece else call.n if same else 0
                group = elsewhere(call) or ("piece", piece) if same else elsewhere(call) or call.n
                for errno, names in (("EIO", EIO), ("ENOSPC", ENOSPC), ("EIO+", FOR_GOOD), ("ENOSPC+", set(FOR_GOOD) & set(ENOSPC))):
                    if call.name in names and (call.space or not errno.startswith("ENOSPC")):
                        groups.setdefault((number, call.name, errno, group), []).append(f"{program}:{call.where}:{errno}")
        return [(one[-1], tuple(one[-2::-1])) for one in groups.values()]

    def disks(self, where: str) -> list[Where]:
        """Where the agent looks first how much there is, most steps lead to the same answer: work() tries those between two answers."""
        most, step = FULL_KIB.get(where, FULL_KIB_ELSE), STEP_KIB if self.mode == "short" else STEP_KIB_LONG
        sizes = list(range(0, most + 1, step))
        if self.mode != "long":
            return [(f"{where}:{kib}", ()) for kib in sizes]
        fine = [k for k in sizes if k <= FULL_KIB_FINE or k == most]
        coarse = [k for k in sizes if k > FULL_KIB_FINE and k % STEP_KIB == 0 and k != most]
        return [(f"{where}:{k}", ()) for k in fine] + [(f"{where}:{k}", tuple(f"{where}:{o}" for o in range(k - STEP_KIB + step, k, step))) for k in coarse]


def first_of(points: list[Point], most: int) -> tuple[list[Point], list[Point]]:
    """Some of each scenario, kind and program, and the rest."""
    seen: Counter = Counter()
    lists: tuple[list[Point], list[Point]] = ([], [])
    for point in points:
        key = (point.scenario.name, point.kind, point.where.split(":")[0])
        seen[key] += 1
        lists[seen[key] > most].append(point)
    return lists


def answers_change(results: list[tuple[Point, str, str]]) -> list[Point]:
    """Where two sizes of a disk one after the other end in two ways, those between them are not the same as one of them."""
    sizes: dict[tuple[str, str], list[tuple[int, str, Point]]] = {}
    for point, outcome, why in results:
        if point.kind == "full" and not point.scenario.sample:
            where, kib = point.where.split(":")
            sizes.setdefault((point.scenario.name, where), []).append((int(kib), f"{outcome} {why.split(':')[0]}", point))
    out = []
    for some in sizes.values():
        some.sort(key=lambda one: one[0])
        for (_, before, _), (_, answer, point) in zip(some, some[1:]):
            if before != answer:
                out += [replace(point, where=where, others=()) for where in point.others]
    return out


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


def summary(results: list[tuple[Point, str, str]], mode: str, seconds: float) -> str:
    count = Counter(outcome for _, outcome, _ in results)
    tried = len(results) - count["missed"]
    same = sum(len(p.others) for p, outcome, _ in results if mode == "long" and outcome != "missed" and not p.scenario.sample)
    points = f"{tried + same} points, of which {tried} were tried and each other one is the same as one of them" if same else f"{tried} points"
    bad = ", ".join(f"{count[k]} {BAD[k]}" for k in BAD if k in ("bricked", "half") or count[k])
    kinds = Counter(p.kind for p, outcome, _ in results if outcome != "missed")
    names = {"kill": "kills", "cut": "power cuts", "cut-noauto": "power cuts without auto_da_alloc", "error": "failing calls", "full": "full disks"}
    by = ", ".join(f"{kinds[k]} {names[k]}" for k in names if kinds[k])
    told = sum(asks(p) and outcome in ("old", "new") for p, outcome, _ in results)
    server = f"; {told} of them with a server, which knew how each of these had ended" if told else ""
    missed = f"; {count['missed']} calls were not made again" if count["missed"] else ""
    return f"faults: {points}: {count['old']} old version, {count['new']} new version, {bad}; {by}{server}{missed}; {seconds:.0f} s"


def table(results: list[tuple[Point, str, str]]) -> None:
    rows: dict[tuple[str, str, str], Counter] = {}
    for point, outcome, why in results:
        program = point.where.split(":")[0]
        rows.setdefault((point.scenario.name, point.kind, program), Counter())[f"{outcome} {why.split(':')[0]}" if outcome == "old" else outcome] += 1
    for (scenario, kind, program), count in sorted(rows.items()):
        print(f"  {scenario:17} {kind:10} {program:12} {sum(count.values()):6}: " + ", ".join(f"{n} {o}" for o, n in sorted(count.items())))


# ---- main ----

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_REC, MS_PRIVATE, MS_SAFE = 0x4000, 1 << 18, 2 | 4 | 8  # nosuid, nodev, noexec
NO_WORLD = 99


def own_world() -> None:
    """As root in mounts and processes of our own: whatever happens, none of either is left behind, and an agent that looks through all
    processes sees few. Returns in a process of that world, or in this one where that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        return
    sys.stdout.flush()
    outside = os.fork()
    if outside != 0:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(outside, signal.SIGTERM))
        status = os.waitstatus_to_exitcode(os.waitpid(outside, 0)[1])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if status != NO_WORLD:
            os._exit(status if status >= 0 else 128 - status)
        return
    libc.prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID) != 0:
        os._exit(NO_WORLD)
    first = os.fork()
    if first != 0:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGTERM))
        status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        os._exit(status if status >= 0 else 128 - status)
    libc.prctl(1, int(signal.SIGKILL))
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if libc.mount(b"proc", b"/proc", b"proc", MS_SAFE, None) != 0:
        os._exit(NO_WORLD)
    main_ = os.fork()
    if main_ == 0:
        return
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main_, signal.SIGTERM))
    while True:  # the first process of a world inherits what others leave
        pid, status = os.wait()
        if pid == main_:
            status = os.waitstatus_to_exitcode(status)
            os._exit(status if status >= 0 else 128 - status)


def processes_end(base: Path) -> None:
    """Ends what a point has left over, like the child of an app whose agent was killed: whoever works in our folder."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid() and os.readlink(entry / "cwd").startswith(f"{base}/"):
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
    parser.add_argument("--long", action="store_true", help="every point, not a sample; of those that are the same only one")
    parser.add_argument("--every", action="store_true", help="every point, also where many are the same")
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
    mode = "every" if arguments.every else "long" if arguments.long else "short"
    chooser = Chooser(bench, mode)
    begin = time.monotonic()
    deadline = begin + (arguments.budget or 1e9)
    results: list[tuple[Point, str, str]] = []
    later: list[Point] = []
    count = 0
    for connected in (False, True):  # first all of those that are to find nobody at the broker's port
        some = [s for s in scenarios if s.connected == connected]
        if connected and some:
            lab.connect()
        for s in some:
            bench.prepare(s, "full" in kinds)
        points = [Point(s, kind, where) for s in some] if arguments.point else [p for s in some for p in chooser.points(s, kinds)]
        count += len(points)
        random.Random(20261121).shuffle(points)  # so that a run that is cut short has tried some of everything
        if mode != "short" and not connected:  # and some of everything comes before all of anything
            points, later = first_of(points, 8)
        results += bench.try_all(points, deadline)
    if later:
        if any(s.connected for s in scenarios):
            lab.stack.broker.stop()
        results += bench.try_all(later, deadline)
    between = answers_change(results)
    count += len(between)
    results += bench.try_all(between, deadline)
    for point, outcome, why in results if arguments.verbose else ():
        print(f"  {point}: {outcome} {why}")
    if arguments.table or mode != "short":
        table(results)
    if len(results) < count:
        print(f"{count - len(results)} of {count} points were not begun within {arguments.budget:g} s")
    print(summary(results, mode, time.monotonic() - begin), flush=True)
    return 1 if not results or any(outcome in BAD for _, outcome, _ in results) else 0


def main() -> int:
    arguments = parse()
    if not shutil.which("strace"):
        print("strace is missing; install Debian's strace", file=sys.stderr)
        return 2
    if not (BUILD / "on_trial").exists():
        print(f"{BUILD}/on_trial is missing; `make {BUILD}/on_trial` builds it, or use `make faults-short`", file=sys.stderr)
        return 2
    own_world()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = fast_folder()
    lab = None
    try:
        lab = standard(base / "lab", arguments.jobs)
        return work(arguments, base, lab)
    finally:
        if lab:
            lab.stop()
        processes_end(base)
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
