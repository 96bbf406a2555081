"""Where all points are tried: processes, mounts and a folder of our own, which are gone afterwards."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

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
