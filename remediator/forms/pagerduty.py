"""The section `pagerduty` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.section import HttpUrl, SecretName, Section


class PagerDuty(Section):
    """PagerDuty: where events go, and in whose name incidents are read."""

    routing_key: SecretName = Field(description="The integration key of a service (Events API v2).")
    token: SecretName | None = Field(None, description="A REST API key that may read: `pagerduty.incident` needs it.")
    events_url: HttpUrl = Field("https://events.pagerduty.com", description="The Events API.")
    api_url: HttpUrl = Field("https://api.pagerduty.com", description="The REST API.")
