"""Which labels a rule's templates name without care."""

from __future__ import annotations

from typing import Any

import pytest

from remediator.review.labels import unsure_labels


def unsure(**definition: Any) -> list[str]:
    """Give the labels that nothing guarantees, where a matcher guarantees `sure`."""
    return list(unsure_labels(definition, frozenset({"sure"})))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{{ labels.sure }}", []),
        ("{{ labels.a }}", ["a"]),
        ("{{ labels['host.name'] }}", ["host.name"]),
        ("{{ labels.a | default('x') }}{{ labels.b | d('x') }}", []),
        ("{{ labels.a | default(labels.b) }}", []),
        ("{{ labels.a | default(labels.b ~ 'x') }}", ["b"]),
        ("{{ labels.a | upper | default('x') }}", ["a"]),  # `upper` has failed by then
        ("{{ labels.a | default('x') }}{{ labels.a }}", ["a"]),
        ("{% if labels.a is defined %}{{ labels.a }}{% else %}x{% endif %}", []),
        ("{{ labels.a if 'a' in labels else 'x' }}", []),
        ("{{ labels.get('a', 'x') }}", []),
        ("{{ alert.labels.a }}{{ alert.labels.sure }}", ["a"]),
        ("{{ alerts[0].labels.a }}{{ alerts[0].labels.sure }}", ["a"]),
        ("{{ (alerts | first).labels['a'] }}", ["a"]),
        ("{{ group.labels.a }}{{ group.labels['sure'] }}", ["group.labels.a", "group.labels.sure"]),
        ("{{ group.labels.a | default(alerts[0].labels.b) }}", []),
        ("{{ alert.labels.a if 'a' in labels else group.labels.get('b') }}", []),
        ("{{ group.labels.a if 'a' in group.labels and group.labels.a is defined }}", []),
        ("{{ labels.a if 'a' in group.labels }}", ["a"]),  # it may be another's
        (
            "{{ labels[vars.name] }}{{ vars.labels.a }}{{ alerts.labels.a }}{{ run.alert }}",
            [],
        ),  # not to be told from here
    ],
)
def test_care_is_taken_or_not(text: str, labels: list[str]) -> None:
    """In any text that is rendered, and in the same words as an expression."""
    assert unsure(target=text) == labels
    assert unsure(steps=[{"uses": "log", "with": {"deep": {"er": [text]}}}]) == labels


@pytest.mark.parametrize(
    "definition",
    [
        {"priority": "{{ labels.a }}"},
        {"guard": {"lock": "{{ labels.a }}"}},
        {"guard": {"unless_firing": ['x="{{ labels.a }}"']}},
        {"guard": {"only_if": ["true", "labels.a == 'x'"]}},
        {"guard": {"blast_radius": {"of": "labels.a"}}},
        {"facts": [{"id": "f", "for_each": "labels.a"}]},
        {"verify": {"checks": [{"expect": "result == labels.a"}]}},
        {"ladder": [{"steps": [{"with": {"x": "{{ labels.a }}"}}]}]},
        {"revert": {"steps": [{"if": "labels.a == 'x'"}]}},
    ],
)
def test_every_place_of_a_rule_is_looked_at(definition: dict[str, Any]) -> None:
    """Texts and expressions alike."""
    assert unsure(**definition) == ["a"]


def test_what_is_no_template_is_not_looked_at() -> None:
    """Metadata may say what it likes."""
    assert unsure(summary="{{ labels.a }}", labels={"with": "{{ labels.a }}"}, vars={"a": "{{ labels.a }}"}) == []


def test_a_condition_takes_care_for_what_it_lets_through() -> None:
    """The `if` of a step for that step; `only_if` for what comes after admission."""
    names = {"with": {"x": "{{ labels.a }}"}}
    asks = "labels.a is defined and labels.a != 'x'"
    assert unsure(steps=[{"if": asks, **names}]) == []
    assert unsure(steps=[{"if": asks}, names]) == ["a"]
    after = {"steps": [names], "verify": {"checks": [names]}, "on_failure": [names]}
    assert unsure(guard={"only_if": asks}, **after) == []
    assert unsure(guard={"only_if": asks}, target="{{ labels.a }}", on_blocked=[names]) == ["a"]


def test_each_label_comes_with_all_of_its_places() -> None:
    """So that the first can be shown, and how often it is named."""
    found = unsure_labels({"target": "{{ labels.a }}", "steps": [{"with": {"x": ["{{ labels.a }}"]}}]}, frozenset())
    assert found == {"a": [("target",), ("steps", 0, "with", "x", 0)]}
