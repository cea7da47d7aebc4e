"""What stops the whole: storm, breaker, blast radius. And episodes, which tell a blip from what flaps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls, reception
from remediator.errors import StoreError
from remediator.model.control import ControlKind
from remediator.model.run import Mode
from remediator.rules.rule import BlastRadius, Breaker
from remediator.rules.standing import Storm
from remediator.rules.templates import Expression
from remediator.store.protocol import Script

STORM = Storm(alerts=5, per=60.0, hold=600.0)


def rule(guard: str, *, name: str = "restart", more: str = "") -> str:
    return f"""
  - name: {name}
    summary: Restart what is down.
    match: '{{alertname="Down"}}'
    target: 'app/{{{{ labels.app }}}}'
    guard: {guard}
    steps: [{{uses: test.write, with: {{says: '{{{{ labels.app }}}}'}}}}]
    on_blocked: [{{uses: test.notify, with: {{says: blocked}}}}]
    {more}
"""


def failing() -> list[Outcome]:
    return [Outcome(Result.REFUSED, error="no")]


async def laid(stage: Stage, kind: ControlKind) -> list:
    now = stage.clock.now()
    return [each for each in await stage.store.view(lambda tx: tx.controls(now)) if each.kind is kind]


# -- storm --


async def test_p6_a_body_is_counted_whole_before_anything_of_it_is_decided(stage: Stage) -> None:
    """Nothing at all is done for a body that is a storm by itself, and nobody is told once for each run."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(6)))
    assert await stage.states() == [("blocked", "storm")] * 6
    assert stage.calls == []
    assert "more than 5 alerts began to fire within 1m" in (await stage.runs())[0]["because"]


async def test_p6_a_body_larger_than_one_transaction_is_counted_whole_too(stage: Stage) -> None:
    """Though it is kept in portions."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=Storm(alerts=1000, per=60.0, hold=600.0))
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(1001)))
    await stage.passes(30)
    assert stage.calls == []


async def test_p6_a_body_whose_first_part_is_known_already_is_counted_whole_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storm that comes with its second part stops what waited, even if the store fails between the two."""
    monkeypatch.setattr(reception, "_PORTION", 3)
    await stage.rules("rules:" + rule("{cooldown: 0s}").replace("match:", "for: 1m\n    match:"), storm=STORM)
    known = [stage.alert(app=f"a{n}") for n in range(3)]
    await stage.notify(*known)
    transact, kept = stage.store.transact, []

    async def once(script: Script[Any]) -> Any:
        if kept:
            raise StoreError("the store is away")
        kept.append(await transact(script))
        return kept[0]

    with monkeypatch.context() as outage:
        outage.setattr(stage.store, "transact", once)
        with pytest.raises(StoreError):
            await stage.notify(*known, *(stage.alert(app=f"b{n}") for n in range(6)))
    await stage.passes(65)
    assert stage.used("test.write") == 0
    assert await stage.states() == [("blocked", "storm")] * 3


async def test_p6_at_most_the_threshold_is_acted_on_before_a_storm_is_seen(stage: Stage) -> None:
    """One after the other they are acted on, till it is one too many."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    for number in range(8):
        await stage.fires(app=f"a{number}")
        await stage.passes(1)
    assert [state for state, _ in await stage.states()] == ["succeeded"] * 5 + ["blocked"] * 3


async def test_repeats_and_flapping_of_few_alerts_are_no_storm(stage: Stage) -> None:
    """Distinct alerts count."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    for _ in range(6):
        await stage.fires(app="a")
        await stage.passes(2)
        await stage.resolves(app="a")
    assert await laid(stage, ControlKind.STORM) == []


async def test_a_storm_holds_for_a_while_after_it_has_passed_and_then_gives_a_second_chance(stage: Stage) -> None:
    """What still fires is taken up again, once."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(6)))
    await stage.resolves(app="a0")
    await stage.passes(659)
    assert stage.calls == []
    await stage.passes(2)
    assert sorted(says for _, says in stage.calls) == ["a1", "a2", "a3", "a4", "a5"]
    assert await laid(stage, ControlKind.STORM) == []


async def test_a_storm_that_goes_on_holds_longer(stage: Stage) -> None:
    """From the last moment at which there were too many."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(6)))
    await stage.passes(300)
    await stage.notify(*(stage.alert(app=f"b{n}") for n in range(6)))
    await stage.passes(400)
    assert stage.calls == []
    await stage.passes(262)
    assert stage.used("test.write") == 12


async def test_there_is_no_third_chance(stage: Stage) -> None:
    """A second storm stops what had its second chance for good."""
    await stage.rules("rules:" + rule("{cooldown: 0s}").replace("match:", "for: 5m\n    match:"), storm=STORM)
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(6)))
    await stage.passes(661)
    await stage.notify(*(stage.alert(app=f"b{n}") for n in range(6)))
    await stage.passes(3600)
    assert stage.used("test.write") <= 12
    runs = await stage.runs()
    assert max(sum(run["target"] == f"app/a{n}" for run in runs) for n in range(6)) <= 2


async def test_a_person_may_lift_a_storm_and_it_stays_lifted(stage: Stage) -> None:
    """What they have seen does not count again."""
    await stage.rules("rules:" + rule("{cooldown: 0s}"), storm=STORM)
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(6)))
    (storm,) = await laid(stage, ControlKind.STORM)
    await controls.lift(stage.engine, storm.id, "ann", "a deploy")
    await stage.passes(1)
    assert stage.used("test.write") == 6
    await stage.fires(app="c")
    assert await laid(stage, ControlKind.STORM) == []
    assert stage.used("test.write") == 7


# -- breaker --


async def test_a_breaker_opens_after_so_many_failures_and_closes_after_its_span(stage: Stage) -> None:
    """Until then its rule is refused, with what led to it."""
    await stage.rules("rules:" + rule("{cooldown: 0s, breaker: {failures: 2, per: 1h, reset: 30m}}"))
    stage.outcomes["test.write"] = failing()
    for number in range(3):
        await stage.fires(app=f"a{number}")
    assert await stage.states() == [("failed", "step")] * 2 + [("blocked", "breaker")]
    assert "2 runs of restart ended failed or unknown within 1h" in (await stage.runs())[-1]["because"]
    await stage.passes(1799)
    await stage.fires(app="b")
    assert (await stage.states())[-1] == ("blocked", "breaker")
    await stage.passes(1)
    await stage.fires(app="c")
    assert (await stage.states())[-1] == ("failed", "step")


async def test_a_manual_breaker_stays_open_till_a_person_closes_it(stage: Stage) -> None:
    """Over restarts; then it counts from there."""
    await stage.rules("rules:" + rule("{cooldown: 0s, breaker: {failures: 2, per: 1h, reset: manual}}"))
    stage.outcomes["test.write"] = failing()
    await stage.fires(app="a")
    await stage.fires(app="b")
    await stage.passes(7_300)
    await stage.crash()
    await stage.fires(app="c")
    assert (await stage.states())[-1] == ("blocked", "breaker")
    (open_one,) = await laid(stage, ControlKind.BREAKER)
    assert open_one.id in (await stage.runs())[-1]["because"]
    await controls.lift(stage.engine, open_one.id, "ann", "mended")
    await stage.passes(1)
    await stage.fires(app="d")
    await stage.fires(app="e")
    await stage.fires(app="f")
    assert [state for state, _ in (await stage.states())[-3:]] == ["failed", "failed", "blocked"]


async def test_failures_that_are_far_apart_open_no_breaker(stage: Stage) -> None:
    """They fall out of the span."""
    await stage.rules("rules:" + rule("{cooldown: 0s, breaker: {failures: 2, per: 1h, reset: manual}}"))
    stage.outcomes["test.write"] = failing()
    for number in range(4):
        await stage.fires(app=f"a{number}")
        await stage.passes(3601)
    assert await stage.states() == [("failed", "step")] * 4


async def test_an_unknown_run_counts_as_failed_till_it_proves_good(stage: Stage) -> None:
    """It opens the breaker at once."""
    import asyncio

    await stage.rules("rules:" + rule("{cooldown: 0s, breaker: {failures: 1, per: 1h, reset: manual}}"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="a")
    await stage.crash()
    stage.blocked.pop("test.write")
    assert [state for state, _ in await stage.states()] == ["unknown"]
    await stage.fires(app="b")
    assert (await stage.states())[-1] == ("blocked", "breaker")


async def test_the_daemons_breaker_counts_all_rules_and_stops_all(stage: Stage) -> None:
    """A failure that many rules meet is no rule's to mend."""
    two = rule("{cooldown: 0s}") + rule("{cooldown: 0s}", name="other").replace('"Down"', '"Slow"')
    await stage.rules("rules:" + two, breaker=Breaker(failures=2, per=3600.0, reset=None))
    stage.outcomes["test.write"] = failing()
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    await stage.fires(app="c")
    await stage.fires("Slow", app="d")
    assert [state for state, _ in await stage.states()] == ["failed", "failed", "blocked", "blocked"]
    assert "the daemon's breaker is open till a person closes it" in (await stage.runs())[-1]["because"]


async def test_failures_of_dry_runs_do_not_open_the_live_breaker(stage: Stage) -> None:
    """Live runs don't see dry entries."""
    text = "rules:" + rule("{cooldown: 0s, breaker: {failures: 1, per: 1h, reset: manual}}").replace(
        "steps: [", "steps: [{uses: test.read}, "
    )
    await stage.rules(text, mode=Mode.DRY_RUN)
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="no"), {}]
    await stage.fires(app="a")
    await stage.fires(app="b")
    assert await stage.states() == [("failed", "step"), ("blocked", "breaker")]
    await stage.rules(text, mode=Mode.AUTO)
    await stage.fires(app="c")
    assert (await stage.states())[-1] == ("succeeded", None)


# -- blast radius --


async def test_blast_radius_counts_distinct_targets_in_the_span(stage: Stage) -> None:
    """One that was touched before is touched again without widening it."""
    await stage.rules("rules:" + rule("{cooldown: 0s, blast_radius: {targets: 2, per: 1h}}"))
    for number, app in enumerate(["a", "b", "c", "a"]):
        await stage.fires(app=app, n=str(number))
    assert [state for state, _ in await stage.states()] == ["succeeded", "succeeded", "blocked", "succeeded"]
    assert (await stage.runs())[2]["reason"] == "blast_radius"
    await stage.passes(3600)
    await stage.fires(app="c", n="later")
    assert (await stage.states())[-1] == ("succeeded", None)


@pytest.mark.parametrize(
    ("population", "states"),
    [
        ("[1, 2, 3, 4]", ["succeeded", "succeeded", "blocked"]),
        ("4", ["succeeded", "succeeded", "blocked"]),
        ("[]", ["blocked"] * 3),
        ("0", ["blocked"] * 3),
        ("'four'", ["blocked"] * 3),
        ("true", ["blocked"] * 3),
        ("labels.none", ["blocked"] * 3),
    ],
)
async def test_p5_blast_radius_takes_a_fraction_of_what_is_known(
    stage: Stage, population: str, states: list[str]
) -> None:
    """An empty or unknown population means nothing is done, never everything."""
    guard = f'{{cooldown: 0s, blast_radius: {{fraction: 0.5, of: "{population}", per: 1h}}}}'
    await stage.rules("rules:" + rule(guard))
    for app in ("a", "b", "c"):
        await stage.fires(app=app)
    assert [state for state, _ in await stage.states()] == states


@pytest.mark.fault("truncated group")
async def test_p5_no_fraction_is_counted_from_a_truncated_group(stage: Stage) -> None:
    """Alertmanager has said that there are more."""
    from msgspec.structs import replace

    from remediator.model.alert import Notification
    from remediator.model.identity import new_id

    await stage.rules("rules:" + rule("{cooldown: 0s, blast_radius: {fraction: 1.0, of: alerts, per: 1h}}"))
    whole = Notification(
        new_id(stage.clock.now()), stage.clock.now(), "h", "{}", {}, 0, (stage.alert(app="a"),), (), b"{}"
    )
    await stage.engine.accept(whole)
    await stage.settle()
    await stage.engine.accept(replace(whole, id=new_id(stage.clock.now()), truncated=3, alerts=(stage.alert(app="b"),)))
    await stage.settle()
    assert [state for state, _ in await stage.states()] == ["succeeded", "blocked"]
    assert "truncated" in (await stage.runs())[-1]["because"]


async def test_the_daemons_blast_radius_counts_over_all_rules(stage: Stage) -> None:
    """And may be a fraction too."""
    two = rule("{cooldown: 0s}") + rule("{cooldown: 0s}", name="other").replace('"Down"', '"Slow"')
    await stage.rules("rules:" + two, blast_radius=BlastRadius(3600.0, 2, 0.5, Expression("4")))
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    await stage.fires(app="c")
    assert [state for state, _ in await stage.states()] == ["succeeded", "succeeded", "blocked"]


# -- episodes --


@pytest.mark.fault("flapping")
async def test_a_first_blip_is_left_alone_and_flapping_goes_to_a_person(stage: Stage) -> None:
    """From the second to the third time it is the rule's."""
    await stage.rules("rules:" + rule("{cooldown: 0s, episodes: {at_least: 2, at_most: 3, per: 1h}}"))
    for _ in range(5):
        await stage.fires(app="web")
        await stage.passes(30)
        await stage.resolves(app="web")
        await stage.passes(30)
    assert [state for state, _ in await stage.states()] == ["blocked", "succeeded", "succeeded", "blocked", "blocked"]
    assert "began 1 episodes in 1h" in (await stage.runs())[0]["because"]


async def test_what_began_and_ended_while_a_run_was_at_work_counts_as_an_episode_too(stage: Stage) -> None:
    """Flapping under a remedy is flapping: it goes to a person."""
    await stage.rules("rules:" + rule("{cooldown: 0s, episodes: {at_most: 3, per: 1h}}"))
    stage.blocked["test.write"] = asyncio.Event()
    for _ in range(4):
        await stage.fires(app="web")
        await stage.passes(30)
        await stage.resolves(app="web")
        await stage.passes(30)
    stage.blocked.pop("test.write").set()
    await stage.settle()
    await stage.fires(app="web")
    assert [state for state, _ in await stage.states()] == ["succeeded", "blocked"]
    assert "began 5 episodes in 1h" in (await stage.runs())[-1]["because"]


async def test_episodes_count_by_target_and_fall_out_of_the_span(stage: Stage) -> None:
    """Those of another target do not count, nor do old ones; a target that facts tell counts too."""
    text = "rules:" + rule("{cooldown: 0s, episodes: {at_least: 2, per: 1h}}").replace(
        "target: 'app/{{ labels.app }}'", "facts: [{id: who, uses: test.probe}]\n    target: 'app/{{ facts.who.app }}'"
    )
    await stage.rules(text)
    stage.outcomes["test.probe"] = [{"app": "a"}, {"app": "b"}, {"app": "a"}, {"app": "a"}]
    await stage.fires(app="x", n="1")
    await stage.fires(app="x", n="2")
    assert [state for state, _ in await stage.states()] == ["blocked", "blocked"]
    await stage.fires(app="x", n="3")
    assert (await stage.states())[-1] == ("succeeded", None)
    await stage.passes(3700)
    await stage.fires(app="x", n="4")
    assert (await stage.states())[-1] == ("blocked", "episodes")
