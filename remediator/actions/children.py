"""Run one child process, see to its end, and bound what it said.

`run` starts a program in a process group of its own and comes back when it has ended with all that came from it, at the
latest at the deadline plus the grace. `reaping` finds what has gone out of its group, `cgroup` encloses it where it may.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import resource
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType

from remediator.actions import cgroup, reaping
from remediator.actions.bounds import clean
from remediator.model.time import Seconds

CAP = 64 * 1024  # bytes kept of each of stdout and stderr
GRACE: Seconds = 5.0  # between SIGTERM and SIGKILL
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # for a program named without a path
_LAST_WAIT: Seconds = 1.0  # for SIGKILL to take effect: it can't on a program of another user, such as sudo's
_SETTLED: Seconds = 0.05  # a program that has ended by then gets no group: most have, and moving one costs milliseconds
_LEFT_IN_PIPE = 16  # reads of `CAP` bytes after the exit: a pipe holds 1 MiB at most (pipe(7))


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and what it gets: its environment is `env` and the mark of its descent, and nothing else."""

    argv: Sequence[str]
    executable: str  # the path that is run; `argv[0]` is only what the program sees as its name
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None  # None: /dev/null
    cwd: str | None = None  # None: the daemon's
    user: str | None = None  # None: the daemon's; with it come the user's own groups
    limits: Mapping[str, int] = field(default_factory=dict)  # by the names in `_LIMITS`


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, and what it said."""

    exit_status: int | None  # negative: the signal that ended it; None: it could not be ended, and may still run
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    seconds: Seconds
    timed_out: bool
    left: tuple[
        int, ...
    ] = ()  # what it began and could not be ended: it belongs to another user, or hangs in the kernel


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Nothing was run, and why."""

    why: str


async def run(command: Command, deadline: float, grace: Seconds = GRACE) -> Ended | NotStarted:
    """Run a command to its end, at the latest until `deadline` on the loop's clock; then SIGTERM, `grace`, SIGKILL.

    SIGTERM goes to its process group. When the program itself has exited, all that it has begun and left is killed, be
    it in another group or session, and its pipes are closed, whoever still holds them. Cancelling does as the deadline
    does, and a second time kills at once.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    if deadline <= began:
        return NotStarted(f"{command.argv[0]} was not started: its time was up before it could begin")
    with ExitStack() as stack:
        descent = reaping.Descent()
        try:
            stdout, stderr = stack.enter_context(_Output(loop)), stack.enter_context(_Output(loop))
            child = stack.enter_context(_Child(_start(command, descent, stdout, stderr), descent, loop))
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            return NotStarted(_why_not(command, error))
        try:
            timed_out = not await child.ends_by(deadline)
            if timed_out:
                await child.end(grace)
        except asyncio.CancelledError:
            await child.end(grace)
            raise
        finally:
            left = await child.clear()
        return Ended(
            exit_status=child.exited.result() if child.exited.done() else None,
            stdout=stdout.finish(),
            stderr=stderr.finish(),
            stdout_truncated=stdout.truncated,
            stderr_truncated=stderr.truncated,
            seconds=loop.time() - began,
            timed_out=timed_out,
            left=tuple(left),
        )


def _start(command: Command, descent: reaping.Descent, stdout: _Output, stderr: _Output) -> subprocess.Popen[bytes]:
    with ExitStack() as given:
        stdin = subprocess.DEVNULL
        if command.stdin is not None:
            # A file in memory: unlike a pipe it takes any length at once, and a child may leave it unread.
            file = given.enter_context(open(os.memfd_create("stdin"), "r+b", buffering=0))  # noqa: PTH123 - no path
            file.write(command.stdin.encode())
            file.seek(0)
            stdin = file.fileno()
        identity = _identity(command.user)
        executable, argv = _limited(command)
        process = subprocess.Popen(
            argv,
            executable=executable,
            env={**command.env, reaping.MARK: descent.mark},
            cwd=command.cwd,
            stdin=stdin,
            stdout=stdout.write_end,
            stderr=stderr.write_end,
            process_group=0,
            user=identity[0] if identity else None,
            group=identity[1] if identity else None,
            extra_groups=identity[2] if identity else None,
        )
    descent.started(process.pid)
    stdout.listen()
    stderr.listen()
    return process


_LIMITS = {
    "memory": ("as", resource.RLIMIT_AS),
    "processes": ("nproc", resource.RLIMIT_NPROC),
    "open_files": ("nofile", resource.RLIMIT_NOFILE),
    "cpu_seconds": ("cpu", resource.RLIMIT_CPU),
}


def _limited(command: Command) -> tuple[str, Sequence[str]]:
    """Give what to run, and as which arguments: with limits it is prlimit(1), which sets them and becomes the program.

    They have to be there before the program's first instruction, and without Python between fork and exec: that is
    not safe beside other threads.
    """
    if not command.limits:
        return command.executable, command.argv
    program = shutil.which("prlimit", path=SEARCHED)
    if program is None:
        raise ValueError("exec.limits are set with prlimit, which this machine hasn't: install util-linux")
    os.stat(command.executable)  # noqa: PTH116 - for its error: prlimit's own would count as the program's
    if not os.access(command.executable, os.X_OK) and command.user is None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), command.executable)
    options = ["--core=0"]
    for name, limit in command.limits.items():
        option, number = _LIMITS[name]
        highest = resource.getrlimit(number)[1]  # what the daemon itself may not pass can't be given
        options.append(f"--{option}={limit if highest == resource.RLIM_INFINITY else min(limit, highest)}")
    return program, [program, *options, "--", command.executable, *command.argv[1:]]


def _identity(user: str | None) -> tuple[int, int, list[int]] | None:
    """Give the ids and groups to take on, None where they are the daemon's already; KeyError for no such user."""
    if user is None:
        return None
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return None
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)


def _why_not(command: Command, error: Exception) -> str:
    program = command.argv[0]
    if isinstance(error, KeyError):
        return f"{program} was not started: there is no user {command.user} on this machine; correct exec.user"
    if not isinstance(error, OSError):
        return f"{program} was not started: {error}"
    said = error.strerror or str(error)
    if command.user is not None and error.errno == errno.EPERM:
        return f"{program} was not started: only root may start programs as another user ({command.user}, in exec.user)"
    if command.cwd is not None and error.filename == command.cwd:
        return f"{program} was not started: its working directory {command.cwd} can't be used: {said}"
    if isinstance(error, FileNotFoundError) and os.path.lexists(command.executable):
        return f"{program} was not started: the interpreter on the first line of {command.executable} is missing"
    return f"{program} was not started: {command.executable}: {said}"


class _Output:
    """One of a child's output pipes: drained to its end, of which the first and the last half of `CAP` are kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._first = bytearray()
        self._last = bytearray()
        self._total = 0
        self._open = {self._read_end, self.write_end}

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._read_end)
        for end in self._open:
            os.close(end)
        self._open.clear()

    @property
    def truncated(self) -> bool:
        """Tell whether something was cut out of the middle."""
        return self._total > CAP

    def listen(self) -> None:
        """Begin to read: the child has its own copy of the write end by now."""
        os.close(self.write_end)
        self._open.remove(self.write_end)
        self._loop.add_reader(self._read_end, self._read)

    def finish(self) -> str:
        """Read what the pipe still holds, and give the whole as text."""
        for _ in range(_LEFT_IN_PIPE):
            if not self._read():
                break
        if self.truncated:
            cut = self._total - CAP
            data = self._first + f"\n[… {cut} bytes cut …]\n".encode() + self._last[-CAP // 2 :]
        else:
            data = self._first + self._last
        return clean(data)

    def _read(self) -> bool:
        """Read once, and tell whether there may be more."""
        try:
            data = os.read(self._read_end, CAP)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._read_end)  # at its end a pipe is readable for ever
            return False
        self._total += len(data)
        room = CAP // 2 - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        if len(self._last) > 2 * CAP:
            del self._last[: -CAP // 2]
        return True


class _Child:
    """A started process, watched until it is reaped, even after nobody waits for it any more."""

    def __init__(
        self, process: subprocess.Popen[bytes], descent: reaping.Descent, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._process = process
        self._descent = descent
        self._loop = loop
        self._enclosure: cgroup.Enclosure | None = None
        self.exited: asyncio.Future[int] = loop.create_future()
        try:
            self._descriptor = os.pidfd_open(process.pid)
        except OSError:  # no descriptor is free, so its end could not be noticed: it may not go on
            self._signal(signal.SIGKILL)
            self._bury()
        else:
            loop.add_reader(self._descriptor, self._reap)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._signal(signal.SIGKILL)

    async def ends_by(self, deadline: float) -> bool:
        """Wait for its exit, and tell whether that came in time; one that takes a while gets a group of its own."""
        await asyncio.wait((self.exited,), timeout=min(deadline - self._loop.time(), _SETTLED))
        if not self.exited.done():
            self._enclosure = cgroup.Enclosure(self._descent.mark, self._process.pid, self._descent.orphans)
            await asyncio.wait((self.exited,), timeout=deadline - self._loop.time())
        return self.exited.done()

    async def end(self, grace: Seconds) -> None:
        """Ask the process group to end, and after the grace make it and all that came from it."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait((self.exited,), timeout=grace)
        finally:
            self._kill()
        await asyncio.wait((self.exited,), timeout=_LAST_WAIT)

    async def clear(self) -> list[int]:
        """End all that it has begun and left, and give what could not be."""
        try:
            if self._enclosure is not None:
                self._descent.killed(await self._enclosure.kill())
        finally:
            left = await self._end_orphans()
        return left

    async def _end_orphans(self) -> list[int]:
        try:
            return await self._descent.end()
        finally:
            if self._enclosure is not None:
                self._enclosure.remove()

    def _kill(self) -> None:
        if not self.exited.done():
            self._descent.kill()  # while it shows who came from whom
            self._signal(signal.SIGKILL)
            if self._enclosure is not None:
                self._enclosure.kill()

    def _signal(self, number: signal.Signals) -> None:
        if not self.exited.done():  # once reaped, its number may be somebody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        # Before it is reaped: until then the number of its group can't be given to another.
        self._signal(signal.SIGKILL)
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._bury()

    def _bury(self) -> None:
        status = self._process.wait()
        reaping.reaped(self._process.pid)
        self.exited.set_result(status)


def sweep(runs: Collection[str]) -> int:
    """Kill every process that was started for one of these runs, daemonised ones too; gives how many.

    For runs whose daemon has died: what it left in groups of its own is ended, and programs are found by the variable that
    each was given, with all below them (Linux, proc(5)). Those of another user are seen by root only.
    """
    return cgroup.end_orphaned() + reaping.kill_marked([f"REMEDIATOR_RUN={run}" for run in runs])
