"""What matchers have in common: never a false claim."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.review.overlap import contradiction, example, implied
from remediator.rules.matchers import Matcher, Operator, parse_matchers

VALUES = st.sampled_from(
    ["", "a", "b", "ab", "a|b", "a.*", ".*", ".+", "[ab]+", "(a|b)c?", "a\\.b", "x", "^a$", "(?i)A"]
)
MATCHERS = st.lists(st.builds(Matcher, st.sampled_from("xy"), st.sampled_from(list(Operator)), VALUES), max_size=5)
LABELS = st.dictionaries(st.sampled_from("xy"), st.sampled_from(["", "a", "b", "ab", "a.b", "x", "A", "ac"]))


@given(MATCHERS, LABELS)
def test_what_is_called_a_contradiction_holds_for_no_labels(matchers: list[Matcher], labels: dict[str, str]) -> None:
    """Whatever the labels are."""
    against = contradiction(matchers)
    assert set(against) <= set(matchers)
    assert not against or not all(matcher.matches(labels) for matcher in against)


@given(MATCHERS)
def test_an_example_satisfies_all_and_leaves_no_contradiction(matchers: list[Matcher]) -> None:
    """It is tried, not guessed."""
    labels = example(matchers)
    if labels is not None:
        assert all(matcher.matches(labels) for matcher in matchers)
        assert contradiction(matchers) == ()


@given(MATCHERS, MATCHERS.filter(bool), LABELS)
def test_what_is_implied_holds_whenever_the_others_do(
    matchers: list[Matcher], wanted: list[Matcher], labels: dict[str, str]
) -> None:
    """For every alert that satisfies them."""
    if implied(wanted[0], matchers) and all(matcher.matches(labels) for matcher in matchers):
        assert wanted[0].matches(labels)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('app=~"web-.*"', {"app": "web-1"}),
        ('app=~"(web|db)-[0-9]+"', {"app": "db-0"}),
        ('app=~"(web|db){2}"', None),  # too much for a guess, and nothing is said
        ('app=~"[a-z]+", app!="x"', {"app": "a"}),
        ('instance=~".+:9100"', {"instance": "10.0.0.1:9100"}),
        ('host=~"db\\\\d\\\\.example\\\\.com"', {"host": "db1.example.com"}),
        ('app=~".+", severity!="info"', {"app": "x"}),
    ],
)
def test_an_example_is_found_for_the_patterns_that_people_write(text: str, labels: dict[str, str] | None) -> None:
    """With as few labels as will do."""
    assert example(parse_matchers(text)) == labels
