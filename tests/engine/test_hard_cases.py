"""Hard cases: what goes wrong where two things happen at once, and how it has to be instead."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage import START, Stage

from remediator.actions.alertmanager import AlertsParameters
from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action, Context, Effect, Outcome, Result
from remediator.engine import controls, workers
from remediator.errors import IllegalTransition, MalformedBody, StoreError
from remediator.execute import redacted
from remediator.log import configure_log
from remediator.model.alert import Notification
from remediator.model.identity import new_id
from remediator.model.run import Mode
from remediator.receive import Limits, decode
from remediator.rules.configured import _asks_alertmanager, _resolved_check
from remediator.rules.matchers import parse_matchers
from remediator.web.access import WebhookCredential, local_token

FAILED = Outcome(Result.REFUSED, error="exit status 1")
UNREADABLE = Outcome(Result.ERROR, error="timed out")


def rule(steps: str = "[{uses: test.write}]", more: str = "", *, name: str = "mend", alert: str = '="Down"') -> str:
    return f"""
  - name: {name}
    summary: Mend what is down.
    match: '{{alertname{alert}}}'
    target: '{{{{ labels.app }}}}'
    guard: {{cooldown: 0s}}
    steps: {steps}
    {more}
"""


async def crash_during(stage: Stage, action: str, **labels: str) -> None:
    """Kill the daemon while an action is at work; it is down until the caller starts it again by `crash`."""
    stage.blocked[action] = asyncio.Event()
    await stage.fires(app="web", **labels)
    assert stage.used(action) == 1
    stage.blocked.pop(action)


# -- verification --


class Api(Action[AlertsParameters]):
    """Alertmanager's API, with alerts that a test lays down."""

    name = "alertmanager.alerts"
    effect = Effect.READ
    parameters = AlertsParameters

    def __init__(self) -> None:
        self.firing: list[Any] = []

    def plan(self, params: AlertsParameters) -> str:
        """Say it."""
        return "ask"

    async def run(self, params: AlertsParameters, context: Context) -> Outcome:
        """Give those that match, as Alertmanager does."""
        matchers = parse_matchers(str(params.match))
        found = [each for each in self.firing if all(matcher.matches(each.labels) for matcher in matchers)]
        return Outcome(Result.OK, {"alerts": [{"fingerprint": each.fingerprint, "state": "active"} for each in found]})


async def stage_with_api(stage: Stage) -> Api:
    api = Api()
    stage.catalog = Catalog({**{name: stage.catalog[name] for name in stage.catalog}, api.name: api})
    stage.standing = replace(
        stage.standing,
        resolved_check=_resolved_check(stage.catalog),
        presence_check=_asks_alertmanager(stage.catalog),
    )
    return api


async def test_resolved_does_not_hold_while_the_api_says_that_the_alert_fires(stage: Stage) -> None:
    """What the expectation compares with are the run's own alerts."""
    api = await stage_with_api(stage)
    await stage.rules("rules:" + rule(more="verify: {within: 2m, every: 15s, resolved: true}"))
    api.firing = [stage.alert(app="web")]
    await stage.fires(app="web")
    await stage.passes(30)
    assert await stage.states() == [("verifying", None)]


async def test_resolved_asks_the_api_for_all_alerts_of_the_run(stage: Stage) -> None:
    """One that joined may have another name than the one that opened it."""
    api = await stage_with_api(stage)
    more = "for: 1m\n    verify: {within: 2m, every: 15s, resolved: true}"
    await stage.rules("rules:" + rule(more=more, alert='=~"Down|Slow"'))
    api.firing = [stage.alert("Down", app="web"), stage.alert("Slow", app="web")]
    await stage.notify(*api.firing)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.passes(61)
    del api.firing[0]
    stage.blocked.pop("test.write").set()
    await stage.passes(30)
    assert await stage.states() == [("verifying", None)]


async def test_a_run_whose_opening_alert_is_gone_goes_on_for_one_of_another_name_that_joined(stage: Stage) -> None:
    """The API is asked for every alert of the run before it is said that they have resolved."""
    api = await stage_with_api(stage)
    await stage.rules("rules:" + rule(more="for: 1m", alert='=~"Down|Slow"'))
    await stage.notify(stage.alert("Down", app="web"), stage.alert("Slow", app="web"))
    api.firing = [stage.alert("Slow", app="web")]
    await stage.passes(61)
    assert await stage.states() == [("succeeded", None)]


@pytest.mark.parametrize("condition", ["if: labels.app == 'db'", "for_each: '[]'"])
async def test_a_verification_whose_checks_were_all_skipped_is_no_success(stage: Stage, condition: str) -> None:
    """Nothing was looked at, and no data is not success."""
    verify = f"verify: {{within: 1m, checks: [{{uses: test.check, {condition}, expect: result.up}}]}}"
    await stage.rules("rules:" + rule(more=verify))
    await stage.fires(app="web")
    await stage.passes(61)
    assert stage.used("test.check") == 0
    assert await stage.states() == [("failed", "inconclusive")]


async def test_stable_for_counts_only_time_that_was_looked_at(stage: Stage) -> None:
    """A pause in between is a break: nobody knows what was."""
    verify = "verify: {within: 1h, every: 15s, stable_for: 5m, checks: [{uses: test.check, expect: result.up}]}"
    await stage.rules("rules:" + rule(more=verify))
    stage.outcomes["test.check"] = [{"up": True}]
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(600)
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert await stage.states() == [("verifying", None)]


# -- crashes --


async def test_p2_a_step_in_doubt_leaves_unknown_though_the_deadline_has_passed_meanwhile(stage: Stage) -> None:
    """The daemon was down for hours: what the write did is as little known as before, and nothing is undone."""
    await stage.rules("rules:" + rule(more="undo: [{uses: test.undo}]"))
    await crash_during(stage, "test.write")
    stage.clock.time += 7200
    await stage.crash()
    assert await stage.states() == [("unknown", "interrupted")]
    assert stage.used("test.undo") == 0


async def test_p2_a_step_in_doubt_leaves_unknown_though_its_run_was_cancelled(stage: Stage) -> None:
    """The cancel was laid, and the daemon was killed before it could record how the step had ended."""
    await stage.rules("rules:" + rule())
    await crash_during(stage, "test.write")
    await controls._order(stage.engine, controls.ControlKind.CANCEL, (await stage.run())["id"], ("ann", ""), None)
    await stage.crash()
    assert await stage.states() == [("unknown", "interrupted")]


async def test_p2_a_step_in_doubt_leaves_unknown_though_the_alerts_have_resolved(stage: Stage) -> None:
    """`when_resolved: cancel` ends a run before its next step, not one whose last step is in doubt."""
    await stage.rules("rules:" + rule(more="when_resolved: cancel"))
    await crash_during(stage, "test.write")
    await stage.resolves(app="web")
    await stage.crash()
    assert await stage.states() == [("unknown", "interrupted")]


async def test_draining_begins_no_run_of_a_notification_that_was_still_waiting(stage: Stage) -> None:
    """It is kept and answered; acting is for the daemon that starts next."""
    await stage.rules("rules:" + rule())
    stage.blocked["test.write"] = asyncio.Event()
    now = stage.clock.now()
    notification = Notification(new_id(now), now, "hook", "{}", {}, 0, (stage.alert(app="web"),), (), b"{}")
    accepting = asyncio.create_task(stage.engine.accept(notification))
    await asyncio.sleep(0)
    await stage.engine.drain(5)
    await accepting
    await asyncio.sleep(0.05)
    assert stage.used("test.write") == 0


async def test_a_run_whose_worker_stopped_on_a_defect_is_claimed_again_while_others_work(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease must run out: nobody carries it on."""
    monkeypatch.setattr(workers, "_IDLE", 5.0)  # as the daemon has it: who has died wakes nobody
    await stage.rules(
        "rules:" + rule("[{uses: test.read}, {uses: test.write}]") + rule("[{uses: test.notify}]", name="x")
    )
    stage.blocked["test.notify"] = asyncio.Event()  # some other run is at work for hours
    settle_script = stage.engine.workers._settle_script
    broken = {"mend"}

    async def defective(tx: Any, story: Any, rule: Any) -> Any:
        if rule.name in broken:
            broken.clear()
            raise IllegalTransition("a defect")
        return await settle_script(tx, story, rule)

    monkeypatch.setattr(stage.engine.workers, "_settle_script", defective)
    await stage.fires(app="web")
    await stage.passes(3600)
    assert broken == set()
    assert (await stage.runs())[0]["state"] == "succeeded"


async def test_an_alert_that_has_resolved_and_fires_anew_is_taken_in_by_one_commit(stage: Stage) -> None:
    """Both notifications may wait for the same commit, or a sender may put both into one body."""
    await stage.rules("rules:" + rule())
    await stage.fires(app="web")
    stage.clock.time += 60
    resolved = stage.alert(status="resolved", app="web")
    stage.clock.time += 1
    await stage.notify(resolved, stage.alert(app="web"))
    assert await stage.states() == [("succeeded", None)] * 2


# -- rules that change --


async def test_an_alert_that_waited_is_not_given_to_a_rule_that_no_longer_matches_it(stage: Stage) -> None:
    """It is proposed anew, and a proposal begins with matching."""
    await stage.rules("rules:" + rule())
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web", env="test")
    await stage.fires(app="web", env="prod")
    await stage.rules("rules:" + rule(alert='="Down",env="test"'))
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert stage.used("test.write") == 1
    assert len(await stage.runs()) == 1


async def test_an_alert_that_waited_is_taken_up_when_its_rule_comes_back(stage: Stage) -> None:
    """A rule that was gone for a moment has not decided about it."""
    await stage.rules("rules:" + rule())
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.rules("rules:" + rule(name="other", alert='="Other"'))
    stage.blocked.pop("test.write").set()
    await stage.settle()
    await stage.rules("rules:" + rule())
    await stage.fires(app="web", n="2")
    assert stage.used("test.write") == 2


async def test_a_reload_touches_the_loop_from_its_own_thread_only(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts run on the writing thread, and an asyncio event is not to be set there: its waiter may never wake."""
    threads: list[threading.Thread] = []
    look = stage.engine.look

    def noted() -> None:
        threads.append(threading.current_thread())
        if threads[-1] is threading.main_thread():
            look()

    monkeypatch.setattr(stage.engine, "look", noted)
    await stage.rules("rules:" + rule())
    assert set(threads) <= {threading.main_thread()}


async def test_p7_a_mode_that_falls_stops_a_run_before_its_next_write(stage: Stage) -> None:
    """After the first step the mode in force may still fall."""
    text = "rules:" + rule("[{uses: wait, with: {for: 10m}}, {uses: test.write}]")
    await stage.rules(text)
    await stage.fires(app="web")
    await stage.rules(text, mode=Mode.OFF)
    await stage.passes(601)
    assert stage.used("test.write") == 0


async def test_a_higher_max_running_lets_go_what_waits(stage: Stage) -> None:
    """A reload is enough."""
    text = "rules:" + rule()
    await stage.rules(text, max_running=1)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.fires(app="db")
    await stage.rules(text, max_running=2)
    await stage.passes(60)
    assert stage.used("test.write") == 2


# -- guards and books --


async def test_p13_a_dry_run_at_work_takes_no_live_place(stage: Stage) -> None:
    """Live runs don't see dry entries, under `max_running` either."""
    dry = rule("[{uses: test.read}, {uses: test.write}]", "mode: dry-run", name="dry", alert='="Slow"')
    await stage.rules("rules:" + rule() + dry, max_running=1)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires("Slow", app="web")
    await stage.fires(app="db")
    assert stage.used("test.write") == 1


async def test_a_place_goes_to_the_most_urgent_though_another_alert_comes_as_it_is_freed(stage: Stage) -> None:
    """P0 is not starved by P3 (P16)."""
    urgent = rule("[{uses: test.notify}]", "priority: P0", name="urgent", alert='="Fire"')
    await stage.rules("rules:" + rule(more="priority: P3") + urgent, max_running=1)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.fires("Fire", app="web")
    gate = threading.Event()

    async def hold(tx: Any) -> None:
        gate.wait(5)

    holding = asyncio.create_task(stage.store.transact(hold))  # the writer is busy: what follows is one commit
    await asyncio.sleep(0.02)
    stage.blocked["test.write"].set()
    await asyncio.sleep(0.02)
    arriving = asyncio.create_task(stage.fires(app="db"))
    await asyncio.sleep(0.02)
    gate.set()
    await holding
    await arriving
    assert [name for name, _ in stage.calls] == ["test.write", "test.notify", "test.write"]


async def test_p16_urgent_work_is_taken_up_though_every_hand_is_busy_with_less_urgent_work(stage: Stage) -> None:
    """Many slow facts of P3 runs leave room for a P0 run."""
    facts = "facts: [{id: slow, uses: test.read}]\n    priority: "
    urgent = rule(more="facts: [{id: quick, uses: test.probe}]\n    priority: P0", name="urgent", alert='="Fire"')
    await stage.rules("rules:" + rule(more=facts + "P3") + urgent)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.notify(*(stage.alert(app=f"app{n}") for n in range(300)))
    await stage.fires("Fire", app="web")
    assert stage.used("test.probe") == 1


async def test_p16_a_flood_of_steps_that_begin_at_once_leaves_room_for_urgent_work(stage: Stage) -> None:
    """What begins in the transaction that takes its alert in needs a hand, too: past that it waits for its turn."""
    urgent = rule(more="facts: [{id: quick, uses: test.probe}]\n    priority: P0", name="urgent", alert='="Fire"')
    await stage.rules("rules:" + rule("[{uses: test.notify}]", "priority: P3") + urgent)
    stage.blocked["test.notify"] = asyncio.Event()
    for body in range(30):
        await stage.notify(*(stage.alert(app=f"app{body}-{n}") for n in range(8)))
    assert 90 < len(stage.engine.workers.tasks) <= 104
    await stage.fires("Fire", app="web")
    assert stage.used("test.write") == 1


async def test_p16_a_small_notification_does_not_wait_for_the_whole_of_a_large_one(stage: Stage) -> None:
    """They take turns, a portion each."""
    now, kept = stage.clock.now(), []

    async def send(size: int) -> None:
        alerts = tuple(stage.alert(app=f"app{size}-{n}") for n in range(size))
        await stage.engine.accept(Notification(new_id(now), now, "hook", "{}", {}, 0, alerts, (), b"{}"))
        kept.append(size)

    await asyncio.gather(*(send(size) for size in (5_000, 1_700, 1)))
    assert kept == [1, 1_700, 5_000]
    assert len(await stage.store.view(lambda tx: tx.firing())) == 6_701


async def test_facts_whose_retries_take_long_come_to_an_end(stage: Stage) -> None:
    """A back-off of more than half a minute is no reason to begin anew for ever."""
    facts = "facts: [{id: first, uses: test.probe}, {id: second, uses: test.read, retry: {attempts: 2, backoff: 1m}}]"
    await stage.rules("rules:" + rule(more=facts))
    stage.outcomes["test.read"] = [FAILED]
    await stage.fires(app="web")
    await stage.passes(1800)
    assert await stage.states() == [("blocked", "facts")]


async def test_a_fact_that_waits_does_not_make_the_others_be_read_for_ever(stage: Stage) -> None:
    """`wait` is a step that reads."""
    facts = "facts: [{id: before, uses: test.read}, {id: pause, uses: wait, with: {for: 1m}}]"
    await stage.rules("rules:" + rule(more=facts))
    await stage.fires(app="web")
    await stage.passes(1800)
    assert await stage.states() == [("succeeded", None)]


async def test_the_target_is_what_the_facts_that_decided_say(stage: Stage) -> None:
    """Facts read again under `patience` may name another one, and locks and cooldowns count by it."""
    text = """
rules:
  - name: mend
    summary: Restart the primary.
    match: '{alertname="Down"}'
    facts: [{id: primary, uses: test.read}]
    target: 'db/{{ facts.primary.host }}'
    guard: {cooldown: 0s, only_if: facts.primary.ready, patience: 10m}
    steps: [{uses: test.write, with: {says: '{{ facts.primary.host }}'}}]
"""
    await stage.rules(text)
    stage.outcomes["test.read"] = [{"host": "a", "ready": False}] * 2 + [{"host": "b", "ready": True}]
    await stage.fires()
    await stage.passes(300)
    assert ("test.write", "b") in stage.calls
    assert (await stage.run())["target"] == "db/b"


async def test_a_run_that_a_pause_holds_as_its_target_becomes_known_lets_its_worker_go(stage: Stage) -> None:
    """Another run of the rule is open on that target, and there is one for each."""
    text = """
rules:
  - name: mend
    summary: Mend.
    match: '{alertname="Down"}'
    facts: [{id: owner, uses: test.read}]
    target: '{{ facts.owner.name }}'
    guard: {cooldown: 0s}
    steps: [{uses: test.write}, {uses: test.notify}]
"""
    await stage.rules(text)
    stage.outcomes["test.read"] = [{"name": "web"}]
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(pod="a")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target="web", span=None)
    now = stage.clock.now()
    await stage.engine.accept(Notification(new_id(now), now, "h", "{}", {}, 0, (stage.alert(pod="b"),), (), b"{}"))
    for _ in range(200):
        await asyncio.sleep(0.001)
    workers = len(stage.engine.workers.tasks)
    for task in stage.engine.workers.tasks:
        task.cancel()
    assert workers == 1, "the worker of the first run, whose write is at work, and no other"


# -- pauses and cancels --


async def test_a_pause_does_not_use_up_the_deadline(stage: Stage) -> None:
    """Waiting for people aside, says the rule language: what was held goes on, and is not undone."""
    await stage.rules("rules:" + rule("[{uses: test.write}, {uses: test.notify}]", "undo: [{uses: test.undo}]"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    stage.blocked.pop("test.write").set()
    await stage.passes(7200)
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert stage.used("test.undo") == 0
    assert await stage.states() == [("succeeded", None)]


async def test_a_cancel_that_can_no_longer_be_obeyed_is_refused(stage: Stage) -> None:
    """How the run ends is decided, and its undo is at work: an order must not be accepted and then forgotten."""
    await stage.rules("rules:" + rule(more="undo: [{uses: wait, with: {for: 10m}}, {uses: test.undo}]"))
    stage.outcomes["test.write"] = [FAILED]
    await stage.fires(app="web")
    refused = False
    try:
        await controls.cancel(stage.engine, (await stage.run())["id"], "ann", "stop")
    except controls.Impossible:
        refused = True
    await stage.passes(601)
    assert refused or stage.used("test.undo") == 0


# -- alerts --


async def test_a_late_duplicate_of_an_alert_that_was_lost_and_has_resolved_opens_nothing(stage: Stage) -> None:
    """Its resolve came after all: what began before that close is over."""
    await stage.rules("rules:" + rule())
    alert = stage.alert(app="web")
    await stage.notify(alert)
    await stage.passes(6 * 3600)
    await stage.resolves(app="web")
    await stage.notify(alert)
    assert stage.used("test.write") == 1


async def test_all_alerts_of_one_body_join_the_run_of_their_target(stage: Stage) -> None:
    """They come at the same moment: none of them comes after the first step, however few they are."""
    await stage.rules("rules:" + rule())
    await stage.notify(*(stage.alert(app="web", n=str(n)) for n in range(3)))
    assert [len(run["alerts"]) for run in await stage.runs()] == [3]


@pytest.mark.parametrize("where", ['"groupKey": "\\ud800"', '"receiver": "\\ud800"', '"groupLabels": {"a": "\\ud800"}'])
async def test_half_a_surrogate_pair_outside_the_alerts_is_the_senders_fault(stage: Stage, where: str) -> None:
    """It is 400, and no defect that Alertmanager repeats for ever as a 5xx; or it is taken."""
    body = f'{{{where}, "alerts": [{{"status": "firing", "labels": {{"alertname": "Down"}}}}]}}'.encode()
    with contextlib.suppress(MalformedBody):
        await stage.engine.accept(decode(body, START, Limits()))


async def test_half_a_surrogate_pair_in_a_generator_url_refuses_that_alert_alone(stage: Stage) -> None:
    """Every text of an alert that is kept is looked at."""
    bad = '{"status": "firing", "labels": {"alertname": "Down", "n": "1"}, "generatorURL": "http://\\ud800"}'
    good = '{"status": "firing", "labels": {"alertname": "Down", "n": "2"}}'
    receipt = await stage.engine.accept(decode(f'{{"alerts": [{bad}, {good}]}}'.encode(), START, Limits()))
    assert (receipt.alerts, receipt.refused) == (1, 1)


# -- steps --


async def test_results_of_a_loop_are_a_list_of_what_each_item_gave(stage: Stage) -> None:
    """The first item's result is its first member, whole; one item makes a list of one."""
    says = "'{{ steps.each.result[0].n }}{{ steps.each.result | length }}'"
    await stage.rules(
        "rules:"
        + rule("[{id: each, uses: test.read, for_each: '[1, 2]'}, {uses: test.write, with: {says: " + says + "}}]")
    )
    stage.outcomes["test.read"] = [{"n": 7}, {"n": 8}]
    await stage.fires(app="web")
    assert ("test.write", "72") in stage.calls


async def test_a_loop_over_alerts_takes_each_item_once_though_one_resolves_meanwhile(stage: Stage) -> None:
    """The list is what it was when the loop began."""
    loop = "alerts | selectattr('status', 'equalto', 'firing') | map(attribute='labels.n') | list"
    steps = f'[{{uses: test.write, for_each: "{loop}", with: {{says: "{{{{ item }}}}"}}}}]'
    await stage.rules("rules:" + rule(steps, "for: 1m"))
    await stage.notify(*(stage.alert(app="web", n=str(n)) for n in range(3)))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.passes(61)
    await stage.resolves(app="web", n="0")
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert [says for _, says in stage.calls] == ["0", "1", "2"]


# -- secrets and credentials --


def test_p9_a_secret_that_begins_like_another_is_taken_out_whole() -> None:
    """The longest first."""
    outcome = redacted(Outcome(Result.OK, {"said": "token abcdef"}), ["abc", "abcdef"])
    assert outcome.result == {"said": "token [redacted]"}


def test_p9_an_empty_secret_changes_nothing() -> None:
    """It stands between any two letters."""
    outcome = redacted(Outcome(Result.OK, {"said": "ab"}), ["", "xyz"])
    assert outcome.result == {"said": "ab"}


@pytest.mark.parametrize("style", ["json", "console"])
def test_p9_a_traceback_in_the_log_shows_no_local_variables(capsys: pytest.CaptureFixture[str], style: Any) -> None:
    """An action that raises has its secrets in them."""
    import structlog

    configure_log("info", style)
    password = "".join(["hun", "ter2"])
    try:
        raise ValueError("a defect")
    except ValueError:
        structlog.get_logger("review").exception("action raised")
    assert password not in capsys.readouterr().err


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    """The daemon died, or the disk was full, between making the file and writing it: nobody may get in by showing nothing."""
    (tmp_path / "token").touch(mode=0o600)
    assert not WebhookCredential(token=local_token(tmp_path)).admits("Bearer ")


def test_a_credential_that_is_not_text_is_refused() -> None:
    """aiohttp hands over bytes that are not UTF-8 as halves of surrogate pairs: 401, and not 500."""
    assert not WebhookCredential(token="secret").admits("Bearer \udcff")


# -- store --


async def test_a_store_that_was_taken_away_before_it_was_read_is_a_store_error(stage: Stage) -> None:
    """So that readiness answers 503 and not 500."""
    (stage.folder / "store.db").rename(stage.folder / "elsewhere.db")
    try:
        with pytest.raises(StoreError):
            await stage.store.view(lambda tx: tx.head())
    finally:
        (stage.folder / "elsewhere.db").rename(stage.folder / "store.db")
