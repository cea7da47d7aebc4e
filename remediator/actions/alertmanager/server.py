"""Alertmanager as its actions speak to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from remediator.actions.api import Platform, ask
from remediator.actions.bounds import encoded_size, visible
from remediator.actions.fetch import base_url
from remediator.actions.protocol import MAX_RESULT_BYTES, Context, JsonValue, Outcome, Result

T = TypeVar("T")


def server(context: Context) -> Platform | Outcome:
    """Give the Alertmanager of the configuration, or say that there is none."""
    url = base_url(context, "alertmanager")
    return url if isinstance(url, Outcome) else Platform("Alertmanager", url)


async def read(
    platform: Platform, where: str, context: Context, kind: type[T], query: Iterable[tuple[str, str]] = ()
) -> T | Outcome:
    """Ask for what has this form, or say why it can't be had."""
    answer = await ask(platform, "GET", where, context, query=tuple(query))
    if isinstance(answer, Outcome):
        return answer
    try:
        return msgspec.convert(answer, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        words = f"Alertmanager's answer is not in its own format ({error}): is alertmanager.url right?"
        return Outcome(Result.ERROR, error=visible(words, longest=300))


def listed(name: str, entries: Sequence[T], *forms: Callable[[T], dict[str, Any]]) -> Outcome:
    """Make a result of a list in the first form in which all of it fits; where none does that is an error."""
    for form in forms:
        result: dict[str, JsonValue] = {name: [form(entry) for entry in entries], "count": len(entries)}
        if encoded_size(result) <= MAX_RESULT_BYTES:
            return Outcome(Result.OK, result)
    words = f"more {name} match than a result may hold (64 KiB), and a list is never cut: match fewer"
    return Outcome(Result.ERROR, error=words)
