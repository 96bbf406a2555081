"""What a device is in the middle of when it meets a fault. A new scenario is one line here, and whatever it needs in lab.standard()."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    template: str  # state directory to begin from, of lab.standard()
    old: str       # bundle that runs before, of lab.standard()
    new: str       # bundle that is wanted
    slot: str = "digits"
    ends: tuple[str, ...] = ("new",)  # which versions may run at the end of a life without faults
    programs: tuple[str, ...] = ("agent",)  # whose system calls are points
    disks: tuple[str, ...] = ()  # phases that a full disk begins in, and work of muster-fetch that it ends
    delta: bool = False      # the document names a delta before the full bundle
    connected: bool = False  # the agent has its session with the broker, and what it reports has to arrive at the server
    sample: bool = False     # only some points of each kind, in the long form, too
    samples: bool = False    # muster-infer has something to do; without, a probation of 0 s ends at once
    probation_s: int = 0


SCENARIOS = [
    Scenario("update", "one", "1.0.0", "2.0.0", programs=("agent", "object", "unpack", "selftest", "infer"),
             disks=("downloading", "verifying", "object", "unpack", "staging", "testing", "switching", "probation")),
    Scenario("delta", "one", "1.0.0", "2.0.0", programs=("agent", "object", "unpack"), disks=("unpack",), delta=True),
    Scenario("fallback", "one", "1.0.0", "3.0.0", ends=("old",), disks=("probation", "restoring"), samples=True, probation_s=10),
    Scenario("refused", "one", "1.0.0", "4.0.0", ends=("old",), disks=("testing",)),
    Scenario("rollback", "two", "2.0.0", "1.0.0", disks=("staging", "probation")),
    Scenario("app", "app-one", "app-1.0.0", "app-2.0.0", slot="app", programs=("agent", "verify"), disks=("testing", "probation")),
    Scenario("app-fallback", "app-one", "app-1.0.0", "app-3.0.0", slot="app", ends=("old",), disks=("restoring",), probation_s=10),
    Scenario("self", "agent-one", "agent-1.0.0", "agent-2.0.0", slot="agent", programs=("agent", "trial"), connected=True),
    Scenario("self-fallback", "agent-one", "agent-1.0.0", "agent-3.0.0", slot="agent", ends=("old",), programs=("agent", "trial"), connected=True),
    # The same as above, but with a server that has to hear how it has ended.
    Scenario("update-told", "one", "1.0.0", "2.0.0", programs=("agent", "object", "unpack"), disks=("downloading", "unpack", "switching"),
             connected=True, sample=True),
    Scenario("refused-told", "one", "1.0.0", "4.0.0", ends=("old",), programs=("agent", "selftest"), disks=("testing",), connected=True, sample=True),
    Scenario("app-fallback-told", "app-one", "app-1.0.0", "app-3.0.0", slot="app", ends=("old",), disks=("restoring",), connected=True, sample=True,
             probation_s=10),
]
