"""The section `http` of the configuration."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from remediator.forms.form import Form


def _private(text: str) -> str:
    """Check an entry of `http.private`: what looks like an address or a network has to be one."""
    if re.fullmatch(r"[0-9.*?]*|.*[:/].*", text):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no network, address or name: write it as in 10.0.0.0/8, 10.1.2.3 or *.internal"
            ) from None
    return text


class Http(Form):
    """Where `http.get` and `http.request` may go."""

    allow: list[str] = Field(
        default_factory=list,
        description="Patterns of hosts that a label may name; a host that the rule names itself needs none.",
    )
    private: list[Annotated[str, AfterValidator(_private)]] = Field(
        default_factory=list,
        description="Private addresses that may be asked: networks, addresses, or patterns of the names that lead there. "
        "An address that a rule writes itself, and `localhost`, need none.",
    )
