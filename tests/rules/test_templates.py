"""Templates: sandboxed, bounded, strict about what is undefined; values from outside are data for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.actions.protocol import Gate
from remediator.rules import sandbox
from remediator.rules.templates import Expression, Pending, PendingValue, TemplateError, Text, UnsafeValue

SCOPE: dict[str, Any] = {
    "labels": {
        "app": "web",
        "host.name": "db-1",
        "items": "of a label",
        "instance": "[::1]:9100",
        "replicas": "3",
        "evil": "-rf",
    },
    "annotations": {"summary": "{{ 7 * 7 }}"},
    "facts": {
        "releases": {"current": {"age_s": 600, "version": 12}},
        "pods": [{"name": "a", "ready": True}, {"name": "b", "ready": False}],
        "nothing": None,
    },
    "steps": {"logs": {"result": {"stdout": "ok"}}, "probe": Pending("probe")},
    "vars": {"region": "fra", "flag": "--force"},
}


def render(source: str, gate: Gate = Gate.JSON) -> Any:
    """Render a text in the scope above."""
    return Text(source, gate).render(SCOPE)


def evaluate(source: str) -> Any:
    """Evaluate an expression in the scope above."""
    return Expression(source).evaluate(SCOPE)


@pytest.fixture
def quick() -> Iterator[None]:
    """Fail a test that takes longer than a second: what is refused is refused before it is done."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 1


# --- texts ---


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("fly/{{ labels.app }}", "fly/web"),
        ("{{ labels['host.name'] }}", "db-1"),
        ("{{ labels.items }}", "of a label"),  # the item, not the method
        ("{{ facts.releases.current.age_s }}", 600),
        ("{{ facts.pods }}", [{"name": "a", "ready": True}, {"name": "b", "ready": False}]),
        ("{{ facts.nothing }}", None),
        ("is {{ facts.pods[0].ready }}", "is true"),
        ("x{{ facts.pods[1] }}", 'x{"name": "b", "ready": false}'),
        ("{{ labels.app }}\n", "web\n"),
        ("{% if labels.app == 'web' %}W{% elif true %}X{% else %}Y{% endif %}!", "W!"),
        ("{% if labels.app == 'api' %}W{{ labels.nope }}{% else %}Y{% endif %}", "Y"),
        ("{# a comment #}{{ 1 }}", 1),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
)
def test_a_text_is_rendered(source: str, expected: object) -> None:
    """One single `{{ … }}` keeps its value's type; anything else is text."""
    assert render(source) == expected


@pytest.mark.fault("CR/LF")
def test_p10_a_value_is_never_rendered_again() -> None:
    """A template in an annotation is text, wherever it goes."""
    assert render("{{ annotations.summary }}") == "{{ 7 * 7 }}"
    assert render("x{{ annotations.summary }}") == "x{{ 7 * 7 }}"


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("{}%#'\"\\\n")))
def test_p10_any_label_arrives_as_itself(value: str) -> None:
    """In JSON, whatever a label holds is what comes out."""
    scope = {"labels": {"x": value}}
    assert Text("{{ labels.x }}", Gate.JSON).render(scope) == value
    assert Expression("labels.x").evaluate(scope) == value


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ labels.ap }}", "there is no 'ap' (there is 'app', "),
        ("{{ labels.ap }}", "did you mean `app`?"),
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ self }}", "'self' is undefined"),
        ("{{ labels.keys }}", "the method `keys` (call it: `keys(…)`)"),
        ("{{ facts.pods[2].name }}", "no 2"),
        ("{{ [labels.nope] }}", "'nope'"),
        ("{{ labels.nope | items }}", "'nope'"),
        ("{{ labels.nope is none }}", "'nope'"),
        ("{% if labels.nope %}x{% endif %}", "'nope'"),
        ("x{{ facts.nothing }}", "null"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ labels.app < 3 }}", "not supported"),
    ],
)
def test_what_is_not_there_is_an_error_and_never_an_empty_text(source: str, says: str) -> None:
    """The message shows the source, and what there is instead."""
    with pytest.raises(TemplateError) as caught:
        render(source, Gate.ARGUMENT)
    assert says in str(caught.value)
    assert source in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "labels.app", "labels['host.name']", "labels.items", "labels.keys", "labels", "labels.nope", "labels.nope.more", "nope",
        "nope.app", "facts.releases.current.age_s", "facts.nothing", "facts.nothing.more", "facts.pods.count", "facts.pods",
        "steps.logs['result'].stdout", "steps.probe", "steps.probe.result", "labels.app.upper", "labels.app.nope", "loop",
        "vars.region", "labels['']", "labels.__class__", "vars['__class__']",
    ],
)  # fmt: skip
def test_a_plain_path_comes_to_what_it_comes_to_within_a_larger_expression(path: str) -> None:
    """It is followed without the code that Jinja2 generates for the other: the same value, or the same error."""

    def outcome(source: str) -> Any:
        try:
            return evaluate(source)
        except (TemplateError, PendingValue) as error:
            return type(error), str(error).replace(f"`{source}`", "")

    assert outcome(path) == outcome(f"{path} if 1 == 1 else 'x'")


def test_a_default_may_be_given_for_what_is_not_there() -> None:
    """Saying so is the author's choice."""
    assert render("{{ labels.nope | default('x') }}") == "x"
    assert render("{{ labels.get('nope', 'x') }}") == "x"
    assert render("{{ labels.nope is defined }}") is False


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ labels.app", "can't be read"),
        ("{{ }}", "can't be read"),
        ("{% for x in labels %}{{ x }}{% endfor %}", "{% for %} is not allowed"),
        ("{% set x = 1 %}", "{% set %} is not allowed"),
        ("{% include 'x' %}", "{% include %} is not allowed"),
        ("{% import 'x' as y %}", "{% import %} is not allowed"),
        ("{% macro x() %}{% endmacro %}", "{% macro %} is not allowed"),
        ("{% filter upper %}x{% endfilter %}", "is not allowed"),
        ("{{ labels.app | uper }}", "no filter 'uper'; did you mean `upper`?"),
        ("{{ labels.app is matchs 'x' }}", "no test 'matchs'; did you mean `matches`?"),
        ("{{ labels | attr('x') }}", "no filter 'attr'"),
        ("{{ 'x' | center(9) }}", "no filter 'center'"),
        ("{{ 1e999 }}", "too large"),
        ("{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "nested too deeply"),
        ("{{ " + "1+" * 60 + "1 }}", "nested 50 deep"),
        ("{{ [" + "1," * 1100 + "] }}", "1000 parts"),
        ("{{ '" + "x" * 70_000 + "' }}", "65536 are allowed"),
        ("{{ " + "9" * 5000 + " }}", "can't be read"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_text_that_can_not_be_read_is_refused_when_it_is_made(source: str, says: str) -> None:
    """Only `{{ … }}` and `{% if %}`, with filters that are known, within bounds."""
    with pytest.raises(TemplateError) as caught:
        Text(source, Gate.JSON)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ [1] * 10**9 }}",
        "{{ 10 ** (10 ** 9) }}",
        "{{ 2 ** 99999999 }}",
        "{{ range(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x'.zfill(10**9) }}",
        "{{ 'x'.center(10**9) }}",
        "{{ 'xxxxxxxx'.replace('', big) }}",
        "{{ 'xxxxxxxx' | replace('', big) }}",
        "{{ big | list | join(big) }}",
        "{{ big ~ big }}",
        "{{ big + big }}",
        "{{ [big, big] }}",
        "{{ 1.5 | round(999999999) }}",
        "{{ '1e99999999' | quantity }}",
        "{{ facts.pods | select('in', many) | list }}",
        "{{ lipsum() }}",
        "{{ cycler }}",
        "{{ namespace() }}",
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_would_blow_up_is_refused_quickly(source: str) -> None:
    """Neither in size nor in time."""
    scope = {**SCOPE, "big": "x" * 200_000, "many": [{}] * 2000}
    with pytest.raises(TemplateError):
        Text(source, Gate.JSON).render(scope)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ labels.__class__.__mro__ }}",
        "{{ facts.pods.__add__ }}",
        "{{ (1).real }}",
        "{{ labels.get.__self__ }}",
        "{{ labels.get.owner }}",
        "{{ labels.get }}",
        "{{ labels.pop('app') }}",
        "{{ facts.pods.append(1) }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ labels | map(attribute='__class__') | list }}",
        "{{ facts.pods | sort(attribute='__class__') }}",
        "{{ facts.pods | selectattr('__class__') | list }}",
        "{{ labels() }}",
    ],
)
def test_nothing_but_data_is_in_reach(source: str) -> None:
    """No attribute of Python's, and no method that changes anything."""
    with pytest.raises(TemplateError):
        render(source)


def test_a_set_is_looked_into_when_many_are_selected_from_many() -> None:
    """A storm's alerts are compared with each other without taking their product of time."""
    scope = {"alerts": [{"fingerprint": str(number)} for number in range(20_000)]}
    mine = "alerts | map(attribute='fingerprint')"
    began = time.perf_counter()
    assert Expression(f"{mine} | select('in', {mine} | list) | list | length").evaluate(scope) == 20_000
    assert time.perf_counter() - began < 2


# --- gates ---


def test_a_value_passes_the_texts_gate_and_the_authors_vars_do_not_have_to() -> None:
    """`vars` and constants are the author's own words; one name from outside makes a value outside's."""
    assert render("{{ vars.flag }}", Gate.ARGUMENT) == "--force"
    assert render("{{ '-x' }}", Gate.ARGUMENT) == "-x"
    for source in ("{{ labels.evil }}", "{{ labels.evil }}x", "{{ vars.flag or labels.app }}", "{{ [labels.evil] }}"):
        with pytest.raises(UnsafeValue, match="option") as caught:
            render(source, Gate.ARGUMENT)
        assert source in str(caught.value)


def test_a_number_that_a_single_template_gives_is_checked_too() -> None:
    """It may become an argument."""
    assert render("{{ 3 + facts.releases.current.version }}", Gate.ARGUMENT) == 15
    with pytest.raises(UnsafeValue):
        render("{{ 3 - facts.releases.current.version }}", Gate.ARGUMENT)


def test_a_url_takes_the_authors_host_and_outsides_path() -> None:
    """Positions count, and the patterns are those of this rendering."""
    scope = {"labels": {"app": "a/b"}, "vars": {"base": "https://x.example:8443"}}
    assert Text("{{ vars.base }}/apps/{{ labels.app }}", Gate.URL).render(scope) == "https://x.example:8443/apps/a%2Fb"
    host = Text("https://{{ labels.app }}.fly.dev/", Gate.URL)
    assert host.render({"labels": {"app": "web"}}, ("*.fly.dev",)) == "https://web.fly.dev/"
    with pytest.raises(UnsafeValue, match=re.escape("http.allow")):
        host.render({"labels": {"app": "web"}})


def test_a_half_surrogate_of_the_authors_is_refused_as_well() -> None:
    """It can't be encoded, whoever wrote it."""
    with pytest.raises(UnsafeValue, match="surrogate"):
        Text("{{ vars.x }}", Gate.ARGUMENT).render({"vars": {"x": "\ud800"}})


def test_null_is_shown_to_people_and_refused_elsewhere() -> None:
    """An argument called null is nobody's wish."""
    assert render("x {{ facts.nothing }}", Gate.DISPLAY) == "x null"


# --- what is asked of a text before it is rendered ---


def test_a_text_tells_what_it_refers_to() -> None:
    """Conditions and methods' arguments are looked into as well."""
    text = Text(
        "{% if steps.probe is defined %}{{ labels.app }}{{ facts['releases'].current }}{{ labels.get(vars.x) }}{% endif %}",
        Gate.JSON,
    )
    assert text.names == {"steps", "labels", "facts", "vars"}
    assert text.references == {"steps.probe", "labels.app", "facts.releases", "vars.x"}
    assert not text.literal
    assert Expression("labels['host.name'] == alerts | length").references == {"labels.host.name"}
    assert Text("{{ steps.a.result.n }} {{ steps['b'].ok }}", Gate.JSON).of_steps == {("a", "result"), ("b", "ok")}
    assert Expression("steps.a.get(labels.x) == facts.a.n").of_steps == frozenset()


def test_a_literal_text_never_touches_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most texts of most rules are literals."""

    def forbidden() -> None:
        raise AssertionError("the environment was asked for")

    monkeypatch.setattr("remediator.rules.syntax.sandbox", forbidden)
    text = Text("100 % { plain }", Gate.ARGUMENT)
    assert text.literal
    assert text.render({}) == "100 % { plain }"
    assert (text.names, text.references) == (frozenset(), frozenset())


def test_the_environment_is_made_once() -> None:
    """All texts and expressions share it."""
    assert sandbox.sandbox() is sandbox.sandbox()


# --- expressions ---


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("facts.releases.current.age_s < 7200", True),
        ("result is defined", False),
        ("labels.app in ['web', 'api']", True),
        ("facts.pods | rejectattr('ready') | map(attribute='name') | list", ["b"]),
        ("facts.pods | map(attribute='nope', default=0) | sum", 0),
        ("facts.pods | map(attribute='name') | join('+')", "a+b"),
        ("labels.replicas | int + 1", 4),
        ("'3.7' | int", 3),
        ("'x' | int(0)", 0),
        ("2.345 | round(2, 'floor')", 2.34),
        ("labels.instance | host", "::1"),
        ("'web:9100' | host", "web"),
        ("'fe80::1' | host", "fe80::1"),
        ("'web' | host", "web"),
        (r"'web-12' | regex_search('\d+')", "12"),
        (r"'web-12' | regex_search('^(\w+)-')", "web"),
        ("'web' | regex_search('[0-9]') | default('none')", "none"),
        ("'10.1.2.3' is in_net '10.0.0.0/8'", True),
        ("'fd00::1' is in_net ['10.0.0.0/8', 'fd00::/8']", True),
        ("'192.0.2.1' is in_net '10.0.0.0/8'", False),
        ("labels.app is matches 'w.b'", True),
        ("labels.app is matches 'w'", False),
        ("facts.pods | json", '[{"name": "a", "ready": true}, {"name": "b", "ready": false}]'),
        ("labels.app.upper() ~ '!'", "WEB!"),
        ("labels.app[:2]", "we"),
        ("[1] + [2]", [1, 2]),
        ("{'a': facts.pods | length}", {"a": 2}),
        ("labels.items", "of a label"),
        ("vars.items() | list", [["region", "fra"], ["flag", "--force"]]),
    ],
)
def test_an_expression_is_evaluated(source: str, expected: object) -> None:
    """With Jinja2's filters and ours."""
    assert evaluate(source) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("512Mi", 536870912),
        ("2", 2),
        ("500m", 0.5),
        ("1.5Gi", 1610612736),
        ("3k", 3000),
        ("1e3", 1000),
        ("2E", 2 * 10**18),
    ],
)
def test_a_kubernetes_quantity_becomes_a_number(text: str, number: float) -> None:
    """With the suffixes of binary, decimal and exponent form."""
    assert evaluate(f"'{text}' | quantity") == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("536870912", "512Mi"),
        ("2", "2"),
        ("0.5", "500m"),
        ("1000", "1000"),
        ("0.00025", "250u"),
        ("1536", "1536"),
        ("0", "0"),
    ],
)
def test_a_number_becomes_a_kubernetes_quantity(number: str, text: str) -> None:
    """In a form that Kubernetes reads as exactly that number."""
    assert evaluate(f"{number} | quantity") == text


@pytest.mark.parametrize(
    "source", ["'web' | int", "'nan' | float", "'' | int", "'web' is in_net '10.0.0.0/8'", "'12 GB' | quantity"]
)
def test_what_is_not_a_number_or_address_never_counts_as_zero_or_false(source: str) -> None:
    """Jinja2's own `int` gives 0, and a replica count of 0 is an outage."""
    with pytest.raises(TemplateError):
        evaluate(source)


@pytest.mark.parametrize("source", ["{{ labels.app }}", "labels.app ==", "a b", "", "labels.app | nope"])
def test_an_expression_that_can_not_be_read_is_refused(source: str) -> None:
    """It is written without braces."""
    with pytest.raises(TemplateError):
        Expression(source)


@pytest.mark.parametrize("source", ["labels.app", "1", "facts.pods", "facts.nothing"])
def test_a_condition_that_is_neither_true_nor_false_is_an_error(source: str) -> None:
    """A text would otherwise count as true, `'false'` too."""
    with pytest.raises(TemplateError, match="neither true nor false"):
        Expression(source).holds(SCOPE)


def test_a_condition_holds_or_does_not() -> None:
    """True and false are all there is."""
    assert Expression("labels.app == 'web'").holds(SCOPE)
    assert not Expression("labels.app != 'web'").holds(SCOPE)


# --- what is not known yet ---


@pytest.mark.parametrize(
    "source",
    [
        "steps.probe.result",
        "steps.probe['result']",
        "steps.probe",
        "steps",
        "[steps.probe]",
        "steps.probe == 1",
        "1 == steps.probe",
        "steps.probe in [1]",
        "1 in steps.probe",
        "not steps.probe",
        "steps.probe ~ 'x'",
        "steps.probe + 1",
        "-steps.probe",
        "steps.probe | default('x')",
        "steps.probe.result | default('x')",
        "steps.probe | length",
        "steps.probe is none",
        "steps.probe is string",
        "steps | json",
        "'x' if steps.probe else 'y'",
        "steps.probe()",
        "steps.probe[1:2]",
        "{steps.probe: 1}",
    ],
)
def test_any_use_of_what_is_not_known_yet_says_whose_it_is(source: str) -> None:
    """A plan shows it as from that step."""
    with pytest.raises(PendingValue) as caught:
        evaluate(source)
    assert caught.value.name == "probe"
    with pytest.raises(PendingValue):
        render(f"x{{{{ {source} }}}}", Gate.DISPLAY)


def test_what_is_not_known_yet_is_defined() -> None:
    """That much is known, and so is what stands beside it."""
    assert evaluate("steps.probe is defined") is True
    assert evaluate("steps | length") == 2
    assert evaluate("steps.logs.result.stdout") == "ok"
