"""From rule files to rules: what is merged, what is compiled, and every fault with its place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result, SecretReference
from remediator.errors import InvalidRules
from remediator.model.run import Mode
from remediator.rules.form import RuleForm, rules_schema
from remediator.rules.load import Loaded, compile_rule, load_rules
from remediator.rules.rule import Limit, Rule


class App(Parameters):
    """What the stand-ins take."""

    app: Annotated[str, Gate.HEADER]
    lines: int = 10
    token: SecretReference | None = None


class Page(Parameters):
    """What the stand-in for a pager takes."""

    summary: Annotated[str, Gate.DISPLAY]
    severity: str = "info"


class Get(Parameters):
    """What the stand-in for http.get takes."""

    url: Annotated[str, Gate.URL]


class StandIn(Action[Any]):
    """An action that says no more than a rule needs to be loaded."""

    def check(self, params: Any, settings: Mapping[str, Any]) -> str | None:
        """Forbid one app, and whatever a stand-in for a template would be."""
        app = getattr(params, "app", "allowed")
        return None if app == "allowed" else f"the app {app} is not allowed"

    def plan(self, params: Any) -> str:
        """Say nothing."""
        return ""

    async def run(self, params: Any, context: Context) -> Outcome:
        """Do nothing."""
        return Outcome(Result.OK)


def stand_in(name: str, effect: Effect, model: type[Parameters], section: str | None = None) -> Action[Any]:
    """Make an action of this name."""
    members = {"name": name, "effect": effect, "parameters": model, "section": section}
    action: Action[Any] = type("Made", (StandIn,), members)()
    return action


CATALOG = Catalog(
    {
        action.name: action
        for action in (
            stand_in("fly.releases", Effect.READ, App),
            stand_in("fly.logs", Effect.READ, App),
            stand_in("fly.rollback", Effect.WRITE, App, "fly"),
            stand_in("http.get", Effect.READ, Get),
            stand_in("pagerduty.trigger", Effect.NOTIFY, Page),
        )
    }
)

EXAMPLE = """\
# rules/deployment-rollback.yml
defaults:
  owner: sre

rules:
  - name: rollback-bad-release
    summary: Roll back a fresh release whose error rate stays above 5 %.
    runbook: https://runbooks.example.com/deployment-rollback
    priority: P1
    reviewed: 2026-11-01
    match: '{alertname="HighErrorRate", severity=~"critical|high"}'
    for: 2m
    facts:
      - id: releases
        uses: fly.releases
        with: {app: '{{ labels.app }}'}
    target: 'fly/{{ labels.app }}'
    mode: auto
    guard:
      cooldown: 30m
      limit: 2 per 6h
      unless_firing: ['{alertname="DatabaseConnectionFailure", app="{{ labels.app }}"}']
      only_if: facts.releases.current.age_s < 7200
    steps:
      - id: logs
        uses: fly.logs
        with: {app: '{{ labels.app }}', lines: 200}
      - uses: fly.rollback
        with: {app: '{{ labels.app }}'}
        timeout: 5m
    verify:
      within: 10m
      stable_for: 1m
      resolved: true
      checks:
        - uses: http.get
          with: {url: 'https://{{ labels.app }}.fly.dev/health'}
          expect: result.status == 200
    on_failure:
      - uses: pagerduty.trigger
        with: {summary: 'Rollback of {{ labels.app }} did not help', severity: critical}
"""

# What each test below changes one thing of; `steps` is its last key, so that more keys can follow.
PLAIN = """\
rules:
  - name: plain
    summary: Does one thing.
    match: alertname="A"
    target: '{{ labels.app }}'
    steps:
      - uses: fly.rollback
        with: {app: web}
"""


def load(folder: Path, *texts: str, **more: Any) -> Loaded:
    """Load some texts as files a.yml, b.yml, …"""
    for name, text in zip("abcdef", texts, strict=False):
        (folder / f"{name}.yml").write_text(text)
    return load_rules([folder], CATALOG, **more)


def only(loaded: Loaded) -> Rule:
    """Give the one rule of a load without fault."""
    assert [str(problem) for problem in loaded.problems] == []
    [rule] = loaded.rules.rules
    return rule


def plain(more: str = "", **changed: str) -> str:
    """Change lines of the plain rule by their keys (an empty text takes one out), and add more keys."""
    text = PLAIN
    for key, value in changed.items():
        line = f"\\g<1>{key}: {value}\n" if value else ""
        text = re.sub(rf"(?m)^(  - |    ){key}: .*\n", line, text)
    return text + indent(dedent(more).strip("\n"), "    ") + "\n"


def stepless(lines: str) -> str:
    """Give the plain rule with other lines in the place of its steps."""
    return PLAIN[: PLAIN.index("    steps:")] + indent(lines, "    ") + "\n"


def faults(loaded: Loaded) -> list[tuple[int, int, str | None, str]]:
    """Give place, key and code of all problems."""
    return [(found.line, found.column, found.key, found.code) for found in loaded.problems]


# --- what a rule becomes ---


def test_the_example_of_the_rule_language_loads(tmp_path: Path) -> None:
    """Every part of it arrives."""
    rule = only(load(tmp_path, EXAMPLE))
    assert (rule.name, rule.owner, rule.for_, rule.modes.highest) == ("rollback-bad-release", "sre", 120.0, Mode.AUTO)
    assert (rule.file, rule.line, rule.order) == (str(tmp_path / "a.yml"), 6, 0)
    assert [matcher.name for matcher in rule.match] == ["alertname", "severity"]
    assert rule.target.render({"labels": {"app": "web"}}) == "fly/web"
    assert [step.id for step in rule.facts] == ["releases"]
    assert rule.guards.limits == (Limit(2, 21_600.0),)
    assert (rule.guards.cooldown, rule.guards.lock) == (1800.0, None)
    assert rule.guards.only_if[0].holds({"facts": {"releases": {"current": {"age_s": 60}}}})
    assert [(step.label, step.timeout) for step in rule.rungs[0].steps] == [("logs", 60.0), ("fly.rollback", 300.0)]
    verify = rule.rungs[0].verify
    assert verify is not None
    assert (verify.within, verify.every, verify.stable_for) == (600.0, 15.0, 60.0)
    assert verify.checks[0].expect is not None
    assert rule.priority is not None
    assert rule.priority.render({}) == "P1"
    assert rule.on_failure[0].effect is Effect.NOTIFY
    assert rule.writes


def test_the_shortest_rule_gets_the_defaults_of_the_language(tmp_path: Path) -> None:
    """A cooldown of 5m, since it writes; P2; dry-run is the daemon's to say."""
    rule = only(load(tmp_path, PLAIN))
    assert rule.guards.cooldown == 300.0
    assert rule.priority is None
    assert (rule.modes.highest, rule.deadline, rule.when_resolved) == (Mode.AUTO, 3600.0, "finish")


def test_a_rule_that_writes_nothing_has_no_cooldown(tmp_path: Path) -> None:
    """It may look as often as it likes."""
    assert only(load(tmp_path, PLAIN.replace("fly.rollback", "fly.logs"))).guards.cooldown == 0.0


def test_defaults_are_merged_key_by_key_and_lists_replaced(tmp_path: Path) -> None:
    """The rule's own words win."""
    defaults = "defaults:\n  guard: {cooldown: 1h, limit: [1 per 1h, 2 per 1d], patience: 1m}\n  labels: {a: x, b: x}\n"
    text = defaults + plain("guard: {limit: [3 per 1h], patience: 2m}\nlabels: {b: y}")
    rule = only(load(tmp_path, text))
    assert (rule.guards.cooldown, rule.guards.limits, rule.guards.patience) == (3600.0, (Limit(3, 3600.0),), 120.0)
    assert rule.labels == {"a": "x", "b": "y"}


def test_the_configuration_s_vars_override_the_file_s(tmp_path: Path) -> None:
    """And stay with the rule as they were when it was loaded."""
    text = "vars: {team: file, region: file}\n" + plain(target="'{{ vars.team }}/{{ vars.region }}'")
    rule = only(load(tmp_path, text, vars={"team": "configuration"}))
    assert rule.target.render({"vars": rule.vars}) == "configuration/file"


def test_keys_that_begin_with_x_are_a_place_for_anchors(tmp_path: Path) -> None:
    """They are not read for themselves."""
    text = "x-step: &step {uses: fly.logs, with: {app: web}}\n" + plain(
        "on_success:\n  - *step\n  - {<<: *step, id: b}"
    )
    rule = only(load(tmp_path, text))
    assert [(step.uses, step.id) for step in rule.on_success] == [("fly.logs", None), ("fly.logs", "b")]


def test_match_all_is_for_rules_that_do_not_write(tmp_path: Path) -> None:
    """It has no matchers then."""
    text = plain(match="all")
    assert only(load(tmp_path, text.replace("fly.rollback", "fly.logs"))).match == ()
    assert faults(load(tmp_path, text)) == [(4, 12, "match", "bad-matcher")]


def test_rules_come_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    """Proposals of one notification are decided in it."""
    second = plain(name="second").replace("rules:\n", "")
    loaded = load(tmp_path, plain(name="first") + second, plain(name="third"))
    assert [(rule.name, rule.order) for rule in loaded.rules.rules] == [("first", 0), ("second", 1), ("third", 2)]
    assert loaded.rules.by_name["third"].file.endswith("b.yml")


# --- a frozen rule ---


def test_a_frozen_definition_compiles_to_the_same_rule(tmp_path: Path) -> None:
    """Through the store and back, as JSON; so a run keeps the rule that it began with (P11)."""
    rule = only(load(tmp_path, "vars: {n: 1.5}\n" + EXAMPLE))
    again = compile_rule(msgspec.json.decode(msgspec.json.encode(rule.definition)), CATALOG)
    assert again.hash == rule.hash
    assert len(rule.hash) == 16
    assert [step.uses for step in again.rungs[0].steps] == [step.uses for step in rule.rungs[0].steps]
    assert again.vars == {"n": 1.5}


def test_the_hash_changes_with_what_the_rule_says_and_not_with_its_place(tmp_path: Path) -> None:
    """A comment changes nothing; a default and a variable do."""
    hashes = [
        only(load(tmp_path, text)).hash
        for text in (PLAIN, "# moved\n\n" + PLAIN, "defaults: {owner: me}\n" + PLAIN, "vars: {a: 1}\n" + PLAIN)
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_definition_that_is_no_longer_valid_says_why(tmp_path: Path) -> None:
    """As when an action has been removed since."""
    definition = only(load(tmp_path, PLAIN)).definition
    with pytest.raises(InvalidRules, match=r"the rule plain, as it was frozen, .* there is no action `fly.rollback`"):
        compile_rule(definition, Catalog({}))


# --- files ---


def test_files_are_found_in_folders_but_for_tests_and_what_is_hidden(tmp_path: Path) -> None:
    """*.yml and *.yaml, however deep."""
    for name in ("a.yml", "sub/b.yaml", "c.txt", "d.test.yml", "e.test.yaml", ".f.yml", ".g/h.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(plain(name=re.sub("[^a-z]", "-", name).strip("-")))
    loaded = load_rules([tmp_path, tmp_path / "a.yml"], CATALOG)
    assert loaded.problems == ()
    assert [rule.name for rule in loaded.rules.rules] == ["a-yml", "sub-b-yaml"]


def test_a_mounted_configmap_is_read_once(tmp_path: Path) -> None:
    """Its files are links to `..data`, which is a link to a folder with a date for a name."""
    (tmp_path / "..2026_11_23").mkdir()
    (tmp_path / "..2026_11_23" / "a.yml").write_text(PLAIN)
    (tmp_path / "..data").symlink_to("..2026_11_23")
    (tmp_path / "a.yml").symlink_to("..data/a.yml")
    (tmp_path / "round").symlink_to(".")
    assert only(load_rules([tmp_path], CATALOG)).name == "plain"


def test_what_can_not_be_read_is_a_problem_of_the_whole_file(tmp_path: Path) -> None:
    """A path that isn't there, a link that leads nowhere, bytes that are no text; a pipe is not waited for."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.yml").write_bytes(b"rules: []\n\xff")
    (tmp_path / "rules" / "nowhere.yml").symlink_to("gone.yml")
    (tmp_path / "rules" / "sound.yml").write_text(PLAIN)
    os.mkfifo(tmp_path / "rules" / "pipe.yml")
    loaded = load_rules([tmp_path / "none", tmp_path / "rules"], CATALOG)
    assert [(Path(found.file).name, found.line) for found in loaded.problems] == [
        ("none", 0),
        ("nowhere.yml", 0),
        ("pipe.yml", 0),
        ("bad.yml", 0),
    ]
    assert [rule.name for rule in loaded.rules.rules] == ["plain"]
    assert not loaded.ok


def test_a_folder_without_rules_is_a_warning(tmp_path: Path) -> None:
    """It may be meant, and may be a wrong path."""
    loaded = load_rules([tmp_path], CATALOG)
    assert [(found.severity, found.code) for found in loaded.problems] == [("warning", "no-rules")]
    assert loaded.ok


@pytest.mark.parametrize("length", range(0, len(EXAMPLE), 37))
@pytest.mark.fault("half-written file")
def test_p11_a_half_written_file_gives_problems_or_rules(tmp_path: Path, length: int) -> None:
    """Wherever the writing stopped, loading does not raise."""
    loaded = load(tmp_path, EXAMPLE[:length])
    assert loaded.problems or loaded.rules.rules


# --- faults ---


@pytest.mark.parametrize(
    ("text", "line", "column", "key", "code", "says"),
    [
        ("", 1, 1, None, "wrong-type", "expected a mapping with the list `rules`"),
        ("rules: []\nrulez: []\n", 2, 1, "rulez", "unknown-key", "did you mean `rules`?"),
        ("rules: {}\n", 1, 8, "rules", "wrong-type", "expected a list of rules, found a mapping"),
        ("rules: [a]\n", 1, 9, None, "wrong-type", "expected a mapping, found text"),
        ("rules: []\nvars: {a: .inf}\n", 2, 11, "vars.a", "bad-value", "infinity"),
        ("rules: []\ndefaults:\n", 2, 10, "defaults", "wrong-type", "expected a value, found nothing"),
        (plain("targt: x"), 9, 5, "targt", "unknown-key", "did you mean `target`?"),
        (plain("vars: {a: 1}"), 9, 5, "vars", "unknown-key", "the key `vars` is not known here"),
        (plain("match: b=c"), 9, 5, "match", "duplicate-key", "first in line 4"),
        (plain(target=""), 2, 5, "target", "missing-key", "the key `target` is missing"),
        (plain(target="''"), 5, 13, "target", "bad-value", "this text is empty"),
        (plain(match=""), 2, 5, None, "missing-key", "the key `match` is missing"),
        (plain(name="Plain_1"), 2, 11, "name", "bad-value", "small letters, digits and single dashes"),
        (plain("for: 5"), 9, 10, "for", "wrong-type", "expected a duration such as 5m, found a number"),
        (plain("for: 5 min"), 9, 10, "for", "bad-value", "write it as in 90s"),
        (plain("deadline: 0s"), 9, 15, "deadline", "bad-value", "greater than 0"),
        (plain("reviewed: 1.11.2026"), 9, 15, "reviewed", "bad-value", "write it as in 2026-11-01"),
        (plain("priority: P4"), 9, 15, "priority", "bad-value", "P0, P1, P2 or P3"),
        (plain("priority: '{{ facts.a }}'"), 9, 15, "priority", "unknown-name", "not read yet"),
        (plain("runbook: wiki"), 9, 14, "runbook", "bad-value", "http://"),
        (plain("mode: on"), 9, 11, "mode", "bad-value", "`approve` or `auto` or a list of modes, found `on`"),
        (plain("confidential: yes"), 9, 19, "confidential", "wrong-type", "expected true or false, found text"),
        (plain("labels: {a: 1}"), 9, 17, "labels.a", "wrong-type", "expected text, found a number"),
        (plain("undo: fly.logs"), 9, 11, "undo", "wrong-type", "expected a list of steps, found text"),
        (plain("undo: [fly.logs]"), 9, 12, "undo[0]", "wrong-type", "expected a mapping, found text"),
        (plain("undo: [{with: {}}]"), 9, 12, "undo[0].uses", "missing-key", "the key `uses` is missing"),
        (plain("guard:\n  only_if:"), 10, 15, "guard.only_if", "wrong-type", "expected a value, found nothing"),
        (plain("guard: {limit: many}"), 9, 20, "guard.limit", "bad-value", "write it as in `2 per 6h`"),
        (plain("guard: {limit: [1 per 1h, 5]}"), 9, 31, "guard.limit[1]", "wrong-type", "expected text"),
        (plain("verify: {within: 1m}"), 9, 13, "verify", "bad-value", "this verifies nothing"),
        # matchers
        (plain(match='{alertname="Down"}'), 4, 12, "match", "wrong-type", "a text that begins with `{` needs quotes"),
        (plain(match="alertname"), 4, 12, "match", "bad-matcher", "expected"),
        (plain(match='a=~".*"'), 4, 12, "match", "bad-matcher", "must refuse the empty string"),
        (plain(match="'a=~\"(\"'"), 4, 12, "match", "bad-matcher", "not a regular expression"),
        (plain("guard: {unless_firing: ['{app']}"), 9, 29, "guard.unless_firing[0]", "bad-matcher", "expected"),
        (
            plain("guard: {only_firing: ['a=\"{{ labels.x }}\"', 'a!=\"{{ labels.y }}\"']}"),
            9,
            49,
            "guard.only_firing[1]",
            "bad-matcher",
            "every alert",
        ),
        (
            plain("guard: {unless_firing: ['{a={{ labels.x }}}']}"),
            9,
            29,
            "guard.unless_firing[0]",
            "bad-matcher",
            "quoted",
        ),
        # steps
        (
            plain("on_blocked:\n  - uses: fly.log\n    with: {app: x}"),
            10,
            15,
            "on_blocked[0].uses",
            "unknown-action",
            "`fly.logs`",
        ),
        (
            plain("on_blocked:\n  - uses: quux"),
            10,
            15,
            "on_blocked[0].uses",
            "unknown-action",
            "`remediator actions` lists them",
        ),
        (plain("undo: [{uses: fly.logs}]"), 9, 12, "undo[0].with.app", "bad-parameter", "missing"),
        (
            plain("undo: [{uses: fly.logs, with: {app: x, line: 3}}]"),
            9,
            50,
            "undo[0].with.line",
            "bad-parameter",
            "`lines`",
        ),
        (plain("undo: [{uses: fly.logs, with: {app: 3}}]"), 9, 41, "undo[0].with.app", "bad-parameter", "text"),
        (
            plain("undo: [{uses: fly.logs, with: {app: '{{ x'}}]"),
            9,
            41,
            "undo[0].with.app",
            "bad-template",
            "can't be read",
        ),
        (plain("facts: [{uses: fly.logs, with: {app: x}}]"), 9, 13, "facts[0].id", "missing-key", "`id` is missing"),
        (
            plain("facts: [{id: a-b, uses: fly.logs, with: {app: x}}]"),
            9,
            18,
            "facts[0].id",
            "bad-value",
            "is not an id",
        ),
        (
            plain("facts: [{id: a, uses: fly.rollback, with: {app: x}}]"),
            9,
            27,
            "facts[0].uses",
            "wrong-effect",
            "a step that writes: only steps that read may stand here",
        ),
        (
            plain("verify: {checks: [{uses: pagerduty.trigger, with: {summary: x}}]}"),
            9,
            30,
            "verify.checks[0].uses",
            "wrong-effect",
            "a step that notifies: only steps that read",
        ),
        (
            plain("on_success: [{uses: fly.rollback, with: {app: x}}]"),
            9,
            25,
            "on_success[0].uses",
            "wrong-effect",
            "only steps that notify or read",
        ),
        (
            plain("undo: [{id: a, uses: fly.logs, with: {app: x}}, {id: a, uses: fly.logs, with: {app: x}}]"),
            9,
            58,
            "undo[1].id",
            "duplicate-id",
            "the id `a` is taken",
        ),
        # templates and expressions
        (plain(target="'{{ labels.app'"), 5, 13, "target", "bad-template", "can't be read"),
        (plain(target="'{{ lables.app }}'"), 5, 13, "target", "unknown-name", "did you mean `labels`?"),
        (plain(target="'{{ target }}'"), 5, 13, "target", "unknown-name", "the target is not known yet"),
        (plain(target="'{{ facts.release }}'"), 5, 13, "target", "unknown-name", "no fact has this id"),
        (plain(target="'{{ vars.team }}'"), 5, 13, "target", "unknown-name", "it is not set"),
        (plain("guard: {only_if: labels.a ==}"), 9, 22, "guard.only_if", "bad-template", "can't be read"),
        (
            plain("guard: {only_if: ['true', steps.a.result]}"),
            9,
            31,
            "guard.only_if[1]",
            "unknown-name",
            "no step has run",
        ),
        (plain("guard: {only_if: \"{{ labels.a == 'b' }}\"}"), 9, 22, "guard.only_if", "bad-template", "without {{ }}"),
        (plain("guard: {lock: '{{ item }}'}"), 9, 19, "guard.lock", "unknown-name", "`for_each`"),
        (
            plain("undo: [{uses: fly.logs, with: {app: x}, if: result.status == 200}]"),
            9,
            49,
            "undo[0].if",
            "unknown-name",
            "only in `expect`",
        ),
        (
            plain(
                "undo: [{uses: fly.logs, with: {app: '{{ steps.b.result }}'}}, {id: b, uses: fly.logs, with: {app: x}}]"
            ),
            9,
            41,
            "undo[0].with.app",
            "unknown-name",
            "it has not run",
        ),
        # schedules, windows, ladders, reverts
        (
            plain("schedule: '0 4 * * *'", match=""),
            4,
            13,
            "target",
            "unknown-name",
            "a rule with `schedule` has no alert",
        ),
        (plain("schedule: '61 4 * * *'", match="", target="disk"), 8, 15, "schedule", "bad-value", "61"),
        (
            plain("schedule: {cron: '0 4 * * *', timezone: Berlin}", match="", target="disk"),
            8,
            15,
            "schedule",
            "bad-value",
            "Berlin",
        ),
        (
            plain("for: 5m\nschedule: '0 4 * * *'", match="", target="disk"),
            8,
            10,
            "for",
            "bad-value",
            "speaks of an alert",
        ),
        (plain("guard: {breaker: {failures: 3, per: 1h}}"), 9, 22, "guard.breaker.reset", "missing-key", "reset"),
        (
            plain("guard: {blast_radius: {fraction: 0.5, per: 1h}}"),
            9,
            27,
            "guard.blast_radius",
            "bad-value",
            "go together",
        ),
        (plain("guard: {blast_radius: {per: 1h}}"), 9, 27, "guard.blast_radius", "bad-value", "give `targets`"),
        (
            plain("guard: {episodes: {at_least: 3, at_most: 2, per: 1h}}"),
            9,
            23,
            "guard.episodes",
            "bad-value",
            "always",
        ),
        (plain("mode: [{during: night}]"), 9, 12, "mode[0].mode", "missing-key", "mode"),
        (plain("mode: []"), 9, 11, "mode", "bad-value", "this list is empty"),
        (plain("revert: {steps: [{uses: fly.logs, with: {app: x}}]}"), 9, 13, "revert", "bad-value", "never come"),
        (plain("ladder: [{steps: [{uses: fly.logs, with: {app: x}}]}]"), 9, 13, "ladder", "bad-value", "has both"),
    ],
)
@pytest.mark.fault("unknown key, duplicate key")
def test_a_fault_has_its_place_and_says_what_is_wrong(
    tmp_path: Path, text: str, line: int, *, column: int, key: str | None, code: str, says: str
) -> None:
    """Line and column, rule and key, a code for programs and a sentence for people."""
    loaded = load(tmp_path, text)
    assert faults(loaded) == [(line, column, key, code)]
    assert says in loaded.problems[0].message
    assert not loaded.ok
    assert loaded.rules.rules == ()


@pytest.mark.fault("unknown key, duplicate key")
def test_several_faults_of_several_files_come_in_one_go(tmp_path: Path) -> None:
    """Faults of shape don't hide those of meaning, neither in the same rule nor in the next file."""
    first = plain("colour: red\nguard: {cooldown: 5}\nundo: [{uses: fly.lgs}]", match="a=", target="'{{ x'")
    loaded = load(tmp_path, first, "rules: [\n", plain(name="other", summary="''"))
    assert [(Path(found.file).name, found.line, found.rule, found.key, found.code) for found in loaded.problems] == [
        ("a.yml", 4, "plain", "match", "bad-matcher"),
        ("a.yml", 5, "plain", "target", "bad-template"),
        ("a.yml", 9, "plain", "colour", "unknown-key"),
        ("a.yml", 10, "plain", "guard.cooldown", "wrong-type"),
        ("a.yml", 11, "plain", "undo[0].uses", "unknown-action"),
        ("b.yml", 2, None, None, "yaml"),
        ("c.yml", 3, "other", "summary", "bad-value"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "steps: [{uses: fly.lgs}, {uses: fly.logs, with: {app: x}, retry: {attempts: 0}}]",
        "steps: [{uses: fly.lgs}, {uses: fly.logs, with: {app: x}, retry: {}}]",
        "steps: [{uses: fly.lgs}, {uses: fly.logs, with: {app: x}, retry: {attemps: 2}}]",
    ],
)
def test_a_fault_inside_one_step_does_not_hide_those_of_the_others(tmp_path: Path, lines: str) -> None:
    """What is required inside a part that has a fault is left out with that part, and not the whole list."""
    loaded = load(tmp_path, stepless(lines))
    assert ("steps[0].uses", "unknown-action") in {(found.key, found.code) for found in loaded.problems}
    assert any((found.key or "").startswith("steps[1].retry") for found in loaded.problems)


@pytest.mark.parametrize(
    ("lines", "missing", "other"),
    [
        ("steps: [{use: fly.logs}, {uses: fly.lgs}]", "steps[0].uses", "steps[1].uses"),
        ("facts: [{uses: fly.logs, with: {app: x}}, {id: f, uses: fly.lgs}]", "facts[0].id", "facts[1].uses"),
        ("revert: {after: 5m, steps: [{}, {uses: fly.lgs}]}", "revert.steps[0].uses", "revert.steps[1].uses"),
        ("ladder: [{step: []}, {steps: [{uses: fly.lgs}]}]", "ladder[0].steps", "ladder[1].steps[0].uses"),
    ],
)
def test_what_one_step_lacks_does_not_hide_the_faults_of_the_others(
    tmp_path: Path, lines: str, missing: str, other: str
) -> None:
    """As where `use` was written for `uses`."""
    loaded = load(tmp_path, stepless(lines))
    found = {(problem.key, problem.code) for problem in loaded.problems}
    assert {(missing, "missing-key"), (other, "unknown-action")} <= found
    assert not any("\0" in problem.message for problem in loaded.problems)


def test_a_rule_with_a_fault_does_not_keep_the_others_from_loading(tmp_path: Path) -> None:
    """Whether they are put in force is for the daemon to say, which then keeps the last good set."""
    loaded = load(tmp_path, plain("colour: red"), plain(name="good"))
    assert [rule.name for rule in loaded.rules.rules] == ["good"]
    assert not loaded.ok


def test_a_fault_in_defaults_is_told_once_and_where_it_stands(tmp_path: Path) -> None:
    """It shows in every rule that it is merged under."""
    second = plain(name="second").replace("rules:\n", "")
    loaded = load(tmp_path, "defaults:\n  guard: {lok: a}\n" + PLAIN + second)
    assert faults(loaded) == [(2, 11, "guard.lok", "unknown-key")]
    assert loaded.problems[0].rule == "plain"


@pytest.mark.fault("unknown key, duplicate key")
def test_a_key_twice_in_a_rule_names_the_rule(tmp_path: Path) -> None:
    """So does every fault of the YAML that lies inside one."""
    [problem] = load(tmp_path, plain("undo: [{uses: fly.logs, with: {app: x, app: y}}]")).problems
    assert (problem.rule, problem.key, problem.code) == ("plain", "undo[0].with.app", "duplicate-key")


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    """The message says where the other one is."""
    loaded = load(tmp_path, PLAIN, PLAIN)
    assert faults(loaded) == [(2, 11, "name", "duplicate-name")]
    assert loaded.problems[0].file.endswith("b.yml")
    assert loaded.problems[0].message.endswith("a.yml:2")
    assert len(loaded.rules.rules) == 1


def test_steps_and_ladder_exclude_each_other(tmp_path: Path) -> None:
    """And one of them must be there."""
    ladder = "ladder: [{steps: [{uses: fly.logs, with: {app: x}}]}]"
    assert ("ladder", "bad-value") in [found[2:] for found in faults(load(tmp_path, plain(ladder)))]
    neither = PLAIN[: PLAIN.index("    steps:")]
    assert faults(load(tmp_path, neither)) == [(2, 5, None, "missing-key")]


def test_match_and_schedule_exclude_each_other(tmp_path: Path) -> None:
    """A run is started by alerts or by the clock."""
    loaded = load(tmp_path, plain("schedule: '0 4 * * *'"))
    assert ("match", "bad-value") in [found[2:] for found in faults(loaded)]


def test_a_lock_on_a_rule_that_takes_none_is_a_warning(tmp_path: Path) -> None:
    """The rule loads, and its author is told that the key does nothing."""
    loaded = load(tmp_path, plain("guard: {lock: x}").replace("fly.rollback", "fly.logs"))
    assert [(found.severity, found.key, found.code) for found in loaded.problems] == [
        ("warning", "guard.lock", "no-effect")
    ]
    assert loaded.ok
    assert len(loaded.rules.rules) == 1


def test_templates_may_name_what_is_there_by_then(tmp_path: Path) -> None:
    """Facts read before, steps that have run, the item of a loop, the result in `expect`."""
    more = """
        facts:
          - {id: a, uses: fly.logs, with: {app: web}}
          - {id: b, uses: fly.logs, with: {app: '{{ facts.a.app }}'}, expect: result.ok}
        undo:
          - {id: u, uses: fly.logs, with: {app: '{{ target }}'}, if: facts.b.ok}
        on_failure:
          - {uses: fly.logs, with: {app: '{{ steps.u.result.app }}'}}
        verify:
          checks: [{uses: fly.logs, for_each: facts.b.apps, with: {app: '{{ item }}'}, expect: item == result.app}]
    """
    assert len(only(load(tmp_path, plain(more))).undo) == 1


# --- what depends on a configuration ---


@pytest.mark.parametrize(
    ("more", "line", "column", "key", "code"),
    [
        ("", 7, 15, "steps[0].uses", "not-configured"),
        ("undo: [{uses: fly.logs, with: {app: other}}]", 9, 35, "undo[0].with", "not-allowed"),
        (
            "undo: [{uses: fly.logs, with: {app: allowed, token: {secret: TOKN}}}]",
            9,
            66,
            "undo[0].with.token.secret",
            "missing-secret",
        ),
    ],
)
@pytest.mark.fault("unknown key, duplicate key")
def test_what_the_configuration_lacks_is_told_only_with_one(
    tmp_path: Path, more: str, line: int, column: int, key: str, code: str
) -> None:
    """Without one it is assumed to be met."""
    text = plain(more)
    if more:
        text = text.replace("fly.rollback", "fly.logs").replace("app: web", "app: allowed")
    assert faults(load(tmp_path, text)) == []
    assert faults(load(tmp_path, text, settings={"secrets": ("TOKEN",)})) == [(line, column, key, code)]


def test_a_parameter_that_is_a_template_is_left_to_the_run(tmp_path: Path) -> None:
    """What it will be can't be known, so it is not held against the rule."""
    text = plain().replace("fly.rollback", "fly.logs").replace("app: web", "app: '{{ labels.app }}'")
    assert faults(load(tmp_path, text, settings={})) == []


# --- the schema, and anything at all ---


def test_the_schema_has_every_key_and_defaults_ask_for_none() -> None:
    """Editors complete from it; what `defaults` gives need not stand in the rule."""
    schema = rules_schema()
    assert set(schema["$defs"]["RuleForm"]["properties"]) == set(RuleForm.known_keys())
    assert schema["$defs"]["RuleForm"]["required"] == ["name"]
    assert "for" in schema["properties"]["defaults"]["properties"]
    assert "^x-" in schema["patternProperties"]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "off", "5m", "{{ x }}", "{%", "a=~'('"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RuleForm.known_keys(), "id", "uses"]), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(RuleForm.known_keys()), VALUES, max_size=6), VALUES)
def test_p11_no_rule_whatever_it_holds_makes_loading_raise(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any], defaults: Any
) -> None:
    """Every value in every place gives a rule or problems."""
    sound = {
        "name": "a",
        "summary": "A.",
        "match": "a=b",
        "target": "t",
        "steps": [{"uses": "fly.logs", "with": {"app": "x"}}],
    }
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(json.dumps({"defaults": defaults, "rules": [{**sound, **changed}]}))
    loaded = load_rules([file], CATALOG, settings={})
    assert loaded.problems or len(loaded.rules.rules) == 1
