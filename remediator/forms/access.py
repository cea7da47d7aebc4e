"""What the configuration says of people: who may ask the daemon, what they may do, and which proxy vouches for them."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from remediator.forms.form import Form, wrong_type

LOCAL_NAME = "local"  # of the holder of the local token
RESERVED_NAMES = frozenset({LOCAL_NAME, "remediator"})  # the other is the daemon itself


def person_name(text: str) -> str:
    """Give a person's name as it was written. Raises ValueError with a sentence for one that nobody may have."""
    if not text.isprintable() or text != text.strip() or not 0 < len(text) <= 128:
        raise ValueError("a person's name is 1 to 128 characters that can be printed, with no space around them")
    if text in RESERVED_NAMES:
        raise ValueError(f"`{text}` is a name that the daemon uses itself: take another")
    return text


def _token_hash(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise ValueError("expected the SHA-256 of a token, 64 hexadecimal digits: `remediator token NAME` makes both")
    return text.lower()


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", text):
        raise ValueError(f"{text!r} is not the name of a header: write it as in `X-Forwarded-User`")
    return text


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise wrong_type("an address or a network such as 10.0.0.0/8")
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}: write it as in `10.0.0.5`, `10.0.0.0/8` or `fd00::/8`") from None
    if network.prefixlen == 0:
        raise ValueError(f"{value} is every address: anyone could say who they are")
    return network


PersonName: TypeAlias = Annotated[str, AfterValidator(person_name)]
RoleWord: TypeAlias = Literal["viewer", "operator", "admin"]
Network: TypeAlias = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network), WithJsonSchema({"type": "string"})
]


class User(Form):
    """What one person may do, and how they prove who they are."""

    role: RoleWord = Field(description="`viewer` looks, `operator` acts too, `admin` may do everything.")
    token: Annotated[str, AfterValidator(_token_hash)] | None = Field(
        None,
        description="The SHA-256 of the person's token: `remediator token NAME` makes both. Without it: by `proxy`.",
    )


class Proxy(Form):
    """A proxy that knows who asks, and is believed."""

    header: Annotated[str, AfterValidator(_header)] = Field(
        description="The header in which the proxy names the person; it must take away one that was sent to it."
    )
    addresses: list[Network] = Field(min_length=1, description="The proxy's addresses; from others nobody is believed.")
    role: RoleWord = Field("viewer", description="Of people who come by the proxy and are not under `users`.")


class Access(Form):
    """Who may ask the daemon beside its own user, and what."""

    users: dict[PersonName, User] = Field(default_factory=dict, description="People, each with a token of their own.")
    proxy: Proxy | None = None

    @property
    def operators(self) -> frozenset[str] | None:
        """Give the names of those who may act, the holder of the local token aside; None: a proxy may bring anyone."""
        if self.proxy is not None and self.proxy.role != "viewer":
            return None
        known = {name: user for name, user in self.users.items() if user.token is not None or self.proxy is not None}
        return frozenset(name for name, user in known.items() if user.role != "viewer")
