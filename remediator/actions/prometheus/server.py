"""Prometheus as its actions speak to it: one frame round every answer, and errors in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from remediator.actions.api import Platform, refusal
from remediator.actions.bounds import encoded_size, visible
from remediator.actions.fetch import Call, base_url, fetch
from remediator.actions.protocol import MAX_RESULT_BYTES, Context, JsonValue, Outcome, Result

T = TypeVar("T")

TOO_MUCH = "the query gives more than a result may hold (64 KiB): aggregate it, or select less"
_ANSWER_LIMIT = 8 * 1024 * 1024  # bytes of an answer that are read: far above any that fits a result


class Reply(msgspec.Struct, frozen=True):
    """What every path of the API answers (Prometheus, "HTTP API", "Format overview")."""

    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    warnings: list[str] = []


async def ask(context: Context, method: str, where: str, form: Mapping[str, str] | None = None) -> Reply | Outcome:
    """Ask, and give the answer in Prometheus's own frame, or say why there is none."""
    url = base_url(context, "prometheus")
    if isinstance(url, Outcome):
        return url
    body = None if form is None else urlencode(form).encode()
    kind = None if form is None else "application/x-www-form-urlencoded"
    answer = await fetch(Call(method, f"{url}{where}", body=body, kind=kind, limit=_ANSWER_LIMIT), context)
    if isinstance(answer, Outcome):
        return answer
    if not 200 <= answer.status < 300:
        return refusal(Platform("Prometheus", url), f"{method} {where.partition('?')[0]}", answer)
    if answer.truncated:
        return failure(TOO_MUCH)
    try:
        reply = msgspec.json.decode(answer.body, type=Reply)
    except (msgspec.DecodeError, RecursionError):
        return failure(f"Prometheus answered {answer.status}, and not in its own format: is prometheus.url right?")
    return reply if reply.status == "success" else failure(f"Prometheus answered with an error: {reply.error}")


def data_of(reply: Reply, read: Callable[[msgspec.Raw], T]) -> T | Outcome:
    """Read the data of a reply, or say what is wrong with it; `read` raises ValueError or DecodeError."""
    try:
        return read(reply.data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        return failure(f"Prometheus's answer can't be used: {error}")


def bounded(result: dict[str, JsonValue], too_much: str) -> Outcome:
    """Make an Outcome of a result; one that is more than a result may hold is an error, since nothing is ever cut."""
    return Outcome(Result.OK, result) if encoded_size(result) <= MAX_RESULT_BYTES else failure(too_much)


def failure(words: str) -> Outcome:
    """Say that nobody knows."""
    return Outcome(Result.ERROR, error=visible(words, longest=300))
