"""Children are real processes here: ill-behaved ones too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from remediator.actions import cgroup, children, reaping
from remediator.actions.children import CAP, Command, Ended, NotStarted, run

HEEDLESS = """
import os, pathlib, signal
announce = pathlib.Path({path!r}).write_text
signal.signal(signal.SIGTERM, lambda *_: announce('asked'))
announce(str(os.getpid()))
while True:
    signal.pause()
"""


def shell(script: str, **given: object) -> Command:
    """Give the command that runs a script."""
    return Command(("sh", "-c", script), "/bin/sh", env={"PATH": "/usr/bin:/bin"}, **given)


def python(script: str) -> Command:
    """Give the command that runs some Python."""
    return Command(("python", "-c", script), sys.executable)


async def ended(command: Command, seconds: float = 10.0, grace: float = 5.0) -> Ended:
    """Run a command that can be started."""
    outcome = await run(command, asyncio.get_running_loop().time() + seconds, grace)
    assert isinstance(outcome, Ended), outcome
    return outcome


async def not_started(command: Command, seconds: float = 10.0) -> str:
    """Run a command that can't be started, and give the reason."""
    outcome = await run(command, asyncio.get_running_loop().time() + seconds)
    assert isinstance(outcome, NotStarted), outcome
    return outcome.why


def gone(pid: int) -> bool:
    """Wait up to 5 s for a process that is not our child, and tell whether it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)


async def reaped(pid: int) -> None:
    """Let the loop turn until a child of ours has been reaped by it."""
    while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, PTH110
        await asyncio.sleep(0)


@pytest.fixture
def has_no_children() -> Callable[[], bool]:
    """Tell whether no child is left that wasn't there before, zombies included, but for the shell that watches our groups."""
    before = set(reaping.children_of(os.getpid()))

    def none_left() -> bool:
        children = set(reaping.children_of(os.getpid())) - before
        return all(b"remediator-watcher" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)

    return none_left


async def test_status_and_both_outputs_come_back_apart() -> None:
    """What a child says on stdout and stderr, and its exit status, are told apart."""
    child = await ended(shell("echo out; echo err >&2; exit 3"))
    assert (child.exit_status, child.stdout, child.stderr, child.timed_out) == (3, "out\n", "err\n", False)
    assert not child.stdout_truncated
    assert not child.stderr_truncated


async def test_death_by_a_signal_is_a_negative_status() -> None:
    """As in `subprocess`, the status is minus the signal's number."""
    assert (await ended(shell("kill -9 $$"))).exit_status == -signal.SIGKILL


async def test_an_argument_is_never_read_by_a_shell() -> None:
    """Arguments arrive as they are, whatever a shell would make of them."""
    hostile = "$(id); `id` * && rm -rf / | 'x' \"y\"\n{{ 7*7 }}"
    assert (await ended(Command(("printf", "%s", hostile), "/usr/bin/printf"))).stdout == hostile


async def test_the_environment_is_only_what_is_given() -> None:
    """Nothing of the daemon's own environment reaches a child; the mark of its descent is its own each time."""
    marks = set()
    for given in ({}, {"A": "1"}, {"REMEDIATOR_STEP": "forged"}):
        said = (await ended(Command(("env",), "/usr/bin/env", env=given))).stdout
        found = dict(line.split("=") for line in said.splitlines())
        marks.add(found.pop("REMEDIATOR_STEP"))
        assert found == {name: value for name, value in given.items() if name == "A"}
    assert len(marks) == 3
    assert "forged" not in marks


async def test_standard_input_is_empty_or_what_is_given() -> None:
    """Without a text it is at its end at once; a text far longer than a pipe holds arrives whole."""
    assert (await ended(shell("wc -c"))).stdout.strip() == "0"
    assert (await ended(shell("wc -c", stdin="é" * 1_000_000))).stdout.strip() == "2000000"


async def test_a_child_may_leave_its_input_unread() -> None:
    """A long text for a program that reads none of it is no error."""
    assert (await ended(shell("exit 0", stdin="x" * 1_000_000))).exit_status == 0


async def test_it_runs_in_the_given_directory(tmp_path: Path) -> None:
    """`cwd` is where the child finds itself."""
    (tmp_path / "here").touch()
    assert (await ended(shell("ls", cwd=str(tmp_path)))).stdout == "here\n"


async def test_it_has_a_process_group_of_its_own() -> None:
    """Signals to its group can't reach the daemon."""
    child = await ended(python("import os; print(os.getpgrp() == os.getpid())"))
    assert child.stdout == "True\n"


async def test_signals_are_as_a_fresh_program_expects() -> None:
    """No signal is blocked, and SIGPIPE, which Python ignores, ends a child again."""
    child = await ended(shell("cat /proc/self/status"))
    fields = dict(line.split(":", 1) for line in child.stdout.splitlines())
    assert int(fields["SigBlk"], 16) == 0
    assert int(fields["SigIgn"], 16) & 1 << signal.SIGPIPE - 1 == 0


async def test_no_descriptor_of_the_daemon_is_inherited() -> None:
    """Even one that is marked as inheritable stays with the daemon."""
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)
    try:
        child = await ended(Command(("ls", "/proc/self/fd"), "/bin/ls"))
    finally:
        os.close(ours)
    assert child.stdout.split() == ["0", "1", "2", "3"]  # 3 is the folder that it lists


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_another_user_comes_with_its_own_groups() -> None:
    """None of the daemon's groups is left to a child that runs as somebody else."""
    child = await ended(shell("id -un; id -Gn", user="nobody"))
    assert child.stdout.split() == ["nobody", "nogroup"]


@pytest.mark.fault("child ignores SIGTERM")
async def test_p14_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    """SIGTERM is asked first; SIGKILL ends the matter, and what was said till then is kept."""
    child = await ended(shell("trap '' TERM; echo started; while :; do sleep 60; done"), seconds=1, grace=0.2)
    assert (child.exit_status, child.stdout, child.timed_out) == (-signal.SIGKILL, "started\n", True)
    assert 1.2 <= child.seconds < 4


async def test_p14_a_child_that_heeds_sigterm_may_tidy_up() -> None:
    """Within the grace a child can end by itself, and does not wait for its whole length."""
    child = await ended(shell("trap 'echo tidied; exit 7' TERM; sleep 60 & wait"), seconds=1, grace=30)
    assert (child.exit_status, child.stdout, child.timed_out) == (7, "tidied\n", True)
    assert child.seconds < 5


@pytest.mark.fault("grandchild holds the pipe")
async def test_p14_a_grandchild_that_holds_the_pipe_is_killed_with_the_step() -> None:
    """When the child has exited, the step is over for its whole group."""
    child = await ended(shell("sleep 60 & echo $!"))
    assert (child.exit_status, child.timed_out) == (0, False)
    assert child.seconds < 5
    assert gone(int(child.stdout))


@pytest.mark.fault("endless output")
async def test_endless_output_is_drained_and_bounded() -> None:
    """The child isn't blocked by output that nobody keeps, and memory stays flat."""
    tracemalloc.start()
    try:
        child = await ended(shell("yes"), seconds=0.5, grace=0.2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert child.timed_out
    assert child.stdout_truncated
    assert len(child.stdout) < CAP + 100
    assert peak < 20 * CAP


async def test_first_and_last_of_long_output_are_kept() -> None:
    """The middle is cut and marked, on each stream by itself."""
    child = await ended(shell("echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo end; echo short >&2"))
    assert child.stdout.startswith("begin\nxxx")
    assert child.stdout.endswith("xxx" + "end\n")
    assert f"[… {1000000 + len('beginend') + 2 - CAP} bytes cut …]" in child.stdout
    assert (child.stdout_truncated, child.stderr_truncated, child.stderr) == (True, False, "short\n")


async def test_output_of_just_the_bound_is_whole() -> None:
    """Nothing is cut before the bound is passed."""
    child = await ended(shell(f"head -c {CAP} /dev/zero | tr '\\0' x"))
    assert child.stdout == "x" * CAP
    assert not child.stdout_truncated


async def test_bytes_that_are_not_text_are_replaced() -> None:
    """Output is text always: neither NUL nor bytes that aren't UTF-8 come through."""
    assert (await ended(shell("printf 'a\\000b\\377c'"))).stdout == "a\ufffdb\ufffdc"


@pytest.mark.fault("zombies")
async def test_nothing_is_left_over(has_no_children) -> None:
    """Neither zombies nor descriptors remain, however a child ended."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    await ended(shell("echo x", stdin="y"))
    await ended(shell("sleep 60"), seconds=0.1)
    await not_started(Command(("x",), "/nowhere/x"))
    await not_started(shell("true", cwd="/nowhere"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert has_no_children()


async def test_cancelling_ends_the_whole_group(announcement, has_no_children) -> None:
    """Whoever cancels gets the cancellation back when nothing is left of what was begun."""
    script = f"sleep 60 & echo $$ $! > {announcement.path}; wait"
    task = asyncio.create_task(run(shell(script), asyncio.get_running_loop().time() + 60))
    child, grandchild = map(int, (await announcement.heard()).split())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(child)
    assert gone(grandchild)
    assert has_no_children()


async def test_cancelling_twice_kills_at_once(announcement) -> None:
    """The second cancellation does not wait for the grace."""
    command = python(HEEDLESS.format(path=str(announcement.path)))
    task = asyncio.create_task(run(command, asyncio.get_running_loop().time() + 60, grace=60))
    child = int(await announcement.heard())
    task.cancel()
    assert await announcement.heard() == "asked"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(child)


async def test_a_child_that_can_not_be_killed_is_said_so_and_reaped_later(
    monkeypatch, tmp_path: Path, has_no_children
) -> None:
    """A program of another user, such as sudo's, refuses our signals: the step ends all the same."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def refuse(group: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(cgroup, "_enclose", lambda *_: None)
    monkeypatch.setattr(children, "_LAST_WAIT", 0.05)
    child = await ended(shell(f"echo $$; read line < {gate}"), seconds=0.3, grace=0.05)
    assert (child.exit_status, child.timed_out) == (None, True)
    gate.write_text("go\n")
    async with asyncio.timeout(5):
        await reaped(int(child.stdout))
    assert has_no_children()


async def test_many_children_at_once_do_not_mix_their_output() -> None:
    """Fifty at a time each get back what they said."""
    results = await asyncio.gather(*(ended(shell(f"echo {number}; exit {number}")) for number in range(50)))
    assert [(int(child.stdout), child.exit_status) for child in results] == [(n, n) for n in range(50)]


async def test_what_can_not_be_started_is_told_apart(tmp_path: Path) -> None:
    """Each reason why nothing ran is named, with what to mend."""
    plain = tmp_path / "plain"
    plain.write_text("true\n")
    orphan = tmp_path / "orphan"
    orphan.write_text("#!/nowhere/interpreter\n")
    orphan.chmod(0o755)
    assert "No such file" in await not_started(Command(("x",), "/nowhere/x"))
    assert "Permission denied" in await not_started(Command(("x",), str(plain)))
    assert "interpreter on the first line" in await not_started(Command(("x",), str(orphan)))
    assert "working directory /nowhere" in await not_started(shell("true", cwd="/nowhere"))
    assert "null byte" in await not_started(Command(("x", "a\0b"), "/bin/true"))
    assert "no user nobody-of-that-name" in await not_started(shell("true", user="nobody-of-that-name"))
    assert "time was up" in await not_started(shell("true"), seconds=0)


async def test_without_a_free_descriptor_nothing_is_started(monkeypatch) -> None:
    """A daemon that has run out of descriptors says so, and has started nothing."""

    def refuse() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", refuse)
    assert "Too many open files" in await not_started(shell("true"))


async def test_a_child_that_can_not_be_watched_is_ended(monkeypatch, has_no_children) -> None:
    """Where its end could not be noticed, a started child is killed and reaped, and counts as started."""

    def refuse(pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert (await ended(shell("sleep 60"))).exit_status == -signal.SIGKILL
    assert has_no_children()


async def test_the_loop_goes_on_while_a_child_runs() -> None:
    """Waiting for a child is no work for the loop, not even for one that has closed its outputs."""
    command = shell("exec >&- 2>&-; exec sleep 60")
    task = asyncio.create_task(run(command, asyncio.get_running_loop().time() + 0.5))
    await asyncio.sleep(0)
    turns, busy = 0, time.thread_time()
    while not task.done():
        turns += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0.01)
    assert turns > 5
    assert time.thread_time() - busy < 0.2
