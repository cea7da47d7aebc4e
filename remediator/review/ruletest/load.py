"""From files of rule tests to tests that can be run: finds them, checks them, and tells of all faults at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import structs
from pydantic import ValidationError

from remediator.actions.catalog import Catalog
from remediator.config import LoadedConfig, load_config
from remediator.document import Document, Fault, nearest, not_json, read_document
from remediator.document import Path as Place
from remediator.engine import Standing
from remediator.errors import ConfigurationError, Problem
from remediator.forms import faults_of
from remediator.review.ruletest.form import RuleTestFileForm, RuleTestFileOutline, RuleTestForm
from remediator.rules.load import Loaded
from remediator.rules.rule import Rule

SUFFIXES = (".test.yml", ".test.yaml")
_RULES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the app knows: how a configuration becomes the rules in force, and what it lends every decision."""

    catalog: Catalog
    rules: Callable[[LoadedConfig], Loaded]
    standing: Callable[[LoadedConfig], Standing]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test, with what it is run with."""

    file: str
    form: RuleTestForm
    rules: Loaded  # where they have errors, the test fails by that
    standing: Standing


@dataclass(frozen=True, slots=True)
class LoadedTests:
    """What came of loading: the tests without fault, and all that was found."""

    tests: tuple[RuleTest, ...]
    problems: tuple[Problem, ...]


def find_tests(paths: Sequence[Path]) -> list[Path]:
    """Find files of rule tests: those named, those in the folders named, and those beside the rule files named.

    Raises ConfigurationError for a path that is not there.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            below = sorted(each for suffix in SUFFIXES for each in path.rglob(f"*{suffix}"))
            seen = [each for each in below if not any(part.startswith(".") for part in each.relative_to(path).parts)]
            found.update(dict.fromkeys(seen))
        elif not path.exists():
            raise ConfigurationError(f"{path} is not there: name files of rule tests (*.test.yml), or folders of them")
        elif path.name.endswith(SUFFIXES):
            found[path] = None
        else:
            beside = (path.with_name(path.stem + suffix) for suffix in SUFFIXES)
            found.update(dict.fromkeys(each for each in beside if each.exists()))
    return list(found)


def read_tests(files: Sequence[Path], asked: LoadedConfig, wiring: Wiring) -> LoadedTests:
    """Read every test of these files. A test is run with the configuration that it names, else with the one asked for."""
    shared = _Shared(asked, wiring)
    tests: list[RuleTest] = []
    problems: list[Problem] = []
    for file in files:
        reader = _Reader(read_document(file, str(file)), file.parent, shared)
        tests += reader.tests
        problems += reader.problems
    return LoadedTests(tuple(tests), tuple(problems))


def rules_under(paths: Sequence[Path], asked: LoadedConfig, wiring: Wiring) -> tuple[Rule, ...]:
    """Give the rules in these folders and files, whether anything tests them or not; those with faults are left out."""
    return _Shared(asked, wiring).rules(asked, paths).rules.rules


class _Shared:
    """What several tests are run with, read once."""

    def __init__(self, asked: LoadedConfig, wiring: Wiring) -> None:
        self.catalog = wiring.catalog
        self._asked = asked
        self._wiring = wiring
        self._configs: dict[Path, LoadedConfig] = {}
        self._rules: dict[tuple[Path | None, tuple[Path, ...]], Loaded] = {}

    def config(self, path: Path | None) -> LoadedConfig:
        """Give the configuration at a path, else the one asked for. Raises ConfigurationError."""
        if path is None:
            return self._asked
        if path not in self._configs:
            self._configs[path] = load_config(path, self._asked.environ)
        return self._configs[path]

    def rules(self, config: LoadedConfig, paths: Sequence[Path]) -> Loaded:
        """Give the rules at some paths, as under this configuration."""
        key = (config.path, tuple(paths))
        if key not in self._rules:
            named = config.config.model_copy(update={"rules": [str(path.absolute()) for path in paths]})
            loaded = self._wiring.rules(replace(config, config=named))
            near = tuple(structs.replace(problem, file=os.path.relpath(problem.file)) for problem in loaded.problems)
            self._rules[key] = replace(loaded, problems=near)
        return self._rules[key]

    def standing(self, config: LoadedConfig, form: RuleTestForm) -> Standing:
        """Give what a configuration lends; the mode is the test's, else what a configuration that it names says.

        Raises ConfigurationError.
        """
        mode = form.mode or "auto"
        own = form.mode is None and form.config is not None and "mode" in config.config.model_fields_set
        changed = config if own else replace(config, config=config.config.model_copy(update={"mode": mode}))
        lent = self._wiring.standing(changed)
        # Of Alertmanager there is no more to know than the alerts of the test, and what fires it would repeat.
        # What the daemon says for itself is no run of the rules, and must not take their results.
        standing = replace(lent, presence_check=None, resolved_check=None, stale_after=math.inf, notices=None)
        return standing if config.named else replace(standing, hosts=("*",))  # what it would allow is assumed to be met


class _Reader:
    """Reads one file."""

    def __init__(self, document: Document, folder: Path, shared: _Shared) -> None:
        self.tests: list[RuleTest] = []
        self._document = document
        self._folder = folder
        self._shared = shared
        self._faults = list(document.faults)
        if document.readable:
            self._file(document.value)

    @property
    def problems(self) -> list[Problem]:
        """Give all that is wrong with the file, in the order of its lines."""
        found = [self._document.problem(fault) for fault in self._faults]
        return sorted(found, key=lambda problem: (problem.line, problem.column))

    def _file(self, data: Any) -> None:
        if not isinstance(data, dict):
            self._faults.append(Fault((), "wrong-type", "expected a mapping with the list `tests`"))
            return
        known = {key: value for key, value in data.items() if not key.startswith("x-")}
        rules: list[Path] = []
        try:
            outline = RuleTestFileOutline.model_validate(known)
        except ValidationError as error:
            self._faults += faults_of(error, RuleTestFileForm, known)
        else:
            rules = self._rule_paths(outline)
        names: set[str] = set()
        for position, written in enumerate(data["tests"] if isinstance(data.get("tests"), list) else ()):
            if isinstance(written, dict):
                found = self._test(written, rules, names)
                self._faults += [replace(fault, path=("tests", position, *fault.path)) for fault in found]

    def _rule_paths(self, outline: RuleTestFileOutline) -> list[Path]:
        """Give where the rules under test are: as the file says, else beside it."""
        if outline.rules:
            paths = [self._folder / path for path in outline.rules]
            for position, path in enumerate(paths):
                if not path.exists():
                    self._faults.append(Fault(("rules", position), "unreadable", f"{path} is not there"))
        else:
            stem = Path(self._document.file).name.rpartition(".test.")[0]
            beside = [self._folder / f"{stem}{suffix}" for suffix in _RULES if stem]
            paths = [path for path in beside if path.exists()]
            if not paths:
                there = f", and {beside[0]} is not there" if beside else ""
                message = f"the key `rules` is missing: which rule files are tested?{there}"
                self._faults.append(Fault((), "missing-key", message))
        return [path for path in paths if path.exists()]

    def _test(self, written: Mapping[str, Any], rule_paths: Sequence[Path], names: set[str]) -> list[Fault]:
        """Read one test; gives its faults, and keeps the test where there are none."""
        form, faults = _read_form(written)
        name = written.get("name")
        if isinstance(name, str) and name in names:
            faults.append(Fault(("name",), "duplicate-name", f"another test of this file is called {name!r}"))
        names.add(str(name))
        if form is None:
            return faults
        faults += [*_alerts(form), *_results(form, self._shared.catalog), *_steps(form, self._shared.catalog)]
        try:
            config = self._shared.config(None if form.config is None else self._folder / form.config)
            standing = self._shared.standing(config, form)
        except ConfigurationError as error:
            told = "; ".join(map(str, error.problems)) or str(error)
            return [*faults, Fault(("config",), "bad-config", told)]
        if not rule_paths:
            return faults
        rules = self._shared.rules(config, rule_paths)
        if rules.ok:
            faults += _rule_names(form, rules.rules.by_name)
        if not faults:
            self.tests.append(RuleTest(self._document.file, form, rules, standing))
        return faults


def _read_form(written: Mapping[str, Any]) -> tuple[RuleTestForm | None, list[Fault]]:
    """Give the form of a test and its faults; where keys are at fault, the form is of the others, to look at them too."""
    try:
        return RuleTestForm.model_validate(written), []
    except ValidationError as error:
        faults = faults_of(error, RuleTestForm, written)
    wrong = {fault.path[0] for fault in faults if fault.path}
    try:
        left = {key: value for key, value in written.items() if key not in wrong}
        return RuleTestForm.model_validate({"name": "-", "expect": [], **left}), faults
    except ValidationError:
        return None, faults


# --- what a form can't tell ---


def _alerts(form: RuleTestForm) -> Iterator[Fault]:
    """Find alerts that begin to fire while they fire: Alertmanager knows one alert of each label set."""
    spans: dict[tuple[tuple[str, str], ...], list[tuple[float, float | None, int]]] = {}
    for position, alert in enumerate(form.alerts):
        labels = tuple(sorted(alert.labels.items()))
        spans.setdefault(labels, []).append((alert.fires, alert.resolves, position))
    for each in spans.values():
        each.sort(key=lambda span: span[0])
        for (_, over, _), (begins, _, position) in pairwise(each):
            if over is None or over >= begins:
                message = "an alert of the same labels fires already: it has to resolve before this one fires"
                yield Fault(("alerts", position, "fires"), "bad-value", message)


def _results(form: RuleTestForm, catalog: Catalog) -> Iterator[Fault]:
    for name, told in form.results.items():
        if name not in catalog:
            message = f"there is no action `{name}`{nearest(name, catalog)}"
            yield Fault(("results", name), "unknown-action", message, at_key=True)
        if told == []:
            yield Fault(("results", name), "bad-value", "this list is empty: give a result for each call")
        if isinstance(told, dict):
            yield from _result(("results", name), told)
        else:
            for number, result in enumerate(told):
                yield from _result(("results", name, number), result)


def _result(path: Place, result: dict[str, Any]) -> Iterator[Fault]:
    yield from not_json(result, path)
    seconds, error = result.get("seconds", 0), result.get("error", "")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        yield Fault((*path, "seconds"), "wrong-type", "expected a number: the seconds that the step takes")
    if not isinstance(error, str):
        yield Fault((*path, "error"), "wrong-type", "expected text: what the step fails with")


def _steps(form: RuleTestForm, catalog: Catalog) -> Iterator[Fault]:
    for position, expected in enumerate(form.expect):
        for number, name in enumerate(expected.steps or ()):
            if name not in catalog:
                message = f"there is no action `{name}`{nearest(name, catalog)}"
                yield Fault(("expect", position, "steps", number), "unknown-action", message)


def _rule_names(form: RuleTestForm, known: Iterable[str]) -> Iterator[Fault]:
    for key in ("expect", "pause", "approve", "reject"):
        for position, each in enumerate(getattr(form, key)):
            if each.rule is not None and each.rule not in known:
                message = f"no rule under test is called `{each.rule}`{nearest(each.rule, known)}"
                yield Fault((key, position, "rule"), "unknown-rule", message)
