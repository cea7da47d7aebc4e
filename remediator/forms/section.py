"""A section of the configuration that says how to reach a platform. One file beside this has each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from remediator.forms.form import Form, wrong_type


class SecretName(Form):
    """`{secret: NAME}`."""

    secret: str = Field(description="A name under `secrets`.")


def _http_url(text: str) -> str:
    if not re.match(r"https?://[^\s/]", text):
        raise ValueError("expected a URL that begins with http:// or https://")
    return text.rstrip("/")


HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http_url)]


def _size(value: object) -> object:
    if isinstance(value, str):
        read = re.fullmatch(r"([0-9]{1,12}) ?(KiB|MiB|GiB)", value, re.ASCII)
        if read is None:
            raise ValueError(f"{value!r} is not a size: write it as in `32MiB`, `64KiB`, or a number of bytes")
        return int(read[1]) * 1024 ** (("KiB", "MiB", "GiB").index(read[2]) + 1)
    if type(value) is not int:
        raise wrong_type("a size such as 32MiB")
    return value


Size: TypeAlias = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ ?[KMG]iB$"}]}),
]


class Section(Form):
    """Base of the platforms' sections."""

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it, as JSON's types; paths in it are relative to the configuration's folder, `base`."""
        return self.model_dump()
