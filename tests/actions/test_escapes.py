"""P14: nothing that a program leaves behind outlives its step, and nothing else is touched. All processes are real."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from actions.escaping import BREEDER, ESCAPES, RUNNER, alive, program

from remediator.actions import cgroup, children, reaping
from remediator.actions.children import Command, Ended, run


def by_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no groups, as where none may be made."""
    monkeypatch.setattr(cgroup, "_enclose", lambda *_: None)


def by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a group from the start, and nothing else to go by."""
    if cgroup._folder() is None:
        pytest.skip("no control group of the second version may be made here")
    monkeypatch.setattr(children, "_SETTLED", 0.0)
    monkeypatch.setattr(reaping.Descent, "_owns", lambda *_: False)


@pytest.fixture
def stray() -> Iterator[str]:
    """Give a word for command lines; what still bears it at the end of the test is killed."""
    word = f"stray-{secrets.token_hex(8)}"
    yield word
    for pid in alive(word):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
async def left(monkeypatch) -> AsyncIterator[Callable[[], list[int]]]:
    """List our children since the test began, dead ones too, but for the shell that watches our groups; none is left then."""
    before = set(reaping.children_of(os.getpid()))
    began = time.clock_gettime(time.CLOCK_BOOTTIME)

    def since() -> list[int]:
        children = set(reaping.children_of(os.getpid())) - before
        mine = [pid for pid in children if born(pid) >= began - 0.1]  # what another test had begun may fall to us, too
        return [pid for pid in mine if b"remediator-watcher" not in Path(f"/proc/{pid}/cmdline").read_bytes()]

    yield since
    monkeypatch.setattr(reaping, "_PATIENCE", 0.01)
    reaping._reap_late()
    await until(lambda: since() == [])
    reaping._reap_late()
    assert not reaping._known.killed
    assert not reaping._known.unclaimed
    assert not reaping._known.at_work


def born(pid: int) -> float:
    """Say when a process began, in seconds since the machine did (proc(5), field 22)."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def there(pid: int) -> bool:
    """Tell whether a process is there, dead ones that nobody has reaped included."""
    return Path(f"/proc/{pid}").exists()


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def ended(command: Command, seconds: float = 20.0, grace: float = 5.0) -> Ended:
    """Run a command that can be started."""
    outcome = await run(command, asyncio.get_running_loop().time() + seconds, grace)
    assert isinstance(outcome, Ended), outcome
    return outcome


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.fault("grandchild holds the pipe")
async def test_p14_nothing_outlives_a_program_that_ends(monkeypatch, stray: str, escape: str) -> None:
    """When its own process has exited with success, all that it left is dead and reaped before the step ends."""
    by_sight(monkeypatch)
    child = await ended(program(stray, escape))
    assert (child.exit_status, child.timed_out) == (0, False), child.stderr
    assert child.seconds < 10
    assert not there(int(child.stdout.split()[0]))
    assert alive(stray) == []


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.fault("grandchild holds the pipe")
async def test_p14_nothing_outlives_a_program_that_is_killed(monkeypatch, stray: str, escape: str) -> None:
    """At the timeout likewise, however the program itself takes SIGTERM."""
    by_sight(monkeypatch)
    stays = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    child = await ended(program(stray, escape, stays), seconds=1.5, grace=0.1)
    assert (child.exit_status, child.timed_out) == (-signal.SIGKILL, True), child.stderr
    assert not there(int(child.stdout.split()[0]))
    assert alive(stray) == []


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
async def test_p14_a_group_holds_what_no_sight_would_find(monkeypatch, stray: str, escape: str, announcement) -> None:
    """Where a program has a control group, that alone ends all of it."""
    by_group(monkeypatch)
    stays = f"open({str(announcement.path)!r}, 'w').write('there')\ntime.sleep(60)"
    inside: list[bool] = []
    task = asyncio.create_task(run(program(stray, "time.sleep(0.3)", escape, stays), deadline=_soon(60)))
    assert await announcement.heard() == "there"
    inside = ["/remediator-" in Path(f"/proc/{pid}/cgroup").read_text() for pid in alive(stray)]
    assert inside
    assert all(inside)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: alive(stray) == [])


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_p14_what_was_begun_before_the_group_is_taken_in(monkeypatch, stray: str, announcement) -> None:
    """A daemon forked twice in a program's first moments is moved with it."""
    if cgroup._folder() is None:
        pytest.skip("no control group of the second version may be made here")
    monkeypatch.setattr(children, "_SETTLED", 0.3)
    stays = f"open({str(announcement.path)!r}, 'w').write('there')\ntime.sleep(60)"
    daemonise = ESCAPES["a daemon, forked twice"]
    task = asyncio.create_task(run(program(stray, daemonise, stays), deadline=_soon(60)))
    assert await announcement.heard() == "there"
    pids = alive(stray)
    assert len(pids) == 2
    await until(lambda: all("/remediator-" in Path(f"/proc/{pid}/cgroup").read_text() for pid in pids))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(stray) == []


@pytest.mark.parametrize("attempt", range(5))
async def test_p14_a_chain_of_processes_is_outrun(monkeypatch, stray: str, attempt: int) -> None:
    """One that begins the next and goes, over and over, is caught while it runs, and long before patience ends."""
    by_sight(monkeypatch)
    looks = []
    sweep = reaping.Descent._sweep
    monkeypatch.setattr(reaping.Descent, "_sweep", lambda self: looks.append(self) or sweep(self))
    child = await ended(program(stray, RUNNER))
    assert child.exit_status == 0, child.stderr
    assert (child.left, alive(stray)) == ((), [])
    assert len(looks) < 200


async def test_p14_one_that_begins_many_is_stopped_in_the_midst(monkeypatch, stray: str) -> None:
    """No new one is begun while others are killed."""
    by_sight(monkeypatch)
    child = await ended(program(stray, BREEDER))
    assert child.exit_status == 0, child.stderr
    assert alive(stray) == []


@pytest.mark.parametrize("times", [1, 2])
async def test_p14_cancelling_ends_what_has_escaped(monkeypatch, stray: str, announcement, times: int) -> None:
    """Once or twice: whoever cancels gets the cancellation back when nothing is left."""
    by_sight(monkeypatch)
    stays = f"signal.signal(signal.SIGTERM, lambda *_: open({str(announcement.path)!r}, 'w').write('asked'))\n"
    stays += f"open({str(announcement.path)!r}, 'w').write('there')\nwhile True: signal.pause()"
    command = program(stray, ESCAPES["a daemon that ignores SIGTERM"], stays)
    task = asyncio.create_task(run(command, deadline=_soon(60), grace=0.3 if times == 1 else 60))
    assert await announcement.heard() == "there"
    task.cancel()
    assert await announcement.heard() == "asked"
    if times == 2:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(stray) == []


async def test_p14_cancelling_while_a_group_is_being_ended_loses_nothing(monkeypatch, stray: str) -> None:
    """The cancellation comes out, and what the program left is ended all the same."""
    killing = asyncio.Event()

    def never(_: cgroup.Enclosure) -> asyncio.Future[list[int]]:
        killing.set()
        return asyncio.get_running_loop().create_future()

    by_sight(monkeypatch)
    monkeypatch.setattr(children, "_SETTLED", 0.0)
    monkeypatch.setattr(cgroup.Enclosure, "kill", never)
    task = asyncio.create_task(run(program(stray, ESCAPES["a daemon, forked twice"]), deadline=_soon(60)))
    async with asyncio.timeout(20):
        await killing.wait()
    assert alive(stray)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(stray) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_p14_another_users_descendants_end_too(stray: str) -> None:
    """A program that runs as `exec.user` can leave nothing behind either."""
    script = "setsid env -i /bin/sh -c 'echo $$; exec sleep 60' > there & until [ -s there ]; do :; done; cat there"
    folder = Path(f"/tmp/{stray}")
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        path = {"PATH": "/usr/bin:/bin"}
        child = await ended(Command(("sh", "-c", script, stray), "/bin/sh", env=path, cwd=str(folder), user="nobody"))
        assert child.exit_status == 0, child.stderr
        assert not there(int(child.stdout))
    finally:
        (folder / "there").unlink(missing_ok=True)
        folder.rmdir()


async def test_p14_one_that_signals_can_not_end_is_ended_by_its_group(monkeypatch, stray: str) -> None:
    """A program of another user, such as sudo's, can't refuse its control group's end."""
    by_group(monkeypatch)

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(os, "killpg", refuse)
    try:
        child = await ended(program(stray, "time.sleep(60)"), seconds=0.5, grace=0.1)
    finally:
        monkeypatch.undo()
    assert (child.exit_status, child.timed_out) == (-signal.SIGKILL, True)
    assert alive(stray) == []


async def test_p14_what_can_not_be_ended_is_named(monkeypatch, stray: str) -> None:
    """An orphan of another user, such as sudo's, where there are no groups: the step ends, and tells of it."""
    by_sight(monkeypatch)
    kill = os.kill
    monkeypatch.setattr(reaping, "_signal", lambda *_: False)
    child = await ended(program(stray, ESCAPES["a daemon, forked twice"]))
    assert child.left == (int(child.stdout),)
    assert child.seconds < 5
    kill(child.left[0], signal.SIGKILL)


@pytest.mark.fault("zombies")
async def test_an_orphan_that_ends_by_itself_is_reaped(monkeypatch, stray: str, left) -> None:
    """The dead don't pile up, and whoever may have started one gets the time to take note of its end."""
    monkeypatch.setattr(reaping, "_PATIENCE", 0.05)
    leaves = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(out, b'%d' % os.getpid())
    os._exit(0)
told()
"""
    child = await ended(program(stray, leaves))
    assert child.exit_status == 0, child.stderr
    await until(lambda: left() == [])


@pytest.mark.parametrize("apart", [False, True], ids=["in our group", "in a session of its own"])
async def test_other_children_of_ours_are_let_be(stray: str, apart: bool) -> None:
    """What another part has started itself, before the program or during it, runs on, and its end is that part's to hear of."""
    sleeper = ("/bin/sh", "-c", "read line; exit 7", stray)
    before = await asyncio.create_subprocess_exec(*sleeper, stdin=asyncio.subprocess.PIPE, start_new_session=apart)
    script = "setsid sleep 60 & read line"
    gate = Path(f"/tmp/{stray}")
    os.mkfifo(gate)
    try:
        path = {"PATH": "/usr/bin:/bin"}
        task = asyncio.create_task(ended(Command(("sh", "-c", f"{script} < {gate}"), "/bin/sh", env=path)))
        await asyncio.sleep(0)
        during = await asyncio.create_subprocess_exec(*sleeper, stdin=asyncio.subprocess.PIPE, start_new_session=apart)
        await asyncio.to_thread(gate.write_text, "go\n")
        assert (await task).exit_status == 0
    finally:
        gate.unlink()
    for process in (before, during):
        await process.communicate(b"\n")
        assert process.returncode == 7


def test_another_parts_child_that_is_just_being_started_is_let_be() -> None:
    """For a moment after the start of a process its environment can't be read: nothing is concluded from that."""
    descent = reaping.Descent()
    started = []
    try:
        for _ in range(200):
            started.append(subprocess.Popen(["/bin/sleep", "60"], start_new_session=True))
            descent._sweep()
        assert [process.poll() for process in started] == [None] * 200
    finally:
        for process in started:
            process.kill()
            assert process.wait() == -signal.SIGKILL


async def test_two_programs_at_once_keep_what_is_theirs(monkeypatch, stray: str, announcement) -> None:
    """The end of one doesn't touch the other's, and what can't be told apart ends with the last that may have begun it."""
    by_sight(monkeypatch)
    stays = f"open({str(announcement.path)!r}, 'w').write('there')\ntime.sleep(60)"
    first = f"{stray}-first"
    task = asyncio.create_task(run(program(first, ESCAPES["a daemon, forked twice"], stays), deadline=_soon(60)))
    assert await announcement.heard() == "there"
    assert len(alive(first)) == 2
    marked = await ended(program(f"{stray}-marked", ESCAPES["a daemon, forked twice"]))
    cleared = await ended(program(f"{stray}-cleared", ESCAPES["an empty environment"]))
    assert len(alive(first)) == 2
    assert not there(int(marked.stdout))
    assert alive(f"{stray}-cleared") == [int(cleared.stdout)]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(stray) == []


async def test_a_program_that_leaves_nothing_costs_no_look_around(monkeypatch) -> None:
    """In the common case one short list is read, and no other process looked at."""
    looked: list[int] = []
    others = set(map(int, Path("/proc/self/task", str(os.getpid()), "children").read_text().split()))  # of other tests
    monkeypatch.setattr(reaping, "_look", looked.append)
    monkeypatch.setattr(reaping, "_environment", looked.append)
    assert (await ended(Command(("true",), "/bin/true"))).exit_status == 0
    assert set(looked) <= others


async def test_p14_a_kernel_that_lists_no_children_is_no_way_out(monkeypatch, stray: str) -> None:
    """Without CONFIG_PROC_CHILDREN every process is looked at."""
    by_sight(monkeypatch)

    def unlisted(pid: int, thread: int) -> list[int]:
        raise FileNotFoundError

    monkeypatch.setattr(reaping, "_listed", unlisted)
    child = await ended(program(stray, ESCAPES["an empty environment"]))
    assert child.exit_status == 0, child.stderr
    assert alive(stray) == []


@pytest.mark.parametrize("escape", ["its own session, with the pipes held", "a daemon, forked twice"])
async def test_p14_where_orphans_go_elsewhere_they_are_found_by_their_mark(
    monkeypatch, stray: str, escape: str
) -> None:
    """A machine that lets nobody become a subreaper."""
    by_sight(monkeypatch)
    monkeypatch.setattr(reaping, "_become_subreaper", lambda: False)
    child = await ended(program(stray, ESCAPES[escape]))
    assert child.exit_status == 0, child.stderr
    monkeypatch.undo()  # the dead come to us all the same: this process is one already
    await until(lambda: alive(stray) == [])


def test_p14_what_a_dead_daemon_left_is_found_by_its_run_with_all_below(stray: str) -> None:
    """The next daemon ends what bears the run's id, and below it what bears nothing any more; others live on."""
    bare = f"import os, time; print(os.getpid(), flush=True); time.sleep(60)  # {stray}"
    nest = f"""
import os, subprocess, sys
print(os.getpid(), flush=True)
subprocess.run([sys.executable, '-c', {bare!r}], env={{}})
"""

    def begin(run_id: str) -> subprocess.Popen[str]:
        environment = {"REMEDIATOR_RUN": run_id}
        return subprocess.Popen(
            [sys.executable, "-c", nest], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    with begin(f"{stray}-lost") as lost, begin(f"{stray}-other") as other:
        numbers = [int(process.stdout.readline()) for process in (lost, lost, other, other)]
        assert children.sweep([f"{stray}-lost"]) == 2
        assert lost.wait(5) == -signal.SIGKILL
        deadline = time.monotonic() + 5
        while there(numbers[1]) and Path(f"/proc/{numbers[1]}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < deadline
        assert other.poll() is None
        assert there(numbers[3])
        os.kill(numbers[3], signal.SIGKILL)
        other.kill()


def test_a_daemon_that_was_itself_begun_by_a_run_does_not_end_itself(stray: str) -> None:
    """One that a step has started, against advice, bears that run's mark: neither it nor what it began is meant."""
    code = f"""
import subprocess
from remediator.actions.children import sweep
with subprocess.Popen(['sleep', '60'], env={{}}) as other:
    print(sweep(['{stray}']), other.poll())
    other.kill()
"""
    environment = {"REMEDIATOR_RUN": stray}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "0 None\n"
