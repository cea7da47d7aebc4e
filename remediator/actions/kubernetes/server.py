"""The API server: one request, and its answer as an object of the API, or an Outcome that says why there is none.

Requests go the way of all the platforms' (`remediator.actions.http.fetch`): a total deadline, nothing sent twice, no secret
in what comes back. lightkube's own client can't promise that: it reads answers of any size to their end, sends again with
a new token after a 401, and knows neither preconditions of a deletion nor `previous` of a log. So lightkube reads the
kubeconfig, and speaks no word.

Sources: "Kubernetes API Concepts" and, for the answer that is no success, `Status` in the API reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from remediator.actions.api import Platform, refusal
from remediator.actions.bounds import parse_json, visible
from remediator.actions.fetch import Answer, Call, fetch
from remediator.actions.protocol import Context, JsonValue, Outcome, Result

if TYPE_CHECKING:
    from ssl import SSLContext

ANSWER_LIMIT = 8 * 1024 * 1024  # bytes of an answer that are read
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Query = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Platform):
    """The API server of a cluster, as one use of an action speaks to it."""

    context: Context = field(repr=False)
    tls: SSLContext | None = field(default=None, repr=False)


async def send(
    server: Server, method: str, where: str, *, query: Query = (), body: bytes = b"", kind: str = ""
) -> Answer | Outcome:
    """Make one request, and give whatever was answered."""
    call = Call(
        method, f"{server.url}{where}", query=query, headers=server.headers, body=body or None, kind=kind or None,
        limit=ANSWER_LIMIT, secrets=server.secrets, tls=server.tls,
    )  # fmt: skip
    return await fetch(call, server.context)


async def ask(
    server: Server,
    method: str,
    where: str,
    *,
    query: Query = (),
    json: JsonValue = None,
    kind: str = "application/json",
) -> dict[str, Any] | Outcome:
    """Make one request, and give the object that was answered."""
    body = b"" if json is None else msgspec.json.encode(json)
    answer = await send(server, method, where, query=query, body=body, kind=kind if body else "")
    if isinstance(answer, Outcome):
        return answer
    what = f"{method} {where}"
    if not 200 <= answer.status < 300:
        return refused(server, what, answer)
    if answer.truncated:
        return unread(f"the API server answered {what} with more than 8 MiB: ask for less")
    value = parse_json(answer.body)
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return unread(f"what answered {what} with {answer.status} is no Kubernetes: is the kubeconfig's server right?")
    return value


def refused(server: Server, what: str, answer: Answer) -> Outcome:
    """Make an Outcome of an answer that is no success."""
    outcome = refusal(server, what, answer)
    advice = _ADVICE.get(answer.status)
    if advice is None:
        return outcome
    status = parse_json(answer.body)
    said = status.get("message") if isinstance(status, dict) else None
    words = f"the API server answered {what} with {answer.status}" + (f": {said}"[:300] if said else "")
    return msgspec.structs.replace(outcome, error=visible(f"{words}; {advice}"))


_ADVICE = {
    401: "the token or certificate is wrong or has run out: renew the kubeconfig",
    403: "the service account or user may not do this: give it a Role that allows it",
    404: "there is no such object: are its name, namespace and kind right?",
    409: "it was changed or is there already: nothing was done; look at it, and try again",
    422: "the API server finds the request invalid: nothing was done; mend the rule",
}


def fit(answer: Any, kind: type[T], what: str) -> T | Outcome:
    """Give an answer as that type; one that is not so is an error, and never read as empty or zero."""
    if isinstance(answer, Outcome):
        return answer
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        return unread(f"{what} is not as Kubernetes writes it ({error}): nothing can be told from it")


def unread(words: str) -> Outcome:
    """Make an Outcome for what could not be read to its end."""
    return Outcome(Result.ERROR, error=visible(words, longest=500))


def no(words: str, **result: JsonValue) -> Outcome:
    """Make an Outcome for what was looked at and not done."""
    return Outcome(Result.REFUSED, result or None, visible(words, longest=500))
