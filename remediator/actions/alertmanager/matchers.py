"""Matchers as text, as Alertmanager's API takes them: one at a time, to ask with, and in their parts, to silence with."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import msgspec
from pydantic import AfterValidator

from remediator.actions.protocol import Gate

_BETWEEN_COMMAS = re.compile(r'(?:"(?:\\.|[^"\\])*"?|\\[\\"]|[^,"])+', re.DOTALL)
# What both parsers of Alertmanager, the classic one and the one for UTF-8, read alike.
_PLAIN = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t\n]*(=~|!~|!=|=)[ \t\n]*"((?:[^"\\\n]|\\[\\"n])*)"')
_ESCAPE = re.compile(r'\\([\\"n])')
# A pattern that is nothing but texts with bars between, none of them empty.
_TEXTS = re.compile(
    r"(?:[^.*+?()\[\]{}^$|\\]|\\[.*+?()\[\]{}^$|\\-])+(?:\|(?:[^.*+?()\[\]{}^$|\\]|\\[.*+?()\[\]{}^$|\\-])+)*"
)


class Matcher(msgspec.Struct, frozen=True, order=True):
    """One matcher in its parts: the API's `matcher`."""

    name: str
    value: str
    isRegex: bool  # noqa: N815 - the API's name
    isEqual: bool = True  # noqa: N815

    def __str__(self) -> str:
        """Write it as people do."""
        operator = ("=~" if self.isEqual else "!~") if self.isRegex else ("=" if self.isEqual else "!=")
        value = self.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        return f'{self.name}{operator}"{value}"'

    @property
    def names_something(self) -> bool:
        """Tell whether it holds for values that are written in it only, and for no label that is missing."""
        if not self.isEqual or not self.value:
            return False
        return not self.isRegex or _TEXTS.fullmatch(self.value) is not None


def split_matchers(text: str) -> list[str]:
    """Split `{a="b", c=~"d"}`, with braces or without, at the commas outside quotes: the API takes one at a time."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    return [matcher.strip() for matcher in _BETWEEN_COMMAS.findall(text) if matcher.strip()]


def texts_of(match: str | list[str]) -> list[str]:
    """Give the texts of a `match`, which may be one or a list."""
    return [match] if isinstance(match, str) else match


def filters_of(match: str | list[str]) -> list[tuple[str, str]]:
    """Give the API's filters for a `match`, each matcher one."""
    return [("filter", matcher) for text in texts_of(match) for matcher in split_matchers(text)]


def parts_of(match: str | list[str]) -> tuple[Matcher, ...]:
    """Read a `match` into its parts, sorted, each once. Raises ValueError where one is not written out plainly."""
    return tuple(sorted({_read(text) for _, text in filters_of(match)}))


def _read(text: str) -> Matcher:
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise ValueError(f'{text} is not a plain matcher: write a label, one of = != =~ !~, and a value as in "web"')
    name, operator, raw = found.groups()
    value = _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], raw)
    return Matcher(name, value, isRegex="~" in operator, isEqual="!" not in operator)


def _has_matchers(match: str | list[str]) -> str | list[str]:
    if not all(split_matchers(text) for text in texts_of(match)) or not match:
        raise ValueError("there is no matcher in it: that would be every alert there is")
    return match


def _names_something(match: str | list[str]) -> str | list[str]:
    if not any(matcher.names_something for matcher in parts_of(_has_matchers(match))):
        raise ValueError(
            "no matcher in it names what it is for, and it would take up far too much: "
            'give one as in alertname="HighErrorRate" or app=~"web|shop"'
        )
    return match


Texts: TypeAlias = Annotated[str, Gate.MATCHERS] | list[Annotated[str, Gate.MATCHERS]]
Match: TypeAlias = Annotated[Texts, AfterValidator(_has_matchers)]  # to ask by
NamingMatch: TypeAlias = Annotated[Texts, AfterValidator(_names_something)]  # to silence by
