"""The section `heartbeat` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.form import Form
from remediator.forms.guards import Span
from remediator.forms.section import HttpUrl, SecretName


class HeartbeatForm(Form):
    """A dead man's switch elsewhere, which raises an alarm when it hears nothing of us."""

    url: HttpUrl | SecretName = Field(
        description="What is asked by GET, as healthchecks.io or Dead Man's Snitch want it; a secret where it must not be known."
    )
    every: Span = Field(60.0, description="How often; let the other end wait for twice as long, at least.")
