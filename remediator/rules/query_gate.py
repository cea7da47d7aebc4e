"""The gate of PromQL and of matchers: a value stands inside a quoted string only, escaped (promise P10)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import re2

from remediator.actions.protocol import Gate
from remediator.rules.pieces import Piece, unsafe

PLACES: Mapping[Gate, str] = {Gate.PROMQL: "a PromQL query", Gate.MATCHERS: "matchers"}

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
        place = PLACES[self._gate]
        if not self._quote:
            raise unsafe(value, place, "a value stands inside a quoted string only")
        raw = self._quote == "`"
        pattern = self._operator in {"=~", "!~"}
        if not raw and _OPEN_ESCAPE.search(self._string):
            raise unsafe(value, place, "it would complete the author's backslash")
        if pattern:
            if _OPEN_REGEXP.search(self._string if raw else self._string.replace("\\\\", "\\")):
                raise unsafe(value, place, "it would complete an escape of the author's regular expression")
            value = str(re2.escape(value))
        if raw:
            if "`" in value:
                raise unsafe(value, place, "a string in backticks can't hold a backtick; use double quotes")
            return value
        if self._gate is Gate.MATCHERS:
            return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        escaped = _TO_ESCAPE.sub(lambda found: _ESCAPES.get(found[0], f"\\x{ord(found[0]):02x}"), value)
        return escaped.replace(self._quote, "\\" + self._quote)


def promql(pieces: Sequence[Piece]) -> str:
    """Put a query together. Raises UnsafeValue."""
    return _Strings(Gate.PROMQL, "\"'`", "#").finish(pieces)


def matchers(pieces: Sequence[Piece]) -> str:
    """Put matchers together, in Alertmanager's syntax. Raises UnsafeValue."""
    return _Strings(Gate.MATCHERS, '"', "").finish(pieces)
