"""How the tests type commands: in this process, in a thread beside a daemon's loop, or in a real terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from click.testing import CliRunner, Result

from remediator.cli import main

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps: [{id: act, uses: exec.run, with: {argv: [/bin/true, '{{ labels.app }}']}}]
"""


def run(*arguments: str, **more: Any) -> Result:
    """Run a command as a person would, and keep its two outputs apart."""
    result = CliRunner().invoke(main, list(arguments), **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


async def ask(*arguments: str, **more: Any) -> Result:
    """Run a command beside the loop that a daemon runs in."""
    return await asyncio.to_thread(lambda: run(*arguments, **more))


def typed(*arguments: str) -> subprocess.Popen[str]:
    """Begin a command as a process of its own, with its two outputs to be read.

    Ctrl-C reaches it as in a terminal: what a shell starts in the background ignores SIGINT, and hands that on.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = [sys.executable, "-m", "remediator", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


async def type_in_terminal(arguments: Sequence[str], typed: str) -> tuple[int, str]:
    """Run a command in a terminal where somebody types that; gives its exit status and all that the terminal shows."""
    return await asyncio.to_thread(_in_terminal, arguments, typed)


def _in_terminal(arguments: Sequence[str], typed: str) -> tuple[int, str]:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "remediator", *arguments]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        os.write(leader, typed.encode())  # waits in the terminal until it is asked for
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:
            pass  # the other end is closed: the command has ended
        os.close(leader)
        return process.wait(30), shown.decode()
