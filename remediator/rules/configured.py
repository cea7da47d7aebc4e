"""From the configuration to what it lends every decision: the daemon's guards, windows, and the rules of its own notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.config import STALE_AFTER, LoadedConfig, settings
from remediator.document import dotted
from remediator.errors import ConfigurationError
from remediator.forms.guards import BlastRadiusForm
from remediator.forms.notices import SecondChannel
from remediator.model.books import Allowance
from remediator.rules.compile import breaker, check_rule
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


def notice_rule(name: str, steps: Sequence[Mapping[str, Any]], loaded: LoadedConfig, catalog: Catalog) -> Rule:
    """Make the rule by which a notice is told: its runs are kept, claimed and recorded like any others."""
    definition = {
        "name": name,
        "summary": "What the daemon has to say for itself.",
        "match": "all",
        "target": name,
        "steps": list(steps),
        "vars": loaded.config.vars,
    }
    rule, faults = check_rule(definition, catalog, settings(loaded) if loaded.named else None)
    wrong = [fault for fault in faults if fault.severity == "error"]
    key = "notices.second" if name == "second-notices" else name
    if rule is not None and rule.writes:
        raise ConfigurationError(f"`{key}.to` has a step that writes: steps of notices read or notify")
    if rule is None:
        told = "; ".join(f"{key}.to{dotted(fault.path[1:])}: {fault.message}" for fault in wrong)
        raise ConfigurationError(f"{loaded.path or 'the configuration'} can't be used: {told}")
    return rule


def _second_rule(second: SecondChannel, loaded: LoadedConfig, catalog: Catalog) -> Rule:
    return notice_rule("second-notices", second.to, loaded, catalog)


def _report_rule(loaded: LoadedConfig, catalog: Catalog) -> Rule | None:
    report = loaded.config.report
    if report is None:
        return None
    if report.to is not None:
        return notice_rule("report", report.to, loaded, catalog)
    if loaded.config.notices is None:
        raise ConfigurationError("`report` has nobody to tell: give it `to`, or give `notices`")
    return notice_rule("notices", loaded.config.notices.to, loaded, catalog)


def _report_at(loaded: LoadedConfig) -> Schedule | None:
    report = loaded.config.report
    if report is None:
        return None
    try:
        schedule = Schedule.of(report.schedule, report.timezone)
    except ValueError as error:
        raise ConfigurationError(f"report.schedule: {error}") from None
    if schedule.next_after(0.0) is None:
        raise ConfigurationError(f"report.schedule: `{report.schedule}` never comes")
    return schedule


def _blast_radius(form: BlastRadiusForm) -> BlastRadius:
    try:
        of = None if form.of is None else Expression(form.of)
    except TemplateError as error:
        raise ConfigurationError(f"guard.blast_radius.of: {error}") from None
    return BlastRadius(form.per, form.targets, form.fraction, of)


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
