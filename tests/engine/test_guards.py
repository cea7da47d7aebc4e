"""Guards: every "no" has a reason, and is decided in the transaction that admits (P4)."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.model.books import Allowance
from remediator.model.run import Mode


def rule(guard: str, *, name: str = "restart", more: str = "", target: str = "app/{{ labels.app }}") -> str:
    return f"""
  - name: {name}
    summary: Restart what is down.
    match: '{{alertname="Down"}}'
    target: '{target}'
    guard: {guard}
    steps: [{{uses: test.write, with: {{says: '{name}'}}}}]
    {more}
"""


async def test_cooldown_counts_from_the_end_of_the_last_run_however_it_ended(stage: Stage) -> None:
    """A failed run cools down too."""
    await stage.rules("rules:" + rule("{cooldown: 10m}"))
    stage.outcomes["test.write"] = [Outcome(Result.REFUSED, error="no")]
    await stage.fires(app="web", n="1")
    await stage.passes(599)
    await stage.fires(app="web", n="2")
    await stage.fires(app="other", n="3")
    await stage.passes(1)
    await stage.fires(app="web", n="4")
    assert await stage.states() == [("failed", "step"), ("blocked", "cooldown"), ("failed", "step"), ("failed", "step")]
    assert "ago, cooldown is 10m" in (await stage.runs())[1]["because"]


async def test_a_rule_that_writes_cools_down_five_minutes_by_default(stage: Stage) -> None:
    """And one that only reads does not."""
    await stage.rules("rules:" + rule("{}") + rule("{}", name="look").replace("test.write", "test.read"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    assert sorted(await stage.states(), key=str) == [
        ("blocked", "cooldown"), ("succeeded", None), ("succeeded", None), ("succeeded", None),
    ]  # fmt: skip


async def test_limit_counts_admitted_runs_of_the_rule_in_the_span(stage: Stage) -> None:
    """The oldest falls out of it in time."""
    await stage.rules("rules:" + rule("{cooldown: 0s, limit: 2 per 1h}"))
    for number in range(3):
        await stage.fires(app=f"app{number}")
        await stage.passes(60)
    assert await stage.states() == [("succeeded", None)] * 2 + [("blocked", "limit")]
    await stage.passes(3600 - 180)
    await stage.fires(app="late")
    assert (await stage.states())[-1] == ("succeeded", None)


async def test_limit_may_count_by_target_and_stand_in_a_list(stage: Stage) -> None:
    """Both must hold."""
    await stage.rules("rules:" + rule("{cooldown: 0s, limit: [1 per 1h per target, 2 per 1h]}"))
    for number, app in enumerate(["a", "a", "b", "c"]):
        await stage.fires(app=app, n=str(number))
    assert [state for state, _ in await stage.states()] == ["succeeded", "blocked", "succeeded", "blocked"]


async def test_p5_limits_hold_when_everything_comes_at_once(stage: Stage) -> None:
    """A hundred alerts in one body, and in many: two runs."""
    await stage.rules("rules:" + rule("{cooldown: 0s, limit: 2 per 1h}"))
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(100)))
    await asyncio.gather(*(stage.notify(stage.alert(app=f"b{n}")) for n in range(50)))
    await stage.passes(60)
    assert stage.used("test.write") == 2
    assert {reason for state, reason in await stage.states() if state == "blocked"} == {"limit"}


async def test_the_daemons_own_limit_counts_over_all_rules(stage: Stage) -> None:
    """Thirty an hour unless it says otherwise."""
    await stage.rules(
        "rules:" + rule("{cooldown: 0s}") + rule("{cooldown: 0s}", name="two", target="x/{{ labels.app }}"),
        allowances=(Allowance(3, 3600.0),),
    )
    await stage.fires(app="a")
    await stage.fires(app="b")
    assert [state for state, _ in await stage.states()] == ["succeeded"] * 3 + ["blocked"]
    assert "the daemon's own limit" in (await stage.runs())[-1]["because"]


async def test_unless_firing_looks_for_a_cause_elsewhere(stage: Stage) -> None:
    """Its values may be templates."""
    guard = """{cooldown: 0s, unless_firing: ['{alertname="DatabaseDown", app="{{ labels.app }}"}']}"""
    await stage.rules("rules:" + rule(guard))
    await stage.fires("DatabaseDown", app="web")
    await stage.fires(app="web")
    await stage.fires(app="other")
    assert await stage.states() == [("blocked", "unless_firing"), ("succeeded", None)]
    await stage.resolves("DatabaseDown", app="web")
    await stage.fires(app="web", n="2")
    assert (await stage.states())[-1] == ("succeeded", None)


async def test_only_firing_wants_another_alert_beside_it(stage: Stage) -> None:
    """Each of the sets has to have one."""
    await stage.rules("rules:" + rule("""{cooldown: 0s, only_firing: ['{alertname=~"HighLoad|HighMemory"}']}"""))
    await stage.fires(app="web")
    await stage.fires("HighMemory", app="else")
    await stage.fires(app="web", n="2")
    assert await stage.states() == [("blocked", "only_firing"), ("succeeded", None)]


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ("labels.app == 'web'", "succeeded"),
        ("labels.app == 'other'", "blocked"),
        ("labels.missing == 'x'", "blocked"),
        ("labels.app", "blocked"),
        ("1 / 0 > 1", "blocked"),
    ],
)
async def test_only_if_refuses_what_is_false_or_fails(stage: Stage, condition: str, state: str) -> None:
    """Fail closed: what can't be known is no."""
    await stage.rules("rules:" + rule(f'{{cooldown: 0s, only_if: "{condition}"}}'))
    await stage.fires(app="web")
    run = await stage.run()
    assert run["state"] == state
    assert run["reason"] == (None if state == "succeeded" else "only_if")


async def test_lock_holds_over_rules_until_the_run_closes(stage: Stage) -> None:
    """The target is the lock by default."""
    await stage.rules(
        "rules:" + rule("{cooldown: 0s}") + rule("{cooldown: 0s}", name="other").replace('"Down"', '"Slow"')
    )
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.fires("Slow", app="web")
    assert await stage.states() == [("running", None), ("blocked", "lock")]
    stage.blocked.pop("test.write").set()
    await stage.settle()
    await stage.fires("Slow", app="web", n="2")
    assert (await stage.states())[-1] == ("succeeded", None)


async def test_a_rule_that_only_reads_takes_no_lock(stage: Stage) -> None:
    """Looking disturbs nobody."""
    await stage.rules(
        "rules:" + rule("{}") + rule("{}", name="look").replace("test.write", "test.read").replace('"Down"', '"Slow"')
    )
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.fires("Slow", app="web")
    assert await stage.states() == [("running", None), ("succeeded", None)]


async def test_patience_waits_for_a_refusal_to_clear(stage: Stage) -> None:
    """And acts then, if the alert still fires."""
    await stage.rules("rules:" + rule("{cooldown: 10m, patience: 15m}"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    assert await stage.states() == [("succeeded", None), ("waiting", "cooldown")]
    await stage.passes(601)
    assert await stage.states() == [("succeeded", None), ("succeeded", None)]


async def test_patience_ends(stage: Stage) -> None:
    """The refusal stands then."""
    await stage.rules("rules:" + rule("{cooldown: 1h, patience: 5m}"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.passes(299)
    assert (await stage.states())[1] == ("waiting", "cooldown")
    await stage.passes(2)
    assert (await stage.states())[1] == ("blocked", "cooldown")


async def test_patience_gives_up_when_the_alert_resolves(stage: Stage) -> None:
    """Nothing is left to do."""
    await stage.rules("rules:" + rule("{cooldown: 1h, patience: 50m}"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.resolves(app="web", n="2")
    assert (await stage.states())[1] == ("cancelled", "resolved")


async def test_a_lock_that_clears_wakes_the_patient_at_once(stage: Stage) -> None:
    """It need not look every so often."""
    await stage.rules(
        "rules:"
        + rule("{cooldown: 0s}")
        + rule("{cooldown: 0s, patience: 1h}", name="other").replace('"Down"', '"Slow"')
    )
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.fires("Slow", app="web")
    assert (await stage.states())[1] == ("waiting", "lock")
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert await stage.states() == [("succeeded", None), ("succeeded", None)]


async def test_on_blocked_follows_a_refusal_once(stage: Stage) -> None:
    """Somebody should know."""
    more = "on_blocked: [{uses: test.notify, with: {says: told}}]"
    await stage.rules("rules:" + rule("{cooldown: 1h}", more=more))
    await stage.fires(app="web", n="1")
    alert = stage.alert(app="web", n="2")
    await stage.notify(alert)
    await stage.notify(alert)
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None), ("blocked", "cooldown")]
    assert stage.used("test.notify") == 1


async def test_facts_older_than_half_a_minute_are_read_again_before_they_decide(stage: Stage) -> None:
    """A patient run decides by what is true now."""
    text = "rules:" + rule("{cooldown: 0s, only_if: facts.load.value > 5, patience: 5m}").replace(
        "    target:", "    facts: [{id: load, uses: test.read}]\n    target:"
    )
    await stage.rules(text)
    stage.outcomes["test.read"] = [{"value": 1}, {"value": 1}, {"value": 9}]
    await stage.fires(app="web")
    assert await stage.states() == [("waiting", "only_if")]
    await stage.passes(120)
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.read") == 3


async def test_p13_dry_runs_count_live_entries_and_live_runs_do_not_see_dry_ones(stage: Stage) -> None:
    """Books apart."""
    text = "rules:" + rule("{cooldown: 10m}")
    await stage.rules(text, mode=Mode.DRY_RUN)
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.rules(text, mode=Mode.AUTO)
    await stage.fires(app="web", n="3")
    await stage.rules(text, mode=Mode.DRY_RUN)
    await stage.fires(app="web", n="4")
    assert await stage.states() == [
        ("planned", None), ("blocked", "cooldown"), ("succeeded", None), ("blocked", "cooldown"),
    ]  # fmt: skip
