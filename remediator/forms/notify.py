"""The section `notify` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.section import SecretName, Section


class Notify(Section):
    """Other ways to reach people: mail, chat, phones, by Apprise's URLs."""

    channels: dict[str, SecretName] = Field(
        min_length=1, description="By the names that rules call them: each a secret that holds an Apprise URL."
    )
