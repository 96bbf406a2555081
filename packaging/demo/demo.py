#!/usr/bin/python3
"""`make demo`: a real fleet on loopback, until Ctrl-C. What it needs to remember is under var/demo; `make demo-clean` removes it."""

from __future__ import annotations

import signal
import stat
import sys
import time

from fleet import Fleet
from stack import BUILD, ROOT, StackError

BASE = ROOT / "var/demo"


def say(text: str) -> None:
    print(f"  {text} …", flush=True)


def write_wrapper(fleet: Fleet) -> None:
    """./var/musterctl: the CLI, already pointed at the demo."""
    path = ROOT / "var/musterctl"
    path.write_text(f'#!/bin/sh\nexec "{BUILD}/musterctl" --config "{fleet.ctl.conf}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def first_models(fleet: Fleet) -> None:
    """digits 1.0.0 on every device, and 2.0.0 uploaded, ready to be rolled out."""
    for version in ("1.0.0", "2.0.0"):
        fleet.upload(version)
    if fleet.get("/api/v1/rollouts")["rollouts"]:
        return
    say("rolling digits 1.0.0 out to all six devices")
    rollout = fleet.ctl.json("rollout", "create", "--bundle", "digits@1.0.0", "--all", "--wave", "1:soak=3", "--wave", "100%:soak=3",
                             "--probation", "3")
    fleet.ctl.run("rollout", "watch", rollout["id"], "--until", "completed", "--timeout", "120")


def print_welcome(fleet: Fleet) -> None:
    if fleet.first_password:
        login = f"log in as admin with the one-time password  {fleet.first_password}  (you choose your own then)"
    else:
        login = "log in as admin with the password you chose; forgotten? `make demo-password` makes a new one"
    print(f"""
Muster is running: six devices on two sites, all real.

  Console   {fleet.server.url}
            {login}
            The certificate is the demo's own: your browser will ask once.

  Try       ./var/musterctl device list
            ./var/musterctl device hold berlin-yard-1 --reason "shift change"
            ./var/musterctl rollout create --bundle digits@2.0.0 --all --wave 1:soak=20 --wave 50%:soak=20 --wave 100%
            ./var/musterctl device release berlin-yard-1
            ./var/musterctl rollout rollback 2 --reason "trying it"
            kill -9 {fleet.agents["lyon-dock-2"].process.pid}      # an agent dies: watch the alert

  Logs      {fleet.stack.logs}
  Ctrl-C stops everything.
""", flush=True)


def watch(fleet: Fleet) -> None:
    """Says so when a part of the demo ends; a killed agent is started again after half a minute."""
    died: dict[str, float] = {}
    while True:
        time.sleep(1)
        for part in (fleet.stack.postgres, fleet.stack.broker, fleet.server):
            part.process.check()
        for name, agent in fleet.agents.items():
            if agent.process.alive():
                continue
            if name not in died:
                died[name] = time.monotonic()
                print(f"  {name} ended; it is started again in 30 s", flush=True)
            elif time.monotonic() - died[name] > 30:
                del died[name]
                agent.start(fleet.server)
                print(f"  {name} is started again", flush=True)


def main() -> int:
    def ask_to_stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGHUP, ask_to_stop)
    fleet = Fleet(BASE, say)
    try:
        fleet.start_services()
        write_wrapper(fleet)
        fleet.start_agents()
        first_models(fleet)
        print_welcome(fleet)
        watch(fleet)
    except KeyboardInterrupt:
        print("\n  stopping …", flush=True)
    except StackError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        fleet.stop()
    print("  stopped; nothing is left running. `make demo` starts again with the same fleet, `make demo-clean` removes it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
