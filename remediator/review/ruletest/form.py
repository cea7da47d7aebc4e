"""The shape of a file of rule tests: every key, with what editors show of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic import model_validator as check_whole

from remediator.document import nearest
from remediator.forms import Duration, Form, schema_of, wrong_type
from remediator.forms.guards import Filled, ModeWord, Span
from remediator.model.run import Reason, State
from remediator.model.time import Seconds, Timestamp, format_rfc3339, parse_rfc3339
from remediator.rules.form import Name

DEFAULT_START = "2026-01-05T12:00:00Z"  # a Monday, in the middle of the day
_DAY: Seconds = 86_400.0


def _instant(value: object) -> Timestamp:
    if not isinstance(value, str):
        raise wrong_type("a time such as 2026-01-05T12:00:00Z")
    return parse_rfc3339(value)


def _one_of(words: type[StrEnum], noun: str) -> Callable[[str], str]:
    def known(text: str) -> str:
        if text not in set(words):
            raise ValueError(f"{text[:40]!r} is not {noun}{nearest(text, words)}")
        return text

    return known


Instant: TypeAlias = Annotated[
    Timestamp,
    BeforeValidator(_instant),
    PlainSerializer(format_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
StateWord: TypeAlias = Annotated[
    str, AfterValidator(_one_of(State, "the state of a run")), WithJsonSchema({"enum": list(State)})
]
ReasonWord: TypeAlias = Annotated[
    str, AfterValidator(_one_of(Reason, "the reason of a run's state")), WithJsonSchema({"enum": list(Reason)})
]
Result: TypeAlias = dict[str, Any]


class AlertForm(Form):
    """An alert, and when it fires."""

    model_config = ConfigDict(title="alert")

    labels: dict[str, str] = Field(description="Its labels, `alertname` among them.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Its annotations.")
    fires: Duration = Field(0.0, description="When it begins to fire, from the start of the test.")
    resolves: Duration | None = Field(None, description="When it resolves. Default: it fires to the end.")

    @check_whole(mode="after")
    def _fires_before_it_resolves(self) -> AlertForm:
        if self.resolves is not None and self.resolves <= self.fires:
            raise ValueError("`resolves` is not after `fires`: both count from the start of the test")
        return self


class PauseForm(Form):
    """A pause that a person lays."""

    model_config = ConfigDict(title="pause")

    at: Duration = Field(description="When, from the start of the test.")
    for_: Span | None = Field(None, alias="for", description="For how long. Default: to the end.")
    rule: Name | None = Field(None, description="Of this rule only.")
    target: Filled | None = Field(None, description="Of this target only.")


class AnswerForm(Form):
    """What a person says who is asked."""

    model_config = ConfigDict(title="answer")

    at: Duration = Field(description="When, from the start of the test.")
    rule: Name = Field(description="Whose run is asked for.")
    by: Filled = Field("somebody", description="The person's name.")


class ExpectedForm(Form):
    """A run that is expected. What is left out is not compared."""

    model_config = ConfigDict(title="run")

    at: Duration | None = Field(
        None, description="When its first step began, or, where none did, when that was decided, from the start."
    )
    rule: Name | None = Field(None, description="Its rule.")
    target: Filled | None = Field(None, description="Its target.")
    outcome: StateWord | None = Field(None, description="Its last state.")
    reason: ReasonWord | None = Field(None, description="The reason of that state.")
    steps: list[Filled] | None = Field(
        None, description="The actions used, in order; of a dry run those planned. Facts and checks are left out."
    )
    mode: ModeWord | None = Field(None, description="The mode in force.")
    rung: Annotated[int, Field(ge=0)] | None = Field(None, description="The last rung of its ladder, from 0.")

    @check_whole(mode="after")
    def _says_something(self) -> ExpectedForm:
        if not self.model_fields_set:
            raise ValueError("this says nothing of the run: give at least `rule` and `outcome`")
        return self


class RuleTestForm(Form):
    """What happens, and all runs that are to come of it."""

    model_config = ConfigDict(title="test")

    name: Filled = Field(description="What the rules do here, in words.")
    start: Instant = Field(parse_rfc3339(DEFAULT_START), description="When it begins, an RFC 3339 time.")
    config: Filled | None = Field(None, description="A configuration, as a path from this file.")
    mode: ModeWord | None = Field(None, description="The daemon's mode. Default: what `config` says, else `auto`.")
    alerts: list[AlertForm] = Field(default_factory=list, description="The alerts, and when they fire.")
    results: dict[str, Result | list[Result]] = Field(
        default_factory=dict,
        description="By action: the result of each call, or a list of them, one a call, the last of which stays.",
    )
    pause: list[PauseForm] = Field(default_factory=list, description="Pauses that a person lays.")
    approve: list[AnswerForm] = Field(default_factory=list, description="Approvals that a person gives.")
    reject: list[AnswerForm] = Field(default_factory=list, description="Approvals that a person refuses.")
    expect: list[ExpectedForm] = Field(description="All runs, whatever their order.")


class RuleTestFileForm(Form):
    """A file of rule tests."""

    model_config = ConfigDict(title="file of rule tests")

    rules: list[Filled] = Field(
        default_factory=list,
        min_length=1,
        description="The rules under test, as paths from this file. Default, for NAME.test.yml: NAME.yml beside it.",
    )
    tests: list[RuleTestForm] = Field(min_length=1, description="The tests.")


class RuleTestFileOutline(Form):
    """A file of rule tests, which are looked at one by one."""

    rules: list[Filled] = Field(default_factory=list, min_length=1)
    tests: list[dict[str, Any]] = Field(min_length=1)


def last_told(test: RuleTestForm) -> Seconds:
    """Say when the last thing is that a test tells of or expects, from its start; a day where it tells of none."""
    times = [at for alert in test.alerts for at in (alert.fires, alert.resolves) if at is not None]
    times += [at for pause in test.pause for at in (pause.at, pause.at + (pause.for_ or 0.0))]
    times += [answer.at for answer in (*test.approve, *test.reject)]
    times += [expected.at for expected in test.expect if expected.at is not None]
    return max(times, default=_DAY)


def tests_schema() -> dict[str, Any]:
    """Give the JSON Schema of a file of rule tests, for editors."""
    return {
        **schema_of(RuleTestFileForm),
        "patternProperties": {"^x-": {"description": "A place for anchors; not read."}},
    }
