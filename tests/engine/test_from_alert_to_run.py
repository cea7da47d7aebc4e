"""From alert to run: episodes, joining, facts, admission (rule language, "From alert to run")."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

RESTART = """
rules:
  - name: restart
    summary: Restart what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps:
      - {id: restart, uses: test.write, with: {says: '{{ labels.app }}'}}
"""
PATIENT = RESTART.replace("    target:", "    for: 2m\n    target:")


async def test_an_alert_that_matches_is_acted_on(stage: Stage) -> None:
    """The whole of it: one notification, one run, one step."""
    await stage.rules(RESTART)
    receipt = await stage.fires(app="web")
    run = await stage.run()
    assert receipt.runs == [run["id"]]
    assert (run["state"], run["target"], run["mode"]) == ("succeeded", "app/web", "auto")
    assert [(step["uses"], step["state"]) for step in run["steps"]] == [("test.write", "succeeded")]
    assert stage.calls == [("test.write", "web")]


async def test_an_alert_that_matches_no_rule_starts_nothing(stage: Stage) -> None:
    """It is kept all the same."""
    await stage.rules(RESTART)
    assert (await stage.fires("Other", app="web")).runs == []
    assert len(await stage.store.view(lambda tx: tx.firing())) == 1


async def test_p2_the_same_notification_again_does_nothing_more(stage: Stage) -> None:
    """At least once is by design: a repeat joins what there is, now and later, and from another Alertmanager too."""
    await stage.rules(RESTART)
    alert = stage.alert(app="web")
    await asyncio.gather(*(stage.notify(alert) for _ in range(5)))
    await stage.passes(3600)
    await stage.notify(alert)
    assert stage.used("test.write") == 1
    assert len(await stage.runs()) == 1


async def test_a_new_episode_is_taken_up_again(stage: Stage) -> None:
    """Firing, resolved, firing: two remediations."""
    await stage.rules(RESTART)
    await stage.fires(app="web")
    await stage.passes(60)
    await stage.resolves(app="web")
    await stage.passes(60)
    await stage.fires(app="web")
    assert await stage.states() == [("succeeded", None), ("succeeded", None)]


async def test_resolved_before_firing_starts_nothing(stage: Stage) -> None:
    """The late firing of an episode that is over is stale."""
    await stage.rules(RESTART)
    firing = stage.alert(app="web")
    await stage.resolves(app="web")
    await stage.notify(firing)
    assert await stage.runs() == []


async def test_for_counts_from_when_the_alert_was_first_seen(stage: Stage) -> None:
    """It must still be firing that long after."""
    await stage.rules(PATIENT)
    await stage.fires(app="web")
    assert await stage.states() == [("waiting", "for")]
    await stage.passes(119)
    assert stage.calls == []
    await stage.passes(1)
    assert await stage.states() == [("succeeded", None)]


async def test_an_alert_that_resolves_within_for_starts_nothing(stage: Stage) -> None:
    """It healed by itself."""
    await stage.rules(PATIENT)
    await stage.fires(app="web")
    await stage.passes(60)
    await stage.resolves(app="web")
    assert await stage.states() == [("cancelled", "resolved")]
    await stage.passes(3600)
    assert stage.calls == []


async def test_alerts_that_come_while_a_run_waits_join_it(stage: Stage) -> None:
    """They keep it open: `for` counts by alert, from the earliest that still fires."""
    await stage.rules(PATIENT)
    await stage.fires(app="web", instance="a")
    await stage.passes(60)
    joined = await stage.fires(app="web", instance="b")
    await stage.passes(30)
    await stage.resolves(app="web", instance="a")
    await stage.passes(60)
    assert stage.calls == []
    await stage.passes(30)
    run = await stage.run()
    assert (run["state"], len(run["alerts"]), joined.runs) == ("succeeded", 2, [run["id"]])


async def test_an_alert_that_comes_after_the_first_step_is_proposed_anew_when_the_run_closes(stage: Stage) -> None:
    """One open run for each rule and target: the guards then judge the new one."""
    await stage.rules(RESTART.replace("cooldown: 0s", "cooldown: 10m"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web", instance="a")
    await stage.fires(app="web", instance="b")
    assert await stage.states() == [("running", None)]
    stage.blocked["test.write"].set()
    await stage.settle()
    assert await stage.states() == [("succeeded", None), ("blocked", "cooldown")]
    assert stage.used("test.write") == 1


async def test_one_body_with_many_alerts_of_one_target_makes_one_run(stage: Stage) -> None:
    """However large the group."""
    await stage.rules(RESTART)
    await stage.notify(*(stage.alert(app="web", instance=str(n)) for n in range(700)))
    await stage.passes(1)
    states = await stage.states()
    assert states[0] == ("succeeded", None)
    assert stage.used("test.write") == len(states)
    assert sum(len(run["alerts"]) for run in await stage.runs()) == 700


async def test_every_rule_that_matches_proposes_by_priority_then_order(stage: Stage) -> None:
    """P0 before P3, then as the files say."""
    rules = "rules:\n" + "".join(
        f"  - {{name: rule-{n}, summary: x, match: '{{alertname=\"Down\"}}', target: 't{n}', priority: {priority}, "
        f"steps: [{{uses: test.write, with: {{says: '{n}'}}}}]}}\n"
        for n, priority in enumerate(["P3", "P0", "P2", "P0"])
    )
    await stage.rules(rules)
    await stage.fires()
    assert [says for _, says in stage.calls] == ["1", "3", "2", "0"]


FACTS = """
rules:
  - name: by-owner
    summary: Act on the owner.
    match: '{alertname="Down"}'
    facts:
      - {id: owner, uses: test.read, with: {says: '{{ labels.pod }}'}}
    target: '{{ facts.owner.name }}'
    guard: {cooldown: 0s, only_if: facts.owner.healthy < 3}
    steps:
      - {uses: test.write, with: {says: '{{ facts.owner.name }}'}}
"""


async def test_facts_name_the_target_and_feed_the_guards(stage: Stage) -> None:
    """They are read by a worker before the decision."""
    await stage.rules(FACTS)
    stage.outcomes["test.read"] = [{"name": "web", "healthy": 1}]
    await stage.fires(pod="web-1")
    run = await stage.run()
    assert (run["state"], run["target"]) == ("succeeded", "web")
    assert stage.calls == [("test.read", "web-1"), ("test.write", "web")]


async def test_runs_whose_facts_name_the_same_target_become_one(stage: Stage) -> None:
    """The younger hands its alerts to the one that already waits, or waits for the one that has begun."""
    await stage.rules(FACTS)
    stage.outcomes["test.read"] = [{"name": "web", "healthy": 1}]
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(pod="web-1")
    await stage.fires(pod="web-2")
    assert await stage.states() == [("running", None), ("waiting", "busy")]
    stage.blocked["test.write"].set()
    await stage.passes(1)
    assert await stage.states() == [("succeeded", None), ("succeeded", None)]


async def test_facts_that_cannot_be_read_block_the_run(stage: Stage) -> None:
    """Anything that is needed and can't be got is a refusal."""
    from remediator.actions.protocol import Outcome, Result

    await stage.rules(FACTS)
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="no answer")]
    await stage.fires(pod="web-1")
    assert await stage.states() == [("blocked", "facts")]
    assert stage.used("test.write") == 0


async def test_a_missing_label_is_an_error_and_never_an_empty_text(stage: Stage) -> None:
    """The target would be nothing in particular."""
    await stage.rules(RESTART)
    await stage.fires()
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("blocked", "template_error")
    assert "app" in run["because"]
    assert stage.calls == []


async def test_p10_a_value_that_a_gate_refuses_refuses_the_decision(stage: Stage) -> None:
    """Found while the plan is rendered, nothing has begun."""
    await stage.rules(RESTART.replace("says: '{{ labels.app }}'", "arg: '{{ labels.flag }}'"))
    await stage.fires(app="web", flag="--force")
    assert await stage.states() == [("blocked", "unsafe_value")]
    assert stage.calls == []


async def test_a_rule_that_changes_before_the_first_step_gives_its_alerts_to_the_new_one(stage: Stage) -> None:
    """A run keeps the rule it began with; one that hasn't begun has none to keep."""
    await stage.rules(PATIENT)
    await stage.fires(app="web")
    await stage.rules(PATIENT.replace("{{ labels.app }}'}}", "new {{ labels.app }}'}}"))
    assert await stage.states() == [("cancelled", "rule_changed"), ("waiting", "for")]
    await stage.passes(120)
    assert stage.calls == [("test.write", "new web")]


@pytest.mark.fault("reload during a run")
async def test_p11_a_run_keeps_the_rule_it_began_with(stage: Stage) -> None:
    """A reload in the middle changes nothing for it."""
    two = RESTART + "      - {uses: test.write, with: {says: second}}\n"
    await stage.rules(two)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.rules(two.replace("second", "other"))
    stage.blocked["test.write"].set()
    await stage.settle()
    assert stage.calls == [("test.write", "web"), ("test.write", "second")]


async def test_a_rule_that_is_added_takes_up_what_fires_at_its_next_repeat(stage: Stage) -> None:
    """And only once."""
    await stage.rules(RESTART.replace("Down", "Else"))
    alert = stage.alert(app="web")
    await stage.notify(alert)
    await stage.rules(RESTART)
    await stage.notify(alert)
    await stage.notify(alert)
    assert await stage.states() == [("succeeded", None)]


async def test_max_running_lets_more_wait_and_the_most_urgent_go_first(stage: Stage) -> None:
    """P0 before P3, whoever came first."""
    await stage.rules(
        RESTART.replace("    target:", "    priority: '{{ labels.priority }}'\n    target:"), max_running=1
    )
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="a", priority="P2")
    await stage.fires(app="b", priority="P3")
    await stage.fires(app="c", priority="P0")
    assert await stage.states() == [("running", None), ("waiting", "max_running"), ("waiting", "max_running")]
    stage.blocked.pop("test.write").set()
    await stage.passes(1)
    assert [says for _, says in stage.calls] == ["a", "c", "b"]
