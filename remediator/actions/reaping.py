"""End what a program has begun and left behind: processes that went out of its group, its session and its sight.

This process becomes a child subreaper (prctl(2)): whoever loses its parent anywhere below becomes its child, so nobody
gets out from under it while it lives. A program has a process group of its own, and what comes from it has that or another:
so a child in this process's own group was started by some other part of it, and is let be. Where such a part gives its
child another group, too, that is told by the environment that it gave it: the daemon's.

To which program an orphan belongs says the mark in the environment that it was started with. One that had its
environment cleared belongs to a program that was at work when it was begun; where several were, it ends with the last.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from remediator.model.time import Seconds

MARK = "REMEDIATOR_STEP"  # the variable by which a program's descendants are told from another's
_BETWEEN: Seconds = 0.001  # two looks: what was killed needs a moment to die
_PATIENCE: Seconds = 1.0  # with what was killed; and with a dead child's parent, if it has one here, to take note of it
_PR_SET_CHILD_SUBREAPER = 36
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # nanoseconds: the unit of a process's birth in proc(5)


@dataclass(frozen=True, slots=True)
class _Process:
    """What the kernel says of a process, in the fields of /proc/PID/stat."""

    pid: int
    dead: bool  # and not reaped yet
    group: int
    born: int  # ticks since the machine was started


@dataclass(slots=True)
class _Known:
    """What this process remembers of its children."""

    started: set[int] = field(default_factory=set)  # by us: reaped by whoever started them
    at_work: set[Descent] = field(default_factory=set)
    killed: set[int] = field(default_factory=set)  # orphans, to be reaped as soon as they are dead
    unclaimed: dict[int, float] = field(default_factory=dict)  # dead, perhaps somebody's here: since when, monotonic


_known = _Known()


class Descent:
    """A program with all that comes from it, from before its start until nothing is left."""

    def __init__(self) -> None:
        _become_subreaper()
        self.mark = secrets.token_hex(8)
        self.pid = 0  # none yet
        self._line = f"{MARK}={self.mark}".encode()
        self._met = False  # any orphan
        self._begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK

    def started(self, pid: int) -> None:
        """Take note of the program's process."""
        self.pid = pid
        _known.at_work.add(self)
        keep(pid)

    def orphans(self) -> list[int]:
        """Give its processes that have lost their parents and live."""
        return [process.pid for process in _adopted() if not process.dead and self._owns(process)]

    def kill(self) -> None:
        """Kill the program and everything below it, while it lives."""
        self.killed(_kill_tree(self.pid))

    def killed(self, pids: Collection[int]) -> None:
        """Take note of processes of its that were killed: those that are orphans, or will be, are ours to reap."""
        _known.killed.update(pids)

    async def end(self) -> list[int]:
        """Kill its orphans until none lives, at the latest for as long as that may take, and give those that do all the same."""
        try:
            until = time.monotonic() + _PATIENCE
            while self._sweep() and time.monotonic() < until:  # noqa: ASYNC110 - nothing tells of an orphan's birth
                await asyncio.sleep(_BETWEEN)
            return self.orphans() if self._met else []
        finally:
            _known.at_work.discard(self)
            if _known.killed:  # the others' parents have reaped them, and their numbers may be given to somebody else
                _known.killed &= {process.pid for process in _adopted()}
            if self._met:
                asyncio.get_running_loop().call_later(_PATIENCE, _reap_late)

    def _sweep(self) -> bool:
        """Look once, and tell whether to look again: what died meanwhile may have left orphans of its own."""
        found = False
        for process in _adopted(but=_known.unclaimed):
            self._met = True
            if process.dead:
                _reap(process)
                found = True
            elif process.pid in _known.killed or (owned := self._owns(process)) is None:
                found = True  # it is dying, or just being started
            elif owned:
                killed = _kill_tree(process.pid)
                self.killed(killed)
                found |= bool(killed)
        return found

    def _owns(self, process: _Process) -> bool | None:
        """Tell whether an orphan is of this program; None: that can't be told at this moment."""
        if process.group == self.pid:
            return True
        lines = _environment(process.pid)
        if lines is None:
            return None
        if self._line in lines:
            return True
        if process.born < self._begun or _inherits(lines):
            return False
        others = _known.at_work - {self}
        return not any(other._begun <= process.born or other._line in lines for other in others)


def keep(pid: int) -> None:
    """Take note of a child that is no orphan: whoever started it reaps it."""
    _known.started.add(pid)


def reaped(pid: int) -> None:
    """Forget a child that has been reaped: its number may be given to another."""
    _known.started.discard(pid)


def children_of(pid: int) -> list[int]:
    """Give the children of a process, as far as they can be seen; none where the kernel doesn't list them."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - a third of the time, and this is done often
            found += _listed(pid, int(thread))
    return found


def kill_marked(marks: Collection[str]) -> int:
    """Kill each process that was started with one of these lines in its environment, and all below; gives how many."""
    wanted = {mark.encode() for mark in marks}
    killed: set[int] = set()
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        found = [pid for pid in _everybody() if not wanted.isdisjoint(_environment(pid) or ())]
        trees = {each for root in found for each in _kill_tree(root)}
        if not trees:
            break
        killed |= trees
        time.sleep(_BETWEEN)
    return len(killed)


@cache
def _become_subreaper() -> bool:
    try:
        import ctypes  # noqa: PLC0415 - some milliseconds, which only who starts a program pays

        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _adopted(but: Collection[int] = ()) -> Iterator[_Process]:
    """Give the children of this process that it didn't start in its own process group: orphans, nearly always.

    The newest come first, and some are left out unseen: of a chain in which each begins the next and goes, all but the
    newest are dead, and to look at hundreds of them would take longer than the next step of the chain.
    """
    unknown = [pid for pid in _children() if pid not in _known.started and pid not in but]
    if not unknown:
        return
    group = os.getpgrp()
    for pid in reversed(unknown):
        process = _look(pid)
        if process is not None and process.group != group:
            yield process


def _children() -> list[int]:
    ours = os.getpid()
    if not _become_subreaper():  # orphans go elsewhere: only those are found that bear a mark
        marks = {program._line for program in _known.at_work}
        return [pid for pid in _everybody() if not marks.isdisjoint(_environment(pid) or ())]
    try:
        return _listed(ours, ours)  # orphans go to the first thread
    except FileNotFoundError:  # a kernel that doesn't list them (CONFIG_PROC_CHILDREN)
        return [pid for pid in _everybody() if _parent(pid) == ours]


def _reap(orphan: _Process) -> None:
    """Reap a dead orphan unless it may have a parent here after all: that one gets the time to take note of its end."""
    sure = orphan.pid in _known.killed or any(orphan.group == program.pid for program in _known.at_work)
    if not sure:
        now = time.monotonic()
        if now - _known.unclaimed.setdefault(orphan.pid, now) < _PATIENCE:
            return
    _known.killed.discard(orphan.pid)
    _known.unclaimed.pop(orphan.pid, None)
    with suppress(ChildProcessError):
        os.waitpid(orphan.pid, os.WNOHANG)


def _reap_late() -> None:
    """Reap what has been dead for long and is missed by nobody, and come again for those that are newly dead."""
    dead = {process.pid: process for process in _adopted() if process.dead}
    _known.killed &= dead.keys()
    known = _known.unclaimed.keys() & dead.keys()
    for pid in _known.unclaimed.keys() - known:
        del _known.unclaimed[pid]  # it had a parent
    for process in dead.values():
        _reap(process)
    if _known.unclaimed.keys() - known:  # the others have their time set
        asyncio.get_running_loop().call_later(_PATIENCE, _reap_late)


def _kill_tree(root: int) -> list[int]:
    """Kill a process and all below it, but never this one, and give those that could be.

    Each is stopped before its children are asked for: so none is begun while others are killed.
    """
    found = [root]
    for pid in found:
        _signal(pid, signal.SIGSTOP)
        if pid != os.getpid():
            found += [child for child in children_of(pid) if child not in found]
    return [pid for pid in found if _signal(pid, signal.SIGKILL)]


def _signal(pid: int, number: signal.Signals) -> bool:
    if pid == os.getpid():  # a daemon that was itself started by a program of another
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _everybody() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _listed(pid: int, thread: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split()]


def _look(pid: int) -> _Process | None:
    """Look at a process; None: it is gone."""
    fields = _fields(pid)
    return None if fields is None else _Process(pid, fields[0] in (b"Z", b"X"), int(fields[2]), int(fields[19]))


def _parent(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None else int(fields[1])


def _fields(pid: int) -> list[bytes] | None:
    """Read /proc/PID/stat from its third field on: the second, the name, may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None


def _environment(pid: int) -> list[bytes] | None:
    """Give the lines of the environment that a process was started with, none where they may not be read.

    None: it is just being started, and its environment is not in its place yet, or it is dying and has none any more.
    """
    place = _place(pid)
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        return []
    except OSError:
        return None
    there = any(lines) or (place is not None and place[1] != b"0" and place == _place(pid))
    return lines if there else None


def _place(pid: int) -> list[bytes] | None:
    """Give the addresses at which its environment begins and ends: the latter is 0 until it is in its place."""
    fields = _fields(pid)
    return None if fields is None else fields[47:49]


def _inherits(lines: Collection[bytes]) -> bool:
    """Tell whether an environment is the daemon's, which a program never gets, and a child of its other parts mostly."""
    own = {name + b"=" + value for name, value in os.environb.items()}
    return bool(own) and own.issubset(lines)
