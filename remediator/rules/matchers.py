"""Alertmanager's matchers, read as its fallback mode reads them.

Two parsers look at every text: the classic one (`pkg/labels/parse.go`) and the UTF-8 one (`matcher/parse`). The rule of
`matcher/compat/parse.go` decides: where the UTF-8 parser fails, or both succeed and differ, the classic result counts.
Regular expressions are RE2, anchored at both ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import re2

MAX_PATTERN = 64 * 1024  # characters
_MAX_MEMORY = 8 * 1024 * 1024  # bytes a pattern may take: RE2's own default, which it uses up only as it needs it

# Go's unicode.IsSpace. Python's str.isspace also takes U+001C to U+001F.
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACE = re.compile(f"[{_GO_SPACE}]+")
_RESERVED = re.compile(rf"[{_GO_SPACE}{{}}!=~,\\\"'`]")
_REGEXP_SPACE = "\t\n\f\r "  # `\s` of Go's regexp: no vertical tab, nothing beyond ASCII


class Operator(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


# What Go's syntax refuses and RE2's C++ library takes: `\C`, and group names that repeat or are not ASCII words.
_PATTERN_PARTS = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\\(?P<escape>.)|\(\?P?<(?P<group>[^>=!]*)>",
    re.DOTALL,
)
_LITERAL = r"(?:[^\\.+*?()|\[\]{}^$]|\\[!-/:-@\[\]^`{-~])*"
_LITERALS = re.compile(rf"{_LITERAL}(?:\|{_LITERAL})*")
_ESCAPED_LITERAL = re.compile(r"\\(.)")


@lru_cache(maxsize=4096)
def compile_regexp(pattern: str) -> Any:
    """Compile an RE2 pattern to work on UTF-8 bytes; it takes memory within a bound and matches in linear time.

    Raises ValueError with a sentence for the author.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a regular expression may have {MAX_PATTERN} characters, and this one has {len(pattern)}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        # Compiled as it stands: with the anchors round it, `a)|(b` would balance and match far more than it says.
        compiled = re2.compile(pattern.encode(), options)
    except UnicodeEncodeError:
        raise ValueError(f"{pattern!r} is not a regular expression: it isn't valid UTF-8") from None
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args else "RE2 refuses it"
        raise ValueError(f"{pattern!r} is not a regular expression (RE2): {why}") from None
    names: list[str] = []
    for part in _PATTERN_PARTS.finditer(pattern):
        if part["escape"] == "C":
            raise ValueError(f"{pattern!r} is not allowed: \\C matches a byte, and labels are text; write . instead")
        if part["group"] is not None:
            names.append(part["group"])
    if len(set(names)) < len(names) or not all(name.isascii() for name in names):
        raise ValueError(f"{pattern!r} is not a regular expression: a group's name repeats or isn't ASCII")
    return compiled


@dataclass(frozen=True, slots=True)
class Matcher:
    """One comparison of one label. Raises ValueError when its value isn't the regular expression it must be."""

    name: str
    operator: Operator
    value: str
    _values: frozenset[str] | None = field(init=False, repr=False, compare=False)  # what it compares to, if finite
    _regexp: Any = field(init=False, repr=False, compare=False)
    _positive: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_pattern = self.operator in {Operator.MATCHES, Operator.NOT_MATCHES}
        values: frozenset[str] | None = frozenset({self.value})
        if is_pattern:
            values = _alternatives(self.value)
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_regexp", compile_regexp(self.value) if values is None else None)
        object.__setattr__(self, "_positive", self.operator in {Operator.EQUAL, Operator.MATCHES})

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels satisfy it; a label that is missing is the empty string."""
        value = labels.get(self.name, "")
        if self._values is not None:
            return (value in self._values) is self._positive
        return (self._regexp.fullmatch(value.encode("utf-8", "surrogatepass")) is not None) is self._positive

    @property
    def refuses_empty(self) -> bool:
        """Tell whether it refuses a label that is empty or missing."""
        return not self.matches({})

    @property
    def values(self) -> frozenset[str] | None:
        """Give the finite set of values that it matches, the empty text for a missing label; None where it isn't finite."""
        return self._values if self._positive else None

    @property
    def literals(self) -> frozenset[str] | None:
        """Give the finite set of values that it matches, none of them empty; None where there is no such set."""
        return None if self.values is None or "" in self.values else self.values

    def __str__(self) -> str:
        """Give the text that Alertmanager reads as this matcher, with either parser that can."""
        return f'{_written(self.name)}{self.operator}"{_escape(self.value)}"'


def labels_text(labels: Mapping[str, str]) -> str:
    """Write labels as the matchers that hold of just these: no value can pass for several labels."""
    each = (f'{_written(name)}="{_escape(value)}"' for name, value in sorted(labels.items()))
    return "{" + ", ".join(each) + "}"


def _written(name: str) -> str:
    return f'"{_escape(name)}"' if not name or _RESERVED.search(name) else name


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _alternatives(pattern: str) -> frozenset[str] | None:
    """Give the texts of a pattern that is nothing but `text|text`: comparing them is quicker than RE2."""
    if len(pattern) > MAX_PATTERN or not _LITERALS.fullmatch(pattern):
        return None
    # An escaped bar is part of its text; an escaped backslash, which could precede a bar, is left to RE2.
    return frozenset(_ESCAPED_LITERAL.sub(r"\1", text) for text in re.split(r"(?<!\\)\|", pattern))


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read matchers such as `{alertname="HighErrorRate", severity=~"critical|high"}`; braces may be left out.

    Raises ValueError saying what was expected at which column (counted from 1).
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the matchers hold a lone surrogate, which is not valid UTF-8")
    try:
        modern, fault = _parse_utf8(text), None
    except ValueError as error:
        modern, fault = (), error
    try:
        classic = _parse_classic(text)
    except ValueError:
        if fault is not None:
            raise fault from None
        return modern
    return classic  # where both succeed and agree they are the same


def parse_match(value: str | list[str]) -> tuple[Matcher, ...]:
    """Read a rule's `match`: one text, or a list of texts that must all hold.

    Raises ValueError also when no matcher refuses the empty string: such a rule would take up every alert by accident.
    """
    texts = [value] if isinstance(value, str) else value
    matchers = tuple(matcher for text in texts for matcher in parse_matchers(text))
    if not any(matcher.refuses_empty for matcher in matchers):
        raise ValueError(
            "this matches alerts that have none of these labels: at least one matcher must refuse the empty string, "
            'as in alertname="HighErrorRate" or app=~".+"; to take up every alert on purpose, write `match: all`'
        )
    return matchers


# --- the classic parser ---

_CLASSIC = re.compile(rf"[{_REGEXP_SPACE}]*([a-zA-Z_:][a-zA-Z0-9_:]*)[{_REGEXP_SPACE}]*(=~|=|!=|!~)(.*)", re.DOTALL)
_CLASSIC_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


def _parse_classic(text: str) -> tuple[Matcher, ...]:
    return tuple(_classic_matcher(token) for token in _classic_tokens(text.removeprefix("{").removesuffix("}")))


def _classic_tokens(text: str) -> Iterator[str]:
    """Split at commas outside quotes. A comma leaves a pending backslash pending, as it does in Go's code."""
    quoted = escaped = False
    start = 0
    for position, character in enumerate(text):
        if character == ",":
            if not quoted:
                yield text[start:position]
                start = position + 1
        elif character == "\\":
            escaped = not escaped
        else:
            if character == '"' and not escaped:
                quoted = not quoted
            escaped = False
    # A comma at the end is allowed; one before it is not, and shows as an empty token.
    if last := text[start:].strip(_GO_SPACE):
        yield last


def _classic_matcher(token: str) -> Matcher:
    found = _CLASSIC.fullmatch(token)
    if found is None:
        raise ValueError(f"{token!r} is not a matcher: expected a label name, one of = != =~ !~, and a value")
    name, operator, raw = found[1], found[2], found[3].strip(_REGEXP_SPACE)
    quoted = raw.startswith('"')
    raw = raw.removeprefix('"')
    value: list[str] = []
    position = 0
    while position < len(raw):
        character, last = raw[position], position == len(raw) - 1
        if character == "\\" and not last:
            position += 1
            value.append(_CLASSIC_ESCAPES.get(raw[position], "\\" + raw[position]))
        elif character == '"':
            if not quoted or not last:
                raise ValueError(f'{token!r} has a double quote inside its value: write it as \\"')
            quoted = False
        else:
            value.append(character)
        position += 1
    if quoted:
        raise ValueError(f"{token!r} lacks the double quote that closes its value")
    return Matcher(name, Operator(operator), "".join(value))


# --- the UTF-8 parser ---


class _Token(NamedTuple):
    kind: str
    text: str
    column: int  # counted from 1


_TOKEN = re.compile(
    rf"""(?P<space>[{_GO_SPACE}]+)|(?P<brace>[{{}}])|(?P<comma>,)|(?P<operator>=~|=|!=|!~)"""
    rf"""|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<unquoted>[^{_GO_SPACE}{{}}!=~,\\"'`]+)""",
    re.DOTALL,
)
# The escapes of Go's strconv.Unquote in double quotes; `\'` and a raw newline are not among what it takes.
_GO_ESCAPE = re.compile(
    r"""\\(?:(?P<short>[abfnrtv\\"])|x(?P<x>[0-9a-fA-F]{2})|(?P<o>[0-3][0-7]{2})"""
    r"""|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8}))"""
)
_GO_QUOTED = re.compile(rf'"(?:[^"\\\n]|{re.sub("P<[a-zA-Z]+>", ":", _GO_ESCAPE.pattern)})*"')
_GO_SHORT = dict(zip('abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))


def _parse_utf8(text: str) -> tuple[Matcher, ...]:
    tokens = [*_utf8_tokens(text), _Token("end", "", len(text) + 1)]
    position = 0
    braces = tokens[0].text == "{" and tokens[0].kind == "brace"
    if braces:
        position = 1
    matchers: list[Matcher] = []
    if tokens[position].kind in {"quoted", "unquoted", "operator", "comma"}:
        while True:
            matchers.append(_utf8_matcher(tokens[position : position + 3]))
            position += 3
            if tokens[position].kind != "comma":
                break
            position += 1
            if tokens[position].kind in {"brace", "end"}:
                break
    closing = tokens[position]
    if braces:
        _demand(closing.text == "}" and closing.kind == "brace", "a comma or the closing brace", closing)
        position += 1
    _demand(
        tokens[position].kind == "end", "a comma or the end" if matchers else "a matcher or the end", tokens[position]
    )
    return tuple(matchers)


def _utf8_tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        column = position + 1
        if found is None:
            if text[position] == '"':
                raise ValueError(f"the double quote at column {column} is never closed")
            raise ValueError(f"unexpected {text[position]!r} at column {column}: put values into double quotes")
        kind = found.lastgroup or ""
        if kind != "space":
            yield _Token(kind, found[0], column)
        position = found.end()


def _utf8_matcher(tokens: list[_Token]) -> Matcher:
    # The end is a token too, and is none of what is demanded: what follows a demand that holds is there.
    words = {"quoted", "unquoted"}
    _demand(tokens[0].kind in words, "a label name", tokens[0])
    _demand(tokens[1].kind == "operator", "one of = != =~ !~", tokens[1])
    _demand(tokens[2].kind in words, "a value", tokens[2])
    name, operator, value = _unquote(tokens[0]), Operator(tokens[1].text), _unquote(tokens[2])
    try:
        return Matcher(name, operator, value)
    except ValueError as error:
        raise ValueError(f"{error} (column {tokens[2].column})") from None


def _demand(holds: bool, what: str, token: _Token) -> None:
    if not holds:
        found = f"found {token.text}" if token.text else "the text ends there"
        raise ValueError(f"expected {what} at column {token.column}, but {found}")


def _unquote(token: _Token) -> str:
    if token.kind == "unquoted":
        return token.text
    fault = (
        f"the text in quotes at column {token.column} has an escape or a line break that Go does not know: {token.text}"
    )
    if not _GO_QUOTED.fullmatch(token.text):
        raise ValueError(f"{fault}; write a backslash as \\\\ and a line break as \\n")
    parts: list[bytes] = []
    position = 0
    body = token.text[1:-1]
    for escape in _GO_ESCAPE.finditer(body):
        parts.append(body[position : escape.start()].encode())
        position = escape.end()
        if escape["short"]:
            parts.append(bytes([_GO_SHORT[escape["short"]]]))
        elif escape["x"] or escape["o"]:  # one byte, of which several may make one character
            parts.append(bytes([int(escape["x"], 16) if escape["x"] else int(escape["o"], 8)]))
        else:
            number = int(escape["u"] or escape["U"], 16)
            if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                raise ValueError(f"{fault}; {escape[0]} is not a character")
            parts.append(chr(number).encode())
    parts.append(body[position:].encode())
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise ValueError(f"the text in quotes at column {token.column} is not valid UTF-8: {token.text}") from None
