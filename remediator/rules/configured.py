"""From the configuration to what it lends every decision: the daemon's guards, windows, and the rules of its own notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.config import STALE_AFTER, LoadedConfig, settings
from remediator.document import Fault, Path, dotted, read_document
from remediator.errors import ConfigurationError, Problem
from remediator.forms.guards import BlastRadiusForm
from remediator.forms.notices import SecondChannel
from remediator.model.books import Allowance
from remediator.rules.compile import blast_radius, breaker, check_rule
from remediator.rules.cron import Schedule
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.rule import BlastRadius, Retry, Rule, StepRule
from remediator.rules.standing import Standing, Storm
from remediator.rules.templates import Expression, TemplateError
from remediator.rules.windows import Modes, Window


def standing_of(loaded: LoadedConfig, catalog: Catalog) -> Standing:
    """Give what a configuration lends every decision.

    Raises ConfigurationError for what only the catalog and the templates can tell to be wrong in it.
    """
    _refuse_faults(loaded, catalog)
    config, guard = loaded.config, loaded.config.guard
    asked = config.alertmanager
    notices = config.notices
    return Standing(
        modes=Modes.of(config.mode),
        windows={name: Window.of(intervals) for name, intervals in config.windows.items()},
        allowances=tuple(Allowance(count=each.count, per=each.per) for each in guard.limits),
        blast_radius=None if guard.blast_radius == "off" else _blast_radius(guard.blast_radius),
        breaker=None if guard.breaker == "off" else breaker(guard.breaker),
        storm=None if guard.storm == "off" else Storm(guard.storm.alerts, guard.storm.per, guard.storm.hold),
        max_running=None if guard.max_running == "off" else guard.max_running,
        hosts=tuple(config.http.allow),
        public_url=config.public_url or f"http://{config.listen}",
        resolved_check=_resolved_check(catalog) if asked is not None else None,
        presence_check=_asks_alertmanager(catalog) if asked is not None else None,
        stale_after=asked.stale_after if asked is not None else STALE_AFTER,
        notices=None if notices is None else notice_rule("notices", notices.to, loaded, catalog),
        notice_events=None if notices is None or notices.events is None else frozenset(notices.events),
        second=None if notices is None or notices.second is None else _second_rule(notices.second, loaded, catalog),
        second_after=300.0 if notices is None or notices.second is None else notices.second.after,
        report=_report_rule(loaded, catalog),
        report_at=_report_at(loaded),
    )


def standing_faults(loaded: LoadedConfig, catalog: Catalog) -> list[Fault]:
    """Give what only the catalog and the templates can tell to be wrong in a configuration: all of it, with its place."""
    config, faults = loaded.config, []
    radius, notices, report = config.guard.blast_radius, config.notices, config.report
    if radius != "off" and radius.of is not None:
        try:
            Expression(radius.of)
        except TemplateError as error:
            faults.append(Fault(("guard", "blast_radius", "of"), "bad-template", str(error)))
    if notices is not None:
        faults += _check_steps("notices", notices.to, loaded, catalog)[1]
    if notices is not None and notices.second is not None:
        faults += _check_steps("second-notices", notices.second.to, loaded, catalog)[1]
    if report is not None and report.to is not None:
        faults += _check_steps("report", report.to, loaded, catalog)[1]
    if report is not None and report.to is None and notices is None:
        message = "`report` has nobody to tell: give it `to`, or give `notices`"
        faults.append(Fault(("report",), "missing-key", message))
    if report is not None:
        try:
            if Schedule.of(report.schedule, report.timezone).next_after(0.0) is None:
                raise ValueError(f"`{report.schedule}` never comes")
        except ValueError as error:
            faults.append(Fault(("report", "schedule"), "bad-value", str(error)))
    return faults


def standing_problems(loaded: LoadedConfig, catalog: Catalog) -> tuple[Problem, ...]:
    """Give the same as problems of the configuration's file."""
    faults = standing_faults(loaded, catalog)
    if not faults or loaded.path is None:
        return ()
    document = read_document(loaded.path, str(loaded.path))
    return tuple(sorted(map(document.problem, faults), key=lambda each: (each.line, each.column)))


def _refuse_faults(loaded: LoadedConfig, catalog: Catalog) -> None:
    faults = standing_faults(loaded, catalog)
    if not faults:
        return
    problems = standing_problems(loaded, catalog)
    told = [str(each) for each in problems] or [f"{dotted(each.path)}: {each.message}" for each in faults]
    raise ConfigurationError("\n".join([f"{loaded.path or 'the configuration'} can't be used:", *told]), problems)


def notice_rule(name: str, steps: Sequence[Mapping[str, Any]], loaded: LoadedConfig, catalog: Catalog) -> Rule:
    """Make the rule by which a notice is told: its runs are kept, claimed and recorded like any others.

    Raises ConfigurationError where its steps can't be used.
    """
    rule, faults = _check_steps(name, steps, loaded, catalog)
    if rule is None or faults:
        raise ConfigurationError("; ".join(f"{dotted(fault.path)}: {fault.message}" for fault in faults))
    return rule


def _check_steps(
    name: str, steps: Sequence[Mapping[str, Any]], loaded: LoadedConfig, catalog: Catalog
) -> tuple[Rule | None, list[Fault]]:
    definition = {
        "name": name,
        "summary": "What the daemon has to say for itself.",
        "match": "all",
        "target": name,
        "steps": list(steps),
        "vars": loaded.config.vars,
    }
    rule, found = check_rule(definition, catalog, settings(loaded) if loaded.named else None)
    key: Path = ("notices", "second", "to") if name == "second-notices" else (name, "to")
    wrong = [each for each in found if each.severity == "error"]
    faults = [replace(each, path=(*key, *each.path[1:])) for each in wrong if each.path[:1] == ("steps",)]
    if len(faults) < len(wrong):  # `match: all`, which is not theirs to read about
        faults.append(Fault(key, "wrong-effect", "there is a step that writes: steps of notices read or notify"))
    return rule, faults


def _second_rule(second: SecondChannel, loaded: LoadedConfig, catalog: Catalog) -> Rule:
    return notice_rule("second-notices", second.to, loaded, catalog)


def _report_rule(loaded: LoadedConfig, catalog: Catalog) -> Rule | None:
    report, notices = loaded.config.report, loaded.config.notices
    if report is None:
        return None
    if report.to is not None:
        return notice_rule("report", report.to, loaded, catalog)
    return None if notices is None else notice_rule("notices", notices.to, loaded, catalog)


def _report_at(loaded: LoadedConfig) -> Schedule | None:
    report = loaded.config.report
    return None if report is None else Schedule.of(report.schedule, report.timezone)


def _blast_radius(form: BlastRadiusForm) -> BlastRadius | None:
    return blast_radius(form, None if form.of is None else Expression(form.of))


def _asks_alertmanager(catalog: Catalog) -> StepRule:
    """Make the read step that asks Alertmanager's API, once for each name among a run's alerts."""
    action = catalog["alertmanager.alerts"]
    return StepRule(
        uses=action.name,
        action=action,
        parameters=ParameterTemplates({"match": '{alertname="{{ item }}"}'}, action.parameters),
        for_each=Expression("alerts | map(attribute='labels.alertname', default='') | unique | list"),
        max=20,
        timeout=10.0,
        retry=Retry(attempts=3, backoff=1.0),
    )


def _resolved_check(catalog: Catalog) -> StepRule:
    """Make the check behind `resolved: true`: Alertmanager's API knows sooner than its webhook tells."""
    mine = "alerts | map(attribute='fingerprint') | list"
    expect = f"result.alerts | map(attribute='fingerprint') | select('in', {mine}) | list | length == 0"
    return replace(_asks_alertmanager(catalog), id="resolved", expect=Expression(expect), retry=None)
