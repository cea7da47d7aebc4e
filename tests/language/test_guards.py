"""Every guard: its form, its default, and when it refuses, seen at work. What each counts in all cases: `tests/guards`."""

from __future__ import annotations

import asyncio

import pytest
from language.writing import Load, faults, file, only, rule, says
from msgspec.structs import replace
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.model.alert import Notification
from remediator.model.control import ControlKind
from remediator.model.identity import new_id

NO = Outcome(Result.REFUSED, error="no")


def guarded(guard: str, **keys: str | None) -> str:
    return file(rule(f"guard: {{{guard}}}", **keys))


async def outcomes(stage: Stage) -> list[str]:
    """Give what became of each run: the reason of a refusal, else its state."""
    return [reason if state == "blocked" else state for state, reason in await stage.states()]


async def test_guard_cooldown(stage: Stage, load: Load) -> None:
    """Since the last run of this rule on this target ended, however it ended; 5m for a rule that writes, else none."""
    await stage.rules(guarded("cooldown: 10m"))
    stage.outcomes["test.write"] = [NO]
    for number, pause in enumerate([599, 1, 0]):
        await stage.fires(app="web", n=str(number))
        await stage.passes(pause)
    await stage.fires(app="db")
    assert await outcomes(stage) == ["failed", "cooldown", "failed", "failed"]
    assert only(load(file(rule()))).guards.cooldown == 300.0
    for writes in ("undo: [{uses: test.undo}]", "revert: {after: 1h, steps: [{uses: test.undo}]}"):
        assert only(load(file(rule(writes, steps="[{uses: test.read}]")))).guards.cooldown == 300.0
    assert only(load(file(rule(steps="[{uses: test.notify}]")))).guards.cooldown == 0.0
    assert faults(load(guarded("cooldown: 5 min"))) == [("guard.cooldown", "bad-value")]


async def test_guard_limit(stage: Stage, load: Load) -> None:
    """`N per DURATION`, `N per DURATION per target`, or a list: when that many runs were admitted in the span."""
    await stage.rules(guarded("cooldown: 0s, limit: [1 per 10m per target, 2 per 1h]"))
    for number, (app, pause) in enumerate([("a", 0), ("a", 600), ("a", 0), ("b", 2999), ("b", 1), ("b", 0)]):
        await stage.fires(app=app, n=str(number))
        await stage.passes(pause)
    assert await outcomes(stage) == ["succeeded", "limit", "succeeded", "limit", "limit", "succeeded"]
    assert only(load(file(rule()))).guards.limits == ()
    for wrong in ("2 in 1h", "0 per 1h", "2 per 1h per app"):
        assert faults(load(guarded(f"limit: {wrong}"))) == [("guard.limit", "bad-value")]


async def test_guard_blast_radius(stage: Stage, load: Load) -> None:
    """When it would touch more distinct targets in the span, or more than that fraction of the population."""
    await stage.rules(guarded("cooldown: 0s, blast_radius: {targets: 3, fraction: 0.5, of: vars.hosts, per: 1h}").replace(
        "rules:", "vars: {hosts: [a, b, c, d]}\nrules:"))  # fmt: skip
    for number, app in enumerate(["a", "b", "a", "c"]):
        await stage.fires(app=app, n=str(number))
    await stage.passes(3600)
    await stage.fires(app="c", n="later")
    assert await outcomes(stage) == ["succeeded", "succeeded", "succeeded", "blast_radius", "succeeded"]
    assert only(load(file(rule()))).guards.blast_radius is None
    assert faults(load(guarded("blast_radius: {per: 1h}"))) == [("guard.blast_radius", "bad-value")]


async def test_blast_radius_targets(stage: Stage) -> None:
    """In number; a target that was touched before widens nothing."""
    await stage.rules(guarded("cooldown: 0s, blast_radius: {targets: 1, per: 1h}"))
    for number, app in enumerate(["a", "b", "a"]):
        await stage.fires(app=app, n=str(number))
    assert await outcomes(stage) == ["succeeded", "blast_radius", "succeeded"]


async def test_blast_radius_fraction(stage: Stage, load: Load) -> None:
    """Of the population, more than none and at most all of it; it goes with `of`."""
    await stage.rules(guarded("cooldown: 0s, blast_radius: {fraction: 0.5, of: '3', per: 1h}"))
    for app in "ab":
        await stage.fires(app=app)
    assert await outcomes(stage) == ["succeeded", "blast_radius"]
    for wrong in ("fraction: 0.5, per: 1h", "of: '3', per: 1h"):
        assert faults(load(guarded(f"blast_radius: {{{wrong}}}"))) == [("guard.blast_radius", "bad-value")]
    assert faults(load(guarded("blast_radius: {fraction: 1.5, of: '3', per: 1h}"))) == [
        ("guard.blast_radius.fraction", "bad-value")
    ]


@pytest.mark.parametrize("of", ["[]", "0", "vars.none", "labels.none", "'many'", "facts.hosts"])
async def test_p5_blast_radius_of(stage: Stage, of: str) -> None:
    """A population that is empty or unknown refuses: it is never read as everything."""
    guard = f'cooldown: 0s, blast_radius: {{fraction: 1.0, of: "{of}", per: 1h}}'
    text = file(rule(f"guard: {{{guard}}}", "facts: [{id: hosts, uses: test.read}]"), vars="{none: null}")
    stage.outcomes["test.read"] = [{}]
    await stage.rules(text.replace("null", "''"))
    await stage.fires(app="web")
    assert await outcomes(stage) == ["blast_radius"]


async def test_blast_radius_of(stage: Stage) -> None:
    """An expression that gives a list or its size; one that is counted from a truncated group refuses."""
    await stage.rules(guarded("cooldown: 0s, blast_radius: {fraction: 1.0, of: alerts, per: 1h}"))
    now = stage.clock.now()
    body = Notification(new_id(now), now, "hook", "{}", {}, 0, (stage.alert(app="a"),), (), b"{}")
    await stage.engine.accept(body)
    await stage.engine.accept(replace(body, id=new_id(now), truncated=1, alerts=(stage.alert(app="b"),)))
    await stage.settle()
    assert await outcomes(stage) == ["succeeded", "blast_radius"]


async def test_blast_radius_per(stage: Stage, load: Load) -> None:
    """Required: what was touched longer ago counts no more."""
    await stage.rules(guarded("cooldown: 0s, blast_radius: {targets: 1, per: 10m}"))
    for app, pause in {"a": 599, "b": 1, "c": 0}.items():
        await stage.fires(app=app)
        await stage.passes(pause)
    assert await outcomes(stage) == ["succeeded", "blast_radius", "succeeded"]
    assert faults(load(guarded("blast_radius: {targets: 1}"))) == [("guard.blast_radius.per", "missing-key")]


async def test_guard_breaker(stage: Stage, load: Load) -> None:
    """N runs of this rule ended `failed` or `unknown` in the span: open till `reset`, or till a person closes it."""
    await stage.rules(guarded("cooldown: 0s, breaker: {failures: 2, per: 1h, reset: 10m}"))
    stage.outcomes["test.write"] = [NO]
    await stage.fires(app="a")
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="b")
    await stage.crash()
    stage.blocked.clear()
    await stage.fires(app="c")
    await stage.passes(600)
    await stage.fires(app="d")
    assert await outcomes(stage) == ["failed", "unknown", "breaker", "failed"]
    assert only(load(file(rule()))).guards.breaker is None


async def test_breaker_failures(stage: Stage, load: Load) -> None:
    """How many; successes between them change nothing."""
    await stage.rules(guarded("cooldown: 0s, breaker: {failures: 2, per: 1h, reset: 1h}"))
    stage.outcomes["test.write"] = [NO, {}, NO]
    for app in "abcd":
        await stage.fires(app=app)
    assert await outcomes(stage) == ["failed", "succeeded", "failed", "breaker"]
    assert faults(load(guarded("breaker: {failures: 0, per: 1h, reset: 1h}"))) == [
        ("guard.breaker.failures", "bad-value")
    ]


async def test_breaker_per(stage: Stage, load: Load) -> None:
    """Failures that are longer ago count no more."""
    await stage.rules(guarded("cooldown: 0s, breaker: {failures: 2, per: 10m, reset: 1h}"))
    stage.outcomes["test.write"] = [NO]
    for app, pause in {"a": 600, "b": 599, "c": 0, "d": 0}.items():
        await stage.fires(app=app)
        await stage.passes(pause)
    assert await outcomes(stage) == ["failed", "failed", "failed", "breaker"]
    assert faults(load(guarded("breaker: {failures: 2, reset: 1h}"))) == [("guard.breaker.per", "missing-key")]


async def test_breaker_reset(stage: Stage, load: Load) -> None:
    """A duration, or `manual`: then only a person closes it."""
    await stage.rules(guarded("cooldown: 0s, breaker: {failures: 1, per: 1m, reset: manual}"))
    stage.outcomes["test.write"] = [NO, {}]
    await stage.fires(app="a")
    stage.clock.time += 30 * 86_400
    await stage.fires(app="b")
    now = stage.clock.now()
    (laid,) = await stage.store.view(lambda tx: tx.controls(now))
    assert laid.kind is ControlKind.BREAKER
    await controls.lift(stage.engine, laid.id, "ann", "mended")
    await stage.fires(app="c")
    assert await outcomes(stage) == ["failed", "breaker", "succeeded"]
    assert faults(load(guarded("breaker: {failures: 2, per: 1h}"))) == [("guard.breaker.reset", "missing-key")]


async def blips(stage: Stage, count: int) -> None:
    """Let one alert come and go."""
    for _ in range(count):
        await stage.fires(app="web")
        await stage.passes(30)
        await stage.resolves(app="web")
        await stage.passes(30)


async def test_guard_episodes(stage: Stage, load: Load) -> None:
    """Fewer than N is a blip that is left alone, more than M is flapping that goes to a person."""
    await stage.rules(guarded("cooldown: 0s, episodes: {at_least: 2, at_most: 3, per: 1h}"))
    await blips(stage, 4)
    assert await outcomes(stage) == ["episodes", "succeeded", "succeeded", "episodes"]
    assert only(load(file(rule()))).guards.episodes is None
    assert faults(load(guarded("episodes: {per: 1h}"))) == [("guard.episodes", "bad-value")]
    assert faults(load(guarded("episodes: {at_least: 3, at_most: 2, per: 1h}"))) == [("guard.episodes", "bad-value")]


async def test_episodes_at_least(stage: Stage) -> None:
    """Fewer are refused."""
    await stage.rules(guarded("cooldown: 0s, episodes: {at_least: 3, per: 1h}"))
    await blips(stage, 3)
    assert await outcomes(stage) == ["episodes", "episodes", "succeeded"]


async def test_episodes_at_most(stage: Stage) -> None:
    """More are refused."""
    await stage.rules(guarded("cooldown: 0s, episodes: {at_most: 1, per: 1h}"))
    await blips(stage, 2)
    assert await outcomes(stage) == ["succeeded", "episodes"]


async def test_episodes_per(stage: Stage, load: Load) -> None:
    """Required: those that began longer ago count no more."""
    await stage.rules(guarded("cooldown: 0s, episodes: {at_most: 1, per: 2m}"))
    await blips(stage, 2)
    await stage.passes(61)
    await blips(stage, 1)
    assert await outcomes(stage) == ["succeeded", "episodes", "succeeded"]
    assert faults(load(guarded("episodes: {at_most: 1}"))) == [("guard.episodes.per", "missing-key")]


async def test_guard_unless_firing(stage: Stage, load: Load) -> None:
    """An alert that matches one of the sets fires: the cause is elsewhere. Values may be templates."""
    sets = """unless_firing: ['{alertname="DatabaseDown", app="{{ labels.app }}"}', '{alertname="NetDown"}']"""
    await stage.rules(guarded(f"cooldown: 0s, {sets}"))
    await stage.fires("DatabaseDown", app="web")
    await stage.fires(app="web", n="1")
    await stage.fires(app="shop", n="1")
    await stage.resolves("DatabaseDown", app="web")
    await stage.fires(app="web", n="2")
    await stage.fires("NetDown")
    await stage.fires(app="web", n="3")
    assert await outcomes(stage) == ["unless_firing", "succeeded", "succeeded", "unless_firing"]
    assert only(load(file(rule()))).guards.unless_firing == ()
    assert faults(load(guarded("unless_firing: '{a=\"b\"}'"))) == [("guard.unless_firing", "wrong-type")]
    assert faults(load(guarded("unless_firing: ['{a=~\".*\"}']"))) == [("guard.unless_firing[0]", "bad-matcher")]


async def test_guard_only_firing(stage: Stage, load: Load) -> None:
    """One of the sets has no alert firing."""
    await stage.rules(guarded("""cooldown: 0s, only_firing: ['{alertname="Load"}', '{alertname="Queue"}']"""))
    await stage.fires(app="web", n="1")
    await stage.fires("Load")
    await stage.fires(app="web", n="2")
    await stage.fires("Queue")
    await stage.fires(app="web", n="3")
    assert await outcomes(stage) == ["only_firing", "only_firing", "succeeded"]
    assert only(load(file(rule()))).guards.only_firing == ()


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("labels.app == 'web'", "succeeded"),
        ("[labels.app == 'web', labels.n == '2']", "only_if"),
        ("labels.app", "only_if"),
        ("labels.none == 'x'", "only_if"),
        ("labels.n | int / 0 > 1", "only_if"),
    ],
)
async def test_guard_only_if(stage: Stage, load: Load, said: str, end: str) -> None:
    """An expression or a list: it is false or fails."""
    await stage.rules(guarded(f"only_if: {said}" if said.startswith("[") else f'only_if: "{said}"'))
    await stage.fires(app="web", n="1")
    assert await outcomes(stage) == [end]
    assert only(load(file(rule()))).guards.only_if == ()
    assert faults(load(guarded("only_if: labels.app =="))) == [("guard.only_if", "bad-template")]


async def test_guard_lock(stage: Stage, load: Load) -> None:
    """Another run, of any rule, holds it; the target by default. A rule that only reads or notifies takes none."""
    await stage.rules(
        file(
            rule("guard: {lock: 'rack/{{ labels.rack }}'}"),
            rule("guard: {lock: 'rack/{{ labels.rack }}'}", name="second", match="""'{alertname="Slow"}'"""),
            rule(name="third", match="""'{alertname="Slow"}'""", target="rack/1"),
            rule(name="looks", match="""'{alertname="Slow"}'""", target="rack/2", steps="[{uses: test.read}]"),
        )
    )
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="a", rack="1")
    await stage.fires("Slow", app="b", rack="1")
    ends = {run["rule"]: run["reason"] or run["state"] for run in await stage.runs()}
    assert ends == {"mend": "running", "second": "lock", "third": "lock", "looks": "succeeded"}
    assert faults(load(guarded("lock: x", steps="[{uses: test.notify}]"))) == [("guard.lock", "no-effect")]


async def test_guard_patience(stage: Stage, load: Load) -> None:
    """(Not a guard) how long a refused run may wait, while its alert still fires, before the refusal stands; 0s by default."""
    await stage.rules(guarded("cooldown: 10m, patience: 5m"))
    await stage.fires(app="web", n="1")
    await stage.passes(200)
    await stage.fires(app="web", n="2")
    assert (await stage.states())[1] == ("waiting", "cooldown")
    await stage.passes(299)
    assert (await stage.states())[1] == ("waiting", "cooldown")
    await stage.passes(1)
    assert (await stage.states())[1] == ("blocked", "cooldown")
    await stage.fires(app="web", n="3")
    await stage.passes(100)
    assert (await stage.states())[2] == ("succeeded", None)
    await stage.fires(app="web", n="4")
    await stage.resolves(app="web", n="4")
    assert (await stage.states())[3] == ("cancelled", "resolved")
    assert says(stage) == ["mend app/web"] * 2
    assert only(load(file(rule()))).guards.patience == 0.0


@pytest.mark.parametrize("key", ["limit", "only_if", "only_firing"])
async def test_an_empty_list_is_no_guard_that_lets_all_pass(load: Load, key: str) -> None:
    """Read as "nothing to hold it back" it would be a guard in name alone; of `unless_firing` it is the honest none."""
    assert faults(load(guarded(f"{key}: []"))) == [(f"guard.{key}", "bad-value")]
    assert only(load(guarded("unless_firing: []"))).guards.unless_firing == ()
