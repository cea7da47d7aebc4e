"""Which labels the templates of a rule name without any care for an alert that hasn't got them.

Care is `labels.x | default(…)`, where the label stands itself before the bar or as what is fallen back upon; or a question
whether the label is there (`labels.x is defined`, `'x' in labels`) in the same template, in the `if` of the same step, or,
for what comes after admission, in `guard.only_if`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import nodes

from remediator.document import Path
from remediator.rules.sandbox import sandbox

OF_GROUP = "group.labels."  # stands before the name of a label of the group

_TEXTS = (("target",), ("priority",), ("guard", "lock"), ("guard", "unless_firing"), ("guard", "only_firing"))
_CONDITIONS = ("guard", "only_if")
_EXPRESSIONS = (_CONDITIONS, ("guard", "blast_radius", "of"))
_STEP_EXPRESSIONS = ("if", "expect", "for_each")
_ADMITTED = frozenset({"steps", "ladder", "verify", "undo", "revert", "on_success", "on_failure"})
_STEPS = _ADMITTED | {"facts", "on_blocked"}


@dataclass(frozen=True, slots=True)
class _Template:
    """One template or expression of a rule, and the labels that it has to do with."""

    path: Path
    step: Path  # of the step that it belongs to; empty where it belongs to none
    named: frozenset[str]  # as they stand, without `default`
    asked: frozenset[str]  # whether they are there


def unsure_labels(definition: Mapping[str, Any], guaranteed: frozenset[str]) -> dict[str, list[Path]]:
    """Give the labels that templates name and nothing guarantees, in their order, with every place that names them."""
    templates = list(_templates(definition))
    by_guard = _union(each.asked for each in templates if each.path[:2] == _CONDITIONS)
    by_step: dict[Path, frozenset[str]] = {}
    for each in templates:
        if each.step and each.path == (*each.step, "if"):
            by_step[each.step] = each.asked
    found: dict[str, list[Path]] = {}
    for each in templates:
        sure = guaranteed | each.asked | by_step.get(each.step, frozenset())
        if each.path[0] in _ADMITTED:
            sure |= by_guard
        for label in sorted(each.named - sure):
            found.setdefault(label, []).append(each.path)
    return found


def _union(sets: Iterator[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


def _templates(definition: Mapping[str, Any]) -> Iterator[_Template]:
    for path, source in _texts(definition):
        step, expression = _kind(path)
        if step is None:
            continue
        try:
            tree = sandbox().parse(f"{{{{ {source} }}}}" if expression else source)
        except jinja2.TemplateSyntaxError:
            continue  # an error, and told as one
        named: set[str] = set()
        asked: set[str] = set()
        _look(tree, named, asked)
        yield _Template(path, step, frozenset(named), frozenset(asked))


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping | list):
        for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _texts(item, (*path, step))


def _kind(path: Path) -> tuple[Path | None, bool]:
    """Give the step that the text at a path belongs to, None for one that is no template; and whether it is an expression."""
    if path[0] in _STEPS:
        for number, key in enumerate(path):
            if key == "with":
                return path[:number], False
        return (path[:-1], True) if path[-1] in _STEP_EXPRESSIONS else (None, False)
    for expression, known in ((False, _TEXTS), (True, _EXPRESSIONS)):
        if any(path[: len(each)] == each for each in known):
            return (), expression
    return None, False


def _look(node: nodes.Node, named: set[str], asked: set[str]) -> None:
    children = list(node.iter_child_nodes())
    label = _label(node)
    if label is not None:
        named.add(label)
    elif isinstance(node, nodes.Filter) and node.name in ("default", "d"):
        children = [child for child in children if _label(child) is None]
    elif isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
        tested = _label(node.node)
        if tested is not None:
            asked.add(tested)
            return
    elif isinstance(node, nodes.Compare) and isinstance(node.expr, nodes.Const):
        stems = [_labels(operand.expr) for operand in node.ops if operand.op in ("in", "notin")]
        asked.update(f"{stem}{node.expr.value}" for stem in stems if stem is not None)
    elif isinstance(node, nodes.Call) and _label(node.node) is not None:
        children = [child for child in children if child is not node.node]  # `labels.get('x')` names no label `get`
    for child in children:
        _look(child, named, asked)


def _labels(node: nodes.Node) -> str | None:
    """Give what stands before the names of these labels: nothing where the matchers are about them; None: no labels."""
    if isinstance(node, nodes.Name) and node.name == "labels":
        return ""
    if not isinstance(node, nodes.Getattr) or node.attr != "labels":
        return None
    if isinstance(node.node, nodes.Name) and node.node.name == "group":
        return OF_GROUP
    return "" if _is_alert(node.node) else None


def _is_alert(node: nodes.Node) -> bool:
    """Tell whether a node is an alert of the run: `alert`, `alerts[0]`, `alerts | first`."""
    of = node.node if isinstance(node, nodes.Getitem | nodes.Filter) else None
    if isinstance(of, nodes.Name) and of.name == "alerts":
        return isinstance(node, nodes.Getitem) or (isinstance(node, nodes.Filter) and node.name in ("first", "last"))
    return isinstance(node, nodes.Name) and node.name == "alert"


def _label(node: nodes.Node | None) -> str | None:
    """Give the label that a node is: `labels.x` or `labels['x']`."""
    if not isinstance(node, nodes.Getattr | nodes.Getitem):
        return None
    stem = _labels(node.node)
    name = node.attr if isinstance(node, nodes.Getattr) else isinstance(node.arg, nodes.Const) and node.arg.value
    return stem + name if stem is not None and isinstance(name, str) else None
