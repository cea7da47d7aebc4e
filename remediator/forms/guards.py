"""What a rule and the configuration say alike: modes by window, and the guards that may stand in either."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic import model_validator as check_whole

from remediator.forms.form import SPAN_PATTERN, Duration, Form

ModeWord: TypeAlias = Literal["off", "dry-run", "approve", "auto"]
Span: TypeAlias = Annotated[Duration, Field(gt=0), WithJsonSchema({"type": "string", "pattern": SPAN_PATTERN})]
Count: TypeAlias = Annotated[int, Field(ge=1)]


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("this text is empty")
    return text


Filled: TypeAlias = Annotated[str, AfterValidator(_filled), WithJsonSchema({"type": "string", "minLength": 1})]


class ModeEntryForm(Form):
    """A mode, and the window in which it holds."""

    model_config = ConfigDict(title="mode")

    during: Filled | None = Field(None, description="A name under `windows` in the configuration. Without it: always.")
    mode: ModeWord


class BlastRadiusForm(Form):
    """How many targets may be touched."""

    targets: Count | None = Field(None, description="Distinct targets in the span.")
    fraction: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Of the population.")
    of: Filled | None = Field(None, description="Expression that gives the population: a list, or its size.")
    per: Span = Field(description="The span.")

    @check_whole(mode="after")
    def _bounds_something(self) -> BlastRadiusForm:
        if (self.fraction is None) != (self.of is None):
            raise ValueError("`fraction` and `of` go together")
        if self.targets is None and self.fraction is None:
            raise ValueError("give `targets`, or `fraction` and `of`")
        return self


class BreakerForm(Form):
    """After how many failures what it guards is stopped."""

    failures: Count = Field(description="Runs that ended `failed` or `unknown` in the span.")
    per: Span = Field(description="The span.")
    reset: Literal["manual"] | Span = Field(description="When it closes again; `manual`: when a person says so.")


class StormForm(Form):
    """How many alerts at once are no rule's to mend."""

    alerts: Count = Field(200, description="More distinct alerts than that begin to fire in the span.")
    per: Span = Field(60.0, description="The span.")
    hold: Duration = Field(600.0, description="Nothing is admitted for so long after it has passed.")
