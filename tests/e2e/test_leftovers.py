"""P14 with the real daemon: what a step leaves in a session of its own ends with the step, and with the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
from daemon import eventually
from killing import Gated

from remediator.actions.cgroup import own_group

pytestmark = pytest.mark.slow

_LEAVES = """#!/bin/sh
setsid {before} /bin/sh -c 'echo $$ > stray; exec sleep 600' hold-stray > /dev/null 2>&1 &
until [ -s stray ]; do sleep 0.02; done
echo "begun $1" >> effects
until [ -e gate ]; do sleep 0.02; done
echo "ended $1" >> effects
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Gated]:
    """Lend a daemon that runs; whatever is left of it and its programs ends with the test."""
    with Gated(tmp_path) as gated:
        yield gated


def begin_to_leave(daemon: Gated, before: str = "") -> tuple[str, int]:
    """Let a step begin whose program has left something in a session of its own; gives the run, and that process."""
    daemon.program.write_text(_LEAVES.format(before=before))
    run = daemon.begin()
    return run, int((daemon.folder / "stray").read_text())


def ends(pid: int, within: float = 5.0) -> None:
    """Wait till a process has ended."""

    def ended() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    eventually(ended, f"the process {pid} has ended", within=within)


@pytest.mark.fault("grandchild holds the pipe")
def test_p14_what_a_step_left_in_a_session_of_its_own_ends_with_it(daemon: Gated) -> None:
    """The step has succeeded, and nothing of it runs on."""
    run, stray = begin_to_leave(daemon, "env -i")
    daemon.open_gate()
    daemon.until(run, "succeeded")
    assert not Path(f"/proc/{stray}").exists()


@pytest.mark.fault("grandchild holds the pipe")
def test_p14_what_left_its_group_is_ended_after_kill_9_by_the_next_start(daemon: Gated) -> None:
    """At the latest: it bears the run's mark."""
    _, stray = begin_to_leave(daemon)
    daemon.signal(SIGKILL)
    daemon.wait()
    daemon.start()
    eventually(lambda: not daemon.programs(), "the program has ended", within=5)
    ends(stray)


@pytest.mark.fault("grandchild holds the pipe")
def test_p14_kill_9_ends_a_step_at_once_where_groups_may_be_made(daemon: Gated) -> None:
    """The program, and what it left in a session of its own without any mark: no next start is needed."""
    _, stray = begin_to_leave(daemon, "env -i")
    parent = own_group()
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        pytest.skip("no control group of the second version may be made here")
    groups = Path(f"/proc/{stray}/cgroup")
    eventually(lambda: "/remediator-" in groups.read_text(), "the step has a group")
    daemon.signal(SIGKILL)
    daemon.wait()
    eventually(lambda: not daemon.programs(), "the program has ended", within=5)
    ends(stray)
