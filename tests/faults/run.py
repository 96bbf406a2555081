#!/usr/bin/python3
"""Kills, power cuts, full disks and I/O errors at every system call of an update: the old or the new version always runs.

The last line says how many points were tried and how they ended; the exit status is 1 when one ended badly. docs/design/faults.md."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/demo"))
sys.path += [str(ROOT / "tests/integration"), str(ROOT / "tests")]

from calls import Call  # noqa: E402
from device import Broken, Device, Inject, Run, copy_state  # noqa: E402
from lab import Lab, standard  # noqa: E402
from places import LOSSY, Image, SmallDisk, loop_mounts, small_disks  # noqa: E402
from points import SHORT, Chooser, Point, answers_change, asks, first_of  # noqa: E402
from scenarios import SCENARIOS, Scenario  # noqa: E402
from stack import BUILD  # noqa: E402
from world import fast_folder, own_world, processes_end  # noqa: E402

BAD = {"bricked": "bricked", "half": "half applied", "stuck": "never finished", "silent": "without a reason",
       "journal": "with a wrong journal", "leftover": "with leftovers", "error": "could not be tried"}
TELL_EVERY = 1000  # points


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
    others = {replace(p, where=o) for p, outcome, _ in results if mode == "long" and outcome != "missed" and not p.scenario.sample for o in p.others}
    same = len(others - {p for p, _, _ in results})
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
    chooser = Chooser(bench.calls, mode)
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
