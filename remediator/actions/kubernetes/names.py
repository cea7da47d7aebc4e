"""The grammars of Kubernetes: names, selectors, kinds.

Sources: "Object Names and IDs", "Labels and Selectors" and "Field Selectors" in the Kubernetes documentation (Concepts).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from remediator.actions.protocol import Grammar

_DNS_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_SUBDOMAIN = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"
_QUALIFIED = "[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"  # a label's value, and its key's last part
_KEY = rf"(?:{_SUBDOMAIN}/)?{_QUALIFIED}"
_SET = rf"\({_QUALIFIED}(?:, ?{_QUALIFIED})*\)"
_REQUIREMENT = rf"(?:{_KEY} ?(?:==?|!=) ?{_QUALIFIED}|{_KEY} (?:in|notin) {_SET}|!?{_KEY})"
_FIELD_VALUE = "[A-Za-z0-9](?:[A-Za-z0-9_.:/-]{0,251}[A-Za-z0-9])?"
_FIELD = rf"[A-Za-z][A-Za-z0-9.]{{0,100}}(?:==?|!=){_FIELD_VALUE}"

Name: TypeAlias = Annotated[str, Grammar("the name of an object in Kubernetes", _SUBDOMAIN), Field(max_length=253)]
Namespace: TypeAlias = Annotated[str, Grammar("a namespace of Kubernetes", _DNS_LABEL)]
Container: TypeAlias = Annotated[str, Grammar("the name of a container", _DNS_LABEL)]
Uid: TypeAlias = Annotated[str, Grammar("a uid of Kubernetes", "[0-9A-Za-z][0-9A-Za-z-]{0,63}")]
Selector: TypeAlias = Annotated[
    str, Grammar("a label selector of Kubernetes", rf"{_REQUIREMENT}(?:, ?{_REQUIREMENT})*", value=_QUALIFIED)
]
Fields: TypeAlias = Annotated[
    str,
    Grammar(
        "a field selector of Kubernetes", rf"{_FIELD}(?:,{_FIELD})*", value="[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
    ),
]
Image: TypeAlias = Annotated[
    str,
    Grammar(
        "a container image", "[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}(?:@sha256:[0-9a-f]{64})?", value="[A-Za-z0-9_.-]+"
    ),
]
EnvironmentName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
