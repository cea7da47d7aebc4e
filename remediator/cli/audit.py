"""The commands about the history of events: audit verify, audit export."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from remediator.cli import output
from remediator.cli.command import FAULT, Asked, command
from remediator.errors import RemediatorError
from remediator.store.chain import ChainReport


@click.group()
def audit() -> None:
    """Verify the history of events, and write it to a file."""


def _hash(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
        raise click.BadParameter("a head is 64 hexadecimal digits: was it copied whole?")
    return value


@command("verify")
@click.option(
    "--head", metavar="HASH", callback=_hash, help="A head that was noted earlier: the history must still contain it."
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def _verify(asked: Asked, head: str | None, file: Path | None) -> int:
    """Walk the chain of events of the store, or of an exported FILE; finds lines that were changed, removed, moved or cut off."""
    report = _audited(asked, head, file)
    if asked.json:
        output.document(msgspec.to_builtins(report))
        return 0 if report.ok else FAULT
    for problem in report.problems:
        output.line(problem)
    after = {each.chain: each.number for each in report.checkpoints}
    for each in report.heads if len(report.heads) > 1 or any(after.values()) else ():
        pruned = after.get(each.chain, 0)
        begins = f"pruned up to event {pruned}, then " if pruned else ""
        output.line(f"chain {each.chain}: {begins}{output.count(each.number - pruned, 'event')}, head {each.hash}")
    output.line(
        f"{'the chain holds' if report.ok else 'THE CHAIN IS BROKEN'}: {report.events} events, head {report.head}"
    )
    return 0 if report.ok else FAULT


def _audited(asked: Asked, head: str | None, file: Path | None) -> ChainReport:
    if file is not None:
        from remediator.store.export import audit_export

        return audit_export(file, head)
    from remediator.store.opening import audit_configured

    return audit_configured(asked.config, head)


@command("export")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to this new file, for its owner alone, and not to standard output.",
)
def _export(asked: Asked, out: Path | None) -> None:
    """Write the history as JSON Lines: first after which event it begins, then an event a line."""
    from remediator.store.opening import export_configured

    lines = export_configured(asked.config)
    if out is None:
        stream = sys.stdout.buffer
        for line in _document(lines) if asked.json else lines:
            stream.write(line)
            stream.write(b"\n")
        stream.flush()
        return
    events = _keep(out, lines)
    if asked.json:
        output.document({"file": str(out), "events": events})
    else:
        output.line(f"{output.count(events, 'event')} in {out}: `remediator audit verify {out}` verifies it anywhere")


def _document(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Make one document of an export's lines, without ever holding it whole."""
    yield next(lines).removesuffix(b"}") + b',"events":['
    for number, line in enumerate(lines):
        yield (b"," if number else b"") + line
    yield b"]}"


def _keep(out: Path, lines: Iterable[bytes]) -> int:
    """Write a file that is there whole or not at all: one that was cut short would verify as a history that ends early."""
    if out.exists():
        raise RemediatorError(f"{out} is there already, and may be the only copy of what it holds: name another file")
    part = out.with_name(f"{out.name}.part")
    written = 0
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                written += 1
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
    except OSError as error:
        raise RemediatorError(f"{out} can't be written ({error.strerror}): nothing was exported") from error
    finally:
        part.unlink(missing_ok=True)
    return written - 1  # the first line is no event


audit.add_command(_verify)
audit.add_command(_export)
