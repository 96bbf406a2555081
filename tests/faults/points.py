"""Which points there are, and which of them are tried. docs/design/faults.md, "Points"."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace

from calls import Call, elsewhere, stretches
from device import Inject
from scenarios import Scenario

# Calls that a broken or full disk can fail. write, openat and read go to more than the disk: they fail once, not for good.
EIO = ("read", "execve", "pread64", "write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "unlink", "unlinkat",
       "mkdir", "ftruncate", "getdents64", "readlink")
ENOSPC = ("write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir", "ftruncate")
FOR_GOOD = ("pread64", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "link", "symlink", "mkdir")
STEP_KIB, STEP_KIB_LONG = 64, 4  # of free space
# Up to how many KiB free the disk is full: until muster-fetch has looked it wants 16 MiB more than the files need, while it works the files have
# to fit, later only the journal.
FULL_KIB = {"downloading": 18 * 1024, "verifying": 18 * 1024, "object": 1280, "unpack": 1280}
FULL_KIB_ELSE = 512
FULL_KIB_FINE = 1280  # from here on nothing but that look depends on how much there is
# Points per scenario and program in the short form; of kills at least one of each system call that a program makes at all.
SHORT = {"kill": 9, "cut": 5, "cut-noauto": 3, "error": 8, "full": 5}
SAMPLE, SAMPLE_LONG = {"kill": 4, "cut": 2, "cut-noauto": 1, "error": 4, "full": 2}, {"kill": 40, "cut": 20, "cut-noauto": 20, "error": 40, "full": 20}
# Where something was wrong once: always in the short form.
FOUND = re.compile(r"self-fallback/error/agent:rename:\d+:ENOSPC\+?|self/kill/trial:(fchmod|rename):1(:alone)?")
MODEL_SIDE = ("selftest", "infer")  # they only read: their disk is of little interest, and each of them is killed alone
PARENTS = ("agent", "trial", "infer", "selftest")  # they wait for others on the device
Where = tuple[str, tuple[str, ...]]  # of a point, and of others that are the same


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


# ---- which points ----

def spread(items: list, most: int) -> list:
    """`most` of the items at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in sorted({round(i * (len(items) - 1) / max(most - 1, 1)) for i in range(most)})]


class Chooser:
    """The points of a scenario. mode: short, long (one of those that are the same), or every."""

    def __init__(self, calls: dict[tuple[str, str], list[Call]], mode: str):
        self.calls, self.mode = calls, mode
        self.met: set[tuple[str, str]] = set()  # program and system call that there is a kill for

    def points(self, s: Scenario, kinds: list[str]) -> list[Point]:
        out: list[Point] = []
        for kind in kinds:
            if kind == "full":
                found = [self.few(s, kind, where, self.disks(where)) for where in s.disks]
            elif kind == "error":
                found = [self.few(s, kind, p, self.errors(p, self.calls[s.name, p])) for p in s.programs if p not in MODEL_SIDE]
            else:
                found = [self.ends(s, kind, p) for p in s.programs]
            out += [Point(s, kind, where, others) for some in found for where, others in some]
        return out

    def few(self, s: Scenario, kind: str, program: str, all_: list[Where]) -> list[Where]:
        """As many as the form wants."""
        if s.sample:
            return spread(all_, (SAMPLE if self.mode == "short" else SAMPLE_LONG)[kind])
        if self.mode == "short":
            some = spread(all_, SHORT[kind] // (3 if program in MODEL_SIDE and kind != "kill" else 1))
            return some + [one for one in all_ if FOUND.fullmatch(f"{s.name}/{kind}/{one[0]}") and one not in some]
        return all_

    def ends(self, s: Scenario, kind: str, program: str) -> list[Where]:
        """Kills and power cuts. What the agent starts is killed with it, and alone, too."""
        calls = self.calls[s.name, program]
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
            found = [a for a in alone if FOUND.fullmatch(f"{s.name}/{kind}/{a[0]}")]
            return list(dict.fromkeys([a if i % each == each - 1 else w for i, (w, a) in enumerate(zip(some, alone))] + found))
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
