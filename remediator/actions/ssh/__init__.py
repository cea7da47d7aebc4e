"""Programs on other machines, over SSH: `ssh.run` and `ssh.probe`. Which machines stands in the configuration's `ssh.hosts`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field

from remediator.actions.bounds import bounded, parse_json, visible
from remediator.actions.protocol import Action, Context, Effect, Gate, Grammar, Outcome, Parameters, Result
from remediator.actions.ssh.command import LONGEST, command_line

if TYPE_CHECKING:
    from remediator.actions.ssh.session import Ended

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
Host: TypeAlias = Annotated[
    str,
    Grammar("the name or address of a host", rf"(?:{_LABEL}\.)*{_LABEL}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*"),
]
_WITHOUT_NUL = Field(pattern=r"^[^\x00]*$")  # the kernel ends a text there


class Probe(Parameters):
    """A machine, a program there, its arguments and what it is given."""

    host: Host = Field(
        description="The machine: it must match a pattern of `ssh.hosts`, and have its key in the known hosts."
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="The port; default `ssh.port`.")
    argv: list[Annotated[str, Gate.ARGUMENT, _WITHOUT_NUL]] = Field(
        min_length=1,
        description="The program and its arguments: each one argument, quoted for the user's shell there.",
    )
    stdin: Annotated[str, Gate.CHILD_TEXT, _WITHOUT_NUL] | None = Field(
        default=None, description="Text for its standard input; without it that is empty."
    )
    bare: bool = Field(
        default=False,
        description="Send the command alone, without the line of `sh` that ends it when the connection does: for machines "
        "without `/bin/sh`, and for keys that may run certain commands only.",
    )
    ok: list[int] = Field(default=[0], min_length=1, description="Exit statuses that count as success.")


class Run(Probe):
    """A machine, a program there, and whether it may be run again."""

    idempotent: bool = Field(
        default=False,
        description="Whether running it twice is the same as running it once: then it may be retried, "
        "and run again after a crash.",
    )


class SshRun(Action[Run]):
    """Run a program on another machine.

    The result has `exit_status` (128 and the signal's number, where a signal ended it), `exit_signal` (where the server
    says so itself), `stdout`, `stderr`, `json` (stdout, where it is JSON), `truncated` and `seconds`. Of each of stdout and
    stderr the first and last 32 KiB are kept.

    The machine's key must stand in `ssh.known_hosts`: nobody is trusted at first sight, and no agent, password or user's
    `~/.ssh` is used. Each use makes a connection of its own. The user's shell there has to quote as sh, csh or fish do.

    The program ends with the step: at the timeout it is asked to end and 5 s later killed, and when the connection is lost,
    too, be it that the daemon was killed. For that it runs below a line of `/bin/sh`, which ends all of its process group;
    what has left that (`setsid`) goes on. A `bare` command is ended by the server's signals alone (OpenSSH 7.9 or later,
    neither for root nor for a key with a forced command), and goes on where the connection is lost.

    Example:
        - id: restart
          uses: ssh.run
          with:
            host: '{{ labels.host }}'
            argv: [systemctl, restart, '{{ labels.unit }}']
          timeout: 90s
    """

    name = "ssh.run"
    effect = Effect.WRITE
    parameters = Run
    section = "ssh"

    def idempotent(self, params: Run) -> bool:
        """Tell what the author of the rule says of the program."""
        return params.idempotent

    def check(self, params: Run, settings: Mapping[str, Any]) -> str | None:
        """Say why the machine may not be reached, if so."""
        return _forbidden(params, settings["ssh"]) if settings.get("ssh") else None

    def plan(self, params: Run) -> str:
        """Give the command line, quoted as for a shell."""
        return _plan(params)

    async def run(self, params: Run, context: Context) -> Outcome:
        """Run it to its end."""
        return await _run(params, context)


class SshProbe(Action[Probe]):
    """Run a program on another machine that only looks.

    The author of the rule vouches for that: it runs in dry-run too, may be retried, and asks nobody's approval. All
    else is as with `ssh.run`.

    Example:
        - id: disk
          uses: ssh.probe
          with:
            host: '{{ labels.host }}'
            argv: [df, --output=pcent, '{{ labels.mountpoint }}']
          expect: result.stdout != ''
    """

    name = "ssh.probe"
    effect = Effect.READ
    parameters = Probe
    section = "ssh"

    def check(self, params: Probe, settings: Mapping[str, Any]) -> str | None:
        """Say why the machine may not be reached, if so."""
        return _forbidden(params, settings["ssh"]) if settings.get("ssh") else None

    def plan(self, params: Probe) -> str:
        """Give the command line, quoted as for a shell."""
        return _plan(params)

    async def run(self, params: Probe, context: Context) -> Outcome:
        """Run it to its end."""
        return await _run(params, context)


ACTIONS: tuple[Action[Any], ...] = (SshRun(), SshProbe())


def _plan(params: Probe) -> str:
    at = "" if params.port is None else f", port {params.port}"
    return visible(f"run {shlex.join(params.argv)} on {params.host}{at}", longest=2000)


def _forbidden(params: Probe, section: Mapping[str, Any]) -> str | None:
    """Say why a machine may not be reached and what to do about it; None where it may."""
    host = params.host.lower()
    if any(fnmatchcase(host, pattern.lower()) for pattern in section["hosts"]):
        return None
    return f"the host {visible(host)} may not be reached: no pattern of ssh.hosts in the configuration covers it"


async def _run(params: Probe, context: Context) -> Outcome:
    section = context.settings.get("ssh")
    if not section:
        return Outcome(Result.NOT_SENT, error="ssh is not configured: add the section `ssh` to the configuration")
    if why := _forbidden(params, section):
        return Outcome(Result.NOT_SENT, error=why)
    stdin = (params.stdin or "").encode()
    command = command_line(params.argv, None if params.bare else len(stdin))
    if len(command.encode()) > LONGEST:
        why = f"the command for {params.host} is longer than {LONGEST} bytes: give long text as stdin"
        return Outcome(Result.NOT_SENT, error=why)
    try:
        from remediator.actions.ssh import session  # noqa: PLC0415 - asyncssh is loaded when it is wanted
    except ModuleNotFoundError:
        return Outcome(Result.NOT_SENT, error="ssh.* needs asyncssh: run `pip install 'remediator[ssh]'`")

    machine = session.Machine(
        params.host, params.port or section["port"], section["user"], section["key"], section["known_hosts"]
    )
    ended = await session.carry_out(machine, session.Order(command, stdin, kept_open=not params.bare), context.deadline)
    return ended if isinstance(ended, Outcome) else _outcome(params, ended)


def _outcome(params: Probe, ended: Ended) -> Outcome:
    result = bounded(
        {
            "exit_status": ended.exit_status,
            "exit_signal": ended.exit_signal,
            "stdout": ended.stdout,
            "stderr": ended.stderr,
            "json": None if ended.truncated else parse_json(ended.stdout),
            "truncated": ended.truncated,
            "seconds": round(ended.seconds, 3),
        },
        "stdout",
        "stderr",
    )
    what = f"{params.argv[0]} on {params.host}"
    if ended.failure is not None:
        return Outcome(Result.ERROR, result, visible(f"{what} {ended.failure}", longest=500))
    if ended.exit_signal is None and ended.exit_status in params.ok:
        return Outcome(Result.OK, result)
    how = f"ended with exit status {ended.exit_status}"
    if ended.exit_signal is not None:
        how = f"was ended by SIG{ended.exit_signal}"
    lines = (line.strip() for line in reversed(ended.stderr.split("\n")))
    last = next(filter(None, lines), None)
    error = f"{what} {how}" + (f": {last}" if last else ", and said nothing on stderr")
    return Outcome(Result.REFUSED, result, visible(error, longest=300))
