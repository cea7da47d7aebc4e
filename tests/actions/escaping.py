"""Test support: programs that try to leave something behind, in every way a program has to do that."""

from __future__ import annotations

import sys
from pathlib import Path

from remediator.actions.children import Command

BEGIN = """
import os, signal, sys, time
stray = {stray!r}  # found in the command line of all that comes from here
python = {python!r}

def settle():
    # The process that is to survive has come to its place.
    os.write(out, b'%d\\n' % os.getpid())
    time.sleep(60)

def told():
    # Wait till the process at the other end of the pipe has settled.
    number = os.read(arrived, 20)
    os.write(1, number)

arrived, out = os.pipe()
"""

# Each ends with one process that wrote its number and sleeps, and the program itself at its end.
ESCAPES = {
    "its own group": """
if os.fork() == 0:
    os.setpgid(0, 0)
    settle()
told()
""",
    "its own session, with the pipes held": """
if os.fork() == 0:
    os.setsid()
    settle()
told()
""",
    "a daemon, forked twice": """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir('/')
    null = os.open('/dev/null', os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    settle()
told()
""",
    "a daemon that ignores SIGTERM": """
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    settle()
told()
""",
    "an empty environment": """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.set_inheritable(out, True)
    code = f'import os, time; os.write({out}, b"%d" % os.getpid()); time.sleep(60)'
    os.execve(python, ['python', '-c', code, stray], {})
told()
""",
    "a family, each in its own session and environment": """
if os.fork() == 0:
    os.setsid()
    os.set_inheritable(out, True)
    code = f'import os, sys, time; os.setsid() if os.fork() == 0 else time.sleep(60); os.write({out}, b"%d" % os.getpid())'
    os.execve(python, ['python', '-c', code + '; time.sleep(60)', stray], {})
told()
""",
}

# Each generation is a session of its own, and gone as soon as the next is there: at most 3000.
RUNNER = """
if os.fork() == 0:
    for generation in range(3000):
        os.setsid()
        if generation == 5:
            os.write(out, b'%d' % os.getpid())
        if os.fork():
            os._exit(0)
told()
"""

# Begins sessions as fast as it can, at most 300 at once, each of which does no more than live.
BREEDER = """
if os.fork() == 0:
    os.setsid()
    for number in range(300):
        if number == 5:
            os.write(out, b'%d' % os.getpid())
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
told()
"""


def program(stray: str, *parts: str, **given: object) -> Command:
    """Give a Python program that bears a word."""
    text = BEGIN.format(stray=stray, python=sys.executable) + "".join(parts)
    return Command(("python", "-c", text, stray), sys.executable, env={"REMEDIATOR_RUN": "01jd"}, **given)


def alive(word: str) -> list[int]:
    """List the processes that have a word in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found
