"""The history as a file, to be kept elsewhere: JSON Lines, of which the first says after which event each chain begins.

Every line is written byte for byte as it was hashed, so that the file can be verified without the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from remediator.errors import StoreError
from remediator.store.chain import Audit, ChainReport, Head, Link


class _First(msgspec.Struct):
    """The first line."""

    checkpoints: list[Head]


class _Exported(msgspec.Struct):
    """Any other line; what was hashed is left as it stands."""

    seq: int
    chain: str
    number: int
    at: msgspec.Raw
    kind: msgspec.Raw
    run: msgspec.Raw
    data: msgspec.Raw
    hash: str


_encode = msgspec.json.encode
_parts = msgspec.json.Decoder(tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw])
_run = msgspec.json.Decoder(str | None)
_first = msgspec.json.Decoder(_First)
_exported = msgspec.json.Decoder(_Exported)


def export_lines(checkpoints: Sequence[Head], events: Iterable[tuple[int, Link]]) -> Iterator[bytes]:
    """Write the lines of an export, without their ends; each event comes with its `seq`. Raises StoreError."""
    yield _encode(_First(list(checkpoints)))
    for seq, link in events:
        try:
            at, kind, run, data = _parts.decode(link.line)
        except msgspec.MsgspecError as error:
            raise StoreError(
                f"event {link.number} of chain {link.chain} is not what a daemon writes ({error}): "
                "the history was changed, see `remediator audit verify`; keep a copy of the store itself"
            ) from error
        yield _encode(_Exported(seq, link.chain, link.number, at, kind, run, data, link.hash))


def audit_export(path: Path, expected: str | None = None) -> ChainReport:
    """Verify an exported history. Raises StoreError when the file can't be read or is none."""
    try:
        with path.open("rb") as file:
            audit = Audit(_checkpoints(path, file), expected)
            audit.walk(_links(file, audit))
        anchored = audit.anchored()
        held = {}
        if anchored:  # seldom, and few: not worth keeping the hashes of all events for
            with path.open("rb") as file:
                _checkpoints(path, file)
                held = _hashes(_links(file, audit), anchored)
        return audit.report(held)
    except OSError as error:
        raise StoreError(f"{path} can't be read ({error.strerror})") from error


def _checkpoints(path: Path, file: BinaryIO) -> list[Head]:
    try:
        return _first.decode(file.readline()).checkpoints
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"{path} is no exported history, or its first line was changed ({error}): "
            "`remediator audit export --out FILE` writes one"
        ) from error


def _links(file: BinaryIO, audit: Audit) -> Iterator[Link]:
    for number, line in enumerate(file, 2):
        try:
            found = _exported.decode(line)
            run = _run.decode(found.run)
        except msgspec.MsgspecError as error:
            audit.note(f"line {number} is no event of an export ({error}): what comes after it was not looked at")
            return
        hashed = b"[%b,%b,%b,%b]" % (found.at, found.kind, found.run, found.data)
        yield Link(found.chain, found.number, run, hashed.decode(), found.hash)


def _hashes(links: Iterable[Link], wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    return {at: link.hash for link in links if (at := (link.chain, link.number)) in wanted}
