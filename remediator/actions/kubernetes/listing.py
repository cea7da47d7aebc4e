"""Lists of objects, whole or not at all: half a population is none (promise P5)."""

from __future__ import annotations

from typing import Any, TypeVar

from remediator.actions.kubernetes.kinds import Kind
from remediator.actions.kubernetes.objects import Meta, Object
from remediator.actions.kubernetes.server import Query, Server, ask, fit, unread
from remediator.actions.protocol import Outcome

_MOST = 1000  # objects that one answer may hold

T = TypeVar("T")


class _List(Object, frozen=True):
    items: list[dict[str, Any]]
    metadata: Meta


async def raw_list(
    server: Server, kind: Kind, namespace: str | None, *, selector: str = "", fields: str = ""
) -> list[dict[str, Any]] | Outcome:
    """Give the objects of a kind that match, as they are; more than 1000 are an error."""
    narrowed = {"labelSelector": selector, "fieldSelector": fields}
    query: Query = (*((key, text) for key, text in narrowed.items() if text), ("limit", str(_MOST)))
    answer = await ask(server, "GET", kind.where(namespace), query=query)
    found = fit(answer, _List, f"the list of {kind.plural}")
    if isinstance(found, Outcome):
        return found
    if found.metadata.continue_:
        return unread(f"there are more than {_MOST} {kind.plural}, and a list is never cut: narrow it by a selector")
    return found.items


async def list_of(
    server: Server,
    kind: Kind,
    namespace: str | None,
    of: type[T],
    *,
    selector: str = "",
    fields: str = "",
) -> list[T] | Outcome:
    """Give the objects of a kind that match, as a type."""
    found = await raw_list(server, kind, namespace, selector=selector, fields=fields)
    return found if isinstance(found, Outcome) else fit(found, list[of], f"the list of {kind.plural}")  # type: ignore[valid-type]
