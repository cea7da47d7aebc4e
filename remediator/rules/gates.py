"""The checks that a value from outside passes before it may stand in a parameter (promise P10).

A finished text is a row of pieces: what the author wrote, and the values put between. A gate looks at each value where
it stands, and never lets it change what the author's part means: the argument it is in, the host a URL leads to, the
string in a query. What the author wrote is never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import re2

from remediator.actions.bounds import visible
from remediator.actions.protocol import Gate, Grammar

SHOWN = 60  # characters of a value that an error message shows


class UnsafeValue(ValueError):
    """A gate refused a value; the message names the place, the reason and the value."""


class Piece(NamedTuple):
    """One stretch of a text: what the author wrote (his `vars` included), or a value from outside."""

    text: str
    outside: bool


_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"  # C0, DEL, C1, and what else ends a line
_CONTROL = re.compile(f"[{_CONTROLS}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def shown(value: object) -> str:
    """Give a value for an error message, a text in quotes: visible and shortened."""
    text = visible(value if isinstance(value, str) else repr(value))
    text = f"{text[:SHOWN]}…" if len(text) > SHOWN else text
    return f"'{text}'" if isinstance(value, str) else text


def finish(gate: Gate | Grammar, pieces: Sequence[Piece], hosts: Sequence[str] = ()) -> str:
    """Put a text together from its pieces, each value from outside through the gate.

    `hosts` are the patterns of `http.allow`; they matter for URLs and hosts only. Raises UnsafeValue.
    """
    for piece in pieces:
        if _SURROGATE.search(piece.text):
            raise _unsafe(piece.text, _place(gate), "half of a surrogate pair is not text")
    if not any(piece.outside for piece in pieces):
        return "".join(piece.text for piece in pieces)
    if isinstance(gate, Grammar):
        return _named(gate, pieces)
    if gate is Gate.URL:
        return _Url(hosts).finish(pieces)
    if gate is Gate.HOST:
        return _host(pieces, hosts)
    return _FINISHERS[gate](pieces)


def admit(gate: Gate | Grammar, value: Any, hosts: Sequence[str] = ()) -> Any:
    """Let a value from outside that keeps its type through a gate, with all that it holds.

    `value` is made of JSON's types. Numbers are checked as the text they would become. `hosts` is as for `finish`. Raises
    UnsafeValue.
    """
    if isinstance(value, str):
        return finish(gate, [Piece(value, outside=True)], hosts)
    if isinstance(value, Mapping):
        if gate not in {Gate.JSON, Gate.DISPLAY}:
            raise _unsafe(value, _place(gate), "a mapping's names never come from outside")
        return {admit(gate, key, hosts): admit(gate, item, hosts) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [admit(gate, item, hosts) for item in value]
    if value is not None and gate not in {Gate.JSON, Gate.DISPLAY}:
        finish(gate, [Piece(str(value), outside=True)], hosts)
    return value


def _place(gate: Gate | Grammar) -> str:
    return f"the place of {gate}" if isinstance(gate, Grammar) else _PLACES[gate]


def _unsafe(value: object, place: str, why: str) -> UnsafeValue:
    return UnsafeValue(f"{shown(value)} can't stand in {place}: {why}")


# --- gates that look at the value, and hardly at its place ---


def _argument(pieces: Sequence[Piece]) -> str:
    done = ""
    for piece in pieces:
        if piece.outside:
            _refuse_controls(piece.text, "an argument")
            if not done and piece.text.startswith("-"):
                raise _unsafe(piece.text, "the beginning of an argument", "the program would read it as an option")
        done += piece.text
    return done


def _named(grammar: Grammar, pieces: Sequence[Piece]) -> str:
    for piece in pieces:
        if piece.outside and not grammar.takes(piece.text):
            raise _unsafe(piece.text, _place(grammar), "it would be more than one value in it")
    done = _joined(pieces)
    if not grammar.fits(done):
        raise _unsafe(done, _place(grammar), "it is none")
    return done


def _header(pieces: Sequence[Piece]) -> str:
    for piece in pieces:
        if piece.outside:
            _refuse_controls(piece.text, "a header")
    return _joined(pieces)


def _child_text(pieces: Sequence[Piece]) -> str:
    _refuse_nul(pieces, Gate.CHILD_TEXT)
    return _joined(pieces)


def _directory(pieces: Sequence[Piece]) -> str:
    _refuse_nul(pieces, Gate.DIRECTORY)
    done = _joined(pieces)
    if ".." in done.split("/"):
        raise _unsafe(done, "a directory", "it would lead upwards (..)")
    return done


def _display(pieces: Sequence[Piece]) -> str:
    return "".join(visible(piece.text) if piece.outside else piece.text for piece in pieces)


def _json(pieces: Sequence[Piece]) -> str:
    if len(pieces) == 1:
        return pieces[0].text  # a JSON string by itself: the encoder escapes what it holds
    _refuse_nul(pieces, Gate.JSON)
    skeleton = "".join("0" if piece.outside else piece.text for piece in pieces)
    if any(_is_document(text) for text in (skeleton, *skeleton.splitlines())):
        value = next(piece.text for piece in pieces if piece.outside)
        raise _unsafe(value, "a JSON text", "text is never spliced into JSON; write a mapping or list in YAML instead")
    return _joined(pieces)


def _is_document(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _joined(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _refuse_controls(text: str, place: str) -> None:
    if _CONTROL.search(text):
        raise _unsafe(text, place, "it holds a control character or a line break")


def _refuse_nul(pieces: Sequence[Piece], gate: Gate) -> None:
    for piece in pieces:
        if piece.outside and "\0" in piece.text:
            raise _unsafe(piece.text, _PLACES[gate], "it holds NUL")


# --- URLs ---

_HOST_TEXT = re.compile(r"[A-Za-z0-9.-]+")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_BROKEN_ESCAPE = re.compile(r"%[0-9A-Fa-f]?\Z")


class _Url:
    """A URL under construction. Only what the author wrote moves it from one part to the next."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._part = "scheme"
        self._done = ""
        self._authority: list[Piece] = []
        self._segment = ""  # of the path, as it stands so far
        self._segment_values: list[str] = []
        self._segment_written = False  # whether the author wrote any of it

    def finish(self, pieces: Sequence[Piece]) -> str:
        for piece in pieces:
            if piece.outside:
                self._value(piece.text)
            else:
                for character in piece.text:
                    self._character(character)
        self._end_part()
        return self._done

    def _character(self, character: str) -> None:
        if self._part == "scheme":
            if (self._done + character).endswith("://"):
                self._part = "authority"
        elif self._part == "authority":
            if character in "/?#":
                self._end_part()
                self._part = {"/": "path", "?": "query", "#": "fragment"}[character]
            else:
                self._authority.append(Piece(character, outside=False))
        elif character == "#" or (character == "?" and self._part == "path"):
            self._end_part()
            self._part = "fragment" if character == "#" else "query"
        elif self._part == "path":
            if character == "/":
                self._end_part()
            else:
                self._segment += character
                self._segment_written = True
        self._done += character

    def _value(self, value: str) -> None:
        if self._part == "scheme":
            raise _unsafe(value, "the scheme or host of a URL", "the author writes these; a value may come after them")
        if self._part == "authority":
            if not _HOST_TEXT.fullmatch(value):
                raise _unsafe(value, "the host of a URL", "a host has letters, digits, '-' and '.' only")
            self._authority.append(Piece(value, outside=True))
            self._done += value
            return
        if _BROKEN_ESCAPE.search(self._done):
            raise _unsafe(value, "a URL", "it would complete the author's percent sign")
        encoded = quote(value, safe="")
        if self._part == "path":
            self._segment += encoded
            self._segment_values.append(value)
        self._done += encoded

    def _end_part(self) -> None:
        if self._part == "authority":
            self._check_authority()
        elif self._part == "path":
            self._check_segment()

    def _check_segment(self) -> None:
        if self._segment_values:
            value = "".join(self._segment_values)
            if {".", ".."} & set(re.split(r"[/\\]", unquote(self._segment))):  # servers differ in when they decode
                raise _unsafe(value, "the path of a URL", "it would lead to another path")
            if not self._segment and not self._segment_written:
                raise _unsafe(value, "the path of a URL", "an empty name addresses everything there")
        self._segment, self._segment_values, self._segment_written = "", [], False

    def _check_authority(self) -> None:
        values = [piece.text for piece in self._authority if piece.outside]
        if not values:
            return
        written = "".join("\0" if piece.outside else piece.text for piece in self._authority)
        credentials, _, place = written.rpartition("@")
        _, colon, port = place.partition(":")
        if "\0" in credentials:
            raise _unsafe(values[0], "the credentials of a URL", "these never come from outside")
        if colon and "\0" in port:
            raise _unsafe(values[0], "the port of a URL", "it never comes from outside")
        whole = _joined(self._authority).rpartition("@")[2]
        _check_host(whole.partition(":")[0], "the host of a URL", self._hosts)


def _check_host(host: str, place: str, hosts: Sequence[str]) -> None:
    host = host.lower()
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise _unsafe(host, place, "it is not a host name")
    if not any(fnmatchcase(host, pattern.lower()) for pattern in hosts):
        raise _unsafe(host, place, "no pattern of `http.allow` in the configuration covers it")


def _host(pieces: Sequence[Piece], hosts: Sequence[str]) -> str:
    done = _joined(pieces)
    _check_host(done, _PLACES[Gate.HOST], hosts)
    return done


# --- quoted strings of PromQL and of matchers ---

_ESCAPES = {
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\ufffd": "\\ufffd",
}  # PromQL's lexer refuses U+FFFD raw
_TO_ESCAPE = re.compile("[\\\\\x00-\x1f\x7f\ufffd]")
# An escape that a value put behind it would complete: in the string, and in the regular expression that it holds.
_OPEN_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*\\(?:x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7}|[0-7]{1,2})?\Z", re.IGNORECASE
)
_OPEN_REGEXP = re.compile(
    r"(?<!\\)(?:\\\\)*\\(?:x[0-9a-f]?|x\{[0-9a-f]*|p|p\{[^}]*|[0-7]{1,2}|Q(?:(?!\\E).)*)?\Z", re.I | re.S
)


class _Strings:
    """A query under construction. Only what the author wrote opens or closes a string."""

    def __init__(self, gate: Gate, quotes: str, comments: str) -> None:
        self._gate = gate
        self._quotes = quotes
        self._comments = comments
        self._quote = ""  # that the present string began with
        self._escaped = False
        self._comment = False
        self._operator = ""  # the last two characters outside strings, spaces left out
        self._string = ""  # as it stands so far, in its escaped form

    def finish(self, pieces: Sequence[Piece]) -> str:
        done: list[str] = []
        for piece in pieces:
            if piece.outside:
                done.append(self._value(piece.text))
                self._string += done[-1]
            else:
                done.append(piece.text)
                for character in piece.text:
                    self._character(character)
        return "".join(done)

    def _character(self, character: str) -> None:
        if self._comment:
            self._comment = character not in "\n\r"
        elif not self._quote:
            if character in self._quotes:
                self._quote, self._string = character, ""
            elif character in self._comments:
                self._comment = True
            elif character == "\\":
                self._quotes = ""  # the parsers differ in what follows: let no value stand behind it
            elif not character.isspace():
                self._operator = (self._operator + character)[-2:]
        elif character == self._quote and not self._escaped:
            self._quote, self._operator = "", ""
        else:
            self._string += character
            self._escaped = character == "\\" and not self._escaped and self._quote != "`"

    def _value(self, value: str) -> str:
        place = _PLACES[self._gate]
        if not self._quote:
            raise _unsafe(value, place, "a value stands inside a quoted string only")
        raw = self._quote == "`"
        pattern = self._operator in {"=~", "!~"}
        if not raw and _OPEN_ESCAPE.search(self._string):
            raise _unsafe(value, place, "it would complete the author's backslash")
        if pattern:
            if _OPEN_REGEXP.search(self._string if raw else self._string.replace("\\\\", "\\")):
                raise _unsafe(value, place, "it would complete an escape of the author's regular expression")
            value = str(re2.escape(value))
        if raw:
            if "`" in value:
                raise _unsafe(value, place, "a string in backticks can't hold a backtick; use double quotes")
            return value
        if self._gate is Gate.MATCHERS:
            return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        escaped = _TO_ESCAPE.sub(lambda found: _ESCAPES.get(found[0], f"\\x{ord(found[0]):02x}"), value)
        return escaped.replace(self._quote, "\\" + self._quote)


def _promql(pieces: Sequence[Piece]) -> str:
    return _Strings(Gate.PROMQL, "\"'`", "#").finish(pieces)


def _matchers(pieces: Sequence[Piece]) -> str:
    return _Strings(Gate.MATCHERS, '"', "").finish(pieces)


_PLACES: Mapping[Gate, str] = {
    Gate.ARGUMENT: "an argument",
    Gate.CHILD_TEXT: "a child's environment or standard input",
    Gate.DIRECTORY: "a directory",
    Gate.HOST: "a host",
    Gate.URL: "a URL",
    Gate.HEADER: "a header",
    Gate.PROMQL: "a PromQL query",
    Gate.MATCHERS: "matchers",
    Gate.JSON: "a JSON value or a body of text",
    Gate.DISPLAY: "a text for people",
}
_FINISHERS: Mapping[Gate, Callable[[Sequence[Piece]], str]] = {
    Gate.ARGUMENT: _argument,
    Gate.CHILD_TEXT: _child_text,
    Gate.DIRECTORY: _directory,
    Gate.HEADER: _header,
    Gate.PROMQL: _promql,
    Gate.MATCHERS: _matchers,
    Gate.JSON: _json,
    Gate.DISPLAY: _display,
}
