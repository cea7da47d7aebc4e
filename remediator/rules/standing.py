"""What the configuration in force lends every decision: the daemon's own mode and guards, windows, names of hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from remediator.model.books import Allowance
from remediator.model.control import Control, ControlKind
from remediator.model.run import Mode, lowest
from remediator.model.time import Seconds, Timestamp
from remediator.rules.cron import Schedule
from remediator.rules.rule import BlastRadius, Breaker, Rule, StepRule
from remediator.rules.windows import Modes, Window

_DRY_RUN = Modes.of("dry-run")


@dataclass(frozen=True, slots=True)
class Storm:
    """More distinct alerts than that beginning in the span hold everything back, and for a while after."""

    alerts: int
    per: Seconds
    hold: Seconds


@dataclass(frozen=True, slots=True)
class Standing:
    """What the configuration in force lends every decision."""

    modes: Modes = _DRY_RUN  # the daemon's
    windows: Mapping[str, Window] = field(default_factory=dict)
    allowances: Sequence[Allowance] = ()  # the daemon's own limits
    blast_radius: BlastRadius | None = None  # over all rules, as the next two
    breaker: Breaker | None = None
    storm: Storm | None = None
    max_running: int | None = 10
    hosts: Sequence[str] = ()
    public_url: str = ""
    resolved_check: StepRule | None = None  # for `verify.resolved`, and
    presence_check: StepRule | None = None  # before admission: both ask Alertmanager's API, where one is configured
    stale_after: Seconds = 5 * 3600.0
    notices: Rule | None = None  # what is done with what the daemon has to say for itself
    notice_events: frozenset[str] | None = None  # of which kinds; None: all
    second: Rule | None = None  # what is done with a message that could not be sent for `second_after`
    second_after: Seconds = 300.0
    report: Rule | None = None  # what is done with the report
    report_at: Schedule | None = None  # when it is due
    worker: str = "worker"
    lease: Seconds = 60.0

    def wants(self, kind: str) -> bool:
        """Tell whether notices of this kind are to be told."""
        return self.notices is not None and (self.notice_events is None or kind in self.notice_events)

    def mode_in_force(
        self, rule: Rule, rung: int, target: str | None, controls: Sequence[Control], now: Timestamp
    ) -> Mode:
        """Give the lowest of the daemon's mode, the rule's, the rung's, and any that a person has laid on it.

        An `approve` that is meant for everything asks for what writes: a page that waited for leave would page nobody.
        """
        of_all, own = [self.modes.in_force(now, self.windows)], [rule.modes.in_force(now, self.windows)]
        for control in controls:
            if control.kind is ControlKind.MODE and control.mode is not None and control.covers(rule.name, target):
                (of_all if control.rule is None and control.target is None else own).append(control.mode)
        writes = True
        if rung < len(rule.rungs):
            own.append(rule.rungs[rung].modes.in_force(now, self.windows))
            writes = rule.rungs[rung].writes
        overall = lowest(*of_all)
        return lowest(Mode.AUTO if overall is Mode.APPROVE and not writes else overall, *own)
