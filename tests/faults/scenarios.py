"""What a device is in the middle of when it meets a fault. A new scenario is one line here, and whatever it needs in lab.standard()."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    template: str  # state directory to begin from, of lab.standard()
    old: str       # version that runs before
    new: str       # version that is wanted
    ends: tuple[str, ...] = ("new",)  # which versions may run at the end of a life without faults
    programs: tuple[str, ...] = ("agent",)  # whose system calls are points
    disks: tuple[str, ...] = ()  # phases that a full disk begins in, and work of muster-fetch that it ends
    samples: bool = False  # muster-infer has something to do; without, a probation of 0 s ends at once
    probation_s: int = 0


SCENARIOS = [
    Scenario("update", "one", "1.0.0", "2.0.0", programs=("agent", "object", "unpack", "selftest", "infer"),
             disks=("downloading", "verifying", "object", "unpack", "staging", "testing", "switching", "probation")),
    Scenario("fallback", "one", "1.0.0", "3.0.0", ends=("old",), disks=("probation", "restoring"), samples=True, probation_s=10),
    Scenario("refused", "one", "1.0.0", "4.0.0", ends=("old",), disks=("testing",)),
    Scenario("rollback", "two", "2.0.0", "1.0.0", disks=("staging", "probation")),
]
