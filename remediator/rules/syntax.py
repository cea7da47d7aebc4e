"""Syntax: what a text or an expression is made of, read once by Jinja2's parser.

A text is a skeleton of what the author wrote, of values and of branches. What a value is, its scope tells later.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, TypeAlias

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from remediator.document import nearest
from remediator.rules.pieces import shown
from remediator.rules.sandbox import MAX_BITS, as_text, ask, sandbox

MAX_SOURCE = 64 * 1024  # characters of a source that has templates in it
MAX_NODES = 1000  # of a syntax tree
MAX_DEPTH = 50  # of a syntax tree: Python's own parser takes some 100 nested parentheses


Scope: TypeAlias = Mapping[str, Any]


class TemplateError(ValueError):
    """A template or expression can't be read, names what isn't there, gives what it must not, or passes a bound."""


def short(source: str) -> str:
    """Give a source for an error message."""
    return shown(source)[1:-1]


class Value:
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
        """Tell whether it names nothing but the author's own `vars`."""
        return self.names <= {"vars"}

    def evaluate(self, scope: Scope) -> Any:
        """Give its value, made of JSON's types; raises whatever Jinja2 does, ValueError, TypeError and PendingValue."""
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
class Branch:
    """An `{% if %}`: the first body whose condition holds."""

    ways: tuple[tuple[Value, tuple[Part, ...]], ...]
    otherwise: tuple[Part, ...]


Part: TypeAlias = str | Value | Branch


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A text with templates in it, and all that these name."""

    body: tuple[Part, ...]
    values: tuple[Value, ...]  # what is interpolated, conditions left out
    names: frozenset[str]
    references: frozenset[str]
    of_steps: frozenset[tuple[str, str]]

    @property
    def single(self) -> Value | None:
        """Give its only part, where that is a value."""
        return self.body[0] if len(self.body) == 1 and isinstance(self.body[0], Value) else None


@lru_cache(maxsize=8192)  # a reload reads the same texts again, and a run's own rule is compiled again
def read_text(source: str) -> Skeleton:
    """Read a text with templates in it. Raises TemplateError."""
    tree = _parsed(source, lambda: sandbox().parse(source))
    names, references, of_steps = _inspect(tree)
    values: list[Value] = []
    return Skeleton(_parts(tree.body, values), tuple(values), names, references, of_steps)


@lru_cache(maxsize=8192)
def read_expression(source: str) -> Value:
    """Read an expression. Raises TemplateError."""
    if source.lstrip().startswith(("{{", "{%")):
        raise TemplateError(f"`{short(source)}`: an expression is written without {{{{ }}}}")
    return Value(_parsed(source, lambda: _parse_expression(source)))


def _parse_expression(source: str) -> nodes.Expr:
    parser = Parser(sandbox(), source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise jinja2.TemplateSyntaxError(f"unexpected {parser.stream.current}", 1)
    return tree


def _parsed(source: str, parse: Any) -> Any:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"`{short(source)}` has {len(source)} characters, and {MAX_SOURCE} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about `\d` in a text: as good as `\\d`
            tree = parse()
        _inspect(tree)
        return tree
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"`{short(source)}` can't be read: {(error.message or '').rstrip('.')}") from None
    except RecursionError:
        raise TemplateError(f"`{short(source)}` is nested too deeply") from None
    except ValueError as error:
        raise TemplateError(f"`{short(source)}` can't be read: {error}") from None


def _parts(body: Sequence[nodes.Node], values: list[Value]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for node in body:
        if isinstance(node, nodes.If):
            ways = tuple((Value(way.test), _parts(way.body, values)) for way in (node, *node.elif_))
            parts.append(Branch(ways, _parts(node.else_, values)))
        elif isinstance(node, nodes.Output):
            for child in node.nodes:
                if isinstance(child, nodes.TemplateData):
                    parts.append(child.data)
                else:
                    values.append(Value(child))
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
