"""One device for one point: a copy of a prepared state directory, the real programs on it, and what must be true afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import calls
from calls import Call
from appkit import processes_of
from stack import BUILD

TOLD_S = 20.0   # for the server to know what a device has reported
LINES_MAX = 5000  # of one life's log: who says more runs in a circle
QUIET_S = 12.0  # without a line of the log the agent is taken to wait for something; the machine may be busy
NOISE = (b"event=link_failed", b"event=poll_failed")  # nobody listens, and that is as it should be
FIELD = re.compile(r'(\w+)=("[^"]*"|\S*)')


@dataclass
class Inject:
    """strace is to do something at the n-th call of one name, in one process of the update."""
    program: str  # agent, or what it starts: object, unpack, verify, selftest, infer, trial (a new version of the agent)
    syscall: str
    n: int
    action: str  # what strace's inject= is given: signal=KILL, error=EIO
    onwards: bool = False  # at that call and every later one
    alone: bool = False    # a child is killed alone, and the agent is left to cope; else all of it ends at once

    def words(self, record: Path) -> list[str]:
        when = f"when={self.n}{'+' if self.onwards else ''}"
        return ["strace", "-qq", "-o", str(record), "-e", f"trace={self.syscall}", "-e", "signal=none",
                "-e", f"inject={self.syscall}:{self.action}:{when}"]


@dataclass
class Run:
    """What one life of the agent has said of a slot, and how it ended: done, killed, exited, quiet, late."""
    slot: str
    end: str = ""
    status: int | None = None
    lines: list[str] = field(default_factory=list)
    phase: str = ""
    target: str = ""
    committed: str = ""
    code: str = ""
    running: str = ""  # first digits of the bundle that runs

    def take(self, line: str) -> None:
        self.lines.append(line)
        said = {k: v.strip('"') for k, v in FIELD.findall(line)}
        event = said.get("event") if said.get("slot") == self.slot else None
        if event == "slot":
            self.phase, self.target, self.committed = said["phase"], said["target"], said["committed"]
        elif event == "update":
            self.phase, self.target, self.code = said["phase"], said["target"], said.get("code", "") or self.code
        elif event == "infer_ready" and said.get("good") == "true" or event == "app_ready":
            self.running = said["bundle"]
        elif event in ("infer_exited", "app_exited"):
            self.running = ""


class Broken(Exception):
    """The state directory is not as it must be; `kind` is bricked, half, silent, leftover or journal."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


class Device:
    """A place for state directories and the configuration of an agent that works on them. One thread uses it at a time."""

    def __init__(self, base: Path, setup: "Setup"):
        self.base, self.setup = base, setup
        self.state = base / "state"
        self.slot = "digits"
        base.mkdir(parents=True)
        self.wrapper = base / "wrapper"
        self.wrapper.write_text(WRAPPER.format(build=BUILD, base=base))
        self.wrapper.chmod(0o755)
        for name in ("fetch", "infer"):
            (base / f"traced-{name}").symlink_to("wrapper")

    # ---- the programs ----

    def conf(self, state: Path, traced: bool, more: dict | None = None) -> Path:
        settings = {**self.setup.settings, **(more or {}), "state_dir": state,
                    "fetch_path": self.base / "traced-fetch" if traced else BUILD / "muster-fetch",
                    "infer_path": self.base / "traced-infer" if traced else BUILD / "muster-infer"}
        path = self.base / "muster-agent.conf"
        path.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        return path

    def run(self, state: Path, target: str, inject: Inject | None = None, *, settings: dict | None = None, record: str = "",
            stop_at: str = "", at: tuple[str, Callable[[], None]] | None = None, told: Callable[[Run], bool] | None = None, timeout: float = 60,
            quiet: float = QUIET_S) -> Run:
        """Runs the agent until it has done what it can about `target`, or has met the fault.

        stop_at: kill it when it enters this phase. at: a phase, and what is to be done when it is entered. told: it goes on until the server
        knows, too. record: write every system call to record.* in the device's folder, of the agent and what it starts ("all"), or of the version on trial."""
        outside = inject is not None and inject.program not in ("agent", "trial") or record == "all"
        words: list[str] = ["setpriv", "--pdeathsig", "KILL", "--"]
        for pattern in ("point*", "hit"):
            for old in self.base.glob(pattern):
                old.unlink()
        if record == "all":
            words += ["strace", "-D", "-qq", "-y", "-o", str(self.base / "record.agent"), "-e", "signal=none"]
            (self.base / "point-record").touch()
        elif record:
            words += [str(BUILD / "on_trial"), "alone", "strace", "-qq", "-y", "-o", str(self.base / "record.trial"), "-e", "signal=none", "--"]
        elif inject and inject.program == "agent":
            words += [*inject.words(self.base / "hit"), "-D"]
        elif inject and inject.program == "trial":
            words += [str(BUILD / "on_trial"), "alone" if inject.alone else "all", *inject.words(self.base / "hit"), "--"]
        elif inject:
            (self.base / f"point-{inject.program}").write_text(" ".join(inject.words(self.base / "hit")[2:]) + f"\n{target[:8]}\n")
        words += [str(BUILD / "muster-agent"), "--config", str(self.conf(state, outside, settings))]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
        run = Run(self.slot)
        try:
            self._follow(child, run, target, inject, stop_at, at, timeout, quiet)
            if told and run.end == "done":
                self._wait_told(child, run, told)
        finally:
            if child.poll() is None:
                frozen = inject is not None and inject.program == "trial" and not inject.alone
                child.send_signal(signal.SIGTERM if run.end in ("done", "quiet") and not frozen else signal.SIGKILL)
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            if run.end == "done":
                self._drain(child, run)
            child.stderr.close()
        run.status = child.returncode
        return run

    @staticmethod
    def _wait_told(child: subprocess.Popen, run: Run, told: Callable[[Run], bool]) -> None:
        end = time.monotonic() + TOLD_S
        while child.poll() is None and not told(run) and time.monotonic() < end:
            time.sleep(0.1)

    @staticmethod
    def _drain(child: subprocess.Popen, run: Run) -> None:
        rest = b""
        while select.select([child.stderr], [], [], 0)[0]:
            piece = os.read(child.stderr.fileno(), 65536)
            if not piece:
                break
            rest += piece
        run.lines += rest.decode(errors="replace").splitlines()

    def _follow(self, child, run: Run, target: str, inject, stop_at: str, at, timeout: float, quiet: float) -> None:
        begin = heard = time.monotonic()
        rest = b""
        died = b"signal 9" if inject and inject.action == "signal=KILL" and inject.program != "agent" and not inject.alone else None
        while not run.end:
            ready, _, _ = select.select([child.stderr], [], [], 0.25)
            now = time.monotonic()
            piece = os.read(child.stderr.fileno(), 65536) if ready else b""
            if piece:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    heard = heard if any(noise in line for noise in NOISE) else now
                    run.take(line.decode(errors="replace"))
                    if at and run.phase == at[0]:
                        at[1]()
                        at = None
                    if died and died in line or stop_at and run.phase == stop_at:
                        run.end = "killed"
                        return
                if self.slot == "agent" and run.phase in ("idle", "failed"):
                    run.running = self._agent_bundle(child.pid)
                if self._done(run, target):
                    run.end = "done"
            elif ready:
                run.end = "killed" if child.wait() == -9 else "exited"
            if not run.end and len(run.lines) > LINES_MAX:
                raise Broken("stuck", "runs in a circle:\n      " + "\n      ".join(run.lines[-20:]))
            if not run.end and now - begin > timeout:
                run.end = "late"
            elif not run.end and now - heard > quiet:
                run.running = run.running or self._child_bundle(child.pid)  # the line that says so may be the one that could not be written
                if run.running or now - heard > 4 * QUIET_S:
                    run.end = "quiet"

    @staticmethod
    def _done(run: Run, target: str) -> bool:
        if not run.running or not target.startswith(run.target):
            return False
        return run.phase == "idle" and target.startswith(run.running) or run.phase == "failed" and not target.startswith(run.running)

    @staticmethod
    def _agent_bundle(pid: int) -> str:
        """The bundle that the agent itself was started from, or its child when it is a guard."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in [*children, pid]:
            try:
                exe = Path(os.readlink(f"/proc/{one}/exe"))
            except OSError:
                continue
            if exe.parent.parent.name == "agent" and exe.name == "muster-agent":
                return hashlib.sha256((exe.parent / "manifest.json").read_bytes()).hexdigest()
        return ""

    def _child_bundle(self, pid: int) -> str:
        """First digits of the version that a child of the agent was started from."""
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            lines = [(Path("/proc") / one / what).read_text(errors="replace") for one in children for what in ("cmdline", "environ")]
            lines += [os.readlink(f"/proc/{one}/cwd") + "/" for one in children]
        except OSError:
            return ""
        found = re.search(rf"slots/{self.slot}/\d+-([0-9a-f]{{8}})/", "\0".join(lines))
        return found[1] if found else ""

    def power_off(self, state: Path) -> None:
        """Ends what a killed agent's app had started: without power it would not run, either."""
        for pid in processes_of(state, self.slot):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def hit(self) -> bool:
        """strace has done what it was told."""
        try:
            record = (self.base / "hit").read_text(errors="replace")
            return "(INJECTED)" in record or record.rstrip().endswith("= ?")  # the latter: it never returned
        except OSError:
            return False

    def recorded(self, program: str) -> list[Call]:
        """The system calls of the last recording, in order."""
        return calls.read(self.base / f"record.{program}")

    # ---- what must be true ----

    def version_now(self, state: Path) -> str:
        """The bundle that `current` names. Every file of it is as its manifest says, and the manifest is one that was signed."""
        current = state / "slots" / self.slot / "current"
        if not current.is_symlink():
            raise Broken("bricked", "there is no current version")
        folder = current.parent / os.readlink(current)
        if not folder.is_dir():
            raise Broken("bricked", f"current names {os.readlink(current)}, which is not there")
        return self.version_check(folder)

    def version_check(self, folder: Path) -> str:
        try:
            raw = (folder / "manifest.json").read_bytes()
        except OSError as why:
            raise Broken("half", f"{folder.name}: {why}") from why
        bundle = hashlib.sha256(raw).hexdigest()
        if bundle not in self.setup.bundles:
            raise Broken("half", f"{folder.name}: its manifest was never signed")
        manifest = json.loads(raw)
        expected = {f["path"] for f in manifest["files"]} | {"manifest.json"}
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
        if found != expected:
            raise Broken("half", f"{folder.name}: has {sorted(found)}, its manifest lists {sorted(expected)}")
        for file in manifest["files"]:
            if hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() != file["sha256"]:
                raise Broken("half", f"{folder.name}/{file['path']} has other bytes than the manifest says")
        return bundle

    def journal(self, state: Path) -> dict:
        db = sqlite3.connect(state / "state.db")
        db.row_factory = sqlite3.Row
        try:
            row = db.execute("SELECT * FROM slot WHERE slot = ?", (self.slot,)).fetchone()
            reports = [r for (body,) in db.execute("SELECT body FROM item ORDER BY id") if (r := json.loads(body))["kind"] == "report"]
        finally:
            db.close()
        return {**(dict(row) if row else {}), "reports": reports}

    def check_end(self, state: Path, run: Run, target: str, old: str, strict: bool = True) -> str:
        """After a life without faults: "new" or "old". Raises Broken when anything is not as it must be. strict: the disk worked
        all the time and no server has taken them, so that the reports have to be in the spool, too."""
        now = self.version_now(state)
        if run.end != "done":
            raise Broken("stuck", f"the update neither finished nor failed: {run.end}, phase {run.phase}")
        if not now.startswith(run.running):
            raise Broken("bricked", f"{run.running} runs, current names {now[:12]}")
        if now not in (target, old):
            raise Broken("bricked", f"current names {now[:12]}, which is neither the old nor the new version")
        row = self.journal(state)
        outcome = "new" if now == target else "old"
        if row.get("committed") != now or row["phase"] != ("idle" if outcome == "new" else "failed"):
            raise Broken("journal", f"the journal says phase {row.get('phase')}, committed {row.get('committed', '')[:12]}; {now[:12]} is current")
        counters = [self.setup.bundles[b] for b in (now, old)]
        if row["counter"] != max(counters):
            raise Broken("journal", f"the counter is {row['counter']}, not {max(counters)}")
        told = {r["step"]: r for r in row["reports"] if r["bundle"] == target}
        if outcome == "old" and not row["code"]:  # every beat tells it; a report does, too, when the disk could take it
            raise Broken("silent", "the update has failed, and the journal does not say why")
        if outcome == "old" and strict and not told.get("failed", {}).get("code"):
            raise Broken("silent", "the update has failed, and no report in the spool says why")
        if outcome == "new" and strict and "committed" not in told:
            raise Broken("silent", "the update has succeeded, and no report in the spool says so")
        self.check_leftovers(state, row)
        left = processes_of(state, self.slot) if self.slot == "app" else []
        if left:
            self.power_off(state)
            raise Broken("leftover", f"{len(left)} processes of the app still run")
        return outcome

    def check_leftovers(self, state: Path, row: dict) -> None:
        """Nothing is there that no version needs."""
        extra = [str(p.relative_to(state)) for name in ("download", "unpack") for p in (state / name).iterdir()]
        slot = state / "slots" / self.slot
        needed = {row["committed"], row["previous"]} - {""}
        found = []
        for entry in slot.iterdir():
            if entry.is_symlink():
                if entry.name not in ("current", "previous") or not entry.exists():
                    extra.append(entry.name)
            elif re.fullmatch(r"\d+-[0-9a-f]{8}", entry.name):
                found.append(self.version_check(entry))
            else:
                extra.append(entry.name)
        if set(found) != needed or len(found) != len(needed):
            extra += [f"versions {[f[:8] for f in found]} where {[n[:8] for n in needed]} are needed"]
        objects = {}
        for path in (state / "objects").glob("*/*"):
            objects[path.name] = path
        linked = set(needed)
        for bundle in needed:
            folder = next(p for p in slot.iterdir() if p.name.endswith("-" + bundle[:8]))
            linked |= {f["sha256"] for f in json.loads((folder / "manifest.json").read_bytes())["files"]}
        for name, path in objects.items():
            if name not in linked or path.stat().st_nlink < 2:
                extra.append(f"object {name[:12]}")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != name:
                raise Broken("half", f"object {name[:12]} has other bytes")
        known = {"objects", "slots", "download", "unpack", "run", "identity", "data", "units", "state.db", "state.db-wal", "state.db-shm", "lock"}
        extra += [p.name for p in state.iterdir() if p.name not in known]
        if extra:
            raise Broken("leftover", f"not needed: {', '.join(extra)}")


@dataclass
class Setup:
    """What all devices of a test run share."""
    settings: dict
    bundles: dict[str, int]  # bundle id -> release counter


# muster-agent's children, watched by strace where a point file says so, else as they are. -D keeps them the agent's own children.
WRAPPER = """#!/bin/sh
base={base} build={build} request=""
case $0 in
*fetch)
    program=$build/muster-fetch
    request=$(cat)
    case $request in
    *'"operation":"object"'*) point=object ;;
    *'"operation":"unpack"'*) point=unpack ;;
    *'"operation":"verify"'*) point=verify ;;
    *) point=none ;;
    esac ;;
*)
    program=$build/muster-infer point=infer
    case "$*" in *--self-test*) point=selftest ;; esac ;;
esac
options=""
if [ -e "$base/point-record" ] && [ "$point" != none ] && [ ! -e "$base/point.$point" ]; then
    : >"$base/point.$point"
    options="-y -o $base/record.$point -e signal=none"
elif [ -e "$base/point-$point" ]; then
    {{ read -r words; read -r short; }} <"$base/point-$point"
    # a version is started with the present one first, then with the new one, which is meant
    case "$point $* $request" in "infer "*-"$short"/* | "verify "*-"$short"'"'*) options=$words ;; "infer "* | "verify "*) ;; *) options=$words ;; esac
    [ -z "$options" ] || mv "$base/point-$point" "$base/point.used"
fi
case $point in
infer | selftest) exec ${{options:+strace -D -qq $options}} "$program" "$@" ;;
*) exec ${{options:+strace -D -qq $options}} "$program" <<END
$request
END
    ;;
esac
"""


def copy_state(source: Path, target: Path) -> None:
    """A copy with its hard links; the target is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
