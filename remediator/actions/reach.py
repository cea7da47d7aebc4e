"""Which addresses a request of a rule may reach: public ones, what its author wrote as an address, what `http.private` names.

A name says nothing of where it leads: whoever writes its records can let it lead to this machine, to a neighbour, or to
the cloud's own service that hands out credentials. So what is judged is the address that is connected to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Where clouds hand out credentials to whoever asks from inside, as their manuals say: AWS (instances, ECS, EKS), Google,
# Azure (IMDS and WireServer), Alibaba, Oracle. Most share 169.254.169.254.
_CREDENTIALS = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
            "168.63.129.16", "100.100.100.200", "192.0.0.192",
        ),
    )
)  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: its last 32 bits are the IPv4 address that is reached


@dataclass(frozen=True, slots=True)
class Reach:
    """What the configuration's section `http` says of hosts and addresses."""

    allow: tuple[str, ...] = ()  # patterns of hosts that a label may name
    private: tuple[str, ...] = ()  # hosts, addresses and networks that may be reached though they are private

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Reach:
        """Make it of the configuration's sections."""
        section = settings.get("http") or {}
        return cls(tuple(section.get("allow") or ()), tuple(section.get("private") or ()))

    def refuses(self, host: str, address: str) -> str | None:
        """Say why an address to which a host leads may not be reached, and what to do; None where it may."""
        host = host.lower().rstrip(".")
        found = _address(address)
        if found is None:
            return f"{host} leads to {address}, which is no address"
        networks, names = _sorted_out(self.private)
        if found in _CREDENTIALS:
            if any(network.num_addresses == 1 and found in network for network in networks):
                return None
            return (
                f"{host} leads to {found}, where a cloud hands out credentials: "
                "it is reached only if exactly this address stands in http.private"
            )
        if _is_public(found) or any(found in network for network in networks):
            return None
        if any(fnmatchcase(host, name) for name in names) or self._is_the_authors(host, found):
            return None
        at = "is a private address" if _address(host) == found else f"leads to the private address {found}"
        return f"{host} {at}: if it may be reached, add it to http.private in the configuration"

    def refuses_literal(self, host: str | None) -> str | None:
        """Say why a host that is itself an address may not be reached; None where it may, or is a name."""
        return None if host is None or _address(host) is None else self.refuses(host, host)

    def permitted(self, host: str, addresses: Sequence[str]) -> frozenset[str]:
        """Give those of a name's addresses that may be reached. Raises OSError where none of them may."""
        reasons = {address: self.refuses(host, address) for address in addresses}
        may = frozenset(address for address, why in reasons.items() if why is None)
        if not may and reasons:
            raise OSError(next(filter(None, reasons.values())))
        return may

    def _is_the_authors(self, host: str, address: Address) -> bool:
        """Tell whether nobody but the rule's author can have written this host, and it leads where it says.

        A host that `http.allow` has a pattern for may have come from a label.
        """
        says = _address(host) == address or (host == "localhost" and address.is_loopback)
        return says and not any(fnmatchcase(host, pattern.lower()) for pattern in self.allow)


@lru_cache(maxsize=64)
def _sorted_out(entries: tuple[str, ...]) -> tuple[tuple[Network, ...], tuple[str, ...]]:
    """Give the networks among the entries, an address being a network of one, and the patterns of names."""
    networks: list[Network] = []
    names: list[str] = []
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            names.append(entry.lower().rstrip("."))
    return tuple(networks), tuple(names)


def _address(text: str) -> Address | None:
    """Read an address, None where it is none. One that only wraps an IPv4 address is that address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_public(address: Address) -> bool:
    """Tell whether it is an address of one host on the public internet."""
    odd = address.is_multicast or address.is_reserved or (address.version == 6 and address.is_site_local)
    return address.is_global and not odd
