"""Jinja2 templates and expressions whose values from outside are data for ever.

A text is a skeleton of what the author wrote, of `{{ … }}` and of `{% if %}`. Each expression is evaluated by itself, in the
sandbox, and its value goes through the text's gate; what comes out is never looked at for templates again. An expression
that names nothing but `vars` gives the author's own words, which no gate holds up.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import Any, TypeAlias

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from remediator.actions.protocol import Gate, Grammar
from remediator.rules.gates import admit, finish
from remediator.rules.pieces import Piece, UnsafeValue, shown
from remediator.rules.sandbox import MAX_BITS, MAX_OUTPUT, Pending, PendingValue, as_text, ask, nearest, sandbox

__all__ = ["Expression", "Pending", "PendingValue", "TemplateError", "Text", "UnsafeValue", "has_template"]

MAX_SOURCE = 64 * 1024  # characters of a source that has templates in it
MAX_NODES = 1000  # of a syntax tree
MAX_DEPTH = 50  # of a syntax tree: Python's own parser takes some 100 nested parentheses

_BY_PLACE = frozenset({Gate.PROMQL, Gate.MATCHERS, Gate.URL, Gate.HOST})

Scope: TypeAlias = Mapping[str, Any]


class TemplateError(ValueError):
    """A template or expression can't be read, names what isn't there, gives what it must not, or passes a bound."""


def has_template(source: str) -> bool:
    """Tell whether a text has anything in it that Jinja2 would read."""
    return "{{" in source or "{%" in source or "{#" in source


@dataclass(frozen=True, slots=True)
class Text:
    """A text with templates in it, bound for a place with this gate. Raises TemplateError when it can't be read."""

    source: str
    gate: Gate | Grammar
    _skeleton: _Skeleton | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        skeleton = _read_text(self.source) if has_template(self.source) else None
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
        if self.gate not in _BY_PLACE or any(isinstance(part, _Branch) for part in body):
            return None
        if any(isinstance(part, _Value) and part.trusted for part in body):
            return None  # the author's own words might open a string
        try:
            finish(
                self.gate, [Piece(*((part, False) if isinstance(part, str) else ("x", True))) for part in body], hosts
            )
        except UnsafeValue as error:
            return f"`{_short(self.source)}` is refused, whatever the value: {str(error).partition(': ')[2]}"
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
    _value: _Value = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_value", _read_expression(self.source))

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
        raise UnsafeValue(f"{error} (in `{_short(source)}`)") from None
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TemplateError(f"`{_short(source)}`: {error}") from error
    except (AssertionError, RecursionError) as error:  # from `truncate`; from data that is nested too deeply
        raise TemplateError(f"`{_short(source)}` can't be evaluated: {error}") from error


def _short(source: str) -> str:
    return shown(source)[1:-1]


def _bound(length: int) -> None:
    if length > MAX_OUTPUT:
        raise ValueError(f"it makes {length} characters, and {MAX_OUTPUT} are allowed")


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_weight(key) + _weight(item) for key, item in value.items())
    return sum(map(_weight, value)) if isinstance(value, list) else 1


# --- evaluation ---


class _Value:
    """One expression of a text, or an expression by itself; its code is generated when it is first evaluated.

    Most are a plain path such as `labels.app`, and storms are full of them: those are followed without any code.
    """

    __slots__ = ("_node", "_path", "_template", "names", "of_steps", "references")

    def __init__(self, node: nodes.Node) -> None:
        self._node = node
        self._path = _path(node)
        self._template: jinja2.Template | None = None
        self.names, self.references, self.of_steps = _inspect(node)

    @property
    def trusted(self) -> bool:
        return self.names <= {"vars"}

    def evaluate(self, scope: Scope) -> Any:
        if self._path is not None:
            return _plain(_follow(self._path, scope))
        if self._template is None:
            body: list[nodes.Node] = [nodes.Assign(nodes.Name("outcome", "store"), self._node, lineno=1)]
            whole = nodes.Template(body, lineno=1)
            self._template = sandbox().from_string(whole.set_environment(sandbox()))  # type: ignore[arg-type]
        context = self._template.new_context(dict(scope))
        for _ in self._template.root_render_func(context):
            pass  # it puts nothing out
        return _plain(context.vars["outcome"])


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """Give the names of a plain path, as in `alert.labels['app']`; None: it is something else."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        owner, name = _path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        owner, name = _path(node.node), node.arg.value
    else:
        return None
    return None if owner is None else (*owner, name)


def _follow(path: Sequence[str], scope: Scope) -> Any:
    """Do what the code that Jinja2 generates does."""
    first, *rest = path
    value = scope[first] if first in scope else sandbox().undefined(name=first)
    for name in rest:
        value = sandbox().getitem(value, name)
    return value


def _plain(value: Any) -> Any:
    """Give a value as JSON's types, all the way down."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{value} is not a number that can be used")
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {as_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    ask(value)
    raise TypeError(f"{shown(value)} is not made of texts, numbers, lists and mappings")


@dataclass(frozen=True, slots=True)
class _Branch:
    """An `{% if %}`: the first body whose condition holds."""

    ways: tuple[tuple[_Value, tuple[_Part, ...]], ...]
    otherwise: tuple[_Part, ...]


_Part: TypeAlias = str | _Value | _Branch


@dataclass(frozen=True, slots=True)
class _Skeleton:
    body: tuple[_Part, ...]
    values: tuple[_Value, ...]  # what is interpolated, conditions left out
    names: frozenset[str]
    references: frozenset[str]
    of_steps: frozenset[tuple[str, str]]

    @property
    def single(self) -> _Value | None:
        return self.body[0] if len(self.body) == 1 and isinstance(self.body[0], _Value) else None


def _pieces(body: Sequence[_Part], scope: Scope, gate: Gate | Grammar) -> Iterator[Piece]:
    for part in body:
        if isinstance(part, str):
            yield Piece(part, outside=False)
        elif isinstance(part, _Value):
            value = part.evaluate(scope)
            null = value is None and gate is Gate.DISPLAY  # a reader can make something of it
            yield Piece("null" if null else as_text(value), outside=not part.trusted)
        else:
            way = next((body for test, body in part.ways if test.evaluate(scope)), part.otherwise)
            yield from _pieces(way, scope, gate)


# --- reading ---


@lru_cache(maxsize=8192)  # a reload reads the same texts again, and a run's own rule is compiled again
def _read_text(source: str) -> _Skeleton:
    tree = _parsed(source, lambda: sandbox().parse(source))
    names, references, of_steps = _inspect(tree)
    values: list[_Value] = []
    return _Skeleton(_parts(tree.body, values), tuple(values), names, references, of_steps)


@lru_cache(maxsize=8192)
def _read_expression(source: str) -> _Value:
    if source.lstrip().startswith(("{{", "{%")):
        raise TemplateError(f"`{_short(source)}`: an expression is written without {{{{ }}}}")
    return _Value(_parsed(source, lambda: _parse_expression(source)))


def _parse_expression(source: str) -> nodes.Expr:
    parser = Parser(sandbox(), source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise jinja2.TemplateSyntaxError(f"unexpected {parser.stream.current}", 1)
    return tree


def _parsed(source: str, parse: Any) -> Any:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"`{_short(source)}` has {len(source)} characters, and {MAX_SOURCE} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about `\d` in a text: as good as `\\d`
            tree = parse()
        _inspect(tree)
        return tree
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"`{_short(source)}` can't be read: {(error.message or '').rstrip('.')}") from None
    except RecursionError:
        raise TemplateError(f"`{_short(source)}` is nested too deeply") from None
    except ValueError as error:
        raise TemplateError(f"`{_short(source)}` can't be read: {error}") from None


def _parts(body: Sequence[nodes.Node], values: list[_Value]) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    for node in body:
        if isinstance(node, nodes.If):
            ways = tuple((_Value(way.test), _parts(way.body, values)) for way in (node, *node.elif_))
            parts.append(_Branch(ways, _parts(node.else_, values)))
        elif isinstance(node, nodes.Output):
            for child in node.nodes:
                if isinstance(child, nodes.TemplateData):
                    parts.append(child.data)
                else:
                    values.append(_Value(child))
                    parts.append(values[-1])
    return tuple(parts)


def _inspect(root: nodes.Node) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, str]]]:
    """Give a syntax tree's names, references, and what it reads of steps.

    Raises ValueError where it is too large or holds what it must not.
    """
    names: set[str] = set()
    references: set[str] = set()
    of_steps: set[tuple[str, str]] = set()
    count = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise ValueError(f"it may have {MAX_NODES} parts, nested {MAX_DEPTH} deep, and has more")
        _refuse(node)
        if isinstance(node, nodes.Name):
            names.add(node.name)
        elif reference := _reference(node):
            references.add(reference)
        elif of_step := _of_step(node):
            of_steps.add(of_step)
        children = list(node.iter_child_nodes())
        # `labels.get('app')` refers to no label `get`.
        if isinstance(node, nodes.Call) and (_reference(node.node) or _of_step(node.node)):
            children = [*(child for child in children if child is not node.node), *node.node.iter_child_nodes()]
        waiting += [(child, depth + 1) for child in children]
    return frozenset(names), frozenset(references), frozenset(of_steps)


def _reference(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and isinstance(node.arg, nodes.Const):
        return f"{node.node.name}.{node.arg.value}" if isinstance(node.arg.value, str) else None
    return None


def _of_step(node: nodes.Node) -> tuple[str, str] | None:
    step = _reference(node.node) if isinstance(node, nodes.Getattr) else None
    if not isinstance(node, nodes.Getattr) or step is None or not step.startswith("steps."):
        return None
    return step.removeprefix("steps."), node.attr


def _refuse(node: nodes.Node) -> None:
    value = node.value if isinstance(node, nodes.Const) else None
    if isinstance(value, (int, float)) and (not isfinite(value) or int(value).bit_length() > MAX_BITS):
        raise ValueError("a number in it is too large")
    if isinstance(node, nodes.Stmt) and not isinstance(node, (nodes.Output, nodes.If)):
        word = type(node).__name__.lower().replace("assign", "set")
        raise ValueError(f"{{% {word} %}} is not allowed: a text has {{{{ … }}}} and {{% if %}} only")
    for kind, word, known in ((nodes.Filter, "filter", sandbox().filters), (nodes.Test, "test", sandbox().tests)):
        if isinstance(node, kind) and node.name not in known:
            raise ValueError(f"there is no {word} {node.name!r}{nearest(node.name, known)}")
