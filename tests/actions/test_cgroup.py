"""Control groups: where ours is found, and what becomes of those of a daemon that died. Real ones, where they can be made."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remediator.actions import cgroup
from remediator.actions.cgroup import Group, end_orphaned, own_group

MOUNT = "30 25 0:26 {root} {place} rw,nosuid shared:4 - {kind} none rw,nsdelegate\n"

SERVING = """
import asyncio, os, sys
from remediator.actions import children
from remediator.actions.children import Command, run

children._SETTLED = 0.0
script = "setsid env -i /bin/sh -c 'echo $$; exec sleep 60' > {told} & sleep 60"
command = Command(("sh", "-c", script), "/bin/sh", env={{"PATH": "/usr/bin:/bin"}})

async def main():
    step = asyncio.create_task(run(command, asyncio.get_running_loop().time() + 60))
    while True:
        await asyncio.sleep(0.01)
        told = open({told!r}).read() if os.path.exists({told!r}) else ''
        if told.endswith('\\n') and '/remediator-' in open(f'/proc/{{told.strip()}}/cgroup').read():
            print(told.strip(), flush=True)
            await step

asyncio.run(main())
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """Give a group of our own to make daemons' folders in."""
    own = own_group()
    if own is None or not os.access(own / "cgroup.procs", os.W_OK):
        pytest.skip("no control group of the second version may be made here")
    made = own / f"test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of the second version may be made here: {error}")
    if not (made / "cgroup.kill").exists():
        made.rmdir()
        pytest.skip("cgroup.kill comes with Linux 5.14")
    yield made
    Group(made).kill()
    for folder in sorted(made.glob("**/"), reverse=True):
        folder.rmdir()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that sleeps, in a session of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


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


@pytest.fixture
def seen(tmp_path: Path):
    """Make what a process sees of its groups and mounts; gives where its own group is."""

    def see(groups: str, *mounts: tuple[str, str, str]) -> Path | None:
        (tmp_path / "cgroup").write_text(groups)
        table = "".join(MOUNT.format(root=root, place=place, kind=kind) for kind, root, place in mounts)
        (tmp_path / "mountinfo").write_text(table)
        return own_group(tmp_path)

    return see


def test_our_group_is_below_where_the_hierarchy_is_mounted(seen) -> None:
    """As with systemd, and beside hierarchies of the first version."""
    unit = "/system.slice/remediator.service"
    assert seen(f"0::{unit}\n", ("cgroup2", "/", "/sys/fs/cgroup")) == Path(f"/sys/fs/cgroup{unit}")
    hybrid = seen(
        "1:cpu:/x\n0::/y\n", ("cgroup", "/", "/sys/fs/cgroup/cpu"), ("cgroup2", "/", "/sys/fs/cgroup/unified")
    )
    assert hybrid == Path("/sys/fs/cgroup/unified/y")


def test_a_mount_that_shows_a_part_is_counted_from_that(seen) -> None:
    """In a container the root of the mount may be the container's own group."""
    assert seen("0::/docker/1a/app\n", ("cgroup2", "/docker/1a", "/sys/fs/cgroup")) == Path("/sys/fs/cgroup/app")
    assert seen("0::/docker/1a\n", ("cgroup2", "/docker/1a", "/sys/fs/cgroup")) == Path("/sys/fs/cgroup")
    assert seen("0::/\n", ("cgroup2", "/", "/sys/fs/cgroup")) == Path("/sys/fs/cgroup")


def test_a_place_with_a_space_is_read(seen) -> None:
    """The table writes it as an octal escape, other text as it is."""
    assert seen("0::/a\n", ("cgroup2", "/", "/mnt/my\\040grüße")) == Path("/mnt/my grüße/a")


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        ("1:cpu:/x\n", [("cgroup2", "/", "/sys/fs/cgroup")]),
        ("0::/x\n", [("cgroup", "/", "/sys/fs/cgroup/cpu")]),
        ("0::/x\n", []),
        ("0::/other\n", [("cgroup2", "/docker/1a", "/sys/fs/cgroup")]),
        ("0::/../other\n", [("cgroup2", "/", "/sys/fs/cgroup")]),
    ],
)
def test_where_our_group_can_not_be_seen_there_is_none(seen, groups: str, mounts: list[tuple[str, str, str]]) -> None:
    """The first version alone, no mount, or a mount that shows another part."""
    assert seen(groups, *mounts) is None


def test_where_nothing_is_known_of_groups_there_is_none(tmp_path: Path) -> None:
    """A kernel without them has no such files."""
    assert own_group(tmp_path) is None


def test_a_group_takes_in_all_below_a_process(parent: Path) -> None:
    """Its children and theirs, and others that are named; what they begin afterwards is in it by itself."""
    group = Group(parent / "one")
    group.path.mkdir()
    with (
        subprocess.Popen(["sh", "-c", "sh -c 'echo; sleep 60 & wait' & wait"], stdout=subprocess.PIPE) as family,
        subprocess.Popen(["sleep", "60"]) as other,
    ):
        family.stdout.readline()
        group.take(family.pid, lambda: [other.pid])
        inside = {int(pid) for pid in (group.path / "cgroup.procs").read_text().split()}
        assert {family.pid, other.pid} < inside
        assert len(inside) >= 3
        group.kill()
        assert all(gone(pid) for pid in inside)
        assert (family.wait(), other.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    for orphan in inside - {family.pid, other.pid}:
        with contextlib.suppress(ChildProcessError):  # ours, where an earlier test has made us a subreaper
            os.waitpid(orphan, 0)
    assert group.remove()
    assert group.remove()  # it is gone: there is nothing more to do


def test_a_process_that_has_ended_is_no_error_to_a_group(parent: Path) -> None:
    """A program may end while it is being moved."""
    group = Group(parent / "one")
    group.path.mkdir()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    group.take(ended.pid, list)
    assert (group.path / "cgroup.procs").read_text() == ""


def test_p14_what_a_dead_daemon_left_in_its_groups_is_ended(parent: Path, sleeper) -> None:
    """Whatever it calls itself; and its folder is taken away."""
    group = Group(parent / "remediator-dead" / "one")
    group.path.mkdir(parents=True)
    group.take(sleeper.pid, list)
    assert end_orphaned(parent) == 1
    assert sleeper.wait(5) == -signal.SIGKILL
    assert list(parent.glob("remediator-*")) == []


def test_what_a_living_daemon_has_in_its_groups_is_let_be(parent: Path, sleeper) -> None:
    """Two daemons may stand in one group: the folder of one that lives is locked."""
    import fcntl

    group = Group(parent / "remediator-alive" / "one")
    group.path.mkdir(parents=True)
    group.take(sleeper.pid, list)
    lock = os.open(parent / "remediator-alive", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert end_orphaned(parent) == 0
        assert sleeper.poll() is None
    finally:
        os.close(lock)


def test_other_groups_are_let_be(parent: Path, sleeper) -> None:
    """Only what is named as ours is ended."""
    group = Group(parent / "else")
    group.path.mkdir()
    group.take(sleeper.pid, list)
    assert end_orphaned(parent) == 0
    assert sleeper.poll() is None


def test_where_there_are_no_groups_none_is_ended(monkeypatch) -> None:
    """A daemon starts there as well."""
    monkeypatch.setattr(cgroup, "own_group", lambda: None)
    assert end_orphaned() == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_p14_a_killed_daemons_programs_are_killed_at_once(tmp_path: Path, parent: Path, how: int) -> None:
    """A descendant with its own session and no environment dies with the daemon, and nothing is left of its groups."""
    told = str(tmp_path / "told")
    before = set(own_group().glob("remediator-*"))
    command = [sys.executable, "-c", SERVING.format(told=told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as serving:
        try:
            stray = int(serving.stdout.readline())
            made = [folder for folder in own_group().glob("remediator-*") if folder not in before]
            os.killpg(serving.pid, how)  # the shell that watches stands outside of this
            serving.wait(5)
            assert gone(stray)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(serving.pid, signal.SIGKILL)
    assert made
    watched = [process for process in Path("/proc").glob("[0-9]*") if _watches(process, made)]
    assert all(gone(int(process.name)) for process in watched)
    assert not any(folder.exists() for folder in made)


def _watches(process: Path, folders: list[Path]) -> bool:
    try:
        command = (process / "cmdline").read_text()
    except OSError:
        return False
    return any(str(folder) in command for folder in folders)
