"""Match: the index finds what trying every rule would find."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from remediator.actions.catalog import load_catalog
from remediator.match import Index, stopping_matcher
from remediator.rules.load import load_rules
from remediator.rules.rule import Rule

CATALOG = load_catalog()
MATCHES = [
    '{a="1"}', '{a="2", b="1"}', '{a=~"1|2"}', '{b=~"1.*"}', '{a!="", b!="1"}', '{a=~".+", b!~"2|3"}', '{b="2"}',
    '{c=~"1|2|3", a="1"}', "all", '{a="1", a!="2"}', '{"dotted.name"="1"}',
]  # fmt: skip


def rules(folder: Path, matches: list[str]) -> tuple[Rule, ...]:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, summary: x, match: '{match}', target: t, steps: [{{uses: log, with: {{message: x}}}}]}}\n"
        for n, match in enumerate(matches)
    )
    (folder / "rules.yml").write_text(text)
    loaded = load_rules([folder / "rules.yml"], CATALOG)
    assert loaded.ok, loaded.problems
    return loaded.rules.rules


VALUES = st.sampled_from(["", "1", "2", "3", "11", "1\n"])


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "dotted.name", "x"]), VALUES))
def test_the_index_finds_what_trying_every_rule_would_find(labels: dict[str, str]) -> None:
    """In the order of files and rules."""
    every = _rules()
    slow = [rule for rule in every if stopping_matcher(rule, labels) is None]
    assert Index(every).match(labels) == slow


_MADE: list[tuple[Rule, ...]] = []


def _rules() -> tuple[Rule, ...]:
    if not _MADE:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            _MADE.append(rules(Path(folder), MATCHES))
    return _MADE[0]


def test_a_rule_is_filed_under_the_rarest_value_that_it_demands(tmp_path: Path) -> None:
    """Ten thousand rules for one alert name cost no more than one, if another label tells them apart."""
    many = rules(tmp_path, [f'{{alertname="Down", app="app{n}"}}' for n in range(300)])
    index = Index(many)
    assert [rule.name for rule in index.match({"alertname": "Down", "app": "app7"})] == ["r7"]
    assert max(len(filed) for by_value in index._by_label.values() for filed in by_value.values()) == 1
