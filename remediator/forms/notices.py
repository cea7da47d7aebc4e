"""What the configuration says of the daemon's own notices, and of the report by the clock."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field

from remediator.forms.form import Form
from remediator.forms.guards import Filled, Span

NoticeKind: TypeAlias = Literal[
    "approval", "unknown", "breaker", "storm", "pause", "store", "rules", "revert_held", "report"
]


class SecondChannel(Form):
    """Whom to tell when a message could not be sent for a while."""

    after: Span = Field(300.0, description="How long a message may wait before.")
    to: list[dict[str, Any]] = Field(
        min_length=1, description="Steps that read or notify, by another way; `notice` is known as under `to`."
    )


class Notices(Form):
    """Where the daemon says what it has to say for itself."""

    to: list[dict[str, Any]] = Field(
        min_length=1,
        description="Steps that read or notify; `notice.text`, `.kind`, `.rule`, `.target`, `.url` are known.",
    )
    second: SecondChannel | None = Field(
        None, description="Told of messages that could not be sent, of rules too, for a while."
    )
    events: list[NoticeKind] | None = Field(None, description="Of which kinds. Default: all.")


class Report(Form):
    """The review of a night, by the clock."""

    schedule: Filled = Field(description="Five fields as cron reads them, or @daily.")
    timezone: Filled | None = Field(None, description="A zone such as Europe/Berlin. Default: UTC.")
    to: list[dict[str, Any]] | None = Field(None, description="Steps that read or notify. Default: those of `notices`.")
