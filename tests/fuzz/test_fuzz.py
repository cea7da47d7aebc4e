"""What strangers and authors can write: any of it is taken or refused in the documented way, in linear time and bounded words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from fuzz.fuzzing import changed, corpus, fuzz, grows_no_faster_than_its_input

from remediator.actions.catalog import load_catalog
from remediator.errors import MalformedBody
from remediator.model.alert import Alert
from remediator.receive import Limits, decode
from remediator.rules.load import load_rules
from remediator.rules.matchers import parse_matchers

pytestmark = pytest.mark.slow

T = TypeVar("T")

LIMITS = Limits(max_alerts=50, max_labels=8, max_value=256)
CATALOG = load_catalog()
REPOSITORY = Path(__file__).resolve().parents[2]
RULE_FILES = [*(REPOSITORY / "rules").glob("*[!t].yml"), *(REPOSITORY / "tests" / "incidents").glob("*.yml")]


def attempted(act: Callable[[], T], documented: type[Exception]) -> tuple[T, str] | tuple[None, str]:
    """Give what comes of it, or what the one documented exception says."""
    try:
        return act(), ""
    except documented as error:
        return None, str(error)


def body(raw: bytes) -> None:
    """Decode a body: a notification within the limits, or MalformedBody with a short reason."""
    taken, why = attempted(lambda: decode(raw, 1_795_000_000.0, LIMITS), MalformedBody)
    if taken is None:
        assert 0 < len(why) < 1000
        return
    assert 0 < len(taken.alerts) <= LIMITS.max_alerts
    for alert in taken.alerts:
        within_limits(alert)
    assert all(0 < len(each.why) < 1000 for each in taken.refused)


def within_limits(alert: Alert) -> None:
    """See that what is kept of an alert can be kept."""
    assert len(alert.labels) <= LIMITS.max_labels
    for text in (*alert.labels, *alert.labels.values(), *alert.annotations, *alert.annotations.values()):
        assert len(text.encode()) <= LIMITS.max_value
        assert "\0" not in text


def matchers(raw: bytes) -> None:
    """Read matchers: each is read back as itself; or ValueError, with a sentence no longer than what it quotes."""
    text = raw.decode(errors="replace")
    found, why = attempted(lambda: parse_matchers(text), ValueError)
    if found is None:
        assert 0 < len(why) < 12 * len(text) + 1000
        return
    for matcher in found:
        assert parse_matchers(str(matcher)) == (matcher,)
        matcher.matches({matcher.name: text})


def rules(raw: bytes) -> None:
    """Load a rule file: rules or problems, each with its place and a sentence, and never an exception."""
    FILE[0].write_bytes(raw)
    loaded = load_rules(FILE, CATALOG, vars={})
    for problem in loaded.problems:
        assert problem.line >= 0
        assert 0 < len(problem.message) < 12 * len(raw) + 2000
    assert len(loaded.problems) < len(raw) + 10


FILE: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> None:
    FILE[:] = [tmp_path_factory.mktemp("fuzz") / "rules.yml"]


BODIES, MATCHERS, RULES = corpus("bodies"), corpus("matchers"), [*corpus("rules"), *RULE_FILES]
KEPT = [(body, file) for file in BODIES] + [(matchers, file) for file in MATCHERS] + [(rules, file) for file in RULES]


@pytest.mark.parametrize(("attempt", "file"), KEPT, ids=lambda each: getattr(each, "name", None))
def test_what_was_found_or_captured_before_still_comes_out_right(attempt: Callable[[bytes], None], file: Path) -> None:
    """The corpus comes first: real payloads, real rules, and what has once been a fault."""
    attempt(file.read_bytes())


def test_no_body_that_a_stranger_posts_raises_anything_but_malformed_body() -> None:
    """Whatever it is, what is kept of it is within the limits."""
    words = [
        b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"-1", b"1e999", b"NaN", b"\\ud800",
        b"\\u0000", b"\0", b"\xff", b"\xed\xa0\x80", b'"alerts":', b'"labels":{"a":"b"}', b'"status":"firing"',
        b'"startsAt":"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:60+23:59"', b'"fingerprint":"0123456789abcdef"',
        b'"truncatedAlerts":', b"9" * 30, "é雪\u202e".encode(),
    ]  # fmt: skip
    fuzz(body, changed([file.read_bytes() for file in BODIES], words))


def test_p11_no_matcher_raises_anything_but_value_error() -> None:
    """Whoever can write rules can write any text, and so can an editor that is not done yet."""
    words = [
        b"=", b"!=", b"=~", b"!~", b",", b"{", b"}", b'"', b"'", b"`", b"\\", b"\\\\", b"\\n", b"\\x41", b"\\u00e9",
        b"\\C", b"\\Q", b"\\E", b"(", b")", b"|", b"[", b"]", b"[^]", b"(?i)", b"(?P<n>", b"{1,1000}", b"*", b"+?",
        b"^", b"$", b"\\pL", b"\n", b"\v", "\u00a0é".encode(),
    ]  # fmt: skip
    fuzz(matchers, changed([file.read_bytes() for file in MATCHERS], words))


def test_p11_no_rule_file_raises() -> None:
    """Every fault becomes a problem."""
    words = [
        b": ", b"- ", b"\n", b"  ", b"\t", b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: *a", b"!!", b"!!binary ",
        b"|", b">", b"'", b'"', b"#", b"---\n", b"...\n", b"? ", b"null", b"off", b"yes", b".inf", b".nan", b"0x1f",
        b"1_000", b"1e999", b"2026-01-01", b"{{", b"}}", b"{%", b"%}", b"labels.app", b"name", b"steps", b"match",
        b"guard", b"cooldown: 5m", b"2 per 6h", b"\0", b"\xff", b"\xc2\x85", "\ufeff\u2028".encode(),
    ]  # fmt: skip
    fuzz(rules, changed([file.read_bytes()[:2000] for file in RULES], words))


GOOD = b'{"status":"firing","labels":{"alertname":"A"}}'
LONG: dict[str, tuple[Callable[[bytes], None], Callable[[int], bytes]]] = {
    "alerts": (body, lambda n: b'{"alerts":[' + b",".join([GOOD] * (n // len(GOOD))) + b"]}"),
    "bad alerts": (body, lambda n: b'{"alerts":[' + b",".join([b'{"status":1}'] * (n // 12)) + b"]}"),
    "nesting": (body, lambda n: b'{"alerts":' + b"[" * n),
    "labels": (
        body,
        lambda n: (
            b'{"alerts":[{"status":"firing","labels":{' + b",".join(b'"%d":""' % i for i in range(n // 8)) + b"}}]}"
        ),
    ),
    "escapes": (body, lambda n: b'{"alerts":[{"status":"firing","labels":{"a":"' + b"\\u0000" * (n // 6) + b'"}}]}'),
    "digits": (body, lambda n: b'{"alerts":[' + GOOD + b'],"truncatedAlerts":' + b"9" * n + b"}"),
    "many matchers": (matchers, lambda n: b",".join(b"a%d=b" % i for i in range(n // 7))),
    "a long value": (matchers, lambda n: b'a="' + b"x" * n + b'"'),
    "backslashes": (matchers, lambda n: b'a="' + b"\\" * n),
    "quotes": (matchers, lambda n: b'"' * n),
    "spaces": (matchers, lambda n: b"a" + b" " * n + b"b"),
    "alternatives": (matchers, lambda n: b'a=~"' + b"|".join(b"w%d" % i for i in range(n // 6)) + b'"'),
    "groups": (matchers, lambda n: b'a=~"' + b"(a+)+" * (n // 5) + b'"'),
    "brackets": (matchers, lambda n: b'a=~"' + b"[" * n + b'"'),
    "flow lists": (rules, lambda n: b"rules: " + b"[" * n),
    "a list": (rules, lambda n: b"rules: [" + b"a," * (n // 2) + b"]"),
    "keys": (rules, lambda n: b"".join(b"k%d: 1\n" % i for i in range(n // 8))),
    "anchors": (rules, lambda n: b"a: &a 1\nb: [" + b"*a," * (n // 3) + b"]"),
    "braces of templates": (
        rules,
        lambda n: b"rules: [{name: a, summary: A., match: a=b, target: '" + b"{{ " * (n // 3) + b"'}]",
    ),
    "a text": (rules, lambda n: b"rules: [{name: a, summary: A., match: a=b, target: '" + b"x" * n + b"'}]"),
}


@pytest.mark.parametrize(("attempt", "make"), LONG.values(), ids=LONG)
def test_p11_what_is_long_takes_time_in_proportion(
    attempt: Callable[[bytes], None], make: Callable[[int], bytes]
) -> None:
    """Nobody stops the daemon, or a reload, by an input that is small to send and long to read."""
    grows_no_faster_than_its_input(attempt, make)
