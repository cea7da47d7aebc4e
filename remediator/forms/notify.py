"""The section `notify` of the configuration."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from remediator.forms.section import SecretName, Section

CHANNEL_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _channel_name(text: str) -> str:
    if not re.fullmatch(CHANNEL_NAME, text):
        raise ValueError("a channel's name is 1 to 64 letters, digits, `.`, `_` and `-`, as in `oncall-mail`")
    return text


class Notify(Section):
    """Other ways to reach people: mail, chat, phones, by Apprise's URLs."""

    channels: dict[Annotated[str, AfterValidator(_channel_name)], SecretName] = Field(
        min_length=1, description="By the names that rules call them: each a secret that holds an Apprise URL."
    )
