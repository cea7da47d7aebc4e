"""Every key of a rule: its form, its default, and what it means, seen at work."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from language.writing import CHECK, WRITE, Load, faults, file, only, rule, says
from stage import START, Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.model.run import Mode
from remediator.review.check import check
from remediator.review.codes import Code
from remediator.review.findings import View
from remediator.review.source import read_source
from remediator.rules.cron import Schedule
from remediator.rules.rule import Approval

NO = Outcome(Result.REFUSED, error="no")


def test_key_name(load: Load) -> None:
    """Required, a kebab-case word, unique over all files: the rule's identity over its versions."""
    assert faults(load(file(rule(name=None)))) == [("name", "missing-key")]
    assert faults(load(file(rule(name="Mend_it")))) == [("name", "bad-value")]
    assert faults(load(file(rule(), rule()))) == [("name", "duplicate-name")]
    first, second = only(load(file(rule()))), only(load(file(rule("for: 1m"))))
    assert first.name == second.name == "mend"
    assert first.hash != second.hash


def test_key_summary(load: Load) -> None:
    """Required, one sentence."""
    assert only(load(file(rule()))).summary == "Mends."
    assert faults(load(file(rule(summary=None)))) == [("summary", "missing-key")]
    assert faults(load(file(rule(summary="' '")))) == [("summary", "bad-value")]


async def test_key_match(stage: Stage, load: Load) -> None:
    """Which firing alerts it takes up; this or `schedule`; `all` only for what reads or notifies."""
    await stage.rules(file(rule(match="""['{alertname="Down"}', 'app!~"test.*"']""")))
    for app in ("web", "test-1"):
        await stage.fires(app=app)
    await stage.fires("Slow", app="web")
    assert says(stage) == ["mend app/web"]
    assert faults(load(file(rule(match=None)))) == [(None, "missing-key")]
    assert faults(load(file(rule("schedule: '@daily'")))) == [
        ("match", "bad-value"),
        ("target", "unknown-name"),
    ]
    assert faults(load(file(rule(match="all")))) == [("match", "bad-matcher")]
    reverts = "revert: {resolved: true, steps: [{uses: test.write}]}"
    assert faults(load(file(rule(reverts, match="all", steps="[{uses: test.read}]")))) == [("match", "bad-matcher")]
    assert load(file(rule(match="all", steps="[{uses: test.notify}]"))).ok


async def test_key_schedule(stage: Stage, load: Load) -> None:
    """Starts a run by the clock: cron's text, or `{cron, timezone}`; keys that speak of an alert are refused beside it."""
    clock = {"match": None, "target": "disk"}
    every = "schedule: {cron: '*/10 * * * *', timezone: Europe/Berlin}"
    await stage.rules(file(rule(every, **clock)))
    due = Schedule.of("*/10 * * * *").next_after(START)
    assert due is not None
    await stage.passes(due - START - 1)
    assert stage.calls == []
    await stage.passes(601)
    assert says(stage) == ["mend disk"] * 2
    daily = "schedule: '15 3 * * *'"
    assert only(load(file(rule(daily, **clock)))).schedule is not None
    assert faults(load(file(rule("schedule: '15 3 * *'", **clock)))) == [("schedule", "bad-value")]
    for key, said in {
        "for": "for: 1m",
        "when_resolved": "when_resolved: finish",
        "guard.episodes": "guard: {episodes: {at_least: 2, per: 1h}}",
        "revert.resolved": "revert: {resolved: true, steps: [{uses: test.read}]}",
        "verify.resolved": "verify: {resolved: true}",
    }.items():
        assert faults(load(file(rule(daily, said, **clock)))) == [(key, "bad-value")]
    for name in ("labels.app", "annotations.x", "alert.fingerprint", "alerts", "group.key"):
        assert faults(load(file(rule(daily, match=None, target=f"'{{{{ {name} }}}}'")))) == [("target", "unknown-name")]


async def test_key_for(stage: Stage, load: Load) -> None:
    """The alert must still be firing this long after it was first seen; 0s by default."""
    await stage.rules(file(rule("for: 2m")))
    await stage.fires(app="web")
    await stage.fires(app="blip")
    await stage.passes(60)
    await stage.resolves(app="blip")
    await stage.passes(58)
    assert (stage.calls, (await stage.states())[0]) == ([], ("waiting", "for"))
    await stage.passes(2)
    assert says(stage) == ["mend app/web"]
    assert (await stage.states())[1] == ("cancelled", "resolved")
    assert only(load(file(rule()))).for_ == 0.0
    assert faults(load(file(rule("for: 2 minutes")))) == [("for", "bad-value")]
    assert faults(load(file(rule("for: 120")))) == [("for", "wrong-type")]


async def test_key_facts(stage: Stage, load: Load) -> None:
    """Read steps with an id, read before deciding; `facts.ID` is there from the target on."""
    uses = "'{{ facts.app.name }}'"
    await stage.rules(
        file(
            rule(
                "facts: [{id: app, uses: test.read}]",
                "guard: {only_if: facts.app.name == 'web'}",
                f"on_success: [{{uses: test.notify, with: {{says: {uses}}}}}]",
                target=uses,
                steps=f"[{{uses: test.write, with: {{says: {uses}}}}}]",
            )
        )
    )
    stage.outcomes["test.read"] = [{"name": "web"}]
    await stage.fires()
    assert stage.calls == [("test.read", ""), ("test.write", "web"), ("test.notify", "web")]
    assert only(load(file(rule()))).facts == ()
    assert faults(load(file(rule("facts: [{uses: test.read}]")))) == [("facts[0].id", "missing-key")]
    assert faults(load(file(rule("facts: [{id: a, uses: test.write}]")))) == [("facts[0].uses", "wrong-effect")]


async def test_key_target(stage: Stage, load: Load) -> None:
    """Required: what is acted on. Locks, cooldowns, limits and blast radius count by it; never empty."""
    await stage.rules(file(rule(target="'{{ labels.app }}{{ labels.zone | default(\"\") }}'")))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.fires(app="web", zone="-b")
    await stage.fires(app="", zone="")
    assert [state for state, _ in await stage.states()] == ["succeeded", "blocked", "succeeded", "blocked"]
    assert [run["reason"] for run in await stage.runs()] == [None, "cooldown", None, "template_error"]
    assert faults(load(file(rule(target=None)))) == [("target", "missing-key")]


async def test_key_mode(stage: Stage, load: Load) -> None:
    """A word, or a list in which the first entry that holds decides; `auto` by default."""
    for mode, state in {"off": None, "dry-run": "planned", "approve": "awaiting_approval", "auto": "succeeded"}.items():
        await stage.rules(file(rule(f"mode: {mode}", target="'{{ labels.app }}'")))
        await stage.fires(app=mode)
        states = {run["target"]: run["state"] for run in await stage.runs()}
        assert states.get(mode) == state
    assert only(load(file(rule()))).modes.in_force(START, {}) is Mode.AUTO
    windows = {"windows": ("night",)}
    assert load(file(rule("mode: [{during: night, mode: auto}, {mode: approve}]")), windows).ok
    assert faults(load(file(rule("mode: [{during: nihgt, mode: auto}]")), windows)) == [
        ("mode[0].during", "unknown-window")
    ]
    assert faults(load(file(rule("mode: manual")))) == [("mode", "bad-value")]


async def test_key_guard(stage: Stage, load: Load) -> None:
    """What must hold before it may act: a mapping, none of whose keys is needed."""
    await stage.rules(file(rule("guard: {only_if: labels.app == 'web'}")))
    await stage.fires(app="web")
    await stage.fires(app="db")
    assert await stage.states() == [("succeeded", None), ("blocked", "only_if")]
    guards = only(load(file(rule()))).guards
    assert (guards.limits, guards.blast_radius, guards.breaker, guards.episodes, guards.lock) == (
        (),
        None,
        None,
        None,
        None,
    )
    assert faults(load(file(rule("guard: {cool_down: 5m}")))) == [("guard.cool_down", "unknown-key")]
    assert faults(load(file(rule("guard: {only_if: }")))) == [("guard.only_if", "wrong-type")]


async def test_key_approval(stage: Stage, load: Load) -> None:
    """Whenever the mode in force is `approve`: 15m, whoever may operate the daemon, one of them."""
    assert only(load(file(rule()))).rungs[0].approval == Approval(900.0, (), 1)
    said = only(load(file(rule("approval: {timeout: 5m, approvers: [ann, bob], quorum: 2}")))).rungs[0].approval
    assert said == Approval(300.0, ("ann", "bob"), 2)
    await stage.rules(file(rule("approval: {timeout: 5m}")))
    await stage.fires(app="auto")
    assert await stage.states() == [("succeeded", None)]
    await stage.rules(file(rule("approval: {timeout: 5m}", "mode: approve")))
    await stage.fires(app="ask")
    assert (await stage.states())[1] == ("awaiting_approval", "approval")
    await stage.passes(300)
    assert (await stage.states())[1] == ("cancelled", "expired")


async def test_key_steps(stage: Stage, load: Load) -> None:
    """What is done, in order, the first that fails ends the list; this or `ladder`."""
    await stage.rules(
        file(rule(steps="[{uses: test.read}, {uses: test.write}, {uses: test.notify}, {uses: test.undo}]"))
    )
    stage.outcomes["test.notify"] = [NO]
    await stage.fires(app="web")
    assert [name for name, _ in stage.calls] == ["test.read", "test.write", "test.notify"]
    assert await stage.states() == [("failed", "step")]
    assert faults(load(file(rule(steps=None)))) == [(None, "missing-key")]
    assert faults(load(file(rule(steps="[]")))) == [("steps", "bad-value")]
    assert faults(load(file(rule(f"ladder: [{{steps: {WRITE}}}]")))) == [("ladder", "bad-value")]


async def test_key_ladder(stage: Stage, load: Load) -> None:
    """A list of rungs; a run starts on the first and climbs when a rung's verification is false."""
    ladder = f"ladder: [{{steps: {WRITE}, verify: {CHECK}}}, {{steps: [{{uses: test.undo}}], verify: {CHECK}}}]"
    await stage.rules(file(rule(ladder, steps=None)))
    stage.outcomes["test.check"] = [*[{"up": False}] * 7, {"up": True}]
    await stage.fires(app="web")
    await stage.passes(120)
    assert [name for name, _ in stage.calls if name != "test.check"] == ["test.write", "test.undo"]
    assert [(run["state"], run["rung"]) for run in await stage.runs()] == [("succeeded", 1)]
    unproved = f"ladder: [{{steps: {WRITE}}}, {{steps: {WRITE}}}]"
    assert faults(load(file(rule(unproved, steps=None)))) == [("ladder[0]", "missing-key")]


async def test_key_recurrence(stage: Stage, load: Load) -> None:
    """With `ladder`: how long a success is remembered, so that the next run starts one rung above it; 1h by default."""
    rungs = f"ladder: [{{steps: {WRITE}, verify: {CHECK}}}, {{steps: {WRITE}, verify: {CHECK}}}]"
    await stage.rules(file(rule(rungs, "recurrence: 10m", steps=None)))
    stage.outcomes["test.check"] = [{"up": True}]
    for number, pause in enumerate([600, 601, 0]):  # at its very end it is remembered
        await stage.fires(app="web", n=str(number))
        await stage.passes(pause)
    assert [run["rung"] for run in await stage.runs()] == [0, 1, 0]
    assert only(load(file(rule(rungs, steps=None)))).recurrence == 3600.0
    assert faults(load(file(rule("recurrence: 2h")))) == [("recurrence", "no-effect")]


async def test_key_verify(stage: Stage, load: Load) -> None:
    """Success is told by its checks; without it a run succeeds when its steps are done."""
    await stage.rules(file(rule(f"verify: {CHECK}")))
    stage.outcomes["test.check"] = [{"up": False}, {"up": True}]
    await stage.fires(app="web")
    assert await stage.states() == [("verifying", None)]
    await stage.passes(10)
    assert await stage.states() == [("succeeded", None)]
    assert only(load(file(rule()))).rungs[0].verify is None
    assert faults(load(file(rule("verify: {within: 1m}")))) == [("verify", "bad-value")]


async def test_key_undo(stage: Stage, load: Load) -> None:
    """Run when the run fails after a write has started, a step or the verification, before `on_failure`."""
    follow = ("undo: [{uses: test.undo}]", "on_failure: [{uses: test.notify}]", f"verify: {CHECK}")
    await stage.rules(file(rule(*follow, steps="[{uses: test.read}, {uses: test.write}]")))
    stage.outcomes["test.read"] = [NO, {}]
    stage.outcomes["test.write"] = [NO, {}]
    stage.outcomes["test.check"] = [{"up": False}]
    for app, after in {"a": "no write", "b": "failed write", "c": "false verification"}.items():
        stage.calls.clear()
        await stage.fires(app=app)
        await stage.passes(60)
        names = [name for name, _ in stage.calls]
        assert ("test.undo" in names) == (after != "no write"), after
        assert names[-1] == "test.notify"
    assert [reason for _, reason in await stage.states()] == ["step", "step", "verify"]
    assert only(load(file(rule()))).undo == ()


async def test_key_revert(stage: Stage, load: Load) -> None:
    """Takes back a temporary change, once, at the first of what is given; after failed runs too; a newer success moves it."""
    back = "revert: {resolved: true, after: 10m, steps: [{uses: test.undo, with: {says: '{{ target }}'}}]}"
    await stage.rules(file(rule("guard: {cooldown: 0s}", back)))
    await stage.fires(app="a")
    await stage.resolves(app="a")
    assert says(stage, "test.undo") == ["app/a"]
    await stage.fires(app="b")
    await stage.passes(599)
    assert says(stage, "test.undo") == ["app/a"]
    await stage.fires(app="b", n="2")
    await stage.passes(599)
    assert says(stage, "test.undo") == ["app/a"], "the newer success has moved it"
    await stage.crash()
    await stage.passes(1)
    assert says(stage, "test.undo") == ["app/a", "app/b"]
    stage.outcomes["test.write"] = [NO]
    await stage.fires(app="c")
    await stage.passes(3600)
    assert says(stage, "test.undo") == ["app/a", "app/b", "app/c"]
    assert only(load(file(rule()))).revert is None
    assert faults(load(file(rule("revert: {steps: [{uses: test.undo}]}")))) == [("revert", "bad-value")]


async def test_key_on_success(stage: Stage, load: Load) -> None:
    """Read or notify, after a success alone."""
    await stage.rules(file(rule("on_success: [{uses: test.notify, with: {says: 'well: {{ target }}'}}]")))
    stage.outcomes["test.write"] = [{}, NO]
    await stage.fires(app="a")
    await stage.fires(app="b")
    assert says(stage, "test.notify") == ["well: app/a"]
    assert faults(load(file(rule("on_success: [{uses: test.write}]")))) == [("on_success[0].uses", "wrong-effect")]


async def test_key_on_failure(stage: Stage, load: Load) -> None:
    """Read or notify, after a failure alone."""
    await stage.rules(file(rule("on_failure: [{uses: test.notify, with: {says: 'ill: {{ target }}'}}]")))
    stage.outcomes["test.write"] = [{}, NO]
    await stage.fires(app="a")
    await stage.fires(app="b")
    assert says(stage, "test.notify") == ["ill: app/b"]
    assert faults(load(file(rule("on_failure: [{uses: test.write}]")))) == [("on_failure[0].uses", "wrong-effect")]


async def test_key_on_blocked(stage: Stage, load: Load) -> None:
    """Read or notify, once for a run that a guard refuses."""
    await stage.rules(file(rule("on_blocked: [{uses: test.notify, with: {says: 'left: {{ target }}'}}]")))
    alert = stage.alert(app="web", n="2")
    await stage.fires(app="web", n="1")
    await stage.notify(alert)
    await stage.notify(alert)
    await stage.passes(600)
    assert says(stage, "test.notify") == ["left: app/web"]
    assert faults(load(file(rule("on_blocked: [{uses: test.write}]")))) == [("on_blocked[0].uses", "wrong-effect")]


@pytest.mark.parametrize(
    ("said", "end", "written"),
    [(None, ("succeeded", None), 1), ("finish", ("succeeded", None), 1), ("cancel", ("cancelled", "resolved"), 0)],
)
async def test_key_when_resolved(stage: Stage, load: Load, said: str | None, end: tuple, written: int) -> None:
    """What becomes of a run at work when all its alerts resolve; it finishes by default."""
    more = () if said is None else (f"when_resolved: {said}",)
    await stage.rules(file(rule(*more, steps="[{uses: wait, with: {for: 5m}}, {uses: test.write}]")))
    await stage.fires(app="web")
    await stage.resolves(app="web")
    await stage.passes(300)
    assert (await stage.states(), stage.used("test.write")) == ([end], written)
    assert faults(load(file(rule("when_resolved: stop")))) == [("when_resolved", "bad-value")]


async def test_key_deadline(stage: Stage, load: Load) -> None:
    """The longest that a run may take, waiting for people aside; 1h by default."""
    await stage.rules(file(rule("deadline: 10m", steps="[{uses: wait, with: {for: 1h}}, {uses: test.write}]")))
    await stage.fires(app="web")
    await stage.passes(60)
    await controls.pause(stage.engine, "ann", "look", rule=None, target=None, span=1800)
    await stage.passes(1800 + 539)
    assert await stage.states() == [("running", None)]
    await stage.passes(1)
    assert await stage.states() == [("failed", "deadline")]
    assert only(load(file(rule()))).deadline == 3600.0


async def test_key_priority(stage: Stage, load: Load) -> None:
    """P0 to P3, may be a template, P2 by default: it orders work, and is shown."""
    await stage.rules(file(rule("priority: '{{ labels.p | default(\"P2\") }}'")), max_running=1)
    stage.blocked["test.write"] = asyncio.Event()
    for app, labels in {"a": {}, "b": {"p": "P3"}, "c": {"p": "P0"}, "d": {}}.items():
        await stage.fires(app=app, **labels)
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert says(stage) == ["mend app/a", "mend app/c", "mend app/d", "mend app/b"]
    assert [run["priority"] for run in await stage.runs()] == ["P2", "P3", "P0", "P2"]
    await stage.fires(app="e", p="urgent")
    assert (await stage.states())[-1] == ("blocked", "template_error")
    assert only(load(file(rule()))).priority is None
    assert faults(load(file(rule("priority: P4")))) == [("priority", "bad-value")]


async def test_key_confidential(stage: Stage, load: Load) -> None:
    """The daemon's own notices carry rule, priority and link alone; false by default."""
    from engine.test_occasions import notices

    for said, told in {"true": [], "false": ["app/web"]}.items():
        stage.calls.clear()
        await stage.rules(
            file(rule(f"confidential: {said}", "mode: approve", "priority: P1")),
            notices=notices(stage, "{{ notice.text }} {{ notice.target }}"), public_url="https://r.example",
        )  # fmt: skip
        await stage.fires(app="web", n=said)
        (text,) = says(stage, "test.notify")
        assert [word for word in ("app/web",) if word in text] == told
        assert "mend" in text
        if not told:
            assert "P1" in text
            assert "https://r.example/runs/" in text
    assert only(load(file(rule()))).confidential is False


async def test_key_owner(stage: Stage, load: Load) -> None:
    """Metadata, a text: templates see it."""
    await stage.rules(file(rule("owner: sre", steps="[{uses: test.write, with: {says: '{{ rule.owner }}'}}]")))
    await stage.fires(app="web")
    assert says(stage) == ["sre"]
    assert only(load(file(rule()))).owner is None


async def test_key_runbook(stage: Stage, load: Load) -> None:
    """Metadata, a URL: templates see it."""
    page = "https://runbooks.example/mend"
    await stage.rules(file(rule(f"runbook: {page}", steps="[{uses: test.write, with: {says: '{{ rule.runbook }}'}}]")))
    await stage.fires(app="web")
    assert says(stage) == [page]
    assert only(load(file(rule()))).runbook is None
    assert faults(load(file(rule("runbook: the wiki")))) == [("runbook", "bad-value")]


async def test_key_labels(stage: Stage, load: Load) -> None:
    """Metadata, a map: templates see it, and it is not the alert's."""
    say = "steps: [{uses: test.write, with: {says: '{{ rule.labels.team }} {{ labels.team }}'}}]"
    await stage.rules(file(rule("labels: {team: web}", say, steps=None)))
    await stage.fires(app="web", team="shop")
    assert says(stage) == ["web shop"]
    assert only(load(file(rule()))).labels == {}
    assert faults(load(file(rule("labels: [web]")))) == [("labels", "wrong-type")]


def due(loaded: object, day: str) -> bool:
    """Tell whether `check` says on a day that a review is overdue."""
    at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    checked = check(loaded, View(at, None), read_source)  # type: ignore[arg-type]
    return Code.REVIEW_OVERDUE in [problem.code for problem in checked.problems]


def test_key_reviewed(load: Load) -> None:
    """A date: `check` says when a review is overdue; none by default, and nothing is said then."""
    assert only(load(file(rule()))).reviewed is None
    assert not due(load(file(rule())), "2036-01-01")
    loaded = load(file(rule("reviewed: 2026-11-01")))
    assert not due(loaded, "2027-01-29")
    assert due(loaded, "2027-02-02")
    assert faults(load(file(rule("reviewed: yesterday")))) == [("reviewed", "bad-value")]


def test_key_review_every(load: Load) -> None:
    """A duration, 90d by default."""
    assert only(load(file(rule()))).review_every == 90 * 86_400.0
    loaded = load(file(rule("reviewed: 2026-11-01", "review_every: 7d")))
    assert not due(loaded, "2026-11-07")
    assert due(loaded, "2026-11-10")
