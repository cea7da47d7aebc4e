"""Reading what people write: YAML with the place of every value, and faults in plain words.

The YAML is version 1.2 with the core schema (https://yaml.org/spec/1.2.2/#103-core-schema) and merge keys. It is built
from libyaml's events: PyYAML's own nodes overflow the C stack on deep nesting, and take nine times as long.
"""

from __future__ import annotations

import difflib
import math
import pathlib
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from remediator.errors import Problem
from remediator.model.time import Seconds, format_duration, parse_duration

Path: TypeAlias = tuple[str | int, ...]

MAX_COPIED = 50_000  # nodes that aliases may add to a document
MAX_DEPTH = 100  # levels of nesting, those inside aliases too: everything that walks a document may recurse
MAX_LISTED = 12  # known keys that a message about an unknown one names

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
            raise _StopReading("a key is text: a list or a mapping can't be one", place)
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


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    place = _place(mark) if mark else Place(1, 1)
    if mark and mark.index < len(text) and text[mark.index] == "\t":
        return Fault((), "yaml", "a tab can't indent YAML: use spaces", place=place)
    begun = error.context_mark
    context = f" ({error.context}, begun in line {begun.line + 1})" if error.context and begun else ""
    return Fault((), "yaml", f"not valid YAML: {error.problem}{context}", place=place)


# --- pydantic's errors in plain words ---------------------------------------------------------------------------------


def wrong_type(noun: str) -> PydanticCustomError:
    """Give what a validator raises for a value that is no `noun` (`a duration such as 5m`) by its very type."""
    return PydanticCustomError("wrong_type", "{noun}", {"noun": noun})


def _seconds(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if value == 0 and type(value) is int:
        return 0.0  # as Prometheus takes it
    raise wrong_type("a duration such as 5m")


Duration: TypeAlias = Annotated[
    Seconds,
    BeforeValidator(_seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),  # gives a schema its defaults as people write
    WithJsonSchema({"type": "string", "pattern": "^(0|([0-9]+(y|w|d|h|m|s|ms))+)$"}),
]


@dataclass(frozen=True, slots=True)
class LimitSpan:
    """At most `count` runs in any `per` seconds, in all or for each target."""

    count: int
    per: Seconds
    by_target: bool


_LIMIT = re.compile(r"([0-9]{1,9}) +per +(\S+)( +per +target)?", re.ASCII)


def parse_limit(text: str) -> LimitSpan:
    """Read `30 per 1h` or `2 per 6h per target`. Raises ValueError with a sentence for the author."""
    read = _LIMIT.fullmatch(text)
    if read is None:
        raise ValueError(f"{text!r} is not a limit: write it as in `2 per 6h` or `1 per 30m per target`")
    span = LimitSpan(int(read[1]), parse_duration(read[2]), read[3] is not None)
    if span.count < 1 or span.per <= 0:
        raise ValueError(f"{text!r} would never let anything run: count and span must be more than zero")
    return span


def _limit(text: str) -> str:
    parse_limit(text)
    return text


LimitText: TypeAlias = Annotated[
    str,
    AfterValidator(_limit),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+ +per +[0-9a-z]+( +per +target)?$"}),
]


class Form(BaseModel):
    """Base of what people write: unknown keys refused, no guessing of types, and no key without a value.

    A key whose value was forgotten (`only_if:`) would else count as one left out, and a guard would be gone unnoticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _has_value(cls, value: object) -> object:
        if value is None:
            raise wrong_type("a value")
        return value

    @classmethod
    def known_keys(cls) -> list[str]:
        """Give the keys as they are written."""
        return [described.alias or name for name, described in cls.model_fields.items()]


def schema_of(model: type[Form]) -> dict[str, Any]:
    """Give the JSON Schema of a form, for editors."""
    schema = model.model_json_schema(by_alias=True, mode="serialization")  # writes defaults as people do: 5h, not 18000
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "a word",
    "wrong_type": "",
}


def faults_of(error: ValidationError, model: type[Form], data: object) -> list[Fault]:
    """Turn what pydantic says of `data` into faults, one for each place: unions speak once, in the author's words."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_written_path(data, detail), []).append(detail)
    faults = []
    for path, details in by_path.items():
        # Where one branch of a union looked into the value, it says nothing that the others don't take its type.
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in by_path)
        if not (deeper and all(detail["type"] in _NOUNS for detail in details)):
            faults.append(_fault(path, details, model))
    return faults


def _written_path(data: Any, detail: ErrorDetails) -> Path:
    """Leave out of pydantic's location the branches of unions, which no author wrote."""
    path: list[str | int] = []
    for step in detail["loc"]:
        if step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int):
            path.append(step)
            data = data[step]
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else tuple(path)


def _fault(path: Path, details: list[ErrorDetails], model: type[Form]) -> Fault:
    first = next((detail for detail in details if detail["type"] not in _NOUNS), details[0])
    match first["type"]:
        case "missing":
            return Fault(path, "missing-key", f"the key `{path[-1]}` is missing")
        case "extra_forbidden":
            return unknown_key(path, _known_keys(model, path[:-1]))
        case "value_error":
            return Fault(path, "bad-value", str(first["ctx"]["error"]))
        case kind if kind not in _NOUNS:
            return Fault(path, "bad-value", first["msg"].replace("Input should", "the value should"))
    branches = _branches_at(model, path)
    expected = " or ".join(dict.fromkeys(_noun(detail, branches) for detail in details))
    words = [word for branch in branches if get_origin(branch) is Literal for word in get_args(branch)]
    if isinstance(first["input"], str) and words:
        near = nearest(first["input"], words)
        return Fault(path, "bad-value", f"expected {expected}, found `{first['input'][:40]}`{near}")
    return Fault(path, "wrong-type", f"expected {expected}, found {found(first['input'])}")


def _noun(detail: ErrorDetails, branches: list[Any]) -> str:
    match detail["type"]:
        case "wrong_type":
            return detail["msg"]
        case "literal_error":
            return str(detail["ctx"]["expected"]).replace("'", "`")
        case "list_type":
            items = [get_args(branch)[0] for branch in branches if get_origin(branch) is list]
            titles = [item.model_config.get("title") for item in items if _is_model(item)]
            return f"a list of {titles[0]}s" if titles else "a list"
        case kind:
            return _NOUNS[kind]


def unknown_key(path: Path, known: Iterable[str]) -> Fault:
    """Say that a key is not known where it stands, and which one may be meant."""
    known = sorted(known)
    near = nearest(str(path[-1]), known)
    listed = f" (known: {', '.join(known)})" if not near and 0 < len(known) <= MAX_LISTED else ""
    return Fault(path, "unknown-key", f"the key `{path[-1]}` is not known here{near}{listed}", at_key=True)


def found(value: object) -> str:
    """Say in a word or two what kind of value stands in a file, without repeating it: it may be a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "nothing")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Form)


def _branches(annotation: Any) -> Iterator[Any]:
    """Give the types that a value may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _branches_at(model: type[Form], path: Path) -> list[Any]:
    branches: list[Any] = [model]
    for step in path:
        branches = [below for branch in branches for below in _below(branch, step)]
    return branches


def _below(branch: Any, step: str | int) -> Iterator[Any]:
    if get_origin(branch) in {list, dict}:
        yield from _branches(get_args(branch)[-1])
    elif _is_model(branch):
        for name, described in branch.model_fields.items():
            if step == (described.alias or name):
                yield from _branches(described.annotation)


def _known_keys(model: type[Form], path: Path) -> Iterator[str]:
    for branch in _branches_at(model, path):
        if _is_model(branch):
            yield from branch.known_keys()
