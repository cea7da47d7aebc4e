"""Every key of a rule file."""

from __future__ import annotations

from pathlib import Path

from language.writing import Load, faults, file, only, rule
from stage import Stage

from remediator.rules.load import load_rules


def test_file_defaults(load: Load) -> None:
    """Merged under every rule: mappings key by key, anything else replaced."""
    text = file(
        rule("guard: {cooldown: 1m}", "labels: {team: web}"),
        defaults="{owner: sre, guard: {cooldown: 10m, limit: 2 per 1h}, labels: {team: all, tier: '1'}}",
    )
    found = only(load(text))
    assert (found.owner, found.guards.cooldown, len(found.guards.limits)) == ("sre", 60.0, 1)
    assert found.labels == {"team": "web", "tier": "1"}
    assert faults(load(file(rule(), defaults="{colour: red}"))) == [("colour", "unknown-key")]


def test_file_vars(load: Load) -> None:
    """Defaults for `vars.*`, which the configuration overrides."""
    text = file(rule(target="'{{ vars.zone }}/{{ vars.app }}'"), vars="{zone: here, app: web}")
    found = only(load(text, zone="there"))
    assert found.target.render({"vars": found.vars}) == "there/web"
    assert faults(load(file(rule(target="'{{ vars.none }}'")))) == [("target", "unknown-name")]


def test_file_rules(load: Load, tmp_path: Path) -> None:
    """The list; beside it only `x-…`, a place for anchors, may stand."""
    text = "x-guard: &guard {cooldown: 7m}\n" + file(rule("guard: *guard"))
    assert only(load(text)).guards.cooldown == 420.0
    assert faults(load("defaults: {}\n")) == [("rules", "missing-key")]
    assert faults(load(file(rule()) + "more: 1\n")) == [("more", "unknown-key")]
    assert faults(load(file(rule()) + "rules: []\n"))[0][1] == "duplicate-key"
    for name in ("a.yml", "b.yaml", "c.test.yml", "d.txt"):
        (tmp_path / "rules").mkdir(exist_ok=True)
        (tmp_path / "rules" / name).write_text(file(rule(name=name[0] * 2)))
    loaded = load_rules([tmp_path / "rules"], Stage(tmp_path).catalog)
    assert [each.name for each in loaded.rules.rules] == ["aa", "bb"]
