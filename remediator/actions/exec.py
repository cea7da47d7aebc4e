"""Programs on this machine: `exec.run` and `exec.probe`. What may be run stands in the configuration's `exec.allow`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import Annotated, Any

from pydantic import Field

from remediator.actions.bounds import bounded, parse_json, visible
from remediator.actions.children import SEARCHED, Command, Ended, NotStarted, run
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result

_WITHOUT_NUL = Field(pattern=r"^[^\x00]*$")  # the kernel ends a text there


class Probe(Parameters):
    """A program, its arguments and what it is given."""

    argv: list[Annotated[str, Gate.ARGUMENT, _WITHOUT_NUL]] = Field(
        min_length=1,
        description="The program and its arguments, each one argument: there is no shell. "
        "The program must stand in the configuration's `exec.allow`.",
    )
    stdin: Annotated[str, Gate.CHILD_TEXT, _WITHOUT_NUL] | None = Field(
        default=None, description="Text for its standard input; without it that is empty."
    )
    env: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Annotated[str, Gate.CHILD_TEXT, _WITHOUT_NUL]
    ] = Field(
        default={},
        description="Environment variables, laid over those of `exec.env`. It gets no others but REMEDIATOR_RUN "
        "and REMEDIATOR_STEP.",
    )
    cwd: Annotated[str, Gate.DIRECTORY, _WITHOUT_NUL] | None = Field(
        default=None, description="Its working directory; default `exec.cwd`, else the daemon's."
    )
    ok: list[int] = Field(default=[0], min_length=1, description="Exit statuses that count as success.")


class Run(Probe):
    """A program, its arguments, what it is given, and whether it may be run again."""

    idempotent: bool = Field(
        default=False,
        description="Whether running it twice is the same as running it once: then it may be retried, "
        "and run again after a crash.",
    )


class ExecRun(Action[Run]):
    """Run a program that changes something.

    It gets an empty environment but for what is given, and its own process group; at the timeout the group is asked to
    end and 5 s later killed. All that it leaves running when it exits is killed too, daemons in sessions of their own as
    well: what is to go on belongs to a service manager. Of each of stdout and stderr the first and last 32 KiB are kept.

    Example:
        - id: restart
          uses: exec.run
          with:
            argv: [./restart-unit, '{{ labels.unit }}']
          timeout: 90s
    """

    name = "exec.run"
    effect = Effect.WRITE
    parameters = Run

    def idempotent(self, params: Run) -> bool:
        """Tell what the author of the rule says of the program."""
        return params.idempotent

    def check(self, params: Run, settings: Mapping[str, Any]) -> str | None:
        """Say why the program may not be run, if so."""
        return _forbidden(params, settings) if "exec" in settings else None

    def plan(self, params: Run) -> str:
        """Give the command line, quoted as for a shell."""
        return _plan(params)

    async def run(self, params: Run, context: Context) -> Outcome:
        """Run it to its end."""
        return await _run(params, context)


class ExecProbe(Action[Probe]):
    """Run a program that only looks.

    The author of the rule vouches for that: it runs in dry-run too, may be retried, and asks nobody's approval. All
    else is as with `exec.run`.

    Example:
        - id: disk
          uses: exec.probe
          with:
            argv: [./disk-used, --json, '{{ labels.mountpoint }}']
          expect: result.json.percent < 90
    """

    name = "exec.probe"
    effect = Effect.READ
    says_no = True
    parameters = Probe

    def check(self, params: Probe, settings: Mapping[str, Any]) -> str | None:
        """Say why the program may not be run, if so."""
        return _forbidden(params, settings) if "exec" in settings else None

    def plan(self, params: Probe) -> str:
        """Give the command line, quoted as for a shell."""
        return _plan(params)

    async def run(self, params: Probe, context: Context) -> Outcome:
        """Run it to its end."""
        return await _run(params, context)


ACTIONS: tuple[Action[Any], ...] = (ExecRun(), ExecProbe())


def _plan(params: Probe) -> str:
    return visible(f"run {shlex.join(params.argv)}", longest=2000)


async def _run(params: Probe, context: Context) -> Outcome:
    if why := _forbidden(params, context.settings):
        return Outcome(Result.NOT_SENT, error=why)
    section = context.settings["exec"]
    program = params.argv[0]
    executable = _locate(program, section)
    if executable is None:
        return Outcome(Result.NOT_SENT, error=f"{program} was not started: there is no such program on {SEARCHED}")
    command = Command(
        argv=params.argv,
        executable=str(executable),
        env={**(section.get("env") or {}), **params.env, "REMEDIATOR_RUN": context.run},
        stdin=params.stdin,
        cwd=str(_home(section) / params.cwd) if params.cwd else section.get("cwd"),
        user=section.get("user"),
        limits={name: limit for name, limit in (section.get("limits") or {}).items() if limit is not None},
    )
    ended = await run(command, context.deadline)
    if isinstance(ended, NotStarted):
        return Outcome(Result.NOT_SENT, error=visible(ended.why, longest=300))
    if ended.left:
        import structlog  # noqa: PLC0415 - a fifth of a second, which `remediator check` need not spend

        log = structlog.get_logger(__name__)
        log.warning("processes of a program could not be ended", program=program, run=context.run, pids=ended.left)
    return _outcome(params, ended)


def _outcome(params: Probe, ended: Ended) -> Outcome:
    whole = not ended.stdout_truncated
    result = bounded(
        {
            "exit_status": ended.exit_status,
            "stdout": ended.stdout,
            "stderr": ended.stderr,
            "json": parse_json(ended.stdout) if whole else None,
            "truncated": ended.stdout_truncated or ended.stderr_truncated,
            "seconds": round(ended.seconds, 3),
        },
        "stdout",
        "stderr",
    )
    program = params.argv[0]
    if ended.exit_status is None:
        error = f"{program} ran past its timeout and could not be killed, as it runs as another user: end it by hand"
        return Outcome(Result.ERROR, result, visible(error, longest=300))
    if ended.timed_out:
        error = f"{program} had not ended after {ended.seconds:.1f} s and was killed with all that it began"
        return Outcome(Result.ERROR, result, visible(error, longest=300))
    if ended.exit_status not in params.ok:
        lines = ended.stderr.split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        error = f"{program} {_ending(ended.exit_status)}" + (f": {last}" if last else ", and said nothing on stderr")
        return Outcome(Result.REFUSED, result, visible(error, longest=300))
    return Outcome(Result.OK, result)


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    known = {number.value: number.name for number in Signals}
    return f"was ended by {known.get(-status, f'signal {-status}')}"


def _home(section: Mapping[str, Any]) -> Path:
    """Give the folder from which relative paths count."""
    return Path(section.get("cwd") or Path.cwd())


def _locate(program: str, section: Mapping[str, Any]) -> Path | None:
    """Give a program's absolute path; None where it is named without one and isn't on `SEARCHED`.

    Links in its folder are followed, so that /bin and /usr/bin are one; a link that is the program itself is not: many
    names (`reboot`) are links to one program (`systemctl`) that does as it is called, and to allow one allows no other.
    """
    if program.startswith("/"):
        path = Path(program)
    elif "/" in program:
        path = _home(section) / program
    else:
        found = shutil.which(program, path=SEARCHED)
        if found is None:
            return None
        path = Path(found)
    return path.parent.resolve() / path.name


def _forbidden(params: Probe, settings: Mapping[str, Any]) -> str | None:
    """Say why a program may not be run and what to do about it; None where it may."""
    program = params.argv[0]
    section = settings.get("exec") or {}
    allow = section.get("allow") or ()
    if ".." in Path(program).parts:
        return f"the program {visible(program)} may not be run: write its path without `..`"
    if program in allow:
        return None
    located = _locate(program, section)
    if located is not None and any(_covers(entry, located, section) for entry in allow):
        return None
    words = program.split()
    if len(words) > 1 and (located is None or not located.exists()):
        return f"the program {visible(program)} may not be run: write each word as an argument, [{visible(', '.join(words))}]"
    return f"the program {visible(program)} may not be run: add {visible(str(located or program))} to exec.allow"


def _covers(entry: str, located: Path, section: Mapping[str, Any]) -> bool:
    if ".." in Path(entry).parts:
        return False
    if entry.endswith("/*"):
        return (_home(section) / entry[:-1]).resolve() == located.parent
    return _locate(entry, section) == located
