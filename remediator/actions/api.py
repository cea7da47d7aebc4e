"""What the actions that speak to a platform's API share: one request, and an answer that is JSON or an Outcome that says why not.

The meaning of the statuses is HTTP's own (RFC 9110, section 15; 429: RFC 6585). Where a platform means something else by
one, its action says so before it asks here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import msgspec

from remediator.actions.bounds import encoded_size, parse_json, visible
from remediator.actions.fetch import Answer, Call, fetch
from remediator.actions.protocol import MAX_RESULT_BYTES, Context, JsonValue, Outcome, Result
from remediator.errors import ConfigurationError
from remediator.model.time import Seconds

_ANSWER_LIMIT = 8 * 1024 * 1024  # bytes of an answer that are read: far above any that fits a result
_LONGEST_PAUSE: Seconds = 3600.0  # that a platform may ask for


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform, as one use of an action speaks to it. `of` makes it of the configuration."""

    name: str  # for messages: "Fly.io"
    url: str  # without a slash at its end
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # text that is to appear nowhere → what does


def secret_of(context: Context, section: str, key: str) -> tuple[str, str] | Outcome:
    """Give the value and the name of the secret that stands at `section.key` in the configuration, or say what is missing."""
    reference = (context.settings.get(section) or {}).get(key)
    if not reference:
        return Outcome(Result.NOT_SENT, error=f"{section}.{key} is not set: name a secret there, in the configuration")
    name = reference["secret"]
    try:
        value = context.secret(name)
    except KeyError:
        return Outcome(
            Result.NOT_SENT, error=f"there is no secret {name}, which {section}.{key} names: add it under `secrets`"
        )
    except ConfigurationError as error:
        return Outcome(Result.NOT_SENT, error=str(error))
    if not value or not value.isprintable() or not value.isascii():
        return Outcome(Result.NOT_SENT, error=f"the secret {name} fits no header: it is empty or has line ends")
    return value, name


def path(*parts: str) -> str:
    """Put a path together, every part of it encoded."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


async def ask(
    platform: Platform,
    method: str,
    where: str,
    context: Context,
    *,
    query: tuple[tuple[str, str], ...] = (),
    json: JsonValue = None,
) -> JsonValue | Outcome:
    """Ask for a path under the platform's URL, and give the answer as JSON (None where it is empty), or say why there is none.

    A body is sent where `json` is not None. A 429, and a 503 that says when to come back, mean that nothing was done
    (NOT_SENT); any other 4xx that the answer is no (REFUSED); 5xx, and what is no JSON, that nobody knows (ERROR).
    """
    body = None if json is None else msgspec.json.encode(json)
    call = Call(
        method, f"{platform.url}{where}", query=query, headers=platform.headers, body=body,
        kind=None if body is None else "application/json", limit=_ANSWER_LIMIT, secrets=platform.secrets,
    )  # fmt: skip
    answer = await fetch(call, context)
    if isinstance(answer, Outcome):
        return answer
    if not 200 <= answer.status < 300:
        return refusal(platform, f"{method} {where}", answer)
    if answer.truncated:
        return Outcome(
            Result.ERROR, error=f"{platform.name} answered {method} {where} with more than 8 MiB: ask for less"
        )
    if not answer.body.strip():
        return None
    value = parse_json(answer.body)
    if value is None:
        words = f"{platform.name} answered {method} {where} with what is no JSON: is its URL right?"
        return Outcome(Result.ERROR, error=visible(words, longest=300))
    return value


def refusal(platform: Platform, what: str, answer: Answer) -> Outcome:
    """Make an Outcome of an answer that is no success: what was asked, what came back, what to do."""
    said = _said(answer.body)
    words = f"{platform.name} answered {what} with {answer.status}" + (f": {said}" if said else "")
    advice = _ADVICE.get(answer.status, "")
    pause = retry_after(answer)
    kind = Result.REFUSED if answer.status < 500 else Result.ERROR
    if answer.status == 429 or (answer.status == 503 and pause is not None):
        kind = Result.NOT_SENT
        advice = f"it asks to be left alone for {pause:g} s" if pause is not None else "it asks to be asked less often"
    text = f"{words[:400]}; {advice}" if advice else words
    return Outcome(kind, {"status": answer.status}, visible(text, longest=500), retry_after=pause)


_ADVICE = {
    401: "the credential is wrong or has run out: renew the secret",
    403: "the credential may not do this: give it the right",
    404: "there is no such thing: is the name right?",
}


def retry_after(answer: Answer) -> Seconds | None:
    """Read the header Retry-After, seconds or a date (RFC 9110, 10.2.3); None where there is none that can be read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text[:9]), _LONGEST_PAUSE)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), _LONGEST_PAUSE)
    except (TypeError, ValueError):
        return None


def _said(body: str) -> str:
    """Give the sentence in an error's body: most platforms have one under one of these names."""
    value: Any = parse_json(body)
    if isinstance(value, dict):
        said = next((value[name] for name in ("error", "message", "detail") if value.get(name)), None)
        if isinstance(said, dict):
            said = said.get("message") or said
        parts = [part for part in (said, value.get("errors")) if part]
        if parts:
            return ": ".join(map(_in_words, parts))
    return next((line.strip() for line in body.split("\n") if line.strip()), "")


def _in_words(part: JsonValue) -> str:
    if isinstance(part, list):
        return ", ".join(map(_in_words, part))
    return part if isinstance(part, str) else msgspec.json.encode(part).decode()


def fitting(result: dict[str, JsonValue], what: str) -> Outcome:
    """Make an Outcome of a result; one that is more than a result may hold is an error, since no list is ever cut."""
    if encoded_size(result) <= MAX_RESULT_BYTES:
        return Outcome(Result.OK, result)
    return Outcome(
        Result.ERROR, error=f"{what} is more than a result may hold (64 KiB), and a list is never cut: ask for less"
    )
