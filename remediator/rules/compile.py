"""From one merged definition to a `Rule`, or to all that is wrong with it.

The shape is checked first (`remediator.rules.form`). Parts that have a fault of shape are then left out, so that the rest
can still be looked at: an author sees everything in one go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Effect, Gate
from remediator.document import Fault, Path, nearest, not_json
from remediator.forms import parse_limit
from remediator.forms.guards import BlastRadiusForm, BreakerForm, ModeEntryForm
from remediator.rules.cron import Schedule
from remediator.rules.form import ApprovalForm, EpisodesForm, GuardForm, RevertForm, RuleForm, VerifyForm, read_form
from remediator.rules.matchers import Matcher, parse_match, parse_matchers
from remediator.rules.rule import (
    Approval,
    BlastRadius,
    Breaker,
    EpisodeBounds,
    FiringSet,
    Guards,
    Limit,
    Revert,
    Rule,
    Rung,
    Verify,
)
from remediator.rules.steps import FOLLOWS, READS, Sees, StepCompiler, ids
from remediator.rules.templates import Expression, TemplateError, Text
from remediator.rules.windows import Modes

DEFAULT_COOLDOWN = 300.0  # of a rule that writes

_ALWAYS = frozenset({"labels", "annotations", "alert", "group", "alerts", "rule", "run", "vars"})
NOTICE_RULES = frozenset({"notices", "second-notices", "report"})  # the daemon's own
_OF_ALERTS = frozenset({"labels", "annotations", "alert", "group", "alerts"})

_AS_WRITTEN = (
    "name", "summary", "for_", "when_resolved", "deadline", "confidential", "owner", "runbook", "labels",
    "reviewed", "review_every",
)  # fmt: skip


def hash_of(definition: Mapping[str, Any]) -> str:
    """Give the hash by which a run finds the rule that it began with."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def check_rule(
    definition: Mapping[str, Any], catalog: Catalog, settings: Mapping[str, Any] | None
) -> tuple[Rule | None, list[Fault]]:
    """Compile a definition, and give all that is wrong with it; there is a Rule only if there are no errors.

    `settings` are the sections of the configuration, None where what depends on one is assumed to be met.
    """
    written = {key: value for key, value in definition.items() if key != "vars"}
    form, faults = read_form(written)
    partial = bool(faults)
    compiler = _Compiler(catalog, settings, definition.get("vars", {}), partial=partial)
    rule = compiler.rule(form, definition) if form is not None else None
    faults = [*faults, *not_json(written), *compiler.faults]
    return (None if any(fault.severity == "error" for fault in faults) else rule), faults


@Mapping.register
class _Word(str):
    """Stands for every value that a template may read, at any depth, and is a plain word in the end."""

    __slots__ = ()

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: object) -> _Word:
        return self


class _Compiler(StepCompiler):
    """Compiles one rule and collects its faults."""

    def rule(self, form: RuleForm, definition: Mapping[str, Any]) -> Rule | None:
        """Compile the whole; None where it can't be put together."""
        always = Sees(_ALWAYS if form.schedule is None else _ALWAYS - _OF_ALERTS)
        if form.name in NOTICE_RULES:
            always = always.adding("notice")
        reading = always.adding("facts")
        facts = self._steps(("facts",), form.facts, reading, READS)
        known = replace(reading, facts=ids(form.facts))
        target = self._text(("target",), form.target, Gate.HEADER, known)
        admitted = replace(known, names=known.names | {"target", "steps"})
        rungs = self._rungs(form, admitted)
        after = replace(admitted, steps=_on_every_rung(form))
        undo = self._steps(("undo",), form.undo, after)
        undone = replace(after, steps=after.steps + ids(form.undo))
        revert = self._revert(form.revert, after)
        acting = (*(step for rung in rungs for step in rung.steps), *undo, *(revert.steps if revert else ()))
        writes = any(step.effect is Effect.WRITE for step in acting)
        self._has_work(form)
        matchers = self._match(form, writes=writes)
        guards = self._guards(form.guard, known.adding("target"), writes=writes)
        on_success = self._steps(("on_success",), form.on_success, after, FOLLOWS)
        on_failure = self._steps(("on_failure",), form.on_failure, undone, FOLLOWS)
        on_blocked = self._steps(("on_blocked",), form.on_blocked, admitted, FOLLOWS)
        priority = self._text(("priority",), form.priority, Gate.HEADER, always)
        schedule = self._schedule(form)
        if target is None or self._partial:
            return None
        taken = {name: getattr(form, name) for name in _AS_WRITTEN}
        return Rule(
            hash=hash_of(definition),
            definition=definition,
            match=matchers,
            target=target,
            rungs=rungs,
            facts=facts,
            modes=self._modes(("mode",), form.mode),
            guards=guards,
            schedule=schedule,
            recurrence=None if form.ladder is None else form.recurrence,
            revert=revert,
            undo=undo,
            on_success=on_success,
            on_failure=on_failure,
            on_blocked=on_blocked,
            priority=None if form.priority == "P2" else priority,
            vars=self._vars,
            **taken,
        )

    # -- what is done, and how far by itself --

    def _rungs(self, form: RuleForm, sees: Sees) -> tuple[Rung, ...]:
        if form.ladder is None:
            steps = self._steps(("steps",), form.steps or [], sees)
            verify = self._verify(("verify",), form.verify, replace(sees, steps=ids(form.steps or [])))
            return (Rung(steps, verify, approval=_approval(form.approval)),)
        rungs = []
        for number, rung in enumerate(form.ladder):
            path: Path = ("ladder", number)
            steps = self._steps((*path, "steps"), rung.steps, sees)
            own = rung.verify if rung.verify is not None else form.verify
            where = (*path, "verify") if rung.verify is not None else ("verify",)
            verify = self._verify(where, own, replace(sees, steps=ids(rung.steps)))
            approval = _approval(rung.approval if rung.approval is not None else form.approval)
            rungs.append(Rung(steps, verify, self._modes((*path, "mode"), rung.mode), approval))
            if verify is None and number < len(form.ladder) - 1:
                message = "nothing tells whether this rung helped, so the next one is never reached: give it a `verify`"
                self._fault(path, "missing-key", message)
        return tuple(rungs)

    def _modes(self, path: Path, written: str | Sequence[ModeEntryForm]) -> Modes:
        if not isinstance(written, str) and self._settings is not None:
            windows = self._settings.get("windows", ())
            for position, entry in enumerate(written):
                if entry.during is not None and entry.during not in windows:
                    message = f"the configuration has no window `{entry.during}`{nearest(entry.during, windows)}"
                    self._fault((*path, position, "during"), "unknown-window", message)
        return Modes.of(written)

    def _revert(self, form: RevertForm | None, sees: Sees) -> Revert | None:
        if form is None:
            return None
        steps = self._steps(("revert", "steps"), form.steps, sees)
        return Revert(steps=steps, resolved=form.resolved, after=form.after)

    # -- what starts it, and what holds it --

    def _schedule(self, form: RuleForm) -> Schedule | None:
        if form.schedule is None:
            return None
        rungs = [rung.verify for rung in form.ladder or ()]
        spoken: dict[Path, bool] = {
            ("for",): form.for_ > 0,
            ("when_resolved",): "when_resolved" in form.model_fields_set,
            ("guard", "episodes"): form.guard.episodes is not None,
            ("revert", "resolved"): form.revert is not None and form.revert.resolved,
            ("verify", "resolved"): form.verify is not None and form.verify.resolved,
            **{("ladder", n, "verify", "resolved"): each is not None and each.resolved for n, each in enumerate(rungs)},
        }
        for path in (path for path, there in spoken.items() if there):
            self._fault(path, "bad-value", f"`{path[-1]}` speaks of an alert, and a rule with `schedule` has none")
        written = form.schedule
        try:
            if isinstance(written, str):
                return Schedule.of(written)
            return Schedule.of(written.cron, written.timezone)
        except ValueError as error:
            self._fault(("schedule",), "bad-value", str(error))
            return None

    def _match(self, form: RuleForm, *, writes: bool) -> tuple[Matcher, ...]:
        if form.match is None:
            if form.schedule is None and not self._partial:
                self._fault((), "missing-key", "the key `match` is missing: which alerts does the rule take up?")
            return ()
        if form.schedule is not None:
            self._fault(("match",), "bad-value", "a rule has `match` or `schedule`, and this one has both")
        if form.match == "all":
            if writes:
                self._fault(
                    ("match",), "bad-matcher", "`match: all` is for rules that only read or notify: this writes"
                )
            return ()
        try:
            return parse_match(form.match)
        except ValueError as error:
            self._fault(("match",), "bad-matcher", str(error))
            return ()

    def _has_work(self, form: RuleForm) -> None:
        if form.steps is not None and form.ladder is not None:
            self._fault(("ladder",), "bad-value", "a rule has `steps` or `ladder`, and this one has both")
        if form.ladder is None and "recurrence" in form.model_fields_set:
            message = (
                "without `ladder` there is no next rung that a remembered success could lead to: this has no effect"
            )
            self._fault(("recurrence",), "no-effect", message, severity="warning")
        if form.steps is None and form.ladder is None and not self._partial:
            self._fault((), "missing-key", "the key `steps` is missing: what is to be done?")

    def _guards(self, form: GuardForm, sees: Sees, *, writes: bool) -> Guards:
        path: Path = ("guard",)
        default_cooldown = DEFAULT_COOLDOWN if writes else 0.0
        limits = [parse_limit(text) for _, text in _places(form.limit)]
        if form.lock is not None and not writes and not self._partial:
            message = "a rule that only reads and notifies takes no lock: this has no effect"
            self._fault((*path, "lock"), "no-effect", message, severity="warning")
        sources = _places(form.only_if)
        conditions = [self._expression((*path, "only_if", *place), source, sees) for place, source in sources]
        population = None if form.blast_radius is None else form.blast_radius.of
        of = self._expression((*path, "blast_radius", "of"), population, sees)
        return Guards(
            cooldown=default_cooldown if form.cooldown is None else form.cooldown,
            limits=tuple(Limit(limit.count, limit.per, limit.by_target) for limit in limits),
            unless_firing=self._firing_sets((*path, "unless_firing"), form.unless_firing, sees),
            only_firing=self._firing_sets((*path, "only_firing"), form.only_firing, sees),
            only_if=tuple(condition for condition in conditions if condition is not None),
            blast_radius=blast_radius(form.blast_radius, of),
            breaker=None if form.breaker is None else breaker(form.breaker),
            episodes=_episodes(form.episodes),
            lock=None if form.lock is None else self._text((*path, "lock"), form.lock, Gate.HEADER, sees),
            patience=form.patience,
        )

    def _firing_sets(self, path: Path, sources: Sequence[str], sees: Sees) -> tuple[FiringSet, ...]:
        texts = [self._firing_set((*path, position), source, sees) for position, source in enumerate(sources)]
        return tuple(FiringSet(text) for text in texts if text is not None)

    def _firing_set(self, path: Path, source: str, sees: Sees) -> Text | None:
        text = self._text(path, source, Gate.MATCHERS, sees)
        if text is None:
            return None
        scope = {**dict.fromkeys(text.names, _Word("word")), "vars": self._vars}
        try:
            matchers = parse_matchers(str(text.render(scope)))
        except TemplateError:
            return text  # it needs more than a word, so only a run can tell
        except ValueError as error:
            self._fault(path, "bad-matcher", str(error))
            return text
        if not any(matcher.refuses_empty for matcher in matchers):
            message = 'this is every alert: at least one matcher must refuse the empty string, as in app=~".+"'
            self._fault(path, "bad-matcher", message)
        return text

    def _verify(self, path: Path, form: VerifyForm | None, sees: Sees) -> Verify | None:
        if form is None:
            return None
        return Verify(
            within=form.within,
            every=form.every,
            stable_for=form.stable_for,
            resolved=form.resolved,
            checks=self._steps((*path, "checks"), form.checks, sees, READS),
        )


def _on_every_rung(form: RuleForm) -> tuple[str, ...]:
    """Give the ids of steps that have run whichever rung was the last: what follows may speak of no others."""
    if form.ladder is None:
        return ids(form.steps or [])
    first, *others = (ids(rung.steps) for rung in form.ladder)
    return tuple(each for each in first if all(each in other for other in others))


def _approval(form: ApprovalForm | None) -> Approval:
    return Approval() if form is None else Approval(form.timeout, tuple(form.approvers), form.quorum)


def blast_radius(form: BlastRadiusForm | None, of: Expression | None) -> BlastRadius | None:
    """Compile the guard, of a rule or over all."""
    return None if form is None else BlastRadius(form.per, form.targets, form.fraction, of)


def breaker(form: BreakerForm) -> Breaker:
    """Compile the guard, of a rule or over all."""
    return Breaker(form.failures, form.per, None if form.reset == "manual" else form.reset)


def _episodes(form: EpisodesForm | None) -> EpisodeBounds | None:
    return None if form is None else EpisodeBounds(form.per, form.at_least or 0, form.at_most)


def _places(value: str | list[str] | None) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield (), value
    else:
        yield from (((position,), source) for position, source in enumerate(value or ()))
