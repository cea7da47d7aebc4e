"""The section `postgres` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.form import Form
from remediator.forms.guards import Filled
from remediator.forms.section import SecretName, Section


class Database(Form):
    """One database, as the actions `postgres.*` reach it."""

    url: Filled = Field(description="`postgresql://USER@HOST:PORT/DATABASE`, without a password.")
    password: SecretName | None = Field(None, description="The user's password.")


class Postgres(Section):
    """The databases that the actions `postgres.*` may reach, by the names that rules call them."""

    databases: dict[str, Database] = Field(min_length=1, description="By name.")
