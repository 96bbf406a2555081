"""The system calls of a life without faults, and which of them a fault can be told apart at."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"^([a-z]\w*)\((.*)$", re.M)
FIRST_FD = re.compile(r"(\d+)<([^>]*)>")
# What is there after the process has ended, or is seen by another process that goes on.
CHANGES = {"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod",
           "mknodat", "ftruncate", "truncate", "fallocate", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat",
           "setxattr", "fsetxattr", "removexattr", "bind", "listen", "connect", "accept", "accept4", "shutdown", "sendto", "sendmsg", "sendmmsg", "sendfile",
           "splice", "copy_file_range", "clone", "clone3", "fork", "vfork", "execve", "kill", "tgkill", "pidfd_send_signal", "ioctl"}
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
OPENS = {"open", "openat", "openat2", "creat"}
# Who has waited may find that others have gone on.
WAITS = {"poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "wait4", "waitid", "nanosleep", "clock_nanosleep", "rt_sigtimedwait"}
# What makes a write durable: it changes nothing for who is killed, everything for who loses power.
SYNCS = {"fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"}


@dataclass(frozen=True)
class Call:
    name: str
    n: int         # the n-th of its name
    changes: bool  # something outside of its process
    waits: bool    # for others, and so something may have changed there
    syncs: bool
    file: str      # what it is about, as far as strace says
    space: bool    # it may want some on the disk

    @property
    def where(self) -> str:
        return f"{self.name}:{self.n}"


def _changes(name: str, rest: str) -> bool:
    if re.search(r"\) += -1 E", rest) or "CLONE_THREAD" in rest:
        return False
    if name in OPENS:
        return bool(re.search(r"O_CREAT|O_TRUNC|O_WRONLY|O_RDWR", rest))
    if name == "mmap":
        return "MAP_SHARED" in rest and "PROT_WRITE" in rest
    fd = FIRST_FD.match(rest)
    if name == "close":
        return fd is None or fd[2].startswith(("pipe:", "socket:", "TCP", "UNIX"))
    if name in WRITES:
        return fd is None or not fd[2].startswith(("anon_inode:", "/dev/null"))
    if name in ("read", "readv"):
        return fd is None or fd[2].startswith(("pipe:", "socket:"))
    return name in CHANGES


def _waits(name: str, rest: str) -> bool:
    return "WAIT" in rest if name == "futex" else name in WAITS and ", 0) = 0 (Timeout)" not in rest


def _space(name: str, rest: str) -> bool:
    """A full disk can fail it: not what opens a file that is there, or writes to a pipe."""
    if name in OPENS:
        return "O_CREAT" in rest
    fd = FIRST_FD.match(rest)
    return name not in WRITES or fd is not None and fd[2].startswith("/") and not fd[2].startswith(("/dev/", "/proc/"))


def _file(rest: str) -> str:
    """The path in quotes, or the one that a descriptor stands for."""
    quoted = re.search(r'"([^"]*)"', rest.split(") = ", 1)[0])
    fd = FIRST_FD.match(rest)
    return fd[2] if fd else quoted[1] if quoted else ""


def read(record: Path) -> list[Call]:
    """The calls of a recording by strace -y, in order."""
    seen: Counter = Counter()
    out: list[Call] = []
    for name, rest in LINE.findall(record.read_text(errors="replace")) if record.exists() else ():
        if name == "rt_sigreturn" or name == "execve" and not out:  # the first exec is strace's own
            continue
        seen[name] += 1
        out.append(Call(name, seen[name], _changes(name, rest), _waits(name, rest), name in SYNCS, _file(rest), _space(name, rest)))
    return out


def stretches(calls: list[Call], power: bool, parent: bool) -> list[list[Call]]:
    """Calls before which the disk, and whoever else goes on, are in the same state: each list ends with one that changes it. power: a write to a
    file counts when it is synced. parent: it waits for others on the device; muster-fetch waits only for the server."""
    out: list[list[Call]] = [[]]
    for call in calls:
        out[-1].append(call)
        changes = call.changes and not (power and call.name in WRITES and call.file.startswith("/"))
        if changes or power and call.syncs or parent and call.waits:
            out.append([])
    return [s for s in out if s]


def elsewhere(call: Call) -> str:
    """A name for a file outside the state directory, equal for all that one loop goes through, like /proc/7/environ; "" for one of ours."""
    path = re.sub(r"\d+", "#", call.file)
    if path.startswith("/") and not re.search(r"/state(/|$)", path):
        return path
    return ""
