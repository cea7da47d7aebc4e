"""A fake Slack: channels, and the messages in them.

The shapes are those of Slack's published references (api.slack.com/methods/chat.postMessage and chat.update) and Swagger
document (github.com/slackapi/slack-api-specs): a form comes in, and a refusal has status 200 and `ok: false`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from fakes.fake import Fake

TOKEN = "xoxb-fake-slack-token"
CHANNEL = "C0123456789"
TS = "1503435956.000247"  # of the message that is there from the start
_FIELDS = {
    "chat.postMessage": {
        "channel", "text", "blocks", "attachments", "mrkdwn", "parse", "link_names", "unfurl_links", "unfurl_media",
        "thread_ts", "reply_broadcast", "username", "icon_emoji", "icon_url", "as_user",
    },
    "chat.update": {"channel", "ts", "text", "blocks", "attachments", "parse", "link_names", "as_user"},
}  # fmt: skip


class FakeSlack(Fake):
    """Slack with two channels that the app is in, one that it isn't, and one message of the app's in the first."""

    name = "slack"
    port = 9404

    def __init__(self) -> None:
        super().__init__()
        self.channels = {CHANNEL: "ops", "C0987654321": "web", "C0555555555": "private"}
        self.joined = {CHANNEL, "C0987654321"}
        self.messages: dict[tuple[str, str], dict[str, str]] = {}
        self.answers: list[dict[str, Any]] = []  # to what it did
        self.saying = ""  # an error that is given to everything, such as `internal_error`
        self.reset()

    def reset(self) -> None:
        """Make it as it was at the start."""
        self.saying = ""
        self.answers.clear()
        self.messages.clear()
        self.messages[CHANNEL, TS] = {"text": "Rolling back web"}

    @property
    def files(self) -> Mapping[str, str]:
        """Give the secrets."""
        return {"slack-token": TOKEN}

    @property
    def section(self) -> Mapping[str, Any]:
        """Lead here."""
        return {"token": {"secret": "slack-token"}, "channel": "#ops", "url": self.url}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the methods."""
        return [web.post("/chat.postMessage", self._post), web.post("/chat.update", self._update)]

    def error(self, status: int, message: str) -> web.Response:
        """Give an error in Slack's form."""
        word = "ratelimited" if status == 429 else "unknown_method" if status == 404 else message.replace(" ", "_")
        return web.json_response({"ok": False, "error": word}, status=status)

    async def _post(self, request: web.Request) -> web.Response:
        form = await self._form(request, "chat.postMessage")
        if isinstance(form, str):
            return _no(form)
        thread = form.get("thread_ts")
        channel = self._channel(form["channel"])
        if thread and (channel, thread) not in self.messages:
            return _no("thread_not_found")
        ts = f"{int(time.time())}.{len(self.messages):06d}"
        self.messages[channel, ts] = dict(form)
        message = {"type": "message", "subtype": "bot_message", "bot_id": "B012345", "text": form["text"], "ts": ts}
        return self._yes({"ok": True, "channel": channel, "ts": ts, "message": message})

    async def _update(self, request: web.Request) -> web.Response:
        form = await self._form(request, "chat.update")
        if isinstance(form, str):
            return _no(form)
        place = (form["channel"], form.get("ts", ""))
        if place not in self.messages:
            return _no("message_not_found")
        self.messages[place] = dict(form)
        said = {
            "ok": True,
            "channel": place[0],
            "ts": place[1],
            "text": form["text"],
            "message": {"text": form["text"]},
        }
        return self._yes(said)

    def _yes(self, said: dict[str, Any]) -> web.Response:
        self.answers.append(said)
        return web.json_response(said)

    def _channel(self, named: str) -> str:
        return next((own for own, name in self.channels.items() if named in {own, f"#{name}"}), "")

    async def _form(self, request: web.Request, method: str) -> Mapping[str, str] | str:
        """Give the form, or the error that Slack has for it."""
        if self.saying:
            return self.saying
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return "not_authed"
        if token != TOKEN:
            return "invalid_auth"
        if request.content_type != "application/x-www-form-urlencoded":
            return "invalid_post_type"
        form: dict[str, str] = {name: str(value) for name, value in (await request.post()).items()}
        if set(form) - _FIELDS[method]:
            return "invalid_arg_name"
        channel = self._channel(form.get("channel", ""))
        if not channel or (method == "chat.update" and form["channel"] not in self.channels):
            return "channel_not_found"
        if channel not in self.joined:
            return "not_in_channel"
        if not form.get("text"):
            return "no_text"
        return form if _fits(form) else "invalid_blocks"


def _no(word: str) -> web.Response:
    return web.json_response({"ok": False, "error": word})


def _fits(form: Mapping[str, str]) -> bool:
    """Tell whether the blocks are sections of text, each no longer than Slack takes."""
    try:
        blocks: Any = json.loads(form.get("blocks", "[]"))
        texts = [block["text"] for block in blocks if block["type"] == "section"]
        return len(texts) == len(blocks) and all(
            text["type"] in {"plain_text", "mrkdwn"} and 0 < len(text["text"]) <= 3000 for text in texts
        )
    except (ValueError, KeyError, TypeError):
        return False
