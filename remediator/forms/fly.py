"""The section `fly` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.section import HttpUrl, SecretName, Section


class Fly(Section):
    """Fly.io, and in whose name it is asked."""

    token: SecretName = Field(description="A token that may read and change the apps: `fly tokens create`.")
    url: HttpUrl = Field("https://api.machines.dev", description="The Machines API.")
    api_url: HttpUrl = Field("https://api.fly.io", description="GraphQL, and the logs.")
