"""The shape of a rule file: every key of the rule language, so that the schema is whole and nothing is ignored.

Field descriptions are what editors show. What the keys say is checked by `remediator.rules.compile`.
"""

from __future__ import annotations

import copy
import re
from datetime import date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic import model_validator as check_whole

from remediator.document import Fault, Path
from remediator.forms import Duration, Form, LimitText, faults_of, schema_of
from remediator.forms.guards import BlastRadiusForm, BreakerForm, Count, Filled, ModeEntryForm, ModeWord, Span

PRIORITIES = ("P0", "P1", "P2", "P3")

LEFT_OUT = "\0"  # the action of a step that names none: nothing more is told of it
_DEEP = 10  # keys within keys that a rule has at most
_NAME = "^[a-z0-9]+(-[a-z0-9]+)*$"
_ID = "^[A-Za-z_][A-Za-z0-9_]*$"
_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CALENDAR_DATE = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"  # for editors, which may not check the format


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text) or len(text) > 100:
        raise ValueError(
            f"{text[:100]!r} is not a rule's name: write small letters, digits and single dashes, 100 at most"
        )
    return text


def _id(text: str) -> str:
    if not re.fullmatch(_ID, text) or len(text) > 100:
        raise ValueError(
            f"{text[:100]!r} is not an id: write letters, digits and `_`, 100 at most, as in `current_release`"
        )
    return text


def _date(text: str) -> str:
    try:
        date.fromisoformat(text if re.fullmatch(_DATE, text) else "")
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a date: write it as in 2026-11-01") from None
    return text


def _priority(text: str) -> str:
    if text not in PRIORITIES and "{{" not in text and "{%" not in text:
        raise ValueError(f"{text[:40]!r} is not a priority: write P0, P1, P2 or P3, or a template that gives one")
    return text


def _web_page(text: str) -> str:
    if not re.match(r"https?://[^\s/]", text):
        raise ValueError("expected a URL that begins with http:// or https://")
    return text


def _somebody(people: list[str]) -> list[str]:
    if not people:  # an empty set is never read as everybody
        raise ValueError("this list is empty, and so nobody could approve: name somebody, or leave the key out")
    return people


Name: TypeAlias = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": _NAME})]
Id: TypeAlias = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": _ID})]
Day: TypeAlias = Annotated[
    str, AfterValidator(_date), WithJsonSchema({"type": "string", "format": "date", "pattern": _CALENDAR_DATE})
]


class RetryForm(Form):
    """How often a step is tried."""

    attempts: Count = Field(description="Tries in all.")
    backoff: Duration = Field(1.0, description="Wait after the first failure; twice as long after each next.")


class StepForm(Form):
    """One use of an action."""

    model_config = ConfigDict(title="step")

    id: Id | None = Field(None, description="The name by which `steps.ID.result` reads its result.")
    uses: Filled = Field(description="The action: see `remediator actions`.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="The action's parameters; templates.")
    if_: Filled | None = Field(None, alias="if", description="Expression: the step is skipped where it is false.")
    expect: Filled | None = Field(None, description="Expression over `result`: the step fails where it is false.")
    timeout: Span = Field(60.0, description="The longest that one try may take.")
    retry: RetryForm | None = Field(
        None, description="For an action that may be repeated, or of which nothing was sent."
    )
    for_each: Filled | None = Field(None, description="Expression that gives a list: the step runs for each `item`.")
    max: Count = Field(3, description="A longer `for_each` list is refused, never cut.")
    continue_on_error: bool = Field(False, description="Go on with the next step when this one fails.")


class FactForm(StepForm):
    """A step that reads what must be known before deciding."""

    model_config = ConfigDict(title="step")

    id: Id = Field(description="The name by which `facts.ID` reads its result.")


class VerifyForm(Form):
    """What must be seen, and for how long, before a run is a success."""

    within: Span = Field(300.0, description="The latest that all must hold.")
    every: Span = Field(15.0, description="How often the checks are polled.")
    stable_for: Duration = Field(0.0, description="How long all must hold without a break.")
    resolved: bool = Field(False, description="All the run's alerts must have resolved.")
    checks: list[StepForm] = Field(default_factory=list, description="Steps that read, mostly with `expect`.")

    @check_whole(mode="after")
    def _verifies_something(self) -> VerifyForm:
        if not self.resolved and not self.checks:
            raise ValueError("this verifies nothing: give `resolved: true`, `checks`, or both")
        if self.stable_for > self.within:
            raise ValueError("`stable_for` is longer than `within`: this could never hold")
        return self


class EpisodesForm(Form):
    """How many episodes a remedy is for."""

    at_least: Count | None = Field(None, description="Fewer: the first blips are left alone.")
    at_most: Count | None = Field(None, description="More: flapping goes to a person.")
    per: Span

    @check_whole(mode="after")
    def _bounds_something(self) -> EpisodesForm:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give `at_least`, `at_most`, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("`at_least` is more than `at_most`: this would always refuse")
        return self


class GuardForm(Form):
    """What must hold before the rule may act."""

    cooldown: Duration | None = Field(None, description="Since the last run on this target. 5m for a rule that writes.")
    limit: LimitText | Annotated[list[LimitText], Field(min_length=1)] | None = Field(
        None, description="`N per DURATION`, with ` per target` if meant."
    )
    blast_radius: BlastRadiusForm | None = Field(None, description="Distinct targets in a span.")
    breaker: BreakerForm | None = Field(None, description="Stops the rule after failures.")
    episodes: EpisodesForm | None = Field(None, description="Leaves first blips alone, and flapping to a person.")
    unless_firing: list[Filled] = Field(default_factory=list, description="Matcher sets: none may have a firing alert.")
    only_firing: list[Filled] = Field(
        default_factory=list, min_length=1, description="Matcher sets: each must have a firing alert."
    )
    only_if: Filled | Annotated[list[Filled], Field(min_length=1)] | None = Field(
        None, description="Expressions that must all be true."
    )
    lock: Filled | None = Field(None, description="What no two runs may hold. Default: the target.")
    patience: Duration = Field(0.0, description="How long a refused run waits for the refusal to clear.")


class ApprovalForm(Form):
    """Who is asked, and for how long."""

    timeout: Span = Field(900.0, description="Then the run is cancelled.")
    approvers: Annotated[list[Filled], AfterValidator(_somebody), Field(json_schema_extra={"minItems": 1})] = Field(
        default_factory=list, description="The people who may approve. Left out: whoever may operate the daemon."
    )
    quorum: Count = Field(1, description="How many must.")

    @check_whole(mode="after")
    def _can_be_given(self) -> ApprovalForm:
        if self.approvers and self.quorum > len(set(self.approvers)):
            raise ValueError(
                f"{self.quorum} must approve and {len(set(self.approvers))} may: this could never be given"
            )
        return self


class RungForm(Form):
    """One rung of a ladder."""

    model_config = ConfigDict(title="rung")

    steps: list[StepForm] = Field(min_length=1, description="What is done.")
    verify: VerifyForm | None = Field(None, description="How its success is told. Default: as the rule says.")
    mode: ModeWord | Annotated[list[ModeEntryForm], Field(min_length=1)] = Field(
        "auto", description="The highest mode of this rung."
    )
    approval: ApprovalForm | None = Field(None, description="Who is asked. Default: as the rule says.")


class RevertForm(Form):
    """How a temporary change is taken back."""

    resolved: bool = Field(False, description="When the alerts have resolved.")
    after: Span | None = Field(None, description="So long after the steps.")
    steps: list[StepForm] = Field(min_length=1, description="What takes the change back.")

    @check_whole(mode="after")
    def _comes(self) -> RevertForm:
        if not self.resolved and self.after is None:
            raise ValueError("this would never come: give `resolved: true`, `after`, or both")
        return self


class ScheduleForm(Form):
    """When a run starts by the clock."""

    cron: Filled = Field(description="Five fields as cron reads them, or @hourly, @daily, @weekly, @monthly, @yearly.")
    timezone: Filled | None = Field(None, description="A zone such as Europe/Berlin. Default: UTC.")


class RuleForm(Form):
    """What to do about which alerts."""

    model_config = ConfigDict(title="rule")

    name: Name = Field(description="Identity of the rule over its versions: a kebab-case word, unique over all files.")
    summary: Filled = Field(description="One sentence: what it does and when.")
    match: Filled | list[Filled] | None = Field(None, description="Alertmanager matchers, all of which must hold.")
    schedule: Filled | ScheduleForm | None = Field(
        None, description="Starts a run by the clock instead: cron's five fields, or `{cron, timezone}`."
    )
    for_: Duration = Field(0.0, alias="for", description="How long the alert must have been firing.")
    facts: list[FactForm] = Field(default_factory=list, description="Reads that must be known before deciding.")
    target: Filled = Field(description="Template: what is acted on. Locks, cooldowns and limits count by it.")
    mode: ModeWord | Annotated[list[ModeEntryForm], Field(min_length=1)] = Field(
        "auto", description="The highest mode of this rule; in a list the first entry that holds decides."
    )
    guard: GuardForm = Field(default_factory=GuardForm, description="What must hold before it may act.")
    approval: ApprovalForm | None = Field(None, description="Who is asked where the mode in force is `approve`.")
    steps: list[StepForm] | None = Field(None, min_length=1, description="What is done.")
    ladder: list[RungForm] | None = Field(None, min_length=1, description="Remedies, each stronger than the last.")
    recurrence: Span = Field(3600.0, description="With `ladder`: how long a success is remembered.")
    verify: VerifyForm | None = Field(None, description="How success is told.")
    undo: list[StepForm] = Field(default_factory=list, description="Run when the run fails after a write.")
    revert: RevertForm | None = Field(None, description="Takes back a temporary change.")
    on_success: list[StepForm] = Field(default_factory=list, description="Steps that read or notify.")
    on_failure: list[StepForm] = Field(default_factory=list, description="Steps that read or notify.")
    on_blocked: list[StepForm] = Field(default_factory=list, description="Steps that read or notify.")
    when_resolved: Literal["finish", "cancel"] = Field("finish", description="When all alerts resolve while at work.")
    deadline: Span = Field(3600.0, description="The longest that a run may take, waiting for people aside.")
    priority: Annotated[str, AfterValidator(_priority)] = Field("P2", description="P0 to P3, or a template.")
    confidential: bool = Field(False, description="Its runs are shown in detail to operators only.")
    owner: Filled | None = Field(None, description="Who answers for it.")
    runbook: Annotated[str, AfterValidator(_web_page)] | None = Field(None, description="URL of the runbook.")
    labels: dict[str, str] = Field(default_factory=dict, description="Free metadata.")
    reviewed: Day | None = Field(None, description="When a person last went through it.")
    review_every: Span = Field(90 * 86_400.0, description="How often one should.")


def read_form(written: dict[str, Any]) -> tuple[RuleForm | None, list[Fault]]:
    """Give the form of a rule, and its faults; where there are errors of shape, the form is of what remains without them.

    So the rest of the rule can still be looked at, and its author sees everything in one go.
    """
    try:
        return RuleForm.model_validate(written), []
    except ValidationError as error:
        faults = faults_of(error, RuleForm, written)
    remaining = copy.deepcopy(written)
    for fault in faults:
        if fault.severity == "error":
            _leave_out(remaining, fault.path)
    for _ in range(_DEEP):  # what was left out may have been required: then what it stood in goes too, and no more
        try:
            return RuleForm.model_validate({"name": "x", "summary": "x", "target": "x", **remaining}), faults
        except ValidationError as error:
            for fault in faults_of(error, RuleForm, remaining):
                if fault.code != "missing-key":
                    _leave_out(remaining, fault.path)
                elif not _stand_in(remaining, fault.path):
                    _leave_out(remaining, _around(fault.path))
    return None, faults


def _stand_in(value: Any, path: Path) -> bool:
    """Put something in the place of what is missing in one item of a list, so that the others can still be looked at."""
    stand_ins = {"uses": LEFT_OUT, "steps": [{"uses": LEFT_OUT}], "id": f"_{path[-2]}" if len(path) > 1 else ""}
    if len(path) < 2 or not isinstance(path[-2], int) or path[-1] not in stand_ins:
        return False
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = stand_ins[str(path[-1])]
    return True


def _around(path: Path) -> Path:
    """Give the key that what is missing at a path was to stand under: in a list, that of the list."""
    return next((path[:length] for length in range(len(path) - 1, 0, -1) if isinstance(path[length - 1], str)), ())


def _leave_out(value: Any, path: Path) -> None:
    """Remove a key; items of lists stay, since the places of those behind them would change."""
    for step in path[:-1]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return
    if path and isinstance(value, dict):
        value.pop(path[-1], None)


class RuleFileForm(Form):
    """A file of rules."""

    model_config = ConfigDict(title="rule file")

    defaults: dict[str, Any] = Field(default_factory=dict, description="Merged under every rule of this file.")
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Defaults for `vars.*`; the configuration overrides."
    )
    rules: list[RuleForm] = Field(description="The rules.")


class RuleFileOutline(Form):
    """A file of rules, whose rules are looked at one by one."""

    defaults: dict[str, Any] = Field(default_factory=dict)
    vars: dict[str, Any] = Field(default_factory=dict)
    rules: list[dict[str, Any]]


def rules_schema() -> dict[str, Any]:
    """Give the JSON Schema of a rule file, for editors."""
    schema = schema_of(RuleFileForm)
    rule = schema["$defs"]["RuleForm"]
    rule["required"] = ["name"]  # anything else may come from `defaults`
    schema["properties"]["defaults"] |= {"properties": rule["properties"], "additionalProperties": False}
    return {**schema, "patternProperties": {"^x-": {"description": "A place for anchors; not read."}}}
