"""A section of the configuration that says how to reach a platform. One file beside this has each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field

from remediator.forms.form import Form


class SecretName(Form):
    """`{secret: NAME}`."""

    secret: str = Field(description="A name under `secrets`.")


def _http_url(text: str) -> str:
    if not re.match(r"https?://[^\s/]", text):
        raise ValueError("expected a URL that begins with http:// or https://")
    return text.rstrip("/")


HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http_url)]


class Section(Form):
    """Base of the platforms' sections."""

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it, as JSON's types; paths in it are relative to the configuration's folder, `base`."""
        return self.model_dump()
