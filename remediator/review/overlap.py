"""What can be told of matchers without an alert: that none can satisfy them all, or one that does. Never a guess.

Whether a regular expression and another have a text in common is not worked out. Where neither a contradiction nor a label
set is found, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from remediator.rules.matchers import Matcher, Operator

_WORDS = ("", "x", "1", "10.0.0.1:9100")  # tried where matchers bind a label to no finite set of values


def contradiction(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """Give matchers of one label that no value can satisfy together; none where there may be such a value."""
    for name, about in _by_label(matchers).items():
        finite = next((matcher.values for matcher in about if matcher.values is not None), None)
        if finite is not None and not any(_all(about, name, value) for value in finite):
            return tuple(about)
        for matcher in about:
            opposite = Matcher(name, Operator.NOT_MATCHES, matcher.value)
            if matcher.operator is Operator.MATCHES and opposite in about:
                return (matcher, opposite)
    return ()


def example(matchers: Iterable[Matcher]) -> Mapping[str, str] | None:
    """Give labels that satisfy all of the matchers, as few as will do; None where none were found."""
    labels: dict[str, str] = {}
    for name, about in _by_label(matchers).items():
        value = next((value for value in _candidates(about) if _all(about, name, value)), None)
        if value is None:
            return None
        if value:
            labels[name] = value
    return labels


def implied(wanted: Matcher, matchers: Iterable[Matcher]) -> bool:
    """Tell whether every alert that satisfies the matchers satisfies one more, as far as literals show."""
    about = [matcher for matcher in matchers if matcher.name == wanted.name]
    finite = [matcher.values for matcher in about if matcher.values is not None]
    return wanted in about or any(all(wanted.matches({wanted.name: value}) for value in values) for values in finite)


def _by_label(matchers: Iterable[Matcher]) -> dict[str, list[Matcher]]:
    labels: dict[str, list[Matcher]] = {}
    for matcher in matchers:
        labels.setdefault(matcher.name, []).append(matcher)
    return labels


def _all(matchers: Sequence[Matcher], name: str, value: str) -> bool:
    return all(matcher.matches({name: value}) for matcher in matchers)


def _candidates(matchers: Sequence[Matcher]) -> Iterator[str]:
    finite = [matcher.values for matcher in matchers if matcher.values is not None]
    if finite:
        yield from sorted(finite[0])
        return
    yield from _WORDS
    for matcher in matchers:
        if matcher.operator is Operator.MATCHES:
            yield from map(_literal, matcher.value.split("|"))


def _literal(pattern: str) -> str:
    """Give a text that a simple pattern may match; whether it does is then tried."""
    text = re.sub(r"\(\?[a-zA-Z:]*|[()^$]", "", pattern)
    text = re.sub(r"\[\^?\\?(.)[^\]]*\]|\\d|\\w|(?<!\\)\.", lambda found: found[1] or "1", text)
    text = re.sub(r"(?<!\\)(?:[*+?]\??|\{[0-9,]*\}\??)", "", text)
    return re.sub(r"\\(.)", r"\1", text)
