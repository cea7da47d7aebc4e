"""A control group for each program, where this process may make some (cgroup v2, Linux 5.14): nobody leaves it unasked.

They stand in one folder for each daemon, below the group that the daemon is in: with systemd that takes `Delegate=yes` or
root. The folder is locked while its daemon lives; a shell waits for the daemon's end and then kills all that is in there,
at once, even after SIGKILL. What both leave is ended by the next daemon in the same group.

A program is moved into its group after it was started, with all that it has begun by then: no way of starting a process
right in a group can be had from Python. It holds against programs that forget theirs, not against one that fights: a
program with the daemon's own rights can move itself out again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from remediator.actions import reaping
from remediator.model.time import Seconds

_NAME = "remediator-"  # begins the name of each daemon's folder
# One thread for all: a move takes the kernel milliseconds, of which those that wait behind it take next to none.
_worker = ThreadPoolExecutor(1, thread_name_prefix="cgroup")
_PATIENCE: Seconds = 1.0  # with what a dead daemon left, to be gone
_WATCHER = """
trap '' HUP INT QUIT TERM
read -r nothing
echo 1 > "$1/cgroup.kill"
tries=0
while [ -d "$1" ] && [ $tries -lt 50 ]; do
  rmdir "$1"/*/ "$1" 2>/dev/null || sleep 0.1
  tries=$((tries + 1))
done
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One program's group."""

    path: Path

    def take(self, pid: int, others: Callable[[], Iterable[int]]) -> None:
        """Move a process in with all below it, and others that belong to it, until no more are found outside.

        This may take some milliseconds: the kernel waits till no processor is in the midst of a fork.
        """
        inside: set[int] = set()
        while outside := {pid, *_below(pid), *others()} - inside:
            for each in outside:
                with suppress(ProcessLookupError):
                    _write(self.path / "cgroup.procs", str(each))
            inside |= outside

    def kill(self) -> list[int]:
        """Kill all that is in it, and what is begun in it meanwhile; gives what was there before."""
        with suppress(OSError):
            inside = [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]
            _write(self.path / "cgroup.kill", "1")
            return inside
        return []

    def remove(self) -> bool:
        """Take it away, and tell whether that could be: the dead must be gone from it first."""
        try:
            self.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class Enclosure:
    """A program's group, which another thread makes, fills, empties and takes away, in the order in which it is asked to."""

    def __init__(self, name: str, pid: int, others: Callable[[], Iterable[int]]) -> None:
        self._group = _worker.submit(_enclose, name, pid, others)

    def kill(self) -> asyncio.Future[list[int]]:
        """Kill all that is in it, and give what was there; waiting for that may be given up, the killing not."""
        return asyncio.shield(asyncio.wrap_future(_worker.submit(self._kill)))

    def remove(self) -> None:
        """Take it away, some time soon."""
        _worker.submit(self._remove)

    def _kill(self) -> list[int]:
        group = self._group.result()
        return [] if group is None else group.kill()

    def _remove(self) -> None:
        if group := self._group.result():
            group.kill()
            for _ in range(10):
                if group.remove():
                    return
                time.sleep(0.01)  # what is left then goes with the daemon's folder


def _enclose(name: str, pid: int, others: Callable[[], Iterable[int]]) -> Group | None:
    """Make a group and move a program in, None where that can't be."""
    folder = _folder()
    if folder is None:
        return None
    group = Group(folder / name)
    try:
        group.path.mkdir()
        group.take(pid, others)
    except OSError:  # taken away under us, or a group from which we may move nothing
        group.remove()
        return None
    return group


def end_orphaned(parent: Path | None = None) -> int:
    """End all that daemons which are dead have left in their groups, and give how many processes that were."""
    parent = parent or own_group()
    ended = 0
    for folder in () if parent is None else sorted(parent.glob(f"{_NAME}*")):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its daemon lives
                ended += _clear(folder)
            finally:
                os.close(lock)
    return ended


def own_group(processes: Path = Path("/proc/self")) -> Path | None:
    """Give the folder of the group of the second version that this process is in, None where it can't be seen."""
    with suppress(OSError):
        groups = (processes / "cgroup").read_text().splitlines()
        group = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
        for root, mounted in _mounts((processes / "mountinfo").read_text()):
            if group is not None and ".." not in Path(group).parts and Path(group).is_relative_to(root):
                return mounted / Path(group).relative_to(root)
    return None


@cache
def _folder() -> Path | None:
    """Make this daemon's folder of groups, once; None where that can't be."""
    parent = own_group()
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        return None
    end_orphaned(parent)
    folder = parent / f"{_NAME}{secrets.token_hex(8)}"
    try:
        folder.mkdir()
        if (folder / "cgroup.kill").exists():  # Linux from 5.14 on
            fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)  # held till this process ends
            _watch(folder)
            return folder
    except OSError:
        pass
    Group(folder).remove()
    return None


def _watch(folder: Path) -> None:
    """Start the shell that ends all when this process has ended: then its standard input is at its end."""
    waiting, _held = os.pipe()  # the other end is closed by this process's end
    try:
        watcher = subprocess.Popen(
            ("sh", "-c", _WATCHER, "remediator-watcher", str(folder)),
            executable="/bin/sh",
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            stdin=waiting,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is sent to the daemon's group isn't meant for it
        )
    finally:
        os.close(waiting)
    reaping.keep(watcher.pid)
    watcher.returncode = 0  # it outlives us: nobody is to wait for it


def _clear(folder: Path) -> int:
    groups = [*(group for group in folder.iterdir() if group.is_dir()), folder]
    ended = sum(len(Group(group).kill()) for group in groups)
    until = time.monotonic() + _PATIENCE
    while not all(Group(group).remove() for group in groups) and time.monotonic() < until:
        time.sleep(0.01)
    return ended


def _below(pid: int) -> Iterator[int]:
    for child in reaping.children_of(pid):
        yield child
        yield from _below(child)


def _mounts(table: str) -> Iterator[tuple[Path, Path]]:
    """Give where hierarchies of the second version are mounted, each with the group that is its root there (proc(5))."""
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] == "cgroup2":
            root, mounted = before.split(" ")[3:5]
            yield _unescaped(root), _unescaped(mounted)


def _unescaped(text: str) -> Path:
    """Read a path of that table, in which a space is written `\\040`."""
    return Path(text.encode().decode("unicode_escape").encode("latin-1").decode())


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
