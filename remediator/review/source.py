"""A rule file as it was written: where each key stands, and the comments that are meant for us: they silence a warning.

    # remediator: allow W201 because nothing can be looked at from here

Such a comment stands anywhere in the lines of a rule, or right above it, and is about that rule alone. One under `defaults`
is about what stands there.
"""

from __future__ import annotations

import pathlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import yaml

from remediator.document import Document, Path, Place, load_document

Owner: TypeAlias = str | None  # the name of a rule, DEFAULTS, or None outside of both

ALLOW = "allow"
DEFAULTS = "defaults:"  # no rule has a colon in its name

_COMMENT = re.compile(
    r"(?:(?<=[ \t])|^)#[ \t]*remediator:[ \t]*(?P<word>[^\s:,]*)[:,]?[ \t]*(?P<says>[^\r\n]*)", re.MULTILINE
)
_SAYS = re.compile(r"(?P<number>\S+?)[,:]?(?:[ \t]+(?:because[ \t]+(?P<reason>\S.*)|.*))?")


class Comment(NamedTuple):
    """A comment that silences a warning, or was meant to."""

    place: Place
    owner: Owner
    number: str  # as written; empty where the comment can't be read
    reason: str  # empty where there is none
    word: str = ALLOW  # what it asks for; any other word asks for nothing that there is


@dataclass(frozen=True, slots=True)
class Source:
    """One rule file."""

    document: Document
    comments: tuple[Comment, ...]
    _positions: Mapping[str, int] = field(repr=False)  # of the rules, by their names
    _begins: Sequence[tuple[int, Owner]] = field(repr=False)  # the lines from which on they own, in order

    @classmethod
    def of(cls, text: str, file: str) -> Source:
        """Read a file's text, to be called `file` in messages."""
        document = load_document(text, file)
        begins = sorted(_begins(document, text), key=lambda begin: begin[0])
        comments = (
            Comment(place, _owner(begins, place.line), *(_read(says) if word == ALLOW else ("", "")), word)
            for place, word, says in _comments(text)
        )
        positions = {name: number for number, name in reversed(list(_rules(document))) if name is not None}
        return cls(document, tuple(comments), positions, begins)

    def owner(self, line: int) -> Owner:
        """Tell what a line belongs to."""
        return _owner(self._begins, line)

    def place(self, rule: str, path: Path) -> Place:
        """Find a key of a rule, under `defaults` if it stands there; for one that isn't there, the nearest around it."""
        position = self._positions.get(rule)
        if position is None:
            return Place(1, 1)
        ours, inherited = ("rules", position, *path), ("defaults", *path)
        from_defaults = not _there(self.document.value, ours) and _there(self.document.value, inherited)
        return self.document.place(inherited if from_defaults else ours)


def read_source(file: str) -> Source:
    """Read a rule file. Never raises: of one that can't be read any more, every place is its beginning."""
    try:
        text = pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    return Source.of(text.removeprefix("\ufeff"), file)


def _there(value: Any, path: Path) -> bool:
    for step in path:
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and step in range(len(value))
        if not inside:
            return False
        value = value[step]
    return True


def _rules(document: Document) -> Iterator[tuple[int, Owner]]:
    data = document.value if isinstance(document.value, dict) else {}
    defaults, rules = data.get("defaults"), data.get("rules")
    inherited = defaults.get("name") if isinstance(defaults, dict) else None
    for number, rule in enumerate(rules if isinstance(rules, list) else ()):
        name = rule.get("name", inherited) if isinstance(rule, dict) else None
        yield number, name if isinstance(name, str) else None


def _begins(document: Document, text: str) -> Iterator[tuple[int, Owner]]:
    lines = text.splitlines()
    for key in document.value if isinstance(document.value, dict) else ():
        yield document.place((key,), key=True).line, DEFAULTS if key == "defaults" else None
    for number, name in _rules(document):
        line = document.place(("rules", number)).line
        indent = _indent(lines[line - 1])
        # Comments right above a rule are its own, unless they stand further in, as a part of the rule before would.
        while line > 1 and lines[line - 2].lstrip().startswith("#") and _indent(lines[line - 2]) <= indent:
            line -= 1
        yield line, name


def _owner(begins: Sequence[tuple[int, Owner]], line: int) -> Owner:
    before = bisect_right(begins, line, key=lambda begin: begin[0])
    return begins[before - 1][1] if before else None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _comments(text: str) -> Iterator[tuple[Place, str, str]]:
    """Find the comments that begin as ours do; a text that reads like one, as in a script, is none."""
    found = list(_COMMENT.finditer(text))
    if not found:
        return
    try:
        texts = [  # in their order
            (event.start_mark.index, event.end_mark.index)
            for event in yaml.parse(text, Loader=yaml.CSafeLoader)
            if isinstance(event, yaml.ScalarEvent) and event.start_mark and event.end_mark
        ]
    except yaml.YAMLError:
        return  # the file has an error, and is told of that
    for comment in found:
        before = bisect_right(texts, comment.start(), key=lambda span: span[0])
        if not before or comment.start() >= texts[before - 1][1]:
            line = text.count("\n", 0, comment.start()) + 1
            column = comment.start() - text.rfind("\n", 0, comment.start())
            yield Place(line, column), comment["word"], comment["says"]


def _read(says: str) -> tuple[str, str]:
    read = _SAYS.fullmatch(says)
    return (read["number"], read["reason"] or "") if read else ("", "")
