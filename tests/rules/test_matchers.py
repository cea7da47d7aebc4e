"""Matchers are read as Alertmanager's fallback mode reads them, and matched in linear time."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.rules.matchers import Matcher, Operator, parse_match, parse_matchers


def read(text: str) -> list[tuple[str, str, str]]:
    """Give matchers as plain triples."""
    return [(matcher.name, str(matcher.operator), matcher.value) for matcher in parse_matchers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("{}", []),
        ("{", []),  # the classic parser alone takes it
        ("severity=page", [("severity", "=", "page")]),
        ("{severity=page,}", [("severity", "=", "page")]),
        ('{ severity = "page" , team != "db" }', [("severity", "=", "page"), ("team", "!=", "db")]),
        ("a=1,b!=2,c=~3,d!~4", [("a", "=", "1"), ("b", "!=", "2"), ("c", "=~", "3"), ("d", "!~", "4")]),
        ('job=~"api|web"', [("job", "=~", "api|web")]),
        ("job=", [("job", "=", "")]),
        ("café=x", [("café", "=", "x")]),
        ('"host.name"="db-1"', [("host.name", "=", "db-1")]),
        (r'"a b"="\u00e9\x41\101\t"', [("a b", "=", "éAA\t")]),
        (r'"a b"="\xc3\xa9"', [("a b", "=", "é")]),
        (r'"a b"="\U0001F600"', [("a b", "=", "😀")]),
        ('""=x', [("", "=", "x")]),
        ("a\u00a0=\u2003b", [("a", "=", "b")]),  # Go's unicode.IsSpace; the classic parser refuses it
        ("a=b\x1cc", [("a", "=", "b\x1cc")]),  # a space for Python, not for Go
    ],
)
def test_what_alertmanager_accepts_is_read_the_same(text: str, expected: list[tuple[str, str, str]]) -> None:
    """Each text gives what Alertmanager's own parsers give."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'x="a\tb"', r"a\tb"),  # the UTF-8 parser reads a tab
        (r'x="\u00e9"', r"\u00e9"),
        (r'x="a\.b"', r"a\.b"),  # the UTF-8 parser refuses it
        (r"x=a\nb", "a\nb"),
        ("x='quoted'", "'quoted'"),
        ("x=a=b", "a=b"),
        ("{x=a}}", "a}"),
        ("{x=}y", "}y"),
        ("x==~y", "=~y"),
        ("x= two words ", "two words"),
        ("x=a\\", "a\\"),
        (r"x=a\"b", 'a"b'),
        ("x=\v", ""),  # the last token is trimmed of what is space for Go
        ('x="a\nb"', "a\nb"),
        (r'x="a\,b"', r"a\,b"),
    ],
)
def test_where_the_parsers_differ_the_classic_one_decides(text: str, value: str) -> None:
    """An input that only the classic parser takes, or that it reads otherwise, means what it always meant."""
    assert [found for _, _, found in read(text)] == [value]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (",", "expected a label name at column 1"),
        ("{,}", "column 2"),
        ("a=b,,c=d", "column 5"),
        ("severity", "expected one of = != =~ !~ at column 9, but the text ends"),
        ('a="b" x', "expected a comma or the end at column 7"),
        ('{a="b" c="d"}', "expected a comma or the closing brace at column 8"),
        ('a="b', "double quote at column 3 is never closed"),
        ('host.name!"x"', "column 10"),
        ('"a b"="\\q"', "column 7"),
        ('"a b"="\\\'"', "column 7"),
        ('"a b"="\\xff"', "not valid UTF-8"),
        ('"a b"="\\ud800"', "not a character"),
        ('"a b"="x\ny"', "line break"),
        ('a=~"["', "missing ]"),
        ("a=\ud800", "surrogate"),
        (r'x="a\,",y="b"', "column 3"),  # a comma leaves the backslash pending, in Go too
    ],
)
def test_what_both_parsers_refuse_is_refused_with_its_place(text: str, says: str) -> None:
    """The message says what was expected, and where."""
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_matchers(text)


@pytest.mark.parametrize("pattern", [r"a\Cb", "a)|(b", "(?P<n>a)(?P<n>b)", "(?P<é>a)", "(a", "a**", r"(?=a)", r"(a)\1"])
def test_a_pattern_that_is_not_gos_re2_is_refused(pattern: str) -> None:
    r"""Neither `\C`, nor parentheses that only balance across the anchors, nor anything beyond RE2 is taken."""
    with pytest.raises(ValueError, match=r"regular expression|not allowed"):
        Matcher("a", Operator.MATCHES, pattern)


def test_a_backslash_before_c_that_is_itself_escaped_is_fine() -> None:
    r"""`\\C` is a backslash and a C."""
    assert Matcher("a", Operator.MATCHES, r"x?\\C").matches({"a": r"\C"})


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("a=x", "x", True),
        ("a=x", "xx", False),
        ("a!=x", "y", True),
        ('a=~"x|y"', "y", True),
        ('a=~"x|y"', "xy", False),
        ('a=~"x.*"', "xyz", True),
        ('a=~"x.*"', "wxyz", False),
        ('a=~"x.z"', "x\nz", False),
        ('a=~"x.z"', "xéz", True),
        ('a=~"(?s)x.z"', "x\nz", True),
        ('a!~"x.*"', "xyz", False),
        ('a=~"x"', "x\n", False),
        (r'a=~"web\\.hook"', "web.hook", True),
        (r'a=~"web\\.hook"', "web-hook", False),
        (r'a=~"a\\|b"', "a|b", True),
        (r'a=~"a\\\\|b"', "b", True),
    ],
)
def test_patterns_are_anchored_and_a_dot_is_no_line_break(text: str, label: str, expected: bool) -> None:
    """The whole value must match, as in Alertmanager."""
    assert parse_matchers(text)[0].matches({"a": label}) is expected


def test_a_missing_label_is_the_empty_string() -> None:
    """What isn't there equals the empty text, and differs from any other."""
    assert parse_matchers('a=""')[0].matches({})
    assert parse_matchers("a!=x")[0].matches({})
    assert not parse_matchers('a=~".+"')[0].matches({})


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        ("a=x", {"x"}),
        ('a=~"critical|high"', {"critical", "high"}),
        ("a=~foo", {"foo"}),
        (r'a=~"web\\.hook"', {"web.hook"}),
        ('a=""', None),
        ('a=~"x|"', None),
        ('a=~"x.*"', None),
        ("a!=x", None),
        ('a!~"x|y"', None),
    ],
)
def test_what_a_matcher_can_match_is_known_where_it_is_finite(text: str, literals: set[str] | None) -> None:
    """An index is built from equality and from plain alternatives."""
    assert parse_matchers(text)[0].literals == literals


@pytest.mark.parametrize("text", ["", "{}", 'a=""', "a!=x", 'a=~".*"', 'a=~"x|"'])
def test_a_match_that_takes_everything_by_accident_is_refused(text: str) -> None:
    """At least one matcher has to refuse the empty string."""
    with pytest.raises(ValueError, match="`match: all`"):
        parse_match(text)


def test_a_list_of_matches_must_hold_all_together() -> None:
    """One of the texts may match the empty string if another doesn't."""
    assert [matcher.name for matcher in parse_match(["a!=x", "b=y,c=z"])] == ["a", "b", "c"]


@pytest.mark.fault("catastrophic regular expression")
def test_p11_a_catastrophic_pattern_is_matched_in_linear_time() -> None:
    """What takes a backtracking engine for ever takes RE2 no time."""
    matcher = parse_matchers('a=~"(x+x+)+y"')[0]
    began = time.perf_counter()
    assert not matcher.matches({"a": "x" * 50_000})
    assert time.perf_counter() - began < 1


_LABEL = st.text(st.characters(codec="utf-8") | st.sampled_from(' ,="\\{}!~\n\r\t\u00a0'))


@given(_LABEL, st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL]), _LABEL)
def test_the_text_of_a_matcher_is_read_back_as_the_same(name: str, operator: Operator, value: str) -> None:
    """Any label and value survive being written and read."""
    matcher = Matcher(name, operator, value)
    assert parse_matchers(str(matcher)) == (matcher,)
    assert parse_matchers(f"{{{matcher},x=y}}")[0] == matcher


@given(st.text(st.characters() | st.sampled_from(' ,="\\{}!~\n()|[]*.')))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    """No input makes the parser raise anything but ValueError."""
    with suppress(ValueError):
        assert all(str(matcher) for matcher in parse_matchers(text))
