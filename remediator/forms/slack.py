"""The section `slack` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.guards import Filled
from remediator.forms.section import HttpUrl, SecretName, Section


class Slack(Section):
    """Slack, and in whose name messages are posted."""

    token: SecretName = Field(description="A bot token with the scope `chat:write`.")
    channel: Filled | None = Field(None, description="Where messages go that name no channel.")
    url: HttpUrl = Field("https://slack.com/api", description="The Web API.")
