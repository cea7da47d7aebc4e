"""A step's `with`: checked when it is loaded as far as it is literal, and again when it is rendered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from remediator.actions.protocol import Duration, Gate, Parameters, SecretReference
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.templates import Pending, TemplateError, UnsafeValue


class Login(BaseModel):
    """A model inside a parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user: Annotated[str, Gate.HEADER]
    password: SecretReference


class Example(Parameters):
    """One parameter of each kind."""

    argv: list[Annotated[str, Gate.ARGUMENT]] = Field(min_length=1)
    env: dict[Annotated[str, Field(pattern="^[A-Z]+$")], Annotated[str, Gate.CHILD_TEXT] | SecretReference] = Field(
        default_factory=dict
    )
    cwd: Annotated[str, Gate.DIRECTORY] | None = None
    url: Annotated[str, Gate.URL] | None = None
    pair: tuple[Annotated[str, Gate.ARGUMENT], Annotated[str, Gate.ARGUMENT]] | None = None
    json_: Annotated[Any, Gate.JSON] = Field(None, alias="json")
    login: Login | None = None
    count: int = 1
    ok: list[int] = Field(default_factory=lambda: [0])
    force: bool = False
    method: Literal["GET", "POST"] = "GET"
    pause: Duration = 0.0

    @model_validator(mode="after")
    def _agreed(self) -> Example:
        if self.force and self.count > 5:
            raise ValueError("force works on 5 at most")
        return self


SCOPE: dict[str, Any] = {
    "labels": {"app": "web", "evil": "-rf", "quote": '"'},
    "facts": {"count": 3, "names": ["a", "b"], "map": {"secret": "DATABASE"}, "minus": -3, "ready": True},
    "steps": {"logs": Pending("logs")},
    "vars": {"method": "POST", "flag": "--force"},
}


def templates(**values: Any) -> ParameterTemplates:
    """Compile some parameters; `argv` has a default here."""
    return ParameterTemplates({"argv": ["true"], **values}, Example)


def render(**values: Any) -> Any:
    """Compile and render in the scope above."""
    return templates(**values).render(SCOPE, ("*.fly.dev",))


# --- rendering ---


def test_templates_are_rendered_and_validated() -> None:
    """At any depth, each with the gate of its parameter."""
    rendered = render(
        argv=["deploy", "{{ labels.app }}", "--app={{ labels.evil }}"],
        env={"APP": "{{ labels.app }}\n"},
        url="https://{{ labels.app }}.fly.dev/{{ labels.evil }}",
        json={"deep": [{"app": "{{ labels.app }}", "count": "{{ facts.count }}", "all": "{{ facts.map }}"}]},
        login={"user": "{{ labels.app }}", "password": {"secret": "DB"}},
    )
    assert rendered.argv == ["deploy", "web", "--app=-rf"]
    assert rendered.env == {"APP": "web\n"}
    assert rendered.url == "https://web.fly.dev/-rf"
    assert rendered.json_ == {"deep": [{"app": "web", "count": 3, "all": {"secret": "DATABASE"}}]}
    assert rendered.login == Login(user="web", password=SecretReference(secret="DB"))


def test_yaml_lists_and_durations_are_taken_where_the_model_wants_tuples_and_seconds() -> None:
    """YAML has no tuples."""
    rendered = render(pair=["a", "{{ labels.app }}"], pause="1h30m")
    assert rendered.pair == ("a", "web")
    assert rendered.pause == 5400


def test_a_single_template_keeps_its_type() -> None:
    """Numbers for numbers, lists for lists; in a place for text a number is written out."""
    assert render(count="{{ facts.count }}").count == 3
    assert render(ok=["{{ facts.count }}", 1]).ok == [3, 1]
    assert render(force="{{ facts.ready }}").force is True
    assert render(argv="{{ facts.names }}").argv == ["a", "b"]
    assert render(argv=["x", "{{ facts.count }}", "{{ facts.ready }}"]).argv == ["x", "3", "true"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"argv": ["x", "{{ labels.evil }}"]}, "argv[1]: '-rf'"),
        ({"argv": ["x", "{{ facts.minus }}"]}, "argv[1]: '-3'"),
        ({"argv": "{{ [labels.evil] }}"}, "argv: '-rf'"),
        ({"cwd": "/srv/{{ '..' ~ labels.app }}/../x"}, "cwd: "),
        ({"url": "{{ labels.app }}"}, "url: 'web'"),
        ({"env": "{{ facts.map }}"}, "env: "),
        ({"env": {"A": "{{ facts.map }}"}}, "env.A: "),
        ({"json": '{"a": "{{ labels.quote }}"}'}, "json: "),
    ],
)
def test_p10_what_a_gate_refuses_names_its_parameter(values: dict[str, Any], says: str) -> None:
    """So that the reader of a refused run finds the place."""
    with pytest.raises(UnsafeValue) as caught:
        render(**values)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"argv": ["{{ labels.nope }}"]}, "argv[0]: `{{ labels.nope }}`: there is no 'nope'"),
        ({"method": "{{ labels.app }}"}, "method: `{{ labels.app }}` gives 'web': this parameter takes numbers"),
        ({"ok": "{{ facts.names }}"}, "no text from outside"),
        ({"login": "{{ facts.map }}"}, "login"),
        ({"count": "{{ facts.count / 2 }}"}, "count: it should be a whole number"),
        ({"force": True, "count": "{{ facts.count + 3 }}"}, "force works on 5 at most"),
        ({"count": "x{{ labels.app }}"}, "count: "),
        ({"url": "{{ labels.app"}, "url: "),
    ],
)
def test_what_can_not_be_rendered_is_a_template_error(values: dict[str, Any], says: str) -> None:
    """Faulty templates, text where none may stand, and what the model refuses."""
    with pytest.raises((TemplateError, UnsafeValue)) as caught:
        render(**values)
    assert says in str(caught.value)


def test_the_authors_vars_may_stand_anywhere() -> None:
    """They are his own words."""
    assert render(method="{{ vars.method }}", argv=["x", "{{ vars.flag }}"]).method == "POST"


@given(st.text(st.characters() | st.sampled_from("-\n\0{}%\"'")), st.text(st.characters()))
def test_p10_a_label_is_always_one_argument_and_unchanged(first: str, second: str) -> None:
    """Or refused."""
    compiled = templates(argv=["x", "{{ labels.a }}", "--b={{ labels.b }}"])
    try:
        rendered = compiled.render({"labels": {"a": first, "b": second}})
    except UnsafeValue:
        return
    assert rendered.model_dump()["argv"] == ["x", first, f"--b={second}"]
    assert not first.startswith("-")


def test_literal_parameters_are_validated_once() -> None:
    """The same frozen model serves every run."""
    compiled = templates(count=2)
    assert compiled.render({}) is compiled.render(SCOPE)


# --- preview ---


def test_a_preview_of_what_is_known_is_what_will_be_done() -> None:
    """As JSON, by the names that rules use, without what nobody set."""
    compiled = templates(json={"a": "{{ labels.app }}"}, pause="5m", env={"P": {"secret": "DB"}})
    assert compiled.preview(SCOPE) == {
        "argv": ["true"],
        "json": {"a": "web"},
        "pause": 300.0,
        "env": {"P": {"secret": "DB"}},
    }


def test_what_only_a_step_can_tell_stands_as_from_that_step() -> None:
    """A text stands so as a whole; what is beside it is rendered."""
    compiled = templates(
        argv=["x", "{{ labels.app }}", "n={{ steps.logs.result }}"],
        count="{{ steps.logs.result.count }}",
        env={"P": {"secret": "DB"}},
    )
    assert compiled.preview(SCOPE) == {
        "argv": ["x", "web", "<from logs>"],
        "count": "<from logs>",
        "env": {"P": {"secret": "DB"}},
    }


def test_a_preview_refuses_what_is_unsafe_or_wrong_beside_what_is_not_known() -> None:
    """A plan is refused before it is shown."""
    with pytest.raises(UnsafeValue, match="option"):
        templates(argv=["{{ labels.evil }}", "{{ steps.logs.result }}"]).preview(SCOPE)
    with pytest.raises(TemplateError, match="count: it should be a whole number"):
        templates(argv=["{{ steps.logs.result }}"], count="{{ facts.count / 2 }}").preview(SCOPE)
    with pytest.raises(TemplateError, match="url: "):
        templates(url="{{ labels.app").preview(SCOPE)


# --- problems ---


@pytest.mark.parametrize(
    ("values", "path", "says"),
    [
        ({"argvv": []}, "argvv", "there is no parameter 'argvv'; did you mean `argv`?"),
        ({"zzz": "{{ broken"}, "zzz", "there is argv, env, cwd, url, pair, json, login,"),
        ({"argv": "true"}, "argv", "it should be a list, and is 'true'"),
        ({"argv": "restart {{ labels.app }}"}, "argv", "it should be a list, and is 'restart {{ labels.app }}'"),
        ({"argv": []}, "argv", "at least 1 item"),
        ({"argv": ["sleep", 5]}, "argv[1]", "it should be a text, and is 5"),
        ({"argv": {"a": "{{ labels.app }}"}}, "argv", "it should be a list"),
        ({"argv": ["{{ labels.app", "x"]}, "argv[0]", "can't be read"),
        ({"env": {"A": "{% for a in b %}{% endfor %}"}}, "env.A", "not allowed"),
        ({"env": {"{{ labels.app }}": "x"}}, "env.{{ labels.app }}", "a name stands as it is"),
        ({"env": {"bad": "{{ labels.app }}"}}, "env.bad", "should match pattern"),
        ({"env": {"A": {"secret": "{{ labels.app }}"}}}, "env.A", "the name of a secret stands as it is"),
        ({"count": "x{{ labels.app }}"}, "count", "no text from outside"),
        ({"count": "3"}, "count", "it should be a whole number, and is '3'"),
        ({"method": "PUT"}, "method", "'GET' or 'POST'"),
        ({"pause": "5 minutes"}, "pause", "is not a duration"),
        ({"login": {"user": "x"}}, "login.password", "it is required, and missing"),
        (
            {"login": {"user": "x", "password": {"secret": "A"}, "port": 1}},
            "login.port",
            "there is no parameter 'port'",
        ),
        ({"force": True, "count": 6}, "", "force works on 5 at most"),
        ({"json": float("nan")}, "", "not JSON"),
        ({"pair": ["a"]}, "pair[1]", "required"),
    ],
)
def test_a_fault_is_found_when_the_rule_is_loaded(values: dict[str, Any], path: str, says: str) -> None:
    """With its place and a sentence, and nothing is raised."""
    problems = templates(**values).problems()
    assert [where for where, _ in problems] == [path]
    assert says in problems[0][1]


def test_all_faults_are_found_in_one_go() -> None:
    """A missing parameter among them."""
    compiled = ParameterTemplates({"count": "x", "url": "{{", "ookk": 1}, Example)
    assert {path for path, _ in compiled.problems()} == {"count", "url", "ookk", "argv"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"argv": "{{ facts.names }}", "count": "{{ facts.count }}", "method": "{{ vars.method }}"},
        {"argv": ["{{ labels.app }}"], "force": True, "count": "{{ facts.count }}"},
        {"pair": ["{{ labels.app }}", "x"], "pause": "{{ facts.count }}"},
        {"pause": "{{ vars.minutes }}m", "env": {"A": "x{{ labels.app }}"}, "method": "{{ vars.verb }}T"},
        {
            "json": {"a": ["{{ labels.app }}", None, 1.5]},
            "login": {"user": "{{ labels.app }}", "password": {"secret": "A"}},
        },
    ],
)
def test_what_only_an_alert_can_tell_is_no_fault(values: dict[str, Any]) -> None:
    """Templates are checked when they are rendered."""
    assert templates(**values).problems() == []


def test_what_the_templates_refer_to_is_known() -> None:
    """Over all parameters."""
    compiled = templates(argv=["{{ labels.app }}", "{{ steps.logs.result }}"], count="{{ facts.count }}")
    assert compiled.names == {"labels", "steps", "facts"}
    assert compiled.references == {"labels.app", "steps.logs", "facts.count"}


def test_a_mapping_from_outside_never_names_a_secret() -> None:
    """Where a secret may stand, an answer of some server doesn't choose it."""

    class Shown(Parameters):
        text: Annotated[str, Gate.DISPLAY] | SecretReference

    with pytest.raises(UnsafeValue, match="name a secret"):
        ParameterTemplates({"text": "{{ facts.map }}"}, Shown).render(SCOPE)
    assert ParameterTemplates({"text": {"secret": "A"}}, Shown).render(SCOPE) == Shown(text=SecretReference(secret="A"))


_KEYS = st.sampled_from(
    ["argv", "env", "url", "json", "login", "password", "secret", "pause", "{{ x }}", 1, None, True]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["{{ x }}", "a{{ x }}", "{%"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=4), _VALUES)
def test_p11_whatever_a_with_holds_is_a_problem_or_renders(values: dict[Any, Any], given: Any) -> None:
    """Compiling and checking raise nothing, and rendering nothing but its own errors."""
    compiled = ParameterTemplates(values, Example)
    faulty = bool(compiled.problems())
    try:
        compiled.render({"x": given})
    except (TemplateError, UnsafeValue):
        return
    assert not faulty
