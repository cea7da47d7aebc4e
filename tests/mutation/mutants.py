"""What is changed in the code, one small thing at a time: each change is a mutant, which a test has to notice.

Conditions are forced and turned round, bounds moved by one, members of tables and calls left out, enum members exchanged for
their neighbour, and in SQL the comparisons of the `WHERE` clauses turned round, moved by one, or made always true. What is
said in prose is not changed, nor are types, decorators and docstrings.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENUMS: dict[str, list[str]] = {}  # the members of the model's enums, in their order: filled when it is first asked for

_TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
UNCHANGED = -1  # the place of a mutant that is none
_CONTEXT = 48  # characters that are shown on either side of a change
_UNTOUCHED = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    file: str
    line: int
    statement: int  # the line of the statement: a test that doesn't run it can't notice
    function: str  # qualified name; empty for what a module or a class does when it is imported
    before: str
    after: str
    place: int  # of the changed node in a walk of the tree, and
    variant: int  # which of its changes
    twin: int = 0  # a function may have the same text twice

    @property
    def key(self) -> str:
        """Name it by what it is, so that the name outlives other changes of the file."""
        twin = f" #{self.twin + 1}" if self.twin else ""
        return f"{self.file} {self.function or '(module)'}: {self.before} → {self.after}{twin}"

    def tree(self) -> ast.Module:
        """Give the whole file with this change."""
        tree = parse(self.file)
        if self.place == UNCHANGED:
            return tree
        for place, spot in enumerate(_spots(tree, sql=_has_sql(self.file))):
            if place == self.place:
                spot.put(list(spot.changes())[self.variant])
                return ast.fix_missing_locations(tree)
        raise AssertionError("the file has changed since its mutants were made")


@dataclass
class _Spot:
    """A node that can be changed, and how its parent holds it."""

    node: ast.AST
    put: Callable[[ast.AST], None]
    changes: Callable[[], Iterator[ast.AST]]
    function: str
    statement: ast.stmt


def mutants_of(file: str, only: tuple[str, ...] = ()) -> list[Mutant]:
    """Make all mutants of a file, or of some functions in it."""
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for place, spot in enumerate(_spots(parse(file), sql=_has_sql(file))):
        if only and spot.function not in only:
            continue
        afters = set()
        for variant, change in enumerate(spot.changes()):
            before, after = _text(spot.node), _text(change)
            if before == after or after in afters:
                continue
            afters.add(after)
            before, after = _differing(before, after)
            line = getattr(spot.node, "lineno", spot.statement.lineno)
            made = Mutant(file, line, spot.statement.lineno, spot.function, before, after, place, variant)
            twin = seen.get(made.key, 0)
            seen[made.key] = twin + 1
            found.append(Mutant(**{**made.__dict__, "twin": twin}))
    return found


def parse(file: str) -> ast.Module:
    """Read a file of the project."""
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def functions_of(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Give the functions of a module and the methods of its classes, by qualified name."""
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (f"{node.name}." if isinstance(node, ast.ClassDef) else "") + each.name, each


def _has_sql(file: str) -> bool:
    return "/store/" in file


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {_text(node.test)}"
    return " ".join(ast.unparse(node).split())


def _differing(before: str, after: str) -> tuple[str, str]:
    """Leave out what both have in common far from where they differ."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    rest = 0
    while rest < min(len(before), len(after)) - same and before[-1 - rest] == after[-1 - rest]:
        rest += 1
    start, end = max(0, same - _CONTEXT), max(0, rest - _CONTEXT)

    def shown(text: str) -> str:
        return ("…" if start else "") + text[start : len(text) - end] + ("…" if end else "")

    return shown(before), shown(after)


def _spots(tree: ast.Module, *, sql: bool) -> Iterator[_Spot]:
    """Walk everything that can be changed, always in the same order."""

    def walk(
        node: ast.AST, function: str, scope: str, statement: ast.stmt | None, bound: frozenset[str]
    ) -> Iterator[_Spot]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not function:
            function = scope + node.name
            bound = frozenset(each.arg for each in (*node.args.args, *node.args.kwonlyargs))
        elif isinstance(node, ast.ClassDef):
            scope += f"{node.name}."
        if isinstance(node, ast.AnnAssign) and _text(node.annotation) == "TypeAlias":
            return
        for name, value in ast.iter_fields(node):
            if name in _UNTOUCHED or (name == "keywords" and isinstance(node, ast.ClassDef)):
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or _docstring(node, name, index, child):
                    continue
                put = _putter(node, name, index if isinstance(value, list) else None)
                # What stands in a signature is made when the module is imported.
                where = "" if isinstance(node, ast.arguments) else function
                within = child if isinstance(child, ast.stmt) else statement
                assert within is not None
                known = bound
                yield _Spot(child, put, _changes(child, known, sql=sql, table=not function), where, within)
                yield from walk(child, where if isinstance(node, ast.arguments) else function, scope, within, bound)
                if isinstance(child, ast.Assign | ast.AnnAssign | ast.For | ast.AugAssign):
                    bound |= {
                        each.id
                        for each in ast.walk(child)
                        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
                    }

    yield from walk(tree, "", "", None, frozenset())


def _putter(parent: ast.AST, name: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(new: ast.AST) -> None:
        if index is None:
            setattr(parent, name, new)
        else:
            getattr(parent, name)[index] = new

    return put


def _docstring(parent: ast.AST, name: str, index: int, child: ast.AST) -> bool:
    text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str)
    return text and name == "body" and index == 0


def _changes(node: ast.AST, bound: frozenset[str], *, sql: bool, table: bool) -> Callable[[], Iterator[ast.AST]]:
    def changes() -> Iterator[ast.AST]:
        yield from _of_logic(node)
        yield from _of_values(node, table=table)
        yield from _of_statements(node, bound)
        if sql and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (ast.Constant(each) for each in sql_changes(node.value))

    return changes


def _of_logic(node: ast.AST) -> Iterator[ast.AST]:
    """Conditions: turned round, moved by one, forced, a part left out."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for turned in _TURNED[type(node.ops[0])]:
            yield _with(node, ops=[turned()])
    elif isinstance(node, ast.Compare):
        for at, one in enumerate(node.ops):
            for turned in _TURNED[type(one)]:
                yield _with(node, ops=[*node.ops[:at], turned(), *node.ops[at + 1 :]])
    if isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for at in range(len(node.values)):
            rest = node.values[:at] + node.values[at + 1 :]
            yield rest[0] if len(rest) == 1 else _with(node, values=rest)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    if isinstance(node, ast.If | ast.IfExp):
        yield _with(node, test=ast.Constant(True))
        yield _with(node, test=ast.Constant(False))
    if isinstance(node, ast.comprehension):
        for at in range(len(node.ifs)):
            yield _with(node, ifs=node.ifs[:at] + node.ifs[at + 1 :])


def _of_values(node: ast.AST, *, table: bool) -> Iterator[ast.AST]:
    """Numbers, truths, sums, members of enums and of tables, arguments given by name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _joins_texts(node):
        yield _with(node, op=_OPERATORS[type(node.op)]())
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
        members = _enums().get(node.value.id, [])
        if node.attr in members:
            yield _with(node, attr=members[(members.index(node.attr) + 1) % len(members)])
    if isinstance(node, ast.Set) or (
        table and isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load)
    ):
        for at in range(len(node.elts)):
            rest = node.elts[:at] + node.elts[at + 1 :]
            yield _with(node, elts=rest) if rest else ast.Call(ast.Name("set", ast.Load()), [], [])
    if isinstance(node, ast.Call):
        for at, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                yield _with(node, keywords=node.keywords[:at] + node.keywords[at + 1 :])


def _joins_texts(node: ast.BinOp) -> bool:
    parts = [node.left, node.right]
    return any(isinstance(each, ast.JoinedStr) or isinstance(getattr(each, "value", None), str) for each in parts)


def _of_statements(node: ast.AST, bound: frozenset[str]) -> Iterator[ast.AST]:
    """Calls and second assignments left out, `raise` left out, `break` for `continue`, and an answer forgotten."""
    if isinstance(node, ast.Expr | ast.Raise | ast.AugAssign):
        yield ast.Pass()
    if isinstance(node, ast.Assign):
        names = {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        if names <= bound:
            yield ast.Pass()
    if isinstance(node, ast.Break):
        yield ast.Continue()
    if isinstance(node, ast.Continue):
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value is not None and _text(node.value) != "None":
        yield ast.Return(ast.Constant(None))


def _with(node: ast.AST, **changes: object) -> ast.AST:
    """Copy a node, but for some of it."""
    new = copy.copy(node)
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def _enums() -> dict[str, list[str]]:
    if not ENUMS:
        for file in ("remediator/model/run.py", "remediator/model/alert.py"):
            for node in parse(file).body:
                if isinstance(node, ast.ClassDef) and any(_text(base) == "StrEnum" for base in node.bases):
                    ENUMS[node.name] = [_text(each.targets[0]) for each in node.body if isinstance(each, ast.Assign)]
    return ENUMS


_SQL = re.compile(r"\b(SELECT|UPDATE|WHERE|AND|OR|NULL|ORDER BY|UNION ALL|CONFLICT)\b|\?")
_AHEAD = r"(?:(?<=WHERE )|(?<=AND )|(?<=OR )|(?<=ON )|(?<=\()|^)"
_LEFT = r"[a-z_][\w.]*(?: ->> '\w+')?"
_TERM = re.compile(
    rf"{_AHEAD}(?:\(\w+ = '\w+'\) = \?|{_LEFT} (?:=|!=|<=|>=|<|>) (?:\?|'\w+'|[a-z_][\w.]*\b(?!\())|{_LEFT} IS (?:NOT )?NULL"
    rf"|{_LEFT} (?:NOT )?IN \((?:[^()]|\([^()]*\))*\))"
)
_SWAPS = (
    (" <= ", " < "), (" < ", " <= "), (" >= ", " > "), (" > ", " >= "), (" != ", " = "), (" IS NULL", " IS NOT NULL"),
    (" IS NOT NULL", " IS NULL"), (" NOT IN ", " IN "), (" IN (", " NOT IN ("), (" DESC", ""), ("UNION ALL", "EXCEPT"),
    ("min(", "max("), ("max(", "min("), (" AND ", " OR "), (" OR ", " AND "), (" + 1", ""),
)  # fmt: skip


def sql_changes(text: str) -> Iterator[str]:
    """Change one thing in a statement, or in a part of one."""
    if not _SQL.search(text):
        return
    for old, new in _SWAPS:
        for found in re.finditer(re.escape(old), text):
            if old == " IN (" and text[: found.start()].endswith(" NOT"):
                continue
            yield text[: found.start()] + new + text[found.end() :]
    for found in _TERM.finditer(text):
        term = found.group()
        yield text[: found.start()] + f"({term} OR 1)" + text[found.end() :]
        if " = " in term:
            turned = " != ".join(term.rsplit(" = ", 1))
            yield text[: found.start()] + turned + text[found.end() :]
    for found in re.finditer(r"ORDER BY ([a-z_.]+), ", text):
        yield text[: found.start(1)] + text[found.end() :]
