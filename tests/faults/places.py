"""Where a state directory lies while it meets its fault: a plain folder, an ext4 image that can lose power, a disk that is nearly full."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from device import copy_state

IMAGE_MB = 48
# ext4 writes what was not synced after 5 s by itself: a cut is harsher when it does not get to that.
LOSSY = "loop,noatime,commit=300"


def _run(*argv) -> None:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(str(a) for a in argv)}: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    """What was killed a moment ago may still hold a file. A mount that stays would be found again by the next one of its image."""
    for _ in range(500):
        done = subprocess.run(["umount", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.02)
    raise OSError(done.stderr.strip())


class Image:
    """ext4 in a file, with a state directory in it."""

    def __init__(self, file: Path):
        self.file = file

    @classmethod
    def make(cls, file: Path, state: Path) -> "Image":
        with open(file, "wb") as out:
            out.truncate(IMAGE_MB << 20)
        _run("mkfs.ext4", "-q", "-m", "0", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", file)
        image = cls(file)
        with image.mounted(file.with_suffix(".mnt"), "loop") as root:
            copy_state(state, root / "state")
        return image

    def copy(self, file: Path) -> "Image":
        file.unlink(missing_ok=True)  # a loop device that still has the old one keeps it
        _run("cp", "--sparse=always", self.file, file)
        return Image(file)

    def mounted(self, folder: Path, options: str) -> "Mount":
        return Mount(folder, "-o", options, self.file)


class Mount:
    def __init__(self, folder: Path, *words):
        self.folder, self.words = folder, words

    def __enter__(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        _run("mount", *self.words, self.folder)
        return self.folder

    def __exit__(self, *_) -> None:
        _unmount(self.folder)


class SmallDisk:
    """A tmpfs that holds a state directory and little more."""

    def __init__(self, folder: Path, state: Path):
        self.folder, self.source = folder, state
        self.state = folder / "state"
        self.mount = Mount(folder, "-t", "tmpfs", "-o", "size=64m", "none")

    def __enter__(self) -> "SmallDisk":
        self.mount.__enter__()
        copy_state(self.source, self.state)
        return self

    def __exit__(self, *words) -> None:
        self.mount.__exit__(*words)

    def leave_free(self, kib: int) -> None:
        for tries in range(50):
            fs = os.statvfs(self.folder)
            used = (fs.f_blocks - fs.f_bfree) * fs.f_frsize
            try:
                _run("mount", "-o", f"remount,size={used + kib * 1024}", self.folder)
                return
            except OSError:  # somebody has written in between
                if tries == 49:
                    raise


def loop_mounts(base: Path) -> str:
    """"" when images can be mounted here, else why not."""
    if os.geteuid() != 0:
        return "only root may mount images"
    if not shutil.which("mkfs.ext4"):
        return "mkfs.ext4 is missing (Debian's e2fsprogs)"
    try:
        base.mkdir(exist_ok=True)
        (base / "empty").mkdir(exist_ok=True)
        Image.make(base / "try.img", base / "empty")
    except OSError as why:
        return str(why)
    return ""


def small_disks(base: Path) -> str:
    """"" when small disks can be mounted here, else why not."""
    try:
        base.mkdir(exist_ok=True)
        with Mount(base / "try", "-t", "tmpfs", "-o", "size=1m", "none"):
            return ""
    except OSError as why:
        return str(why)
