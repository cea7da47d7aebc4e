"""Every name that templates and expressions know."""

from __future__ import annotations

from typing import Any

from language.writing import Load, faults, file, rule, says
from stage import Stage

STEP = "[{uses: test.write, with: {says: SAYS}}]"


async def said(stage: Stage, template: str, *more: str, **keys: str | None) -> str:
    """Let a run write what a template gives."""
    steps = keys.pop("steps", STEP) or STEP
    await stage.rules(file(rule(*more, steps=steps.replace("SAYS", f"'{template}'"), **keys)))
    await stage.fires(app="web", **{"host.name": "h1"})
    return says(stage)[-1]


async def test_name_labels(stage: Stage) -> None:
    """The alert's; one that is not there is an error, and never an empty text."""
    assert await said(stage, '{{ labels.app }} {{ labels["host.name"] }}') == "web h1"
    await stage.rules(file(rule(steps=STEP.replace("SAYS", "'{{ labels.none }}'"))))
    await stage.fires(app="db")
    assert (await stage.states())[-1] == ("blocked", "template_error")


async def test_name_annotations(stage: Stage) -> None:
    """The alert's, too."""
    assert await said(stage, '{{ annotations.summary | default("none") }}') == "none"


async def test_name_alert(stage: Stage) -> None:
    """`fingerprint`, `status`, `starts_at`, `generator_url`."""
    told = await said(
        stage, "{{ alert.fingerprint }} {{ alert.status }} {{ alert.starts_at }} .{{ alert.generator_url }}"
    )
    fingerprint, status, starts_at, url = told.split(" ")
    assert (len(fingerprint), status, starts_at[:4], url) == (16, "firing", "2026", ".")


async def test_name_group(stage: Stage) -> None:
    """`labels` and `key` of the notification."""
    assert await said(stage, "{{ group.key }} {{ group.labels | length }}") == "{} 0"


async def test_name_alerts(stage: Stage) -> None:
    """All alerts of the run, where `labels` are those of the one that opened it."""
    text = '{{ labels.n }} of {{ alerts | map(attribute="labels.n") | join(",") }}'
    await stage.rules(file(rule("for: 1m", steps=STEP.replace("SAYS", f"'{text}'"))))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    assert says(stage) == ["1 of 1,2"]


async def test_name_facts(stage: Stage, load: Load) -> None:
    """The result of a fact, by its id; they are not read yet when a priority is rendered."""
    stage.outcomes["test.read"] = [{"n": "7"}]
    assert await said(stage, "{{ facts.a.n }}", "facts: [{id: a, uses: test.read}]") == "7"
    early = rule("facts: [{id: a, uses: test.read}]", "priority: '{{ facts.a.p }}'")
    assert faults(load(file(early))) == [("priority", "unknown-name")]


async def test_name_target(stage: Stage) -> None:
    """Once it is known."""
    assert await said(stage, "{{ target }}") == "app/web"


async def test_name_rule(stage: Stage) -> None:
    """`name`, `summary`, `owner`, `runbook`, `labels`."""
    assert await said(stage, "{{ rule.name }} {{ rule.summary }} {{ rule.owner }}", "owner: sre") == "mend Mends. sre"


async def test_name_run(stage: Stage) -> None:
    """`id`, `url`, and `rung`, from 0."""
    told = await said(stage, "{{ run.id }} {{ run.rung }} {{ run.url }}")
    run = (await stage.run())["id"]
    assert told == f"{run} 0 /runs/{run}"


async def test_name_steps(stage: Stage, load: Load) -> None:
    """`ok` and `result` of an earlier step."""
    steps = "[{id: a, uses: test.read}, {uses: test.write, with: {says: SAYS}}]"
    stage.outcomes["test.read"] = [{"n": "7"}]
    assert await said(stage, "{{ steps.a.ok }} {{ steps.a.result.n }}", steps=steps) == "true 7"
    later = "[{uses: test.read, if: steps.b.ok}, {id: b, uses: test.read}]"
    assert faults(load(file(rule(steps=later)))) == [("steps[0].if", "unknown-name")]


async def test_name_vars(stage: Stage) -> None:
    """From the file, overridden by the configuration."""
    await stage.rules("vars: {zone: here}\n" + file(rule(steps=STEP.replace("SAYS", "'{{ vars.zone }}'"))))
    await stage.fires(app="web")
    assert says(stage) == ["here"]


async def test_name_item(stage: Stage, load: Load) -> None:
    """In a step with `for_each`."""
    steps = "[{uses: test.write, for_each: '[1, 2]', with: {says: SAYS}}]"
    await said(stage, "no. {{ item }}", steps=steps)
    assert says(stage) == ["no. 1", "no. 2"]
    assert faults(load(file(rule(steps=STEP.replace("SAYS", "'{{ item }}'"))))) == [
        ("steps[0].with.says", "unknown-name")
    ]


async def test_name_result(stage: Stage, load: Load) -> None:
    """In `expect`: the result of this very step, with its type."""
    await stage.rules(file(rule(steps="[{uses: test.read, expect: result.n is number and result.n == 7}]")))
    stage.outcomes["test.read"] = [{"n": 7}]
    await stage.fires(app="web")
    assert await stage.states() == [("succeeded", None)]
    wrong: Any = load(file(rule(steps="[{uses: test.read, if: result.n == 7}]")))
    assert faults(wrong) == [("steps[0].if", "unknown-name")]


def test_what_a_name_never_holds_is_an_error(load: Load) -> None:
    """The step that calls somebody is rendered when it is needed, and must not fail over a word that was never there."""
    wrong = {
        "alert.startsAt": "did you mean `starts_at`?",
        "run.rule": "there is `run.id`, `run.rung`, `run.url`",
        "rule.title": "there is `rule.name`",
        "group.groupLabels": "there is `group.labels`",
        "steps.a.stdout": "under `steps.a.result`",
    }
    steps = "[{id: a, uses: test.read}, {uses: test.write}]"
    for name, told in wrong.items():
        calls = f"on_failure: [{{uses: test.notify, with: {{says: '{{{{ {name} }}}}'}}}}]"
        loaded = load(file(rule(calls, steps=steps)))
        assert faults(loaded) == [("on_failure[0].with.says", "unknown-name")]
        assert f"`{name}` can't be used here" in loaded.problems[0].message
        assert told in loaded.problems[0].message
    right = "{{ alert.labels.app }} {{ alert.get('x', 'y') }} {{ steps.a.result.n }} {{ group.truncated }}"
    assert (
        faults(load(file(rule(f'on_failure: [{{uses: test.notify, with: {{says: "{right}"}}}}]', steps=steps)))) == []
    )
