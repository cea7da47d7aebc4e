"""The guards by themselves: pure functions of a case, the books and the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from samples import NOW, run

from remediator import guard
from remediator.actions.protocol import Effect, Gate
from remediator.guard import Case, Refusal
from remediator.model.books import Allowance, Books, Ending, Touched
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Mode, Origin, Priority, Reason, Run
from remediator.rules.rule import BlastRadius, EpisodeBounds, FiringSet, Guards, Limit, Rule, Rung, StepRule
from remediator.rules.standing import Standing
from remediator.rules.templates import Expression, TemplateError, Text, UnsafeValue

NOTHING = Books()
SCOPE: dict[str, Any] = {
    "labels": {"app": "web", "zone": "a"},
    "alerts": [{"labels": {"app": "web"}}] * 4,
    "group": {"labels": {}, "key": "{}", "truncated": 0},
    "facts": {"nodes": ["n1", "n2", "n3"], "size": 10, "none": 0},
}
ENDLESS = {**SCOPE, "facts": {"endless": float("inf")}}


class Writing:
    """An action of which only the effect matters."""

    effect = Effect.WRITE


def rule(*, writes: bool = False, recurrence: float | None = None, **guards: Any) -> Rule:
    """Make a rule with these guards."""
    steps = (StepRule("test.write", Writing(), None),) if writes else ()  # type: ignore[arg-type]
    return Rule(
        name="restart", hash="h", definition={}, summary="", match=(), target=Text("app1", Gate.DISPLAY),
        rungs=(Rung(steps),), guards=Guards(**guards), recurrence=recurrence,
    )  # fmt: skip


def case(
    of: Rule | None = None,
    *,
    scope: Mapping[str, Any] = SCOPE,
    standing: Standing | None = None,
    controls: tuple[Control, ...] = (),
    **changes: Any,
) -> Case:
    """Prepare the case of a run on app1."""
    run_: Run = run(1, **changes)
    return guard.prepare(run_, of or rule(), scope, standing or Standing(), controls, NOW)


def control(kind: ControlKind, **changes: Any) -> Control:
    """Lay something."""
    values = {"id": "c1", "kind": kind, "laid_at": NOW - 60, "author": "remediator", "reason": "too much"}
    return Control(**{**values, **changes})


def firing(*sets: str) -> tuple[FiringSet, ...]:
    """Write matcher sets."""
    return tuple(FiringSet(Text(each, Gate.MATCHERS)) for each in sets)


# -- what the store is asked --


def test_the_question_names_the_run_and_what_its_rule_is_guarded_by() -> None:
    """A rule without guards asks for nothing that costs a look."""
    asked = case(priority=Priority.P1, mode=Mode.DRY_RUN).question
    assert (asked.run, asked.rule, asked.target) == (run(1).id, "restart", "app1")
    assert (asked.book, asked.priority) == (Book.DRY, Priority.P1)
    assert (asked.allowances, asked.touched, asked.episodes_since, asked.lock, asked.firing) == ((), (), None, None, ())


def test_a_rule_that_writes_takes_a_lock_by_its_target_or_by_the_name_it_gives() -> None:
    """One that only reads takes none, whatever it says; an empty name would lock nothing."""
    named = Text("{{ labels.zone }}-db", Gate.DISPLAY)
    assert case(rule(writes=True)).question.lock == "app1"
    assert case(rule(writes=True, lock=named)).question.lock == "a-db"
    assert case(rule(lock=named)).question.lock is None
    with pytest.raises(TemplateError, match="a lock needs a name"):
        case(rule(writes=True, lock=Text("{{ labels.app[9:] }}", Gate.DISPLAY)))


def test_the_rules_own_limits_are_asked_before_the_daemons() -> None:
    """One by target names the target."""
    own = rule(limits=(Limit(2, 3600), Limit(1, 600, by_target=True)))
    daemon = Allowance(30, 3600)
    assert case(own, standing=Standing(allowances=(daemon,))).question.allowances == (
        Allowance(2, 3600, "restart"), Allowance(1, 600, "restart", "app1"), daemon,
    )  # fmt: skip


def test_the_spans_that_are_counted_end_now() -> None:
    """The rule's own blast radius comes before the daemon's, which counts over all rules."""
    own = rule(blast_radius=BlastRadius(600, targets=1), episodes=EpisodeBounds(900))
    prepared = case(own, standing=Standing(blast_radius=BlastRadius(3600, targets=9)))
    assert prepared.question.touched == (Touched(NOW - 600, "restart"), Touched(NOW - 3600))
    assert [each.targets for each in prepared.radii] == [1, 9]
    assert prepared.question.episodes_since == NOW - 900


@pytest.mark.parametrize(
    ("sets", "names"),
    [
        (['{alertname="B"}', '{alertname=~"A|B"}'], ("A", "B")),
        (['{zone="a", alertname="B"}'], ("B",)),
        (['{alertname="B"}', '{zone="a"}'], (None,)),
        (['{alertname=~"A.*"}'], (None,)),
        (['{alertname=~"A.*", alertname="AB"}'], ("AB",)),
        (['{alertname!="B"}'], (None,)),
        (['{app="{{ labels.app }}"}'], (None,)),
    ],
)
def test_only_alerts_that_could_decide_are_read(sets: list[str], names: tuple[str | None, ...]) -> None:
    """Those of some names, if both kinds of sets have names that are told; else all."""
    assert case(rule(unless_firing=firing(*sets))).question.firing == names
    assert case(rule(only_firing=firing(*sets))).question.firing == names
    half = rule(unless_firing=firing(sets[0]), only_firing=firing(*sets[1:]))
    assert case(half).question.firing == names


def test_a_matcher_that_comes_out_unreadable_is_a_mistake_of_the_template() -> None:
    """And a value that its gate refuses stays that."""
    with pytest.raises(TemplateError, match="a matcher of a guard can't be read"):
        case(rule(unless_firing=firing('{a=~"{{ labels.app }}("}')))
    with pytest.raises(TemplateError, match="missing"):
        case(rule(unless_firing=firing('{a="{{ labels.missing }}"}')))
    with pytest.raises(UnsafeValue):
        case(rule(unless_firing=firing('{a="{{ labels.app }}"}')), scope={**SCOPE, "labels": {"app": "a\ud800"}})


# -- what was laid --


def test_a_storm_refuses_all_but_what_a_schedule_began() -> None:
    """It says till when, and how a person lifts it."""
    storm = control(ControlKind.STORM, until=NOW + 60)
    assert guard.storm(case(controls=(storm,)), NOTHING, NOW) == Refusal(
        Reason.STORM,
        "too much, till 2026-11-18T11:07:40.000Z: lift it with `remediator resume --control c1 --reason …`",
        NOW + 60,
    )
    assert guard.storm(case(controls=(storm,), origin=Origin.SCHEDULE), NOTHING, NOW) is None
    assert guard.storm(case(controls=(storm,), origin=Origin.HAND), NOTHING, NOW) is not None
    assert guard.storm(case(controls=(control(ControlKind.PAUSE),)), NOTHING, NOW) is None
    endless = guard.storm(case(controls=(control(ControlKind.STORM),)), NOTHING, NOW)
    assert endless == Refusal(Reason.STORM, "too much: lift it with `remediator resume --control c1 --reason …`")


@pytest.mark.parametrize("drill", [False, True])
def test_a_storm_holds_drills_and_dry_runs_too(drill: bool) -> None:
    """A drill in a storm would be one more worry."""
    held = case(controls=(control(ControlKind.STORM),), drill=drill, mode=Mode.DRY_RUN)
    assert guard.storm(held, NOTHING, NOW) is not None


def test_an_open_breaker_refuses_and_says_whose_it_is() -> None:
    """The rule's, or the daemon's; another rule's is none of its business."""
    own = control(ControlKind.BREAKER, rule="restart", until=NOW + 60)
    assert guard.breaker(case(controls=(own,)), NOTHING, NOW) == Refusal(
        Reason.BREAKER,
        "the breaker of restart is open till 2026-11-18T11:07:40.000Z: too much: "
        "close it with `remediator resume --control c1 --reason …`",
        NOW + 60,
    )
    assert guard.breaker(case(controls=(control(ControlKind.BREAKER),)), NOTHING, NOW) == Refusal(
        Reason.BREAKER,
        "the daemon's breaker is open till a person closes it: too much: "
        "close it with `remediator resume --control c1 --reason …`",
    )
    assert guard.breaker(case(controls=(control(ControlKind.BREAKER, rule="other"),)), NOTHING, NOW) is None
    assert guard.breaker(case(controls=(control(ControlKind.STORM),)), NOTHING, NOW) is None


@pytest.mark.parametrize(
    ("opened_by", "held"),
    [
        (Book.LIVE, {Book.LIVE, Book.DRY}),
        (Book.DRY, {Book.DRY}),
        (Book.DRILL, {Book.DRILL}),
    ],
)
def test_a_breaker_holds_its_like_and_a_live_one_dry_runs_too(opened_by: Book, held: set[Book]) -> None:
    """What failed in a drill says nothing of the world."""
    laid = (control(ControlKind.BREAKER, book=opened_by),)
    runs = {Book.LIVE: {}, Book.DRY: {"mode": Mode.DRY_RUN}, Book.DRILL: {"drill": True}}
    refused = {book for book, changes in runs.items() if guard.breaker(case(controls=laid, **changes), NOTHING, NOW)}
    assert refused == held


# -- what we have done ourselves --


def test_the_cooldown_ends_with_its_last_second() -> None:
    """It counts from the end of the last run, good or not."""
    cooling = case(rule(cooldown=600))
    for good in (True, False):
        assert guard.cooldown(cooling, Books(last=Ending(NOW - 599, good)), NOW) == Refusal(
            Reason.COOLDOWN, "the last run of restart on app1 ended 9m59s ago, cooldown is 10m", NOW + 1
        )
        assert guard.cooldown(cooling, Books(last=Ending(NOW - 600, good)), NOW) is None
    assert guard.cooldown(cooling, NOTHING, NOW) is None


def test_a_rule_without_a_cooldown_is_held_by_none() -> None:
    """Not even where the clock was put back since the last run ended."""
    assert guard.cooldown(case(), Books(last=Ending(NOW + 5, good=True)), NOW) is None


def test_a_run_that_climbs_is_exempt_from_the_cooldown() -> None:
    """The one next after a success that is still remembered, and no other."""
    climbing = rule(cooldown=600, recurrence=300)
    good, bad = Ending(NOW - 300, good=True, rung=1), Ending(NOW - 60, good=False)
    assert guard.success_before(climbing, Books(last=good, last_good=good), NOW) == good
    assert guard.success_before(climbing, Books(), NOW) is None
    assert guard.success_before(climbing, Books(last_good=Ending(NOW - 301, good=True)), NOW) is None
    assert guard.success_before(rule(), Books(last_good=good), NOW) is None
    assert guard.cooldown(case(climbing), Books(last=good, last_good=good), NOW) is None
    assert guard.cooldown(case(climbing), Books(last=bad, last_good=good), NOW) is not None
    assert guard.cooldown(case(rule(cooldown=600)), Books(last=good, last_good=good), NOW) is not None


def test_a_limit_clears_when_the_oldest_that_counts_falls_out() -> None:
    """The first that is full refuses."""
    limited = case(rule(limits=(Limit(2, 3600), Limit(1, 600, by_target=True))))
    assert guard.limit(limited, Books(full_since=(NOW - 3599, NOW)), NOW) == Refusal(
        Reason.LIMIT, "2 runs of restart were admitted in the last 1h, and that many are allowed", NOW + 1
    )
    assert guard.limit(limited, Books(full_since=(NOW - 3600, NOW - 60)), NOW) == Refusal(
        Reason.LIMIT, "1 runs of restart on app1 were admitted in the last 10m, and that many are allowed", NOW + 540
    )
    assert guard.limit(limited, Books(full_since=(NOW - 3600, NOW - 600)), NOW) is None
    assert guard.limit(limited, Books(full_since=(None, None)), NOW) is None
    daemons = case(standing=Standing(allowances=(Allowance(3, 3600),)))
    assert guard.limit(daemons, Books(full_since=(NOW,)), NOW) == Refusal(
        Reason.LIMIT,
        "3 runs of all rules were admitted in the last 1h, and that many are allowed: the daemon's own limit, `guard.limit`",
        NOW + 3600,
    )


def test_a_blast_radius_counts_distinct_targets_with_the_runs_own() -> None:
    """A target that was touched before is not another one."""
    bounded = case(rule(blast_radius=BlastRadius(3600, targets=2)))
    assert guard.blast_radius(bounded, Books(touched=(frozenset({"a"}),)), NOW) is None
    assert guard.blast_radius(bounded, Books(touched=(frozenset({"a", "app1"}),)), NOW) is None
    assert guard.blast_radius(bounded, Books(touched=(frozenset({"a", "b"}),)), NOW) == Refusal(
        Reason.BLAST_RADIUS, "with app1 it would be 3 targets in 1h by restart, and 2 are allowed"
    )
    daemons = case(standing=Standing(blast_radius=BlastRadius(3600, targets=1)))
    assert guard.blast_radius(daemons, Books(touched=(frozenset({"a"}),)), NOW) == Refusal(
        Reason.BLAST_RADIUS,
        "with app1 it would be 2 targets in 1h by all rules, the daemon's own blast radius, and 1 are allowed",
    )


def test_each_blast_radius_has_to_hold() -> None:
    """Where the rule's own allows, the daemon's is asked; and a number beside a fraction."""
    both = case(
        rule(blast_radius=BlastRadius(3600, fraction=0.5, of=Expression("facts.size"))),
        standing=Standing(blast_radius=BlastRadius(60, targets=1)),
    )
    assert guard.blast_radius(both, Books(touched=(frozenset(), frozenset())), NOW) is None
    assert guard.blast_radius(both, Books(touched=(frozenset(), frozenset({"a"}))), NOW) is not None
    bare = case(
        rule(blast_radius=BlastRadius(3600, targets=1)), standing=Standing(blast_radius=BlastRadius(60, targets=1))
    )
    assert guard.blast_radius(bare, Books(touched=(frozenset(), frozenset({"a"}))), NOW) is not None


def test_a_fraction_of_a_population_may_be_reached_and_not_passed() -> None:
    """Of a list, or of its size."""
    half = case(rule(blast_radius=BlastRadius(3600, fraction=0.5, of=Expression("facts.size"))))
    assert guard.blast_radius(half, Books(touched=(frozenset("abcd"),)), NOW) is None
    assert guard.blast_radius(half, Books(touched=(frozenset("abcde"),)), NOW) == Refusal(
        Reason.BLAST_RADIUS, "with app1 it would be 6 targets in 1h by restart, and 50% of 10 are allowed"
    )
    one = case(rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression("1"))))
    assert guard.blast_radius(one, Books(touched=(frozenset(),)), NOW) is None
    listed = case(rule(blast_radius=BlastRadius(3600, fraction=0.5, of=Expression("facts.nodes"))))
    assert guard.blast_radius(listed, Books(touched=(frozenset(),)), NOW) is None
    assert guard.blast_radius(listed, Books(touched=(frozenset("a"),)), NOW) is not None


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ("facts.none", "the population `facts.none` is 0: nothing can be a fraction of it"),
        ("-1", "the population `-1` is -1: nothing can be a fraction of it"),
        ("'many'", "the population `'many'` is neither a list nor a number"),
        ("labels.app == 'web'", "the population `labels.app == 'web'` is neither a list nor a number"),
        ("[]", "the population `[]` is 0: nothing can be a fraction of it"),
    ],
)
def test_a_population_that_is_not_known_is_never_read_as_everything(of: str, why: str) -> None:
    """Even for one target alone."""
    bounded = case(rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression(of))))
    assert guard.blast_radius(bounded, Books(touched=(frozenset(),)), NOW) == Refusal(Reason.BLAST_RADIUS, why)


def test_a_population_that_can_not_be_read_refuses_and_names_the_expression() -> None:
    """So does one that is counted from a group that was cut off."""
    for of in ("facts.missing", "facts.endless"):
        unknown = case(rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression(of))), scope=ENDLESS)
        refusal = guard.blast_radius(unknown, Books(touched=(frozenset(),)), NOW)
        assert refusal is not None
        assert refusal.because.startswith(f"the population `{of}` can't be known: ")
    group = rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression("alerts")))
    assert guard.blast_radius(case(group), Books(touched=(frozenset(),)), NOW) is None
    cut = {**SCOPE, "group": {**SCOPE["group"], "truncated": 7}}
    assert guard.blast_radius(case(group, scope=cut), Books(touched=(frozenset(),)), NOW) == Refusal(
        Reason.BLAST_RADIUS, "`alerts` counts a group that Alertmanager has truncated: its size is not known"
    )
    labels = rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression("group.labels")))
    counted = guard.blast_radius(case(labels, scope=cut), Books(touched=(frozenset(),)), NOW)
    assert counted is not None
    assert "truncated" in counted.because
    elsewhere = rule(blast_radius=BlastRadius(3600, fraction=1.0, of=Expression("facts.size")))
    assert guard.blast_radius(case(elsewhere, scope=cut), Books(touched=(frozenset(),)), NOW) is None


def test_episodes_have_bounds_on_both_sides() -> None:
    """Each may be reached."""
    bounded = case(rule(episodes=EpisodeBounds(900, at_least=2, at_most=3)))
    ends = [guard.episodes(bounded, Books(episodes=count), NOW) for count in (1, 2, 3, 4)]
    assert ends == [
        Refusal(Reason.EPISODES, "its alerts began 1 episodes in 15m, and it takes at least 2"),
        None,
        None,
        Refusal(Reason.EPISODES, "its alerts began 4 episodes in 15m, and 3 at most are for it: a person has to look"),
    ]
    assert guard.episodes(case(rule(episodes=EpisodeBounds(900, at_least=2))), Books(episodes=99), NOW) is None
    assert guard.episodes(case(), Books(episodes=99), NOW) is None


def test_books_that_answer_another_question_are_refused_as_a_mistake_of_ours() -> None:
    """What was not counted must not pass for nothing."""
    with pytest.raises(ValueError, match="shorter"):
        guard.limit(case(rule(limits=(Limit(1, 60),))), NOTHING, NOW)
    with pytest.raises(ValueError, match="shorter"):
        guard.blast_radius(case(rule(blast_radius=BlastRadius(60, targets=1))), NOTHING, NOW)


# -- what the world says --


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"alertname": "DatabaseDown", "instance": "db1", "app": "x"}, "DatabaseDown (db1)"),
        ({"alertname": "DatabaseDown", "app": "x", "service": "y"}, "DatabaseDown (x)"),
        ({"alertname": "DatabaseDown", "service": "y"}, "DatabaseDown (y)"),
        ({"alertname": "DatabaseDown"}, "DatabaseDown"),
        ({"job": "x"}, "an alert without a name"),
    ],
)
def test_the_alert_that_stands_in_the_way_is_named(labels: dict[str, str], named: str) -> None:
    """With where it fires, as far as its labels tell."""
    free = guard.unless_firing(case(rule(unless_firing=firing('{zone=""}'))), Books(firing=(labels,)), NOW)
    assert free == Refusal(Reason.UNLESS_FIRING, f'{named} is firing, which {{zone=""}} forbids')


def test_any_set_of_unless_firing_refuses_where_all_its_matchers_hold() -> None:
    """Half of them is not enough."""
    guarded = case(rule(unless_firing=firing('{alertname="A"}', '{alertname="B", zone="{{ labels.zone }}"}')))
    b_here, b_there = {"alertname": "B", "zone": "a"}, {"alertname": "B", "zone": "b"}
    assert guard.unless_firing(guarded, NOTHING, NOW) is None
    assert guard.unless_firing(guarded, Books(firing=(b_there,)), NOW) is None
    assert guard.unless_firing(guarded, Books(firing=(b_there, b_here)), NOW) == Refusal(
        Reason.UNLESS_FIRING, 'B is firing, which {alertname="B", zone="a"} forbids'
    )


def test_every_set_of_only_firing_has_to_have_its_alert() -> None:
    """One alert may do for several."""
    guarded = case(rule(only_firing=firing('{alertname="A"}', '{zone="a"}')))
    assert guard.only_firing(guarded, Books(firing=({"alertname": "A", "zone": "a"},)), NOW) is None
    assert guard.only_firing(guarded, Books(firing=({"alertname": "A"},)), NOW) == Refusal(
        Reason.ONLY_FIRING, 'no alert that matches {zone="a"} is firing'
    )


def test_conditions_refuse_where_one_is_false_or_not_known() -> None:
    """True is the only "yes"."""
    yes, no = Expression("labels.app == 'web'"), Expression("labels.app == 'db'")
    assert guard.only_if(case(rule(only_if=(yes,))), NOTHING, NOW) is None
    assert guard.only_if(case(rule(only_if=(yes, no))), NOTHING, NOW) == Refusal(
        Reason.ONLY_IF, "`labels.app == 'db'` is false"
    )
    unknown = guard.only_if(case(rule(only_if=(Expression("facts.missing > 1"),))), NOTHING, NOW)
    assert unknown is not None
    assert unknown.reason is Reason.ONLY_IF
    assert unknown.because.startswith("`facts.missing > 1` can't be known: ")


def test_a_lock_that_another_holds_refuses_and_names_the_holder() -> None:
    """A free one doesn't."""
    locked = case(rule(writes=True))
    assert guard.lock(locked, Books(lock_holder="r9"), NOW) == Refusal(Reason.LOCK, "run r9 holds the lock app1")
    assert guard.lock(locked, NOTHING, NOW) is None


# -- all together --


def test_the_guards_are_asked_in_one_order_and_the_first_refusal_counts() -> None:
    """What the world says comes before what we have done ourselves: the reason that a person reads first is the cause."""
    everything = case(
        rule(
            writes=True, cooldown=600, limits=(Limit(1, 60),), blast_radius=BlastRadius(60, targets=1),
            episodes=EpisodeBounds(60, at_least=2), unless_firing=firing('{alertname="A"}'),
            only_firing=firing('{alertname="B"}'), only_if=(Expression("labels.app == 'db'"),),
        ),
        controls=(control(ControlKind.BREAKER), control(ControlKind.STORM)),
    )  # fmt: skip
    books = Books(
        last=Ending(NOW, good=False), full_since=(NOW,), touched=(frozenset({"a"}),), episodes=1, lock_holder="r9",
        firing=({"alertname": "A"},),
    )  # fmt: skip
    refusals = [each(everything, books, NOW) for each in guard.GUARDS]
    assert [each.reason for each in refusals if each is not None] == [
        Reason.STORM, Reason.BREAKER, Reason.ONLY_IF, Reason.UNLESS_FIRING, Reason.ONLY_FIRING, Reason.EPISODES,
        Reason.COOLDOWN, Reason.LIMIT, Reason.BLAST_RADIUS, Reason.LOCK,
    ]  # fmt: skip
    assert guard.decide(everything, books, NOW) == refusals[0]
    assert guard.decide(case(rule(writes=True)), Books(lock_holder="r9"), NOW) is not None
    assert guard.decide(case(), NOTHING, NOW) is None
    of_the_world = [each(everything, books, NOW) for each in guard.OF_THE_WORLD]
    assert of_the_world == refusals[2:5]
    used_up = case(rule(writes=True, cooldown=600, limits=(Limit(1, 60),)))
    taken = Books(last=Ending(NOW, good=False), full_since=(NOW,), lock_holder="r9")
    assert guard.decide(used_up, taken, NOW, guard.OF_THE_WORLD) is None
    assert guard.decide(everything, books, NOW, guard.OF_THE_WORLD) == refusals[2]
