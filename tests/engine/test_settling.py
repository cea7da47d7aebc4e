"""Settling by itself: one transaction over a store in memory takes a run as far as it goes, and what follows from it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from samples import NOW, admitted, episode, put, run, story
from stage import Stage

from remediator.engine.moves import Ended, Rest
from remediator.engine.settle import Settled, follow, keep, needs_alerts, settle, surroundings, take_back
from remediator.errors import StaleLease
from remediator.execute import Call
from remediator.model.books import Question
from remediator.model.control import Control, ControlKind
from remediator.model.run import EventKind, Mode, Origin, Phase, Priority, Reason, State, Step, StepState
from remediator.model.story import Story
from remediator.rules.load import load_rules
from remediator.rules.rule import Breaker, Rule
from remediator.rules.standing import Standing
from remediator.rules.windows import Modes
from remediator.store.protocol import Decided, Store, Transaction
from remediator.store.sqlite import open_memory

RULE = """
rules:
  - name: restart
    summary: Restart what is down.
    match: '{alertname="Down"}'
    target: '{{ labels.app }}'
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: '{{ labels.app }}'}}]
"""
LADDER = """
rules:
  - name: restart
    summary: Restart what is down.
    match: '{alertname="Down"}'
    target: '{{ labels.app }}'
    guard: {cooldown: 0s}
    recurrence: 1h
    ladder:
      - {steps: [{id: look, uses: test.read}, {uses: test.write}], verify: {resolved: true, within: 1m}}
      - {steps: [{id: look, uses: test.read}, {uses: test.write}], verify: {resolved: true, within: 1m}}
"""


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = open_memory()
    yield opened
    await opened.close()


@cache
def rule(folder: Path, text: str = RULE) -> Rule:
    """Compile a rule whose actions are the stage's."""
    file = folder / "rules.yml"
    file.write_text(text)
    loaded = load_rules([file], Stage(folder).catalog, vars={})
    assert loaded.ok, "\n".join(map(str, loaded.problems))
    return loaded.rules.rules[0]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for rules."""
    return tmp_path_factory.mktemp("rules")


def standing(mode: str = "auto", **changes: Any) -> Standing:
    """Say what the configuration lends."""
    return Standing(**{"modes": Modes.of(mode), "max_running": None, **changes})


async def settled(store: Store, story: Story, rule: Rule, lent: Standing | None = None, now: float = NOW) -> Settled:
    """Settle, and keep nothing."""
    return await store.transact(lambda tx: settle(tx, story, rule, lent or standing(), now))


async def held(store: Store, number: int = 1) -> Story:
    """Lease a run that is due."""
    stories = await store.transact(lambda tx: tx.claim("worker", NOW, NOW + 60, 10))
    return next(each for each in stories if each.run.id == run(number).id)


# -- admission --


async def test_admission_marks_the_run_tells_all_of_it_and_begins_the_first_step(store: Store, folder: Path) -> None:
    """What was noted while it waited is gone."""
    before = story(1, refused_since=NOW - 5, target=None, reads_ahead=True, reason=Reason.FOR, because="young")
    await put(store, before)
    done = await settled(store, before, rule(folder))
    run_ = done.story.run
    assert isinstance(done.effect, Call)
    assert (run_.state, run_.target, run_.lock, run_.phase) == (State.RUNNING, "app1", "app1", Phase.STEPS)
    assert (run_.admitted_at, run_.refused_since, run_.due_at, run_.approved_hash) == (NOW, None, None, None)
    assert (run_.reason, run_.because, run_.plan is not None, run_.reads_ahead) == (None, None, True, False)
    admitted_event = next(each for each in done.story.events if each.kind is EventKind.ADMITTED)
    assert admitted_event.at == NOW
    assert admitted_event.data == {
        "rule": "restart", "rule_hash": "h", "target": "app1", "mode": Mode.AUTO, "lock": "app1",
        "plan_hash": run_.plan_hash, "rung": 0, "approved": False,
    }  # fmt: skip
    assert done.before == before.run


async def test_a_refusal_blocks_at_once_or_waits_as_long_as_the_rule_is_patient(store: Store, folder: Path) -> None:
    """The plan that was refused is shown."""
    limited = RULE.replace("{cooldown: 0s}", "{cooldown: 0s, limit: 1 per 1h PATIENCE}")
    await put(store, admitted(2, NOW - 60), story(1))
    done = await settled(store, story(1), rule(folder, limited.replace("PATIENCE", "")))
    assert (done.story.run.state, done.story.run.reason) == (State.BLOCKED, Reason.LIMIT)
    assert done.story.run.plan is not None
    assert isinstance(done.effect, Ended)
    done = await settled(store, story(1), rule(folder, limited.replace("PATIENCE", ", patience: 5m")))
    assert (done.story.run.state, done.story.run.reason, done.story.run.due_at) == (
        State.WAITING, Reason.LIMIT, NOW + 300,
    )  # fmt: skip
    assert isinstance(done.effect, Rest)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("says: '{{ labels.app }}'", "says: '{{ labels.missing }}'"), Reason.TEMPLATE_ERROR),
        (("says: '{{ labels.app }}'", "arg: '{{ labels.bad }}'"), Reason.UNSAFE_VALUE),
    ],
)
async def test_a_plan_that_can_not_be_rendered_is_refused_by_what_is_wrong(
    store: Store, folder: Path, change: tuple[str, str], reason: Reason
) -> None:
    """Before anything is counted against it."""
    before = replace(story(1), alert=replace(episode(1), labels={"app": "app1", "bad": "--force"}))
    await put(store, before)
    done = await settled(store, before, rule(folder, RULE.replace(*change)))
    assert (done.story.run.state, done.story.run.reason) == (State.BLOCKED, reason)
    assert isinstance(done.effect, Ended)
    assert done.story.run.because
    assert done.story.run.admitted_at is None


@pytest.mark.parametrize(("most", "waits"), [(1, True), (2, True), (3, False), (None, False)])
async def test_a_run_waits_for_a_place_behind_those_at_work_and_those_in_line(
    store: Store, folder: Path, most: int | None, waits: bool
) -> None:
    """One is at work, and one that is more urgent stands before it."""
    queued = story(3, reason=Reason.MAX_RUNNING, priority=Priority.P0)
    await put(store, story(1), story(2, state=State.RUNNING), queued)
    done = await settled(store, story(1), rule(folder), standing(max_running=most))
    if not waits:
        assert done.story.run.state is State.RUNNING
        return
    assert isinstance(done.effect, Rest)
    assert (done.story.run.state, done.story.run.reason, done.story.run.due_at) == (
        State.WAITING, Reason.MAX_RUNNING, None,
    )  # fmt: skip
    assert done.story.run.because == f"1 runs are at work, 1 wait before it, and guard.max_running is {most}"
    assert done.story.run.admitted_at is None


async def test_a_run_joins_one_of_its_target_that_has_not_begun(store: Store, folder: Path) -> None:
    """Its alerts go there, and that one looks again at once."""
    before = story(1, target=None)
    await put(store, before, story(2, target="app1", due_at=NOW + 600))
    done = await settled(store, before, rule(folder))
    assert (done.story.run.state, done.story.run.reason, done.story.run.target) == (
        State.CANCELLED, Reason.JOINED, None,
    )  # fmt: skip
    assert done.story.run.because == f"run {run(2).id} waits for app1 already"
    assert isinstance(done.effect, Ended)
    assert [each.id for each in await store.view(lambda tx: tx.alerts_of(run(2).id))] == [1, 2]
    other = await store.view(lambda tx: tx.run(run(2).id))
    assert other is not None
    assert other.run.due_at == NOW


async def test_a_run_waits_for_one_of_its_target_that_has_begun(store: Store, folder: Path) -> None:
    """It keeps its alerts, and no target: it may be another one by then. A drill is not in the way of a run in earnest."""
    before = story(1, target=None)
    await put(store, before, story(2, target="app1", state=State.RUNNING, admitted_at=NOW))
    done = await settled(store, before, rule(folder))
    assert isinstance(done.effect, Rest)
    assert (done.story.run.state, done.story.run.reason, done.story.run.target) == (State.WAITING, Reason.BUSY, None)
    assert (done.story.run.due_at, done.story.run.because) == (None, f"run {run(2).id} on app1 has to close first")
    drill = replace(before, run=replace(before.run, drill=True))
    assert (await settled(store, drill, rule(folder))).story.run.state is State.RUNNING


async def test_a_target_that_facts_have_named_is_noted_with_its_alerts(store: Store, folder: Path) -> None:
    """So that the episodes of the target are counted whole. One that the labels name has been noted before."""
    named = RULE.replace(
        "target: '{{ labels.app }}'", "facts: [{id: who, uses: test.probe}]\n    target: '{{ facts.who.name }}'"
    )
    fact = Step(Phase.FACTS, 0, 0, 1, "test.probe", "who", StepState.SUCCEEDED, NOW, NOW, result={"name": "db"})
    before = replace(story(1, target=None), steps=(fact,))
    await put(store, before)

    async def script(tx: Transaction, by: Rule) -> int:
        await settle(tx, before, by, standing(), NOW)
        return (await tx.books(Question("me", "restart", "db", episodes_since=NOW - 1))).episodes

    assert await store.transact(lambda tx: script(tx, rule(folder, named))) == 1


async def test_a_label_s_target_is_not_noted_anew(store: Store, folder: Path) -> None:
    """The decision to take the alert up has told it."""
    before = story(1, target=None)
    await put(store, before)

    async def script(tx: Transaction) -> int:
        changes = tx.connection.total_changes  # type: ignore[attr-defined]
        await settle(tx, before, rule(folder), standing(), NOW)
        return int(tx.connection.total_changes - changes)  # type: ignore[attr-defined]

    assert await store.transact(script) == 0


async def test_what_comes_back_starts_one_rung_above_what_had_helped(store: Store, folder: Path) -> None:
    """What it has read for another rung is forgotten, and so is an approval."""
    read = Step(Phase.STEPS, 0, 0, 1, "test.read", "look", StepState.SUCCEEDED, NOW, NOW, result={})
    before = replace(story(1, reads_ahead=True, approved_hash="x"), steps=(read,))
    await put(store, admitted(2, NOW - 600, target="app1"), before)
    done = await settled(store, before, rule(folder, LADDER))
    assert isinstance(done.effect, Call)
    assert (done.story.run.rung, done.story.run.admitted_at) == (1, NOW)
    assert [(step.rung, step.state) for step in done.story.steps] == [(1, StepState.STARTED)]
    late = await settled(store, story(1), rule(folder, LADDER), now=NOW + 3601)
    assert late.story.run.rung == 0


async def test_past_the_last_rung_nothing_is_done_and_a_person_is_told(store: Store, folder: Path) -> None:
    """It has failed."""
    await put(store, admitted(2, NOW - 600, target="app1", rung=1), story(1))
    done = await settled(store, story(1), rule(folder, LADDER))
    assert (done.story.run.state, done.story.run.reason) == (State.FAILED, Reason.LADDER)
    assert done.story.run.because == "app1 has come back after rung 2, the last one, had helped: a person has to look"


async def test_a_person_is_asked_once_the_leading_reads_are_taken(store: Store, folder: Path) -> None:
    """Without any, at once."""
    await put(store, story(1))
    asked = await settled(store, story(1), rule(folder), standing("approve"))
    assert (asked.story.run.state, asked.story.run.mode) == (State.AWAITING_APPROVAL, Mode.APPROVE)
    assert asked.story.run.reads_ahead is False
    reading = await settled(store, story(1), rule(folder, LADDER), standing("approve"))
    assert isinstance(reading.effect, Call)
    assert (reading.effect.step.uses, reading.story.run.reads_ahead) == ("test.read", True)
    read = replace(reading.effect.step, state=StepState.SUCCEEDED, ended_at=NOW, result={})
    ready = replace(story(1, reads_ahead=True), steps=(read,))
    told = await settled(store, ready, rule(folder, LADDER), standing("approve"))
    assert (told.story.run.state, told.story.run.reads_ahead) == (State.AWAITING_APPROVAL, True)
    plan = asked.story.run.plan_hash
    again = await settled(store, story(1, approved_hash=plan), rule(folder), standing("approve"))
    assert (again.story.run.state, again.story.run.approved_hash) == (State.RUNNING, None)
    event = next(each for each in again.story.events if each.kind is EventKind.ADMITTED)
    assert event.data["approved"] is True


async def test_an_approval_of_one_rung_is_none_of_the_next(store: Store, folder: Path) -> None:
    """Though both would do the same."""
    await put(store, admitted(2, NOW - 600, target="app1"), story(1))
    asked = await settled(store, story(1), rule(folder, LADDER), standing("approve"))
    approved = story(1, approved_hash=asked.story.run.plan_hash)
    again = await settled(store, approved, rule(folder, LADDER), standing("approve"))
    assert (again.story.run.rung, again.story.run.admitted_at, again.story.run.reads_ahead) == (1, None, True)


async def test_what_only_a_step_can_tell_stands_open_in_the_plan(store: Store, folder: Path) -> None:
    """It is no reason to refuse."""
    await put(store, story(1))
    chained = RULE.replace("steps: [", "steps: [{id: first, uses: test.write}, ").replace(
        "labels.app }}'}}]", "steps.first.result.n }}'}}]"
    )
    done = await settled(store, story(1), rule(folder, chained))
    assert done.story.run.plan is not None
    assert [each.says for each in done.story.run.plan] == ["test.write", "test.write, once first is known"]


REVERTED = RULE.replace("steps:", "revert: {after: 1m, steps: [{uses: test.undo}]}\n    steps:")


@pytest.mark.parametrize(
    ("lock", "name"), [("", "app1"), (", lock: 'db-{{ labels.zone }}'", "db-a"), (", lock: '{{ labels.no }}'", "app1")]
)
async def test_a_revert_begins_as_soon_as_its_lock_is_free(store: Store, folder: Path, lock: str, name: str) -> None:
    """By its rule's name for it; by its target where that can't be rendered any more."""
    text = REVERTED.replace("{cooldown: 0s}", "{cooldown: 0s" + lock + "}")
    waiting = story(1, origin=Origin.REVERT, reverts=run(9).id, revert_at=NOW, phase=Phase.REVERT, reason=Reason.REVERT)
    before = replace(waiting, alert=replace(episode(1), labels={"app": "app1", "zone": "a"}))
    free = await settled(store, before, rule(folder, text))
    assert isinstance(free.effect, Call)
    assert (free.story.run.state, free.story.run.phase, free.story.run.lock) == (State.RUNNING, Phase.REVERT, name)
    assert (free.story.run.due_at, free.story.run.admitted_at) == (None, None)
    await put(store, story(2, lock=name, state=State.RUNNING))
    drill = replace(before, run=replace(before.run, drill=True))
    assert isinstance((await settled(store, drill, rule(folder, text))).effect, Call)
    waits = await settled(store, before, rule(folder, text))
    assert isinstance(waits.effect, Rest)
    assert (waits.story.run.state, waits.story.run.reason, waits.story.run.due_at) == (State.WAITING, Reason.LOCK, None)
    assert waits.story.run.because == f"run {run(2).id} holds the lock {name}"


# -- what a move depends on --


async def test_the_surroundings_of_a_revert_are_those_of_the_run_that_it_takes_back(store: Store, folder: Path) -> None:
    """Its alerts are that run's; orders that were laid on it are its own."""
    named = rule(folder, RULE.replace("says: '{{ labels.app }}'", "says: '{{ alerts | length }}'"))
    revert = story(2, opened_by=None, origin=Origin.REVERT, reverts=run(1).id)
    order = Control("c1", ControlKind.CANCEL, NOW, "ann", "", run=revert.run.id)
    await put(store, story(1, state=State.SUCCEEDED, ended_at=NOW))
    await store.transact(lambda tx: tx.add([revert]))
    await store.transact(lambda tx: tx.lay(order))
    around = await store.view(lambda tx: surroundings(tx, revert.run, named, standing(), NOW + 5))
    assert (around.now, around.firing, around.first_seen, around.lost) == (NOW + 5, 1, NOW, 0)
    assert [each.id for each in around.alerts] == [1]
    assert list(around.controls) == [order]
    own = await store.view(lambda tx: surroundings(tx, run(1), named, standing(), NOW))
    assert ([each.id for each in own.alerts], own.firing) == ([1], 1)
    plain = await store.view(lambda tx: surroundings(tx, revert.run, rule(folder), standing(), NOW))
    assert plain.alerts == ()


def test_all_alerts_are_read_only_where_a_template_or_alertmanager_asks_for_them(folder: Path) -> None:
    """There may be thousands."""
    check = rule(folder).rungs[0].steps[0]
    assert not needs_alerts(rule(folder), standing())
    assert needs_alerts(rule(folder), standing(presence_check=check))
    assert needs_alerts(
        rule(folder, RULE.replace("says: '{{ labels.app }}'", "says: '{{ alerts | length }}'")), standing()
    )


async def test_what_was_given_stands_for_the_alerts_of_a_run_without_any(store: Store, folder: Path) -> None:
    """One that a person began."""
    listing = rule(folder, RULE.replace("says: '{{ labels.app }}'", "says: '{{ alerts[0].labels.app }}'"))
    by_hand = replace(
        story(1, origin=Origin.HAND, given={"app": "app1"}, opened_by=None),
        alert=replace(episode(0), labels={"app": "app1"}),
    )
    await store.transact(lambda tx: tx.add([by_hand]))
    done = await settled(store, by_hand, listing)
    assert isinstance(done.effect, Call)
    await store.transact(lambda tx: _join(tx, 2, run(1).id))
    joined = await settled(store, by_hand, listing)
    assert isinstance(joined.effect, Call)
    assert [joined.effect.parameters.says, done.effect.parameters.says] == ["app2", "app1"]
    await store.transact(lambda tx: tx.release(run(1).id))
    none = await settled(store, replace(by_hand, run=replace(by_hand.run, given=None)), listing)
    assert none.story.run.reason is Reason.TEMPLATE_ERROR


async def _join(tx: Transaction, number: int, run_id: str) -> None:
    await tx.save_episodes([episode(number)], [], [])
    await tx.add_decisions([Decided(number, "restart", run_id, NOW, "app1")])


@pytest.mark.parametrize(
    ("changes", "lost", "healed"),
    [({}, 0, NOW), ({"origin": Origin.HAND}, 0, None), ({}, 1, None)],
)
async def test_a_plan_whose_alerts_have_resolved_meanwhile_has_healed(
    store: Store, folder: Path, changes: dict[str, Any], lost: int, healed: float | None
) -> None:
    """Not one that no alert began, nor where nothing was heard of them any more."""
    at_work = story(1, state=State.RUNNING, phase=Phase.STEPS, mode=Mode.DRY_RUN, admitted_at=NOW, **changes)
    await put(store, at_work)
    firing = await settled(store, at_work, rule(folder), standing("dry-run"))
    assert (firing.story.run.state, firing.story.run.healed_at) == (State.PLANNED, None)
    await store.transact(lambda tx: tx.save_episodes([], [], [(1, NOW)]))
    if lost:
        await store.transact(_lose)
    done = await settled(store, at_work, rule(folder), standing("dry-run"))
    assert (done.story.run.state, done.story.run.healed_at) == (State.PLANNED, healed)


async def test_a_run_that_goes_on_after_its_alerts_have_resolved_has_healed_nothing(store: Store, folder: Path) -> None:
    """Only a plan is watched for what becomes of it without us."""
    at_work = story(1, state=State.RUNNING, phase=Phase.STEPS, admitted_at=NOW)
    await put(store, at_work)
    await store.transact(lambda tx: tx.save_episodes([], [], [(1, NOW)]))
    done = await settled(store, at_work, rule(folder))
    assert (done.story.run.state, done.story.run.healed_at) == (State.RUNNING, None)


async def _lose(tx: Transaction) -> None:
    tx.connection.execute("UPDATE episodes SET lost = 1")  # type: ignore[attr-defined]


# -- what is kept, and what follows --


async def test_a_lease_is_kept_while_an_action_is_called_and_given_up_else(store: Store, folder: Path) -> None:
    """Under the worker's own name; whoever has lost the run keeps nothing."""
    await put(store, story(1))
    mine = await held(store)
    lent = standing(worker="worker", lease=90.0)
    calling = await settled(store, mine, rule(folder), lent)
    await store.transact(lambda tx: keep(tx, calling, lent, NOW + 1))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 91
    resting = Settled(calling.story.run, calling.story.saved().with_run(due_at=NOW + 7), Rest(), rule(folder))
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: keep(tx, resting, standing(worker="other"), NOW + 1))
    assert await store.transact(lambda tx: keep(tx, resting, lent, NOW + 1)) is False
    assert await store.view(lambda tx: tx.next_due()) == NOW + 7


def ending(before: Story, state: State, **changes: Any) -> Settled:
    """Let a run end."""
    after = before.move(state, NOW + 5).with_run(**changes)
    return Settled(before.run, after, Ended(), None)  # type: ignore[arg-type]


async def woken(store: Store, done: Settled, by: Rule) -> tuple[bool, set[str]]:
    """Let follow what follows; tell what it said, and which of the waiting runs are due."""

    async def script(tx: Transaction) -> tuple[bool, set[str]]:
        told = await follow(tx, Settled(done.before, done.story, done.effect, by), standing(), NOW + 5)
        return told, {each.run.id for each in await tx.claim("w", NOW + 5, NOW + 65, 10)}

    return await store.transact(script)


async def test_an_end_wakes_whoever_waited_for_its_target_its_lock_or_its_place(store: Store, folder: Path) -> None:
    """Of those for a place the one whose turn it is."""
    at_work = story(1, state=State.RUNNING, lock="app1", due_at=None)
    await put(
        store,
        at_work,
        story(2, reason=Reason.BUSY, target=None, due_at=None),
        story(3, reason=Reason.LOCK, rule="other", due_at=None),
        story(4, reason=Reason.MAX_RUNNING, due_at=None),
        story(5, reason=Reason.MAX_RUNNING, due_at=None, priority=Priority.P0),
        story(6, reason=Reason.BUSY, rule="other", target=None, due_at=None),
        story(7, reason=Reason.REVERT, due_at=None),
    )
    assert await woken(store, ending(at_work, State.CANCELLED), rule(folder)) == (True, {run(n).id for n in (2, 3, 5)})


async def test_an_unknown_run_that_is_settled_wakes_who_waited_for_its_target(store: Store, folder: Path) -> None:
    """It had given its place back long ago."""
    unknown = story(1, state=State.UNKNOWN, admitted_at=NOW, due_at=None)
    await put(
        store, unknown, story(2, reason=Reason.BUSY, target=None, due_at=None), story(3, reason=Reason.MAX_RUNNING)
    )
    await store.transact(lambda tx: tx.claim("other", NOW, NOW + 600, 10))
    assert await woken(store, ending(unknown, State.FAILED), rule(folder)) == (True, {run(2).id})


async def test_a_run_that_only_gives_its_place_back_wakes_who_waits_for_that(store: Store, folder: Path) -> None:
    """It is asked about its next rung, or has become unknown: it is open yet."""
    at_work = story(1, state=State.RUNNING, due_at=None)
    await put(store, at_work, story(2, reason=Reason.MAX_RUNNING, due_at=None))
    done = Settled(at_work.run, at_work.move(State.AWAITING_APPROVAL, NOW), Rest(), rule(folder))
    assert await woken(store, done, rule(folder)) == (True, {run(2).id})


async def test_one_that_stood_in_line_and_has_no_place_any_more_lets_the_next_go(store: Store, folder: Path) -> None:
    """It was cancelled, or waits for something else now."""
    in_line = story(3, reason=Reason.MAX_RUNNING, due_at=None)
    await put(store, in_line, story(2, reason=Reason.MAX_RUNNING, due_at=None))
    paused = in_line.rest(None, NOW, Reason.PAUSED, "paused")
    assert await woken(store, Settled(in_line.run, paused, Rest(), rule(folder)), rule(folder)) == (True, {run(2).id})


async def test_a_run_that_goes_on_wakes_nobody(store: Store, folder: Path) -> None:
    """From the line to its place, from work to verification; and an end without a place gives none."""
    other = story(2, reason=Reason.MAX_RUNNING, due_at=None)
    in_line = story(1, reason=Reason.MAX_RUNNING, due_at=None)
    at_work = story(1, state=State.RUNNING, due_at=None)
    await put(store, in_line, other, story(3, reason=Reason.BUSY, target=None, due_at=None))
    for before, after in (
        (in_line, in_line.move(State.RUNNING, NOW)),
        (at_work, at_work.move(State.VERIFYING, NOW)),
        (at_work, at_work),
        (in_line, in_line),
    ):
        assert await woken(store, Settled(before.run, after, Rest(), rule(folder)), rule(folder)) == (False, set())
    waiting = story(4, rule="other", reason=Reason.FOR, due_at=None)
    assert await woken(store, ending(waiting, State.CANCELLED), rule(folder)) == (False, set())


async def test_a_revert_and_a_notice_are_due_at_once_for_whoever_looks(store: Store, folder: Path) -> None:
    """What follows is told, so that nobody has to wait for the next look."""
    acted = story(1, state=State.RUNNING, wrote=True, target="app1", due_at=None)
    await put(store, acted)
    told, due = await woken(store, ending(acted, State.SUCCEEDED), rule(folder, REVERTED))
    assert told is True
    assert len(due) == 1
    noticed = standing(notices=rule(folder), breaker=Breaker(1, 600, None))
    failed = ending(story(2, state=State.RUNNING), State.FAILED)

    async def script(tx: Transaction) -> bool:
        return await follow(tx, Settled(failed.before, failed.story, Ended(), rule(folder)), noticed, NOW + 5)

    await put(store, failed.story)
    assert await store.transact(script) is True
    assert await store.transact(script) is False, "its breaker is open already"


async def test_a_step_that_was_kept_as_begun_and_never_called_is_taken_back(store: Store, folder: Path) -> None:
    """The run is what it was before; that the step had begun, and was not called, stays in the history."""
    read = Step(Phase.STEPS, 0, 0, 1, "test.read", None, StepState.SUCCEEDED)
    tried = Step(Phase.STEPS, 1, 0, 1, "test.write", None, StepState.FAILED, error="no", ended_at=NOW)
    before = replace(story(1, state=State.RUNNING, admitted_at=NOW), steps=(read, tried))
    await put(store, story(1))
    done = await settled(store, story(1), rule(folder))
    assert isinstance(done.effect, Call)
    call = dataclasses.replace(done.effect, step=replace(done.effect.step, position=1, attempt=2))
    kept = before.with_run(wrote=True, started_at=NOW + 1, fence=7).record(call.step, NOW + 1)
    back = take_back(before, kept, call, NOW + 2)
    assert set(back.steps) == {read, tried}
    assert back.touched == {call.step.key}
    assert (back.run.wrote, back.run.started_at, back.run.fence) == (False, None, 7)
    (told,) = back.events
    assert (told.kind, told.at) == (EventKind.STEP_ENDED, NOW + 2)
    assert (told.data["attempt"], told.data["state"]) == (2, StepState.FAILED)
    assert told.data["error"] == "the store's answer was lost or late: it was not called"
