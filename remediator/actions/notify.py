"""Other ways to reach people, by Apprise: mail, chat, phones, webhooks.

Apprise is imported, and works, in a thread: it blocks, and it is large (github.com/caronc/apprise, "Development API"). The
thread can't be ended. The step ends with its deadline all the same; what hangs is left behind, and so many may hang at once
and no more.

A text is sent as plain text. Some services look for mentions and links in that, too: these are broken by a space without
width. What a service that reads Markdown makes of asterisks is left to it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field

from remediator.actions.bounds import redact, visible
from remediator.actions.protocol import Action, Context, Effect, Gate, Grammar, Outcome, Parameters, Result
from remediator.errors import ConfigurationError
from remediator.forms.notify import CHANNEL_NAME
from remediator.model.time import Seconds

if TYPE_CHECKING:
    from apprise import AppriseResult, NotifyBase

_LONGEST_LOG = 20_000  # characters of what Apprise says that are looked through; an error shows the first few hundred
_MOST_AT_ONCE = 16  # threads, those included that nobody waits for any more

# Modules of Apprise's that show a message on this machine, and reach nobody elsewhere.
_LOCAL = {"blink1", "dbus", "glib", "gnome", "macosx", "syslog", "windows"}
_FOR_MACHINES = {"json", "jsons", "xml", "xmls", "form", "forms"}  # what a text holds takes no effect there

# What takes effect in a text of Discord, Mattermost, Rocket.Chat, Slack, Matrix, Telegram, Zulip or Google Chat: mentions, also
# of everybody, and links that hide where they lead. The `@` in a mail address does not.
_TAKES_EFFECT = re.compile(
    r"(?<![\w.%+-])@(?=[\w*])|@(?=everyone|here|(?:all|channel|room)(?!\.?[\w-]))"
    r"|!(?=channel|everyone|here|subteam)"
    r"|<[@!#](?=.)|<(?=users/)|\](?=\()",
    re.IGNORECASE,
)
_NO_WIDTH = "\u200b"

# How Apprise's plug-ins log an exception of `requests` or `socket`, and which say that no connection was made.
_EXCEPTION = "Socket Exception: "
_NOT_CONNECTED = re.compile(
    r"\[Errno (?:-\d+|111)\]|.*\(Caused by (?:NewConnectionError|NameResolutionError|ConnectTimeoutError)\(",
    re.DOTALL,
)


class SendParameters(Parameters):
    """Whom to tell what."""

    channel: Annotated[str, Grammar("the name of a channel, as under notify.channels", CHANNEL_NAME)] = Field(
        description="A name under `notify.channels` in the configuration."
    )
    body: Annotated[str, Gate.DISPLAY] = Field(min_length=1, description="The message, as plain text.")
    title: Annotated[str, Gate.DISPLAY] = Field(
        default="", description="Its title or subject; put before the message where a service has none."
    )
    type_: Literal["info", "success", "warning", "failure"] = Field(
        default="info", alias="type", description="What kind of message it is; some services show it by a colour."
    )


class NotifySend(Action[SendParameters]):
    """Send a message by one of the configured channels.

    A channel is a URL of Apprise's, held by a secret. The message is sent once: `retry` and `optional` of the URL have no
    effect. Services that only show something on the daemon's own machine are refused. The result has `channel` and
    `service`, Apprise's name for it.

    Example:
        - uses: notify.send
          with:
            channel: oncall
            title: '{{ rule.name }}'
            body: '{{ labels.app }} did not recover; see run {{ run.id }}'
            type: failure
    """

    name = "notify.send"
    effect = Effect.NOTIFY
    parameters = SendParameters
    section = "notify"

    def channel(self, params: SendParameters) -> str:
        """Name the channel: one that can't be reached holds up no other."""
        return f"notify.{params.channel}"

    def check(self, params: SendParameters, settings: Mapping[str, Any]) -> str | None:
        """Say that there is no such channel."""
        section = settings.get("notify")
        return None if section is None else _unknown(params.channel, section["channels"])

    def plan(self, params: SendParameters) -> str:
        """Quote the message."""
        words = ": ".join(filter(None, (params.title, params.body)))
        return visible(f"tell {params.channel}: {words}", longest=2000)

    async def run(self, params: SendParameters, context: Context) -> Outcome:
        """Send it, once."""
        url = _url(params.channel, context)
        if isinstance(url, Outcome):
            return url
        deliveries = context.resources.get("notify", _Deliveries, lambda made: None)
        delivery = await deliveries.within(
            context.deadline, partial(_deliver, url, visible(params.title), params.body, params.type_)
        )
        if delivery.kind is Result.OK:
            return Outcome(Result.OK, {"channel": params.channel, "service": delivery.words})
        doubt = "nothing was sent" if delivery.kind is Result.NOT_SENT else "the message may have been received"
        why = redact(delivery.words, _hidden(url))
        words = f"the channel {params.channel} of notify did not deliver, {doubt}: {why}"
        return Outcome(delivery.kind, error=visible(words, longest=500))


ACTIONS: tuple[Action[Any], ...] = (NotifySend(),)


def _unknown(channel: str, channels: Mapping[str, Any]) -> str | None:
    return None if channel in channels else f"there is no channel {channel} under notify.channels in the configuration"


def _url(channel: str, context: Context) -> str | Outcome:
    """Give a channel's URL."""
    section = context.settings.get("notify")
    if section is None:
        words: str | None = "notify.channels is not set: name a secret with a URL of Apprise's there"
    else:
        words = _unknown(channel, section["channels"])
    if section is None or words is not None:
        return Outcome(Result.NOT_SENT, error=words)
    name = section["channels"][channel]["secret"]
    try:
        url = context.secret(name).strip()
    except KeyError:
        words = f"there is no secret {name}, which notify.channels.{channel} names: add it under `secrets`"
    except ConfigurationError as error:
        words = str(error)
    else:
        if url:
            return url
        words = f"the secret {name}, which notify.channels.{channel} names, is empty"
    return Outcome(Result.NOT_SENT, error=words)


def _hidden(url: str) -> dict[str, str]:
    """Give what may not be shown of a URL: all of it, and every part, for with some services the host is the token."""
    parts = {url}
    with suppress(ValueError):
        split = urlsplit(url)
        cut = re.split("[/:@,]", f"{split.netloc}/{split.path}/{split.fragment}")
        values = [value for _, value in parse_qsl(split.query)]
        parts |= {part for part in (*cut, *values) if len(part) > 3} - {str(split.port)}
        parts |= {split.password} if split.password else set()
    parts |= {unquote(part) for part in parts}
    return dict.fromkeys(sorted(parts, key=len, reverse=True), "[…]")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What became of a message."""

    kind: Result
    words: str  # the service's name, or why not


class _Deliveries:
    """The threads in which messages are sent. They are daemonic: one that hangs keeps no process from ending."""

    def __init__(self) -> None:
        self._busy = 0

    async def within(self, deadline: Seconds, deliver: Callable[[], _Delivery]) -> _Delivery:
        """Deliver in a thread, and wait for it until the deadline."""
        if self._busy >= _MOST_AT_ONCE:
            return _Delivery(Result.NOT_SENT, f"{self._busy} other messages are under way, or hang")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Delivery] = loop.create_future()

        def settle(delivery: _Delivery) -> None:
            self._busy -= 1
            if not done.done():
                done.set_result(delivery)

        def work() -> None:
            delivery = _attempt(deliver)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, delivery)

        self._busy += 1
        threading.Thread(target=work, name="notify", daemon=True).start()
        try:
            async with asyncio.timeout_at(deadline):
                return await done
        except TimeoutError:
            return _Delivery(Result.ERROR, "no answer came in time, and it may yet be sent")


def _attempt(deliver: Callable[[], _Delivery]) -> _Delivery:
    try:
        return deliver()
    except Exception as error:  # noqa: BLE001 - a plug-in of Apprise's may raise anything
        return _Delivery(Result.ERROR, f"{type(error).__name__}: {error}")


def _deliver(url: str, title: str, body: str, kind: str) -> _Delivery:
    """Send one message, as far as this thread knows. What Apprise logs is heard here, and nowhere else: it tells URLs."""
    log = logging.getLogger("apprise")
    log.propagate = False
    log.setLevel(logging.DEBUG)
    import apprise  # noqa: PLC0415 - see the module's docstring

    asset = apprise.AppriseAsset(
        storage_mode=apprise.PersistentStoreMode.MEMORY, service_timeout=0, allow_templates=False,
        interpret_emojis=False, interpret_escapes=False, http_redirects=False,
    )  # fmt: skip
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        words = "its secret holds no URL that Apprise can use, or a library is missing for it"
        return _Delivery(Result.NOT_SENT, words)
    if type(service).__module__.rpartition(".")[2] in _LOCAL:
        return _Delivery(Result.NOT_SENT, f"{service.service_name} shows messages on this machine only")
    service.retry = 0
    service.optional = False  # it would make a success of every failure
    machine = url.partition(":")[0].lower() in _FOR_MACHINES
    title, body = (text if machine else _TAKES_EFFECT.sub(rf"\g<0>{_NO_WIDTH}", text) for text in (title, body))
    sent = apprise.Apprise(service, asset=asset).notify(
        body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT, log_level=logging.DEBUG
    )
    return _Delivery(Result.OK, str(service.service_name)) if sent else _failure(service, sent)


def _failure(service: NotifyBase, sent: AppriseResult) -> _Delivery:
    """Read in Apprise's log why a message was not delivered."""
    lines = [(entry.level, str(entry.message)) for entry in sent.logs()]
    exceptions = [line.removeprefix(_EXCEPTION) for _, line in lines if line.startswith(_EXCEPTION)]
    words = [*(line.rstrip(".") for level, line in lines if level in {"WARNING", "ERROR", "CRITICAL"}), *exceptions]
    said = "; ".join(dict.fromkeys(words))[:_LONGEST_LOG] or "Apprise does not say why"
    unconnected = len(exceptions) == 1 and _NOT_CONNECTED.match(exceptions[0]) is not None
    unsent = unconnected and len(service) == 1 and not any(line.startswith("Sent ") for _, line in lines)
    return _Delivery(Result.NOT_SENT if unsent else Result.ERROR, said)
