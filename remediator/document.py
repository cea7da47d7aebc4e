"""Reading what people write: YAML with the place of every value, and faults in plain words.

The YAML is version 1.2 with the core schema (https://yaml.org/spec/1.2.2/#103-core-schema) and merge keys. It is built
from libyaml's events: PyYAML's own nodes overflow the C stack on deep nesting, and take nine times as long.
"""

from __future__ import annotations

import difflib
import math
import pathlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import yaml

from remediator.errors import Problem

Path: TypeAlias = tuple[str | int, ...]

MAX_COPIED = 50_000  # nodes that aliases may add to a document
MAX_DEPTH = 100  # levels of nesting, those inside aliases too: everything that walks a document may recurse

_MERGE = "<<"
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_COLLECTION_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile(
    r"(?P<null>null|Null|NULL|~|)"
    r"|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<decimal>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hexadecimal>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<inf>[-+]?\.(?:inf|Inf|INF))|(?P<nan>\.(?:nan|NaN|NAN))",
)


class Place(NamedTuple):
    """Where something stands in a file, counted from 1 as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a path of a document, before it is known which rule and file that is."""

    path: Path
    code: str
    message: str
    at_key: bool = False  # the key is meant, not its value
    severity: Literal["error", "warning"] = "error"
    place: Place | None = None  # where the path alone can't tell, as with a key that stands twice


@dataclass(slots=True)
class _Node:
    value: Any
    place: Place
    below: dict[str | int, _Node]
    keys: dict[str | int, Place]


_NO_NODES: dict[str | int, _Node] = {}  # of every scalar: most nodes are one
_NO_KEYS: dict[str | int, Place] = {}


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: plain values, and where each of them was written. Shared values (aliases) must not be changed."""

    file: str
    value: Any
    faults: tuple[Fault, ...] = ()
    root: _Node | None = None

    @property
    def readable(self) -> bool:
        """Tell whether the values are whole, so that it makes sense to look for faults in what they say."""
        return not any(fault.code == "yaml" for fault in self.faults)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Give what is wrong with the YAML itself, whatever it is meant to say."""
        return tuple(self.problem(fault) for fault in self.faults)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Find a value, or the key that it stands under; for a path that isn't there, the nearest that is around it."""
        node, place = self.root, Place(1, 1)
        if node is None:
            return place
        place = node.place
        for step in path:
            below = node.below.get(step)
            if below is None:
                return node.place
            place = node.keys.get(step, below.place) if key else below.place
            node = below
        return place

    def problem(self, fault: Fault, *, rule: str | None = None, skip: int = 0) -> Problem:
        """Put a fault into the reader's terms; the key leaves out the first `skip` steps of the path."""
        line, column = fault.place or self.place(fault.path, key=fault.at_key)
        key = dotted(fault.path[skip:]) or None
        return Problem(self.file, line, column, rule, key, fault.severity, fault.code, fault.message)


def dotted(path: Path) -> str:
    """Write a path as people do: `steps[0].with.argv`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def not_json(value: Any, path: Path = ()) -> Iterator[Fault]:
    """Find the numbers that other readers of JSON would refuse or change: endless ones, and beyond 64 bits."""
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from not_json(item, (*path, step))
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(path, "bad-value", "infinity and not-a-number can't be stored: write a plain number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield Fault(path, "bad-value", "this whole number is too large: it has more than 64 bits")


def nearest(word: str, known: Iterable[str]) -> str:
    """Offer the known word that is most like this one, as the end of a sentence; empty when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


# --- YAML to values ---------------------------------------------------------------------------------------------------


class _StopReading(Exception):
    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class _Open:
    """A collection that is being read."""

    node: _Node
    is_mapping: bool
    anchor: str | None
    before: int  # nodes read before it began
    height: int = 1
    key: str | None = None  # of the value that comes next; None: a key comes next
    merging: bool = False  # that value is the one of `<<`
    merged: list[_Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Anchored:
    node: _Node
    size: int
    height: int


class _Composer:
    """Builds nodes from events, without recursion."""

    def __init__(self) -> None:
        self.root: _Node | None = None
        self.faults: list[Fault] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}  # None: not yet closed
        self._nodes = 0
        self._copied = 0

    def read(self, event: Any) -> None:
        """Take the next event. Raises _StopReading when nothing sensible can follow."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event, _place(event.start_mark))
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._start(event, kind is yaml.MappingStartEvent, _place(event.start_mark))
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._alias(event.anchor, _place(event.start_mark))
        elif kind is yaml.DocumentStartEvent and self.root is not None:
            raise _StopReading("a second document begins here: put one document into a file", _place(event.start_mark))

    def _path(self) -> Path:
        steps = (part.key if part.is_mapping else len(part.node.below) for part in self._open)
        return tuple(step for step in steps if step is not None)

    def _fault(self, code: str, message: str, place: Place, *below: str) -> None:
        self.faults.append(Fault((*self._path(), *below), code, message, place=place))

    def _expects_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def _scalar(self, event: Any, place: Place) -> None:
        value: Any = event.value
        self._nodes += 1
        if "\0" in value:
            self._fault("yaml", "a NUL character can't stand in a text", place)
        if event.tag is not None:
            if event.tag not in _TEXT_TAGS:
                self._fault("yaml", f"the tag `{event.tag}` is not known here: leave it out", place)
        elif event.implicit[0]:
            try:
                value = _plain(value)
            except ValueError:
                self._fault("yaml", "this number has too many digits", place)
        if self._expects_key():
            self._key(value, event, place)
            return
        node = _Node(value, place, _NO_NODES, _NO_KEYS)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(node, 1, 0)
        self._attach(node, 0)

    def _key(self, value: Any, event: Any, place: Place) -> None:
        top = self._open[-1]
        if not isinstance(value, str):
            self._fault("yaml", f"a key is text: write it in quotes, '{event.value}'", place)
            value = event.value
        if value in top.node.keys:
            first = top.node.keys[value].line
            self._fault("duplicate-key", f"the key `{value}` stands here twice, first in line {first}", place, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(_Node(value, place, _NO_NODES, _NO_KEYS), 1, 0)
        top.key, top.merging = value, event.value == _MERGE and event.implicit[0]
        top.node.keys[value] = place

    def _start(self, event: Any, is_mapping: bool, place: Place) -> None:
        if self._expects_key():
            template = (
                "; a text that begins with `{{` needs quotes: '{{ … }}'" if is_mapping and event.flow_style else ""
            )
            raise _StopReading(f"a key is text: a list or a mapping can't be one{template}", place)
        if event.tag not in _COLLECTION_TAGS:
            self._fault("yaml", f"the tag `{event.tag}` is not known here: leave it out", place)
        if len(self._open) >= MAX_DEPTH:
            raise _StopReading(f"nested more than {MAX_DEPTH} levels deep", place)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(_Node(None, place, {}, {}), is_mapping, event.anchor, self._nodes))
        self._nodes += 1

    def _end(self) -> None:
        closed = self._open.pop()
        node = closed.node
        if closed.is_mapping:
            for source in closed.merged:
                for key, child in source.below.items():
                    if key not in node.below:
                        node.below[key], node.keys[key] = child, source.keys[key]
            node.value = {key: child.value for key, child in node.below.items()}
        else:
            node.value = [child.value for child in node.below.values()]
        if closed.anchor is not None:
            self._anchors[closed.anchor] = _Anchored(node, self._nodes - closed.before, closed.height)
        self._attach(node, closed.height)

    def _alias(self, name: str, place: Place) -> None:
        if self._expects_key():
            raise _StopReading("a key is text: an alias can't be one", place)
        if name not in self._anchors:
            raise _StopReading(f"the alias `*{name}` has no anchor `&{name}` before it", place)
        anchored = self._anchors[name]
        if anchored is None:
            raise _StopReading(f"the alias `*{name}` stands inside its own anchor", place)
        self._nodes += anchored.size
        self._copied += anchored.size
        if self._copied > MAX_COPIED:
            raise _StopReading(f"the aliases of this file expand to more than {MAX_COPIED} values", place)
        if len(self._open) + anchored.height > MAX_DEPTH:
            raise _StopReading(f"nested more than {MAX_DEPTH} levels deep", place)
        self._attach(anchored.node, anchored.height)

    def _attach(self, node: _Node, height: int) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        top.height = max(top.height, height + 1)
        if not top.is_mapping:
            top.node.below[len(top.node.below)] = node
        elif top.merging:
            self._merge(top, node)
            top.key = None
        elif top.key is not None:
            top.node.below[top.key] = node
            top.key = None

    def _merge(self, top: _Open, node: _Node) -> None:
        sources = list(node.below.values()) if isinstance(node.value, list) else [node]
        if not all(isinstance(source.value, dict) for source in sources):
            self._fault("yaml", "`<<` takes a mapping, or a list of mappings", node.place)
            return
        top.merged.extend(sources)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _plain(text: str) -> Any:
    """Resolve an unquoted scalar. Raises ValueError for more digits than Python takes."""
    resolved = _PLAIN.fullmatch(text)
    if resolved is None:
        return text
    match resolved.lastgroup:
        case "null":
            return None
        case "true" | "false":
            return resolved.lastgroup == "true"
        case "decimal":
            return int(text)
        case "octal" | "hexadecimal":
            return int(text, 0)
        case _:
            return float(text.replace(".", "", 1) if resolved.lastgroup in {"inf", "nan"} else text)


def read_document(path: pathlib.Path, file: str) -> Document:
    """Read one YAML file, to be called `file` in messages. Never raises: a file that can't be read is a fault."""
    try:
        return load_document(path.read_text(encoding="utf-8"), file)
    except OSError as error:
        why = f"can't be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        why = f"the file is not UTF-8: byte {error.start} of it begins no character"
    return Document(file, None, (Fault((), "yaml", why, place=Place(0, 0)),))


def load_document(text: str, file: str) -> Document:
    """Read one YAML document. Never raises for what the text holds: `faults` says what is wrong with it."""
    text = text.removeprefix("\ufeff")
    unprintable = tuple(_unprintables(text))
    if unprintable:
        return Document(file, None, unprintable)
    composer = _Composer()
    stopped: tuple[Fault, ...] = ()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            composer.read(event)
    except _StopReading as error:
        stopped = (Fault((), "yaml", str(error), place=error.place),)
    except yaml.MarkedYAMLError as error:
        stopped = (_syntax_fault(error, text),)
    root = None if stopped else composer.root
    return Document(file, root.value if root else None, (*composer.faults, *stopped), root)


def _unprintables(text: str) -> Iterator[Fault]:
    for found in _UNPRINTABLE.finditer(text):
        before = _BREAK.split(text[: found.start()])
        place = Place(len(before), len(before[-1]) + 1)
        yield Fault((), "yaml", f"the character U+{ord(found[0]):04X} can't stand in YAML", place=place)
        return  # a binary file would have thousands


# What most often lies behind what the parser says, for those who don't know its words.
_HINTS = {
    "did not find expected ',' or '}'": ": close it with `}`; a text that begins with `{` needs quotes",
    "did not find expected ',' or ']'": ": close it with `]`; a text that begins with `[` needs quotes",
    "did not find expected '-' indicator": ": indent it like its neighbours",
    "did not find expected alphabetic or numeric character": ": a text that begins with `*` or `&` needs quotes",
    "could not find expected ':'": ": a key ends with a colon and a space, as in `for: 1m`",
    "found unexpected ':'": ": put a space behind the colon of a key; a text with `:` in it needs quotes here",
    "did not find expected key": ": indent it like its neighbours, and see where quotes end",
    "found unknown escape character": ": write it in single quotes, where a backslash is only a backslash",
    "found character that cannot start any token": ": a text that begins with this character needs quotes",
    "mapping values are not allowed in this context": ": indent it like its neighbours; a text with `: ` in it needs quotes",
}


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    place = _place(mark) if mark else Place(1, 1)
    if mark and mark.index < len(text) and text[mark.index] == "\t":
        return Fault((), "yaml", "a tab can't indent YAML: use spaces", place=place)
    begun = error.context_mark
    context = f" ({error.context}, begun in line {begun.line + 1})" if error.context and begun else ""
    hint = _HINTS.get(error.problem or "", "")
    return Fault((), "yaml", f"not valid YAML: {error.problem}{context}{hint}", place=place)
