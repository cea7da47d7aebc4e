"""The commands about rules: check, explain, schema, actions. All of them work without a daemon."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from remediator.cli import output
from remediator.cli.client import Refused, Unreachable
from remediator.cli.command import FAULT, USAGE, Asked, command
from remediator.errors import ConfigurationError, InvalidRules, MalformedBody, Problem
from remediator.model.time import Timestamp, parse_rfc3339
from remediator.rules.matchers import labels_text


@command("check")
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def check(asked: Asked, strict: bool, paths: tuple[Path, ...]) -> int:
    """Check the configuration and every rule, without touching anything. PATHS default to the configured rules."""
    from remediator.actions.catalog import load_catalog
    from remediator.app import read_rules
    from remediator.config import settings
    from remediator.review import check as review
    from remediator.review.findings import View
    from remediator.review.source import read_source
    from remediator.rules.configured import standing_problems
    from remediator.rules.windows import Window

    try:
        loaded = asked.config
    except ConfigurationError as error:
        if not error.problems:
            raise
        return _report(asked, error.problems, "")
    sections = settings(loaded) if loaded.named else None
    catalog = load_catalog()
    found = read_rules(loaded, catalog, paths)
    windows = {name: Window.of(intervals) for name, intervals in loaded.config.windows.items()}
    view = View(time.time(), sections, windows, loaded.config.access.operators if loaded.named else None)
    checked = review.check(found, view, read_source)
    ours = review.Checked((), 0)
    if loaded.path is not None:
        mode = loaded.config.mode
        modes = [] if isinstance(mode, str) else [(entry.during, entry.mode) for entry in mode]
        ours = review.check_configuration(modes, view, read_source(str(loaded.path)))
    problems = (*standing_problems(loaded, catalog), *ours.problems, *checked.problems)
    problems = review.strict(problems) if strict else problems
    assumed = "" if loaded.named else "; no configuration: what depends on one is assumed to be met"
    left = f"; left out, as their platforms aren't configured: {', '.join(found.left_out)}" if found.left_out else ""
    summary = f"{output.count(len(found.rules.rules), 'rule')}{assumed}{left}"
    return _report(asked, problems, summary, silenced=ours.silenced + checked.silenced)


def _report(asked: Asked, problems: Sequence[Problem], summary: str, *, silenced: int = 0) -> int:
    errors = [problem for problem in problems if problem.severity == "error"]
    if asked.json:
        output.document({"ok": not errors, "problems": [msgspec.to_builtins(problem) for problem in problems]})
        return FAULT if errors else 0
    for problem in problems:
        output.line(str(problem))
    warnings = len(problems) - len(errors)
    counts = f"{output.count(len(errors), 'error')}, {output.count(warnings, 'warning')}"
    counts += f", {silenced} silenced" if silenced else ""
    output.line(f"{summary}: {counts}" if summary else counts)
    return FAULT if errors else 0


@command("explain", daemon=True)
@click.option(
    "--rules", "paths", multiple=True, type=click.Path(path_type=Path, exists=True), help="Rules to explain by."
)
@click.option("--at", "at", metavar="TIME", help="As if it were this RFC 3339 time.")
@click.argument("file", type=click.File("rb"))
def explain(asked: Asked, paths: tuple[Path, ...], at: str | None, file: Any) -> int:
    """Say what becomes of a notification body (FILE or -): per alert and rule, what stops it, or the plan. Touches nothing."""
    body: bytes = file.read()
    try:
        now = time.time() if at is None else parse_rfc3339(at)
    except ValueError as error:
        raise ConfigurationError(f"--at: {error}") from None
    document = None
    if not paths and at is None:
        try:
            document = asked.client.ask("POST", "/explain", body)
        except Unreachable:
            document = None
        except Refused as refused:
            if refused.status == 400:
                raise
    live = document is not None
    if document is None:
        try:
            document = _offline(asked, body, paths, now)
        except MalformedBody as error:
            click.echo(f"remediator: {error}", err=True)
            return USAGE
    if asked.json:
        output.document(document)
        return 0
    if not live:
        output.line("Without the daemon: what its guards count is unknown, and nothing that fires is known.")
    _tell(document)
    return 0


def _offline(asked: Asked, body: bytes, paths: tuple[Path, ...], now: Timestamp) -> dict[str, Any]:
    from remediator.actions.catalog import load_catalog
    from remediator.app import read_rules
    from remediator.receive import Limits, decode
    from remediator.review.explain import explain as explain_notification
    from remediator.rules.configured import standing_of

    catalog, loaded = load_catalog(), asked.config
    rules = read_rules(loaded, catalog, paths)
    if not rules.ok:
        raise InvalidRules("\n".join(["the rules have errors:", *map(str, rules.problems)]), rules.problems)
    notification = decode(body, now, Limits())
    explained = explain_notification(notification, rules.rules.rules, standing_of(loaded, catalog), now, None)
    return json.loads(msgspec.json.encode(asyncio.run(explained)))  # type: ignore[no-any-return]


def _tell(document: dict[str, Any]) -> None:
    for refused in document["refused"]:
        output.line(f"alert {refused['position']} is refused: {refused['why']}")
    for alert in document["alerts"]:
        output.line(f"{alert['status']} {labels_text(alert['labels'])}")
        for rule in sorted(alert["rules"], key=lambda each: not each["matches"]):
            _tell_rule(rule)


def _tell_rule(rule: dict[str, Any]) -> None:
    if not rule["matches"]:
        output.line(f"  - {rule['rule']}: {rule['because']}")
        return
    verdict = rule["outcome"] or "nothing"
    reason = f" by {rule['reason']}" if rule["reason"] else ""
    output.line(f"  + {rule['rule']}: {verdict}{reason}" + (f" on {rule['target']}" if rule["target"] else ""))
    if rule["because"]:
        output.line(f"      {rule['because']}")
    for step in rule["plan"] or ():
        output.line(
            f"      {step['effect']}: {step['says']}" + (f"  if {step['condition']}" if step["condition"] else "")
        )


@command("schema")
@click.argument("which", type=click.Choice(["rules", "config", "tests"]), default="rules")
def schema(asked: Asked, which: str) -> None:
    """Print the JSON Schema of rule files or of the configuration, for editors."""
    from remediator.actions.catalog import load_catalog
    from remediator.review.schema import config_schema, rules_schema, tests_schema

    schemas = {"rules": lambda: rules_schema(load_catalog()), "config": config_schema, "tests": tests_schema}
    output.document(schemas[which]())


@command("actions")
@click.argument("name", required=False)
def actions(asked: Asked, name: str | None) -> int:
    """List the catalog of actions, or describe one: parameters and an example."""
    from remediator.actions.catalog import describe, load_catalog

    catalog = load_catalog()
    if name is not None and name not in catalog:
        near = catalog.nearest(name)
        click.echo(f"remediator: there is no action {name!r}" + (f"; did you mean {near}?" if near else ""), err=True)
        return USAGE
    described = [describe(catalog[each]) for each in ([name] if name else sorted(catalog))]
    if asked.json:
        output.document(described)
        return 0
    if name is None:
        output.table(
            ("ACTION", "EFFECT", "IDEMPOTENT", "SUMMARY"),
            [(each["name"], each["effect"], each["idempotent"], each["summary"]) for each in described],
        )
        return 0
    one = described[0]
    output.line(f"{one['name']} ({one['effect']}, idempotent: {one['idempotent']})")
    output.line(one["summary"])
    required = one["parameters"].get("required", [])
    for parameter, about in one["parameters"].get("properties", {}).items():
        needed = ", required" if parameter in required else ""
        output.line(f"  {parameter}{needed}: {about.get('description', '')}")
    sys.stdout.write(f"\n{one['example']}\n" if one["example"] else "")
    return 0
