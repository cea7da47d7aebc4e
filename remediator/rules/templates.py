"""Jinja2 templates and expressions whose values from outside are data for ever.

A text is a skeleton of what the author wrote, of `{{ … }}` and of `{% if %}`. Each expression is evaluated by itself, in the
sandbox, and its value goes through the text's gate; what comes out is never looked at for templates again. An expression
that names nothing but `vars` gives the author's own words, which no gate holds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jinja2

from remediator.actions.protocol import Gate, Grammar
from remediator.rules.gates import admit, finish
from remediator.rules.pieces import Piece, UnsafeValue, shown
from remediator.rules.sandbox import MAX_OUTPUT, Pending, PendingValue, as_text
from remediator.rules.syntax import (
    Branch,
    Part,
    Scope,
    Skeleton,
    TemplateError,
    Value,
    read_expression,
    read_text,
    short,
)  # fmt: skip

__all__ = ["Expression", "Pending", "PendingValue", "Scope", "TemplateError", "Text", "UnsafeValue", "has_template"]

_BY_PLACE = frozenset({Gate.PROMQL, Gate.MATCHERS, Gate.URL, Gate.HOST})


def has_template(source: str) -> bool:
    """Tell whether a text has anything in it that Jinja2 would read."""
    return "{{" in source or "{%" in source or "{#" in source


@dataclass(frozen=True, slots=True)
class Text:
    """A text with templates in it, bound for a place with this gate. Raises TemplateError when it can't be read."""

    source: str
    gate: Gate | Grammar
    _skeleton: Skeleton | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        skeleton = read_text(self.source) if has_template(self.source) else None
        object.__setattr__(self, "_skeleton", skeleton)

    @property
    def literal(self) -> bool:
        """Tell whether there is no template in it."""
        return self._skeleton is None

    @property
    def single(self) -> bool:
        """Tell whether it is one single `{{ … }}`, which keeps its value's type."""
        return self._skeleton is not None and self._skeleton.single is not None

    @property
    def trusted(self) -> bool:
        """Tell whether all that it interpolates is the author's own: `vars` and constants."""
        return self._skeleton is None or all(value.trusted for value in self._skeleton.values)

    @property
    def names(self) -> frozenset[str]:
        """Give the top-level names that it uses: `labels`, `facts`, …"""
        return self._skeleton.names if self._skeleton else frozenset()

    @property
    def references(self) -> frozenset[str]:
        """Give the names with the first name below them, where that is plain: `labels.app`, `steps.probe`, …"""
        return self._skeleton.references if self._skeleton else frozenset()

    @property
    def of_steps(self) -> frozenset[tuple[str, str]]:
        """Give what it reads of steps, each with the id: `("probe", "result")` of `steps.probe.result.status`."""
        return self._skeleton.of_steps if self._skeleton else frozenset()

    def misplaced(self, hosts: Sequence[str]) -> str | None:
        """Say why no value from outside may ever stand where one does; None where it takes the value to tell.

        That is so of strings in queries, and of a URL's parts.
        """
        body = () if self._skeleton is None else self._skeleton.body
        if self.gate not in _BY_PLACE or any(isinstance(part, Branch) for part in body):
            return None
        if any(isinstance(part, Value) and part.trusted for part in body):
            return None  # the author's own words might open a string
        try:
            finish(
                self.gate, [Piece(*((part, False) if isinstance(part, str) else ("x", True))) for part in body], hosts
            )
        except UnsafeValue as error:
            return f"`{short(self.source)}` is refused, whatever the value: {str(error).partition(': ')[2]}"
        return None

    def render(self, scope: Scope, hosts: Sequence[str] = ()) -> Any:
        """Put the values in, each through the gate; `hosts` are the patterns of `http.allow`, for URLs.

        Raises TemplateError, UnsafeValue, and PendingValue where a value is not known yet.
        """
        if self._skeleton is None:
            return self.source
        with _told(self.source):
            single = self._skeleton.single
            if single is None:
                pieces = list(_pieces(self._skeleton.body, scope, self.gate))
                _bound(sum(len(piece.text) for piece in pieces))
                return finish(self.gate, pieces, hosts)
            value = single.evaluate(scope)
            _bound(_weight(value))
            if single.trusted:
                return finish(self.gate, [Piece(value, outside=False)]) if isinstance(value, str) else value
            return admit(self.gate, value, hosts)


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression such as `facts.releases.current.age_s < 7200`. Raises TemplateError when it can't be read."""

    source: str
    _value: Value = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_value", read_expression(self.source))

    @property
    def names(self) -> frozenset[str]:
        """Give the top-level names that it uses."""
        return self._value.names

    @property
    def references(self) -> frozenset[str]:
        """Give the names with the first name below them, where that is plain: `facts.releases`, …"""
        return self._value.references

    @property
    def of_steps(self) -> frozenset[tuple[str, str]]:
        """Give what it reads of steps, as `Text.of_steps` does."""
        return self._value.of_steps

    def evaluate(self, scope: Scope) -> Any:
        """Give its value, made of JSON's types. Raises TemplateError, and PendingValue where one is not known yet."""
        with _told(self.source):
            return self._value.evaluate(scope)

    def holds(self, scope: Scope) -> bool:
        """Tell whether it is true. Raises as `evaluate` does, and TemplateError when the value is not true or false."""
        value = self.evaluate(scope)
        if not isinstance(value, bool):
            raise TemplateError(
                f"`{self.source}` gives {shown(value)}, which is neither true nor false: "
                "compare it, as in `… > 0`, `… == 'yes'` or `… is defined`"
            )
        return value


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Turn whatever evaluation raises into an error that shows the source."""
    try:
        yield
    except UnsafeValue as error:
        raise UnsafeValue(f"{error} (in `{short(source)}`)") from None
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TemplateError(f"`{short(source)}`: {error}") from error
    except (AssertionError, RecursionError) as error:  # from `truncate`; from data that is nested too deeply
        raise TemplateError(f"`{short(source)}` can't be evaluated: {error}") from error


def _bound(length: int) -> None:
    if length > MAX_OUTPUT:
        raise ValueError(f"it makes {length} characters, and {MAX_OUTPUT} are allowed")


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_weight(key) + _weight(item) for key, item in value.items())
    return sum(map(_weight, value)) if isinstance(value, list) else 1


def _pieces(body: Sequence[Part], scope: Scope, gate: Gate | Grammar) -> Iterator[Piece]:
    for part in body:
        if isinstance(part, str):
            yield Piece(part, outside=False)
        elif isinstance(part, Value):
            value = part.evaluate(scope)
            null = value is None and gate is Gate.DISPLAY  # a reader can make something of it
            yield Piece("null" if null else as_text(value), outside=not part.trusted)
        else:
            way = next((body for test, body in part.ways if test.evaluate(scope)), part.otherwise)
            yield from _pieces(way, scope, gate)
