"""The command `test`: rule tests, without a daemon and without touching anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remediator.actions.bounds import visible
from remediator.cli import output
from remediator.cli.command import FAULT, Asked, command
from remediator.errors import ConfigurationError

if TYPE_CHECKING:
    from remediator.review.ruletest.coverage import Coverage, Point
    from remediator.review.ruletest.examine import Verdict
    from remediator.review.ruletest.load import RuleTest, Wiring


@command("test")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write the results there, for CI.")
def test(asked: Asked, paths: tuple[Path, ...], junit: Path | None) -> int:
    """Run rule tests (*.test.yml) in virtual time, every action stubbed. PATHS default to the configured rules."""
    from remediator.app import rule_paths
    from remediator.review.ruletest.examine import examine
    from remediator.review.ruletest.junit import junit as write_junit

    _hush()
    wiring = _wiring()
    where = paths or rule_paths(asked.config)
    tests = _read(asked, where, wiring)
    verdicts: list[Verdict] = []
    for each in tests:
        verdicts.append(examine(each, wiring.catalog))
        if not asked.json:
            _tell(verdicts)
    coverage = _coverage(asked, where, wiring, tests, verdicts)
    if junit is not None:
        junit.write_bytes(write_junit(verdicts))
    if asked.json:
        output.document(_document(verdicts, coverage))
    else:
        _sum_up(verdicts, coverage, "" if asked.config.named else _assumed(tests))
    return 0 if all(verdict.passed for verdict in verdicts) else FAULT


def _wiring() -> Wiring:
    from remediator.actions.catalog import load_catalog
    from remediator.app import read_rules
    from remediator.review.ruletest.load import Wiring
    from remediator.review.stubs import stub
    from remediator.rules.configured import standing_of

    catalog = stub(load_catalog())
    return Wiring(catalog, lambda loaded: read_rules(loaded, catalog), lambda loaded: standing_of(loaded, catalog))


def _read(asked: Asked, where: Sequence[Path], wiring: Wiring) -> Sequence[RuleTest]:
    """Read all tests. Raises ConfigurationError where there are none, or one has a fault."""
    from remediator.review.ruletest.load import find_tests, read_tests

    files = find_tests(where)
    if not files:
        names = ", ".join(map(str, where))
        raise ConfigurationError(
            f"there are no rule tests (*.test.yml) for {names}: write NAME.test.yml beside NAME.yml"
        )
    found = read_tests(files, asked.config, wiring)
    if found.problems:
        lines = ["the rule tests have errors, and none was run:", *map(str, found.problems)]
        raise ConfigurationError("\n".join(lines), found.problems)
    return found.tests


def _coverage(
    asked: Asked, where: Sequence[Path], wiring: Wiring, tests: Sequence[RuleTest], verdicts: Sequence[Verdict]
) -> Coverage:
    """Compare what the tests have reached with all rules that they name, or that stand where they were looked for."""
    from remediator.review.ruletest.coverage import Coverage, points
    from remediator.review.ruletest.load import SUFFIXES, rules_under

    sources = [path for path in where if not path.name.endswith(SUFFIXES)]
    rules = list(rules_under(sources, asked.config, wiring)) if sources else []
    rules += [rule for each in tests for rule in each.rules.rules.rules]
    return Coverage(points(rules), {point for verdict in verdicts for point in verdict.reached})


def _tell(verdicts: Sequence[Verdict]) -> None:
    """Tell of the last of them."""
    *before, verdict = verdicts
    if not before or before[-1].file != verdict.file:
        output.line(verdict.file)
    mark = click.style("ok", fg="green") if verdict.passed else click.style("FAILED", fg="red")
    click.echo(f"  {mark}  {visible(verdict.name)}")
    for line in verdict.message.splitlines():
        output.line(f"      {line}")


def _assumed(tests: Sequence[RuleTest]) -> str:
    """Say what is assumed where the command has no configuration: of the tests that name none themselves."""
    without = sum(test.form.config is None for test in tests)
    if not without:
        return ""
    who = "no configuration" if without == len(tests) else f"{without} without a configuration"
    return f"; {who}: what depends on one is assumed to be met"


def _sum_up(verdicts: Sequence[Verdict], coverage: Coverage, assumed: str) -> None:
    passed = sum(verdict.passed for verdict in verdicts)
    output.line(f"{output.count(len(verdicts), 'test')}: {passed} passed, {len(verdicts) - passed} failed{assumed}")
    counts = ", ".join(f"{reached} of {there} {kind}" for kind, (reached, there) in coverage.counts.items())
    output.line(f"Coverage: {counts}" + ("; not reached:" if coverage.missed else ""))
    for point in coverage.missed:
        output.line(f"  {_file(point)}:{point.line}: {point.rule}: {point.words}")


def _file(point: Point) -> str:
    """Name a file as it is seen from here."""
    return os.path.relpath(point.file)


def _document(verdicts: Sequence[Verdict], coverage: Coverage) -> dict[str, Any]:
    failed = sum(not verdict.passed for verdict in verdicts)
    return {
        "passed": len(verdicts) - failed,
        "failed": failed,
        "tests": [
            {"file": each.file, "name": each.name, "passed": each.passed, "message": each.message} for each in verdicts
        ],
        "coverage": {
            **{kind: {"reached": reached, "all": there} for kind, (reached, there) in coverage.counts.items()},
            "missed": [
                {"kind": point.kind, "rule": point.rule, "file": _file(point), "line": point.line, "what": point.what}
                for point in coverage.missed
            ],
        },
    }


def _hush() -> None:
    """Keep the engine's narration to itself; a defect is still told, on standard error."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
