"""Every place that a value from outside can land in has its gate: what it lets through, and what it refuses.

The gates themselves, with hostile values of all kinds: `tests/rules/test_gates.py`.
"""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from language.writing import Load, faults, file, only, rule
from stage import Stage

from remediator.actions.catalog import load_catalog
from remediator.actions.protocol import Gate, Grammar
from remediator.actions.ssh.command import command_line
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.templates import TemplateError, Text, UnsafeValue

CATALOG = load_catalog()


def rendered(action: str, written: dict[str, Any], value: Any, *hosts: str) -> Any:
    """Give the parameters of an action where a label has this value. Raises UnsafeValue."""
    templates = ParameterTemplates(written, CATALOG[action].parameters)
    assert list(templates.problems()) == []
    return templates.render({"labels": {"x": value}, "vars": {}}, hosts)


def refused(action: str, written: dict[str, Any], *values: Any) -> bool:
    """Tell whether every one of these is refused."""
    for value in values:
        with pytest.raises(UnsafeValue):
            rendered(action, written, value)
    return True


def test_gate_argument() -> None:
    """Of `exec`: it stays inside its one argument; no leading `-` where it begins it, no control characters."""
    argv = rendered("exec.run", {"argv": ["echo", "a {{ labels.x }}"]}, "b c; rm -rf / $(x) -v").argv
    assert argv == ["echo", "a b c; rm -rf / $(x) -v"]
    assert refused("exec.run", {"argv": ["echo", "{{ labels.x }}"]}, "--flag", "-f", "a\nb", "a\x00b", "\x1b[2J")


def test_gate_argument_of_ssh() -> None:
    """Quoted for the remote shell, then as an argument of `exec`."""
    written = {"host": "web-1.example.com", "argv": ["systemctl", "restart", "{{ labels.x }}"]}
    argv = rendered("ssh.run", written, "a b; $(reboot) 'c'").argv
    assert argv == ["systemctl", "restart", "a b; $(reboot) 'c'"]
    assert shlex.split(command_line(argv, None)) == argv
    assert refused("ssh.run", written, "--now", "a\nb", "a\x00b")


def test_gate_sql() -> None:
    """Bound parameters only: a query takes what its author wrote, and nothing that a label could add to it."""
    hostile = "x'; DROP TABLE orders; --"
    written = {"database": "main", "sql": "SELECT 1 WHERE $1 = 'a'", "bind": ["{{ labels.x }}"]}
    found = rendered("postgres.query", written, hostile)
    assert (found.sql, found.bind) == ("SELECT 1 WHERE $1 = 'a'", [hostile])
    spliced = {"database": "main", "sql": "SELECT '{{ labels.x }}'"}
    assert list(ParameterTemplates(spliced, CATALOG["postgres.query"].parameters).problems()) != []
    with pytest.raises(TemplateError):
        rendered("postgres.query", {"database": "main", "sql": "{{ labels.x }}"}, hostile)


def test_gate_child_text() -> None:
    """`env` and `stdin`: no NUL; names never come from outside."""
    with_env = {"argv": ["env"], "env": {"APP": "{{ labels.x }}"}, "stdin": "{{ labels.x }}"}
    found = rendered("exec.run", with_env, "-any\n$(thing)")
    assert (found.env, found.stdin) == ({"APP": "-any\n$(thing)"}, "-any\n$(thing)")
    assert refused("exec.run", with_env, "a\x00b")
    templates = ParameterTemplates({"argv": ["env"], "env": {"{{ labels.x }}": "1"}}, CATALOG["exec.run"].parameters)
    assert list(templates.problems()) != []
    assert refused("exec.run", {"argv": ["env"], "env": "{{ labels.x }}"}, {"LD_PRELOAD": "x"})


def test_gate_directory() -> None:
    """`cwd`: no NUL and no `..`."""
    written = {"argv": ["ls"], "cwd": "/srv/{{ labels.x }}"}
    assert rendered("exec.run", written, "shop").cwd == "/srv/shop"
    assert refused("exec.run", written, "..", "../etc", "a/../b", "a\x00b")


def test_gate_url() -> None:
    """Percent-encoded in path and query; scheme, port, credentials never; a host only if `http.allow` has a pattern."""
    url = {"url": "https://shop.example.com/{{ labels.x }}", "query": {"q": "{{ labels.x }}"}}
    found = rendered("http.get", url, "a b&c=d?#")
    assert found.url == "https://shop.example.com/a%20b%26c%3Dd%3F%23"
    assert refused("http.get", {"url": "https://shop.example.com/{{ labels.x }}/x"}, "..")
    for place in ("{{ labels.x }}://a/", "https://a:{{ labels.x }}/", "https://{{ labels.x }}@a/"):
        assert refused("http.get", {"url": place}, "https", "8080")
    host = {"url": "https://{{ labels.x }}.example.com/"}
    assert refused("http.get", host, "shop")
    assert rendered("http.get", host, "shop", "*.example.com").url == "https://shop.example.com/"
    with pytest.raises(UnsafeValue):
        rendered("http.get", host, "evil.org/", "*.example.com")


def test_gate_host() -> None:
    """One host name, and from outside only where `http.allow` has a pattern for it."""
    text = Text("{{ labels.x }}.example.com", Gate.HOST)
    assert text.render({"labels": {"x": "web-1"}}, ["*.example.com"]) == "web-1.example.com"
    for value in ("web-1/", "a@b", "a:1", "", "..", "a b", "a\n"):
        with pytest.raises(UnsafeValue):
            text.render({"labels": {"x": value}}, ["*.example.com"])
    with pytest.raises(UnsafeValue):
        text.render({"labels": {"x": "web-1"}}, ["*.example.org"])


def test_gate_grammar() -> None:
    """Names and selectors of platforms: the platform's own grammar, else refused."""
    name = Text("{{ labels.x }}-db", Grammar("an app", "[a-z0-9-]{1,20}"))
    assert name.render({"labels": {"x": "web"}}) == "web-db"
    for value in ("", "Web", "a/b", "..", "a b", "a" * 30, "*"):
        with pytest.raises(UnsafeValue):
            name.render({"labels": {"x": value or "/"}})
    selector = Text("app={{ labels.x }},tier!=db", Grammar("a selector", "[a-z=!,.*]+", value="[a-z.]+"))
    assert selector.render({"labels": {"x": "web.a"}}) == "app=web.a,tier!=db"
    with pytest.raises(UnsafeValue):
        selector.render({"labels": {"x": "web,a=b"}})


def test_gate_header() -> None:
    """No CR, LF, NUL; so it is for a target, too."""
    written = {"url": "https://a.example/", "headers": {"X-App": "{{ labels.x }}"}}
    assert rendered("http.get", written, "a, b").headers == {"X-App": "a, b"}
    assert refused("http.get", written, "a\r\nX-Evil: 1", "a\nb", "a\x00")


async def test_gate_header_of_a_target(stage: Stage) -> None:
    """What a gate refuses while a plan is rendered refuses the decision: `unsafe_value`."""
    await stage.rules(file(rule()))
    await stage.fires(app="web\nother")
    assert await stage.states() == [("blocked", "unsafe_value")]


def test_gate_promql() -> None:
    """Only inside a quoted string, escaped."""
    written = {"query": 'up{app="{{ labels.x }}"}'}
    assert rendered("prometheus.query", written, 'a"} or vector(1) #').query == 'up{app="a\\"} or vector(1) #"}'
    assert refused("prometheus.query", {"query": "up > {{ labels.x }}"}, "1")
    assert (
        rendered("prometheus.query", {"query": 'up{app=~"{{ labels.x }}|b"}'}, ".*").query == 'up{app=~"\\\\.\\\\*|b"}'
    )


async def test_gate_matchers(stage: Stage, load: Load) -> None:
    """Of Alertmanager, of the action and inside guards: only inside a quoted string, escaped."""
    written = {"match": '{app="{{ labels.x }}"}'}
    assert rendered("alertmanager.alerts", written, 'a", b=~".*').match == '{app="a\\", b=~\\".*"}'
    assert refused("alertmanager.alerts", {"match": "{app={{ labels.x }}}"}, "a")
    await stage.rules(file(rule("""guard: {unless_firing: ['{alertname="Cause", app="{{ labels.app }}"}']}""")))
    await stage.fires("Cause", app="other")
    await stage.fires(app='web", app!="')
    assert await stage.states() == [("succeeded", None)]


def test_gate_json() -> None:
    """A JSON value, never text spliced in."""
    written = {"url": "https://a.example/", "method": "POST", "json": {"app": "{{ labels.x }}"}}
    assert rendered("http.request", written, '", "admin": true, "').json_ == {"app": '", "admin": true, "'}
    spliced = {"url": "https://a.example/", "method": "POST", "body": '{"app": "{{ labels.x }}"}'}
    assert refused("http.request", spliced, "a")


def test_gate_display() -> None:
    """Chat, mail, pages, terminals, spreadsheets: what a reader sees has no escape sequence."""
    shown = rendered("log", {"message": "{{ labels.x }} fires"}, "\x1b[2J\u202eweb\x07").message
    assert not any(character in shown for character in "\x1b\u202e\x07")
    assert "web" in shown


async def test_gate_later(stage: Stage) -> None:
    """What is found later, when a result is there, fails the step before it starts."""
    steps = "[{id: a, uses: test.read}, {uses: exec.run, with: {argv: [echo, '{{ steps.a.result.x }}']}}]"
    await stage.rules(file(rule(steps=steps)))
    stage.outcomes["test.read"] = [{"x": "--flag"}]
    await stage.fires(app="web")
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "step")
    assert run["steps"][1]["started_at"] is None


def test_a_value_is_data_for_ever(load: Load) -> None:
    """It is never rendered again; and a parameter without a gate takes no text from outside."""
    assert rendered("log", {"message": "{{ labels.x }}"}, "{{ 7 * 7 }}").message == "{{ 7 * 7 }}"
    with pytest.raises((UnsafeValue, TemplateError)):
        rendered("http.request", {"url": "https://a.example/", "method": "{{ labels.x }}"}, "DELETE /")
    assert only(load(file(rule()))).target.render({"labels": {"app": "{{ 7 * 7 }}"}}) == "app/{{ 7 * 7 }}"
    assert faults(load(file(rule(target="'{{ labels.app | eval }}'"))))[0][1] == "bad-template"


@pytest.mark.parametrize(
    ("uses", "written", "allow", "told"),
    [
        ("prometheus.query", "query: 'up{app={{ labels.app }}} == 1'", [], True),
        ("prometheus.query", "query: '{{ labels.app }}'", [], True),
        ("prometheus.query", "query: '{{ vars.metric }}{{ labels.app }}'", [], False),
        ("prometheus.query", """query: 'up{app="{{ labels.app }}"} == 1'""", [], False),
        ("alertmanager.alerts", "match: '{app={{ labels.app }}}'", [], True),
        ("http.get", "url: 'http://{{ labels.app }}/health'", [], True),
        ("http.get", "url: 'http://{{ labels.app }}/health'", ["10.0.0.*"], False),
        ("http.get", "url: 'http://{{ labels.app }}/health'", None, False),
        ("http.get", "url: 'http://web:{{ labels.app }}/'", ["*"], True),
        ("http.get", "url: '{{ labels.app }}'", ["*"], True),
        ("http.get", "url: 'http://web/{{ labels.app }}?{{ labels.app }}'", [], False),
    ],
)
def test_what_no_value_can_pass_is_told_by_the_loader(
    load: Load, uses: str, written: str, allow: list[str] | None, told: bool
) -> None:
    """A check that is refused for every alert would be seen only when it has to prove that a remedy helped."""
    verify = f"{{checks: [{{uses: {uses}, expect: result is defined, with: {{{written}}}}}]}}"
    sections: dict[str, Any] = {"prometheus": {}, "alertmanager": {}, "http": {"allow": allow}}
    found = load(file(rule(f"verify: {verify}")), settings=None if allow is None else sections, metric="up")
    key = f"verify.checks[0].with.{written.partition(':')[0]}"
    assert faults(found) == ([(key, "bad-template")] if told else [])


def test_every_gate_has_its_test() -> None:
    """A gate more is a test more."""
    assert [gate for gate in Gate if f"test_gate_{gate.value}" not in globals()] == []
