"""Slack's Web API: messages, and their later versions.

The shapes are those of api.slack.com/methods/chat.postMessage and chat.update, and of docs.slack.dev, "Formatting message
text". Bodies are forms, the answer is `{"ok": …}` with status 200, and only "too often" has a status of its own, 429.

A text is for reading and nothing else: `&`, `<` and `>` are escaped as Slack prescribes, so that no mention and no link can
begin in it; and it stands in a block of plain text, in which there is no markup, since an update, unlike a post, can't turn
that off for the text itself, which clients show in notices only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from pydantic import Field

from remediator.actions.api import Platform, fitting, refusal, retry_after, secret_of
from remediator.actions.bounds import parse_json, visible
from remediator.actions.fetch import Answer, Call, fetch
from remediator.actions.protocol import (
    Action,
    Context,
    Effect,
    Gate,
    Grammar,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)
from remediator.model.time import Seconds

_BLOCK = 3000  # characters that a block of text may have
_ANSWER_LIMIT = 1024 * 1024  # bytes of an answer that are read: it repeats the message
_ID = r"[CDG][A-Z0-9]{6,20}"

ChannelId = Annotated[str, Grammar("the id of a channel of Slack, such as C0123456789", _ID)]
_NAME = r"#(?:[a-z0-9_-]|[^\x00-\x9f])+"  # letters of other scripts may be in it; which names there are Slack knows
Channel = Annotated[
    str,
    Grammar("a channel of Slack, as #name or by its id such as C0123456789", f"{_NAME}|{_ID}"),
]
Timestamp = Annotated[
    str, Grammar("the time of a message of Slack, such as '1503435956.000247'", r"[0-9]{1,12}\.[0-9]{1,8}")
]
_TEXT = "What it says: no markup, and nobody is mentioned; beyond 3,000 characters it is cut, with a mark."


class PostParameters(Parameters):
    """What to say, and where."""

    text: Annotated[str, Gate.DISPLAY] = Field(min_length=1, description=_TEXT)
    channel: Channel | None = Field(
        default=None, description="Where: `#name` or an id. Default: `slack.channel` of the configuration."
    )
    thread_ts: Timestamp | None = Field(default=None, description="The `ts` of a message: this one is a reply to it.")


class UpdateParameters(Parameters):
    """Which message is to say what."""

    channel: ChannelId = Field(description="The `channel` that `slack.post` gave: an id, for names are not taken.")
    ts: Timestamp = Field(description="The `ts` that `slack.post` gave.")
    text: Annotated[str, Gate.DISPLAY] = Field(min_length=1, description=_TEXT)


class SlackPost(Action[PostParameters]):
    """Post a message to a channel of Slack.

    The result has `channel` (its id) and `ts`, which together name the message: `slack.update` takes both, so that one
    message tells how a run goes on, and `thread_ts` takes the second. The app must be in the channel.

    Example:
        - id: said
          uses: slack.post
          with: {channel: '#ops', text: 'Rolling back {{ labels.app }} ({{ rule.name }}, run {{ run.id }})'}
    """

    name = "slack.post"
    effect = Effect.NOTIFY
    parameters = PostParameters
    section = "slack"

    def check(self, params: PostParameters, settings: Mapping[str, Any]) -> str | None:
        """Say that a channel has to be named in one of two places."""
        section = settings.get("slack")
        if params.channel is None and section is not None and not section.get("channel"):
            return "give `channel`, or set `slack.channel` in the configuration"
        return None

    def plan(self, params: PostParameters) -> str:
        """Quote the text."""
        where = params.channel or "the default channel"
        thread = f", in the thread of {params.thread_ts}" if params.thread_ts else ""
        return visible(f"post to {where} on Slack{thread}: {params.text}", longest=2000)

    async def run(self, params: PostParameters, context: Context) -> Outcome:
        """Post it, once."""
        channel = params.channel or (context.settings.get("slack") or {}).get("channel")
        if not channel and context.settings.get("slack"):
            return Outcome(Result.NOT_SENT, error="no channel is named: give `channel`, or set slack.channel")
        form = {
            "channel": channel or "", **_words(params.text), "mrkdwn": "false", "unfurl_links": "false",
            "unfurl_media": "false", **({"thread_ts": params.thread_ts} if params.thread_ts else {}),
        }  # fmt: skip
        return await _call("chat.postMessage", form, f"post to {channel}", context)


class SlackUpdate(Action[UpdateParameters]):
    """Give a message of Slack another text: one message that is kept up to date.

    `channel` and `ts` are those of the result of the `slack.post` that posted it, as in `ts: '{{ steps.said.result.ts }}'`;
    the app can change its own messages only. The result has them again.

    Example:
        - id: said
          uses: slack.post
          with: {text: 'Rolling {{ labels.app }} back'}
        - uses: slack.update
          with:
            channel: '{{ steps.said.result.channel }}'
            ts: '{{ steps.said.result.ts }}'
            text: '{{ labels.app }} is back on its last release'
    """

    name = "slack.update"
    effect = Effect.NOTIFY
    parameters = UpdateParameters
    section = "slack"

    def idempotent(self, params: UpdateParameters) -> bool:
        """Tell that a message which is given the same text twice has that text."""
        return True

    def plan(self, params: UpdateParameters) -> str:
        """Quote the text."""
        return visible(f"change the message {params.ts} in {params.channel} on Slack to: {params.text}", longest=2000)

    async def run(self, params: UpdateParameters, context: Context) -> Outcome:
        """Change it."""
        form = {"channel": params.channel, "ts": params.ts, **_words(params.text)}
        return await _call("chat.update", form, f"change the message {params.ts} in {params.channel}", context)


ACTIONS: tuple[Action[Any], ...] = (SlackPost(), SlackUpdate())

# What Slack's errors mean. Most say that it refused; these say that it did not look, or did not come to its end.
_TOO_OFTEN = {"ratelimited", "rate_limited"}
_UNSURE = {"internal_error", "fatal_error", "service_unavailable"}
_RENEW = "renew the secret that slack.token names"
_ADVICE = {
    "invalid_auth": _RENEW, "not_authed": _RENEW, "token_revoked": _RENEW, "token_expired": _RENEW,
    "account_inactive": _RENEW, "missing_scope": "give the app the scope chat:write, and install it again",
    "channel_not_found": "is the name right, and is the app in the channel? Invite it if that is private",
    "not_in_channel": "invite the app to the channel", "is_archived": "name another channel, this one is archived",
    "message_not_found": "is `ts` right, or has somebody deleted the message?",
    "cant_update_message": "the app can change its own messages only",
    "edit_window_closed": "the workspace lets no message be changed after so long: post a new one",
    "restricted_action": "the workspace does not let the app post there: ask who administers it",
}  # fmt: skip


def _words(text: str) -> dict[str, str]:
    """Give a text as the fields of a message in which nothing but the text takes effect."""
    shown = _escaped(text)
    block = {"type": "section", "text": {"type": "plain_text", "text": shown, "emoji": False}}
    return {"text": shown, "blocks": msgspec.json.encode([block]).decode(), "parse": "none", "link_names": "false"}


def _escaped(text: str) -> str:
    """Escape a text as Slack prescribes, and cut it to what a block may have, never inside an escape."""
    whole = text.translate(_ESCAPES)
    if len(whole) <= _BLOCK:
        return whole
    short = whole[: _BLOCK - 1]
    ampersand = short.rfind("&")
    return f"{short[:ampersand] if ampersand >= 0 and ';' not in short[ampersand:] else short}…"


_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


async def _call(method: str, form: Mapping[str, str], what: str, context: Context) -> Outcome:
    secret = secret_of(context, "slack", "token")
    if isinstance(secret, Outcome):
        return secret
    token, name = secret
    platform = Platform(
        "Slack", context.settings["slack"]["url"], {"Authorization": f"Bearer {token}"}, {token: f"[secret {name}]"}
    )
    call = Call(
        "POST", f"{platform.url}/{method}", headers=platform.headers, body=urlencode(form).encode(),
        kind="application/x-www-form-urlencoded; charset=utf-8", limit=_ANSWER_LIMIT, secrets=platform.secrets,
    )  # fmt: skip
    answer = await fetch(call, context)
    if isinstance(answer, Outcome):
        return answer
    if not 200 <= answer.status < 300:
        return refusal(platform, method, answer)
    return _outcome(answer, what)


def _outcome(answer: Answer, what: str) -> Outcome:
    said = parse_json(answer.body)
    if not isinstance(said, dict) or not isinstance(said.get("ok"), bool):
        return _error(
            Result.ERROR, f"Slack answered the request to {what} with what is not its own: is slack.url right?"
        )
    if not said["ok"]:
        return _refused(str(said.get("error") or "no reason"), what, retry_after(answer))
    channel, ts = said.get("channel"), said.get("ts")
    if not isinstance(channel, str) or not isinstance(ts, str) or not channel or not ts:
        return _error(Result.ERROR, f"Slack says that it did {what}, and not which message that is")
    result: dict[str, JsonValue] = {"channel": channel, "ts": ts}
    return fitting(result, "Slack's answer")


def _refused(error: str, what: str, pause: Seconds | None) -> Outcome:
    if error in _TOO_OFTEN:
        words = f"Slack did not {what}: {error}; it asks to be asked less often"
        return Outcome(Result.NOT_SENT, error=visible(words, longest=400), retry_after=pause)
    if error in _UNSURE:
        return _error(
            Result.ERROR, f"Slack may or may not have done what was asked ({what}): {error}; look at the channel"
        )
    advice = _ADVICE.get(error)
    return _error(Result.REFUSED, f"Slack refused to {what}: {error}" + (f"; {advice}" if advice else ""))


def _error(kind: Result, words: str) -> Outcome:
    return Outcome(kind, error=visible(words, longest=400))
