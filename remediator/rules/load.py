"""From rule files to the rules in force: finds the files, merges `defaults` and `vars`, and tells of all faults at once.

Nothing here raises for a bad file: whoever loads decides what becomes of the problems (promise P11).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from remediator.actions.catalog import Catalog
from remediator.document import Document, Fault, not_json, read_document
from remediator.errors import InvalidRules, Problem
from remediator.forms import faults_of, unknown_key
from remediator.rules.compile import NOTICE_RULES, check_rule
from remediator.rules.form import RuleFileForm, RuleFileOutline, RuleForm
from remediator.rules.rule import Rule, RuleSet

_SUFFIXES = (".yml", ".yaml")
_TEST_SUFFIXES = (".test.yml", ".test.yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading: the rules without fault, and all that was found."""

    rules: RuleSet
    problems: tuple[Problem, ...]
    unmet: frozenset[str] = frozenset()  # rules that need a section which the configuration hasn't got
    left_out: tuple[str, ...] = ()  # those of them that may do without it

    def configured(self) -> Loaded:
        """Leave out the rules that need what isn't configured, instead of taking that for a fault."""
        problems = tuple(each for each in self.problems if each.rule not in self.unmet)
        return Loaded(self.rules, problems, self.unmet, tuple(sorted(self.unmet)))

    @property
    def ok(self) -> bool:
        """Tell whether the rules may be put in force: there are no errors, whatever warnings there are."""
        return not any(problem.severity == "error" for problem in self.problems)


def load_rules(
    paths: Sequence[Path],
    catalog: Catalog,
    *,
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the rule language
    settings: Mapping[str, Any] | None = None,
) -> Loaded:
    """Load every rule file under `paths`.

    `vars` are the configuration's, laid over those of the files. `settings` are its sections
    (`remediator.config.settings`); with None, what depends on a configuration is assumed to be met.
    """
    files, problems = rule_files(paths)
    loader = _Loader(catalog, vars or {}, settings)
    for file in files:
        problems.extend(loader.load(read_document(file, str(file))))
    return Loaded(RuleSet.of(tuple(loader.rules)), tuple(problems), frozenset(loader.unmet))


def compile_rule(definition: Mapping[str, Any], catalog: Catalog) -> Rule:
    """Compile a definition that was loaded before: the merged keys of a rule and its `vars`, as JSON values.

    Raises InvalidRules when this version can't use it any more, as when an action is no longer installed.
    """
    rule, faults = check_rule(definition, catalog, None)
    if rule is None:
        name = str(definition.get("name"))
        problems = tuple(
            Problem("", 0, 0, name, None, fault.severity, fault.code, fault.message)
            for fault in faults
            if fault.severity == "error"
        )
        says = "; ".join(problem.message for problem in problems)
        raise InvalidRules(f"the rule {name}, as it was frozen, can't be used by this version: {says}", problems)
    return rule


def rule_files(paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Find the rule files under some paths, each once, in the order of their names; and what is wrong with the paths."""
    files: list[Path] = []
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()  # by inode: links may lead to one file twice, and round in circles
    for path in paths:
        found = list(_find(path, seen, problems, named=True))
        if not found and path.is_dir():
            problems.append(_about(path, "warning", "no-rules", "there are no rule files (*.yml, *.yaml) in here"))
        files.extend(found)
    return files, problems


def _find(path: Path, seen: set[tuple[int, int]], problems: list[Problem], *, named: bool = False) -> Iterator[Path]:
    try:
        status = path.stat()
        entries = sorted(path.iterdir()) if stat.S_ISDIR(status.st_mode) else []
    except OSError as error:
        problems.append(_about(path, "error", "unreadable", f"can't be read: {error.strerror or error}"))
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        # A mounted ConfigMap has its files a second time in `..data`, and a third in the folder that this links to.
        if not entry.name.startswith("."):
            yield from _find(entry, seen, problems)
    # A file that is named need not end in .yml, but rule tests are no rules even then.
    wanted = (named or path.name.endswith(_SUFFIXES)) and not path.name.endswith(_TEST_SUFFIXES)
    if wanted and stat.S_ISREG(status.st_mode):
        yield path
    elif wanted and not stat.S_ISDIR(status.st_mode):  # reading a pipe would wait for a writer
        problems.append(_about(path, "error", "unreadable", "this is neither a file nor a folder"))


def _about(path: Path, severity: Literal["error", "warning"], code: str, message: str) -> Problem:
    return Problem(str(path), 0, 0, None, None, severity, code, message)


class _Loader:
    """Loads one file after the other, and knows the names that are taken."""

    def __init__(self, catalog: Catalog, own_vars: Mapping[str, Any], settings: Mapping[str, Any] | None) -> None:
        self.rules: list[Rule] = []
        self.unmet: set[str] = set()  # problems don't tell: what stands at one anchor is told of one rule
        self._catalog = catalog
        self._vars = own_vars
        self._settings = settings
        self._taken: dict[str, str] = {}  # where the rule of that name stands
        self._order = 0

    def load(self, document: Document) -> list[Problem]:
        """Add the rules of one file that have no fault, and give what is wrong, in the order of its lines."""
        problems = [_problem(document, fault) for fault in document.faults]
        if document.readable:
            problems.extend(self._file(document))
        first: dict[tuple[int, int, str], Problem] = {}  # what is wrong with `defaults` shows in every rule
        for problem in sorted(problems, key=lambda found: (found.line, found.column)):
            first.setdefault((problem.line, problem.column, problem.message), problem)
        return list(first.values())

    def _file(self, document: Document) -> Iterator[Problem]:
        data = document.value
        if not isinstance(data, dict):
            yield _problem(document, Fault((), "wrong-type", "expected a mapping with the list `rules`"))
            return
        known = {key: value for key, value in data.items() if not key.startswith("x-")}
        try:
            RuleFileOutline.model_validate(known)
        except ValidationError as error:
            yield from (_problem(document, fault) for fault in faults_of(error, RuleFileForm, known))
        defaults = data["defaults"] if isinstance(data.get("defaults"), dict) else {}
        file_vars = data["vars"] if isinstance(data.get("vars"), dict) else {}
        rules = data["rules"] if isinstance(data.get("rules"), list) else []
        wrong_vars = [replace(fault, path=("vars", *fault.path)) for fault in not_json(file_vars)]
        yield from (_problem(document, fault) for fault in wrong_vars)
        every_var = merge(file_vars if not wrong_vars else {}, self._vars)
        for position, written in enumerate(rules):
            if isinstance(written, dict):
                yield from self._rule(document, position, written, (defaults, every_var))

    def _rule(
        self, document: Document, position: int, written: dict[str, Any], around: tuple[dict[str, Any], dict[str, Any]]
    ) -> Iterator[Problem]:
        defaults, every_var = around
        merged = merge(defaults, written)
        faults: list[Fault] = []
        if "vars" in merged:
            del merged["vars"]
            faults.append(unknown_key(("vars",), RuleForm.known_keys()))
        rule, found = check_rule({**merged, "vars": every_var}, self._catalog, self._settings)
        faults.extend(found)
        line = document.place(("rules", position)).line
        name = merged.get("name")
        if isinstance(name, str):
            if name in NOTICE_RULES:
                faults.append(
                    Fault(("name",), "bad-value", f"`{name}` is a name that the daemon uses itself: take another")
                )
            if name in self._taken:
                faults.append(
                    Fault(("name",), "duplicate-name", f"the name `{name}` is taken by the rule at {self._taken[name]}")
                )
            self._taken.setdefault(name, f"{document.file}:{line}")
            if any(fault.code == "not-configured" for fault in faults):
                self.unmet.add(name)
        # Where a key stands twice, which one is meant can't be known.
        if rule is not None and not document.faults and not any(fault.severity == "error" for fault in faults):
            self.rules.append(replace(rule, order=self._order, file=document.file, line=line))
        self._order += 1
        for fault in faults:
            stands_in = ("defaults",) if _from_defaults(fault.path, written, defaults) else ("rules", position)
            yield _problem(document, replace(fault, path=(*stands_in, *fault.path)), name)


def _problem(document: Document, fault: Fault, rule: Any = None) -> Problem:
    """Say of which rule a fault is, and leave out of the key what leads to that rule."""
    match fault.path:
        case ("rules", int(position), *_):
            written = document.value["rules"][position] if rule is None and document.value else None
            rule = written.get("name") if isinstance(written, dict) else rule
            skip = 2
        case ("defaults", *_) if rule is not None:
            skip = 1
        case _:
            skip = 0
    return document.problem(fault, rule=rule if isinstance(rule, str) else None, skip=skip)


def merge(under: Any, over: Any) -> Any:
    """Lay one value over another: mappings key by key, anything else replaced."""
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    return {**under, **{key: merge(under[key], value) if key in under else value for key, value in over.items()}}


def _from_defaults(path: tuple[str | int, ...], written: Any, defaults: Any) -> bool:
    """Tell whether the value at a path of a merged rule was written under `defaults`."""
    for step in path:
        if not (isinstance(written, dict) and isinstance(defaults, dict)):
            return False
        if step not in written:
            return step in defaults
        written, defaults = written[step], defaults.get(step)
    return False
