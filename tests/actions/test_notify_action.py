"""`notify.send` by the real Apprise, to servers on the loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, suppress
from email import message_from_bytes
from email.policy import default as default_policy
from typing import Any

import pytest
from aiohttp import web
from fakes.fake import Fault
from fakes.notify import PASSWORD, FakeInbox
from pydantic import ValidationError

from remediator.actions.notify import NotifySend, SendParameters
from remediator.actions.protocol import Outcome, Result
from remediator.errors import ConfigurationError


@pytest.fixture(autouse=True)
def apprise() -> None:
    """Have Apprise loaded: it imports a module of Python's that is deprecated, which is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")


@pytest.fixture
async def inbox() -> AsyncIterator[FakeInbox]:
    """Start a fake inbox."""
    async with FakeInbox() as made:
        yield made  # type: ignore[misc]


def sections(*channels: str) -> dict[str, Any]:
    """Give the configuration, with a secret `NAME_url` for each channel."""
    return {"notify": {"channels": {name: {"secret": f"{name}_url"} for name in channels}}}


@pytest.fixture
def send(context):
    """Send to a channel that is one URL."""

    async def go(url: str, seconds: float = 10.0, **given: Any) -> Outcome:
        params = SendParameters.model_validate({"channel": "oncall", "body": "It is down", **given})
        return await NotifySend().run(params, context(sections("oncall"), {"oncall_url": url}, seconds))

    return go


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[Callable[..., Awaitable[None]]], Awaitable[int]]]:
    """Start servers that do with a connection as they like; gives the port."""
    servers, tasks = [], []

    async def start(answer: Callable[..., Awaitable[None]]) -> int:
        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            with closing(writer), suppress(ConnectionError):
                await answer(reader, writer)

        servers.append(await asyncio.start_server(serve_one, "127.0.0.1"))
        return servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def free_port() -> Iterator[int]:
    """Give a port where nobody listens, and nobody else will."""
    with closing(socket.socket()) as place:
        place.bind(("127.0.0.1", 0))
        yield place.getsockname()[1]


async def test_a_message_arrives_as_it_was_written(send, inbox) -> None:
    """Its title, its text with line ends, and its kind; nothing is read into it."""
    body = "web & <b>db</b>\n*down* :fire: {{ x }} ${HOME} \\n @here"
    outcome = await send(inbox.channel, title="mend-web", body=body, type="failure")
    assert (outcome.kind, outcome.result) == (Result.OK, {"channel": "oncall", "service": "JSON"})
    (message,) = inbox.messages
    assert message == {"version": "1.0", "title": "mend-web", "message": body, "type": "failure", "attachments": []}


async def test_each_channel_has_its_own_url(context, inbox) -> None:
    """The one that is named gets the message."""
    made = context(sections("a", "b"), {"a_url": "json://127.0.0.1:1/", "b_url": f" {inbox.channel}\n"})
    outcome = await NotifySend().run(SendParameters(channel="b", body="x"), made)
    assert outcome.ok
    assert len(inbox.messages) == 1


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("ask @here", "ask @\u200bhere"),
        ("@everyone", "@\u200beveryone"),
        ("x@everyone", "x@\u200beveryone"),
        ("<!channel>", "<!\u200bchannel>"),
        ("!channel>", "!\u200bchannel>"),
        ("<@U012> <@&34> <#C56>", "<@\u200bU012> <@\u200b&34> <#\u200bC56>"),
        ("@**all**", "@\u200b**all**"),
        ("<users/all>", "<\u200busers/all>"),
        ("[log in](https://evil.example)", "[log in]\u200b(https://evil.example)"),
        ("x@all, y@room.", "x@\u200ball, y@\u200broom."),
        ("mail ops@example.com or ops@all.example.com", "mail ops@example.com or ops@all.example.com"),
        ("a < b, c[1] (d) 3 @ 4!", "a < b, c[1] (d) 3 @ 4!"),
    ],
)
@pytest.mark.fault("CR/LF")
async def test_p10_nobody_is_mentioned_in_a_chat(send, serve, text: str, arrives: str) -> None:
    """Mattermost's plug-in passes a text on as it is, so what would take effect is broken; mail addresses are not."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(json.loads(await request.text())["text"])
        return web.Response(text="ok")

    place = (await serve(handler)).partition("//")[2]
    assert (await send(f"mmost://{place}/3ccdd113474722377935511fc85d3dd4", body=text)).ok
    assert seen == [arrives]


async def test_a_mail_arrives(send, raw) -> None:
    """At a server that speaks SMTP; no title makes a header of its own."""
    mails = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := (await reader.readline()).upper():
            writer.write(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 fine\r\n")
            if line == b"DATA\r\n":
                mails.append(message_from_bytes((await reader.readuntil(b"\r\n.\r\n"))[:-3], policy=default_policy))
                writer.write(b"250 taken\r\n")
            if line == b"QUIT\r\n":
                return

    url = f"mailto://127.0.0.1:{await raw(take)}/?from=remediator@example.com&to=ops@example.com&format=text"
    outcome = await send(
        url, title="mend-web\r\nBcc: evil@evil.example", body="<b>web</b> is down\n@here: ops@example.com"
    )
    assert outcome.ok, outcome.error
    (mail,) = mails
    assert mail["Subject"] == "mend-web\\r\\nBcc: evil@evil.example"
    assert (mail["To"], mail["Bcc"]) == ("ops@example.com", None)
    text = mail.get_body(("plain",)).get_content()
    assert text.splitlines()[:2] == ["<b>web</b> is down", "@\u200bhere: ops@example.com"]


@pytest.mark.parametrize("url", ["json://127.0.0.1:{}/", "mailto://127.0.0.1:{}/?from=a@example.com&to=b@example.com"])
async def test_where_nobody_listens_nothing_was_sent(send, free_port, url: str) -> None:
    """So it may be tried again."""
    outcome = await send(url.format(free_port))
    assert outcome.kind is Result.NOT_SENT
    assert "nothing was sent" in outcome.error
    assert "Connection refused" in outcome.error


async def test_a_name_that_is_none_was_sent_nothing(send) -> None:
    """No address is found for it."""
    outcome = await send("json://no-such-host.invalid/")
    assert outcome.kind is Result.NOT_SENT


async def test_a_connection_that_is_cut_leaves_doubt(send, raw) -> None:
    """It may have been received."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    outcome = await send(f"json://127.0.0.1:{await raw(cut)}/")
    assert outcome.kind is Result.ERROR
    assert "may have been received" in outcome.error


@pytest.mark.parametrize("drip", [False, True])
async def test_the_deadline_is_kept_though_apprise_hangs(send, raw, drip: bool) -> None:
    """Whether the other end is silent or says a byte now and then; the thread stays behind, and holds up no process."""
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" if drip else b"")
        while not ended.is_set():
            writer.write(b" " if drip else b"")
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.05)

    began = time.monotonic()
    outcome = await send(f"json://127.0.0.1:{await raw(hang)}/", seconds=0.5)
    assert 0.4 < time.monotonic() - began < 1.5
    assert outcome.kind is Result.ERROR
    assert "no answer came in time, and it may yet be sent" in outcome.error
    left = [thread for thread in threading.enumerate() if thread.name == "notify"]
    assert left
    assert all(thread.daemon for thread in left)
    ended.set()
    await asyncio.to_thread(lambda: [thread.join(10) for thread in left])
    assert not any(thread.is_alive() for thread in left)


async def test_p16_so_many_hang_and_no_more(context, raw) -> None:
    """The next is kept for later; when the others have ended there is room again."""
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await ended.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    made = context(sections("oncall"), {"oncall_url": f"json://127.0.0.1:{await raw(hang)}/?rto=30"}, 30.0)
    params = SendParameters(channel="oncall", body="x")
    under_way = [asyncio.create_task(NotifySend().run(params, made)) for _ in range(16)]
    await asyncio.sleep(0)
    one_more = await NotifySend().run(params, made)
    assert one_more.kind is Result.NOT_SENT
    assert "16 other messages are under way" in one_more.error
    ended.set()
    assert all(outcome.ok for outcome in await asyncio.gather(*under_way))
    assert (await NotifySend().run(params, made)).ok


async def test_a_refusal_is_told_with_its_status(send, inbox) -> None:
    """As Apprise words it."""
    inbox.faults.append(Fault("status", 500))
    outcome = await send(inbox.channel)
    assert outcome.kind is Result.ERROR
    assert "error=500" in outcome.error


@pytest.mark.parametrize("extra", ["?retry=3&wait=0", "?optional=yes", "?overflow=split"])
async def test_p2_a_message_is_sent_once(send, inbox, extra: str) -> None:
    """Whatever the URL asks for, and a failure stays one."""
    inbox.faults.append(Fault("status", 503))
    outcome = await send(inbox.channel + extra)
    assert outcome.kind is Result.ERROR
    assert len(inbox.seen) == 1


async def test_a_redirect_is_not_followed(send, serve, inbox) -> None:
    """It leads where nobody has said that the message may go."""

    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{inbox.url}/inbox")

    outcome = await send(f"json://{(await serve(handler)).partition('//')[2]}/")
    assert outcome.kind is Result.ERROR
    assert inbox.seen == []


async def test_p9_no_part_of_a_url_is_told(send, free_port) -> None:
    """Neither in the error nor in a log: with some services the path or the host is the token."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        url = f"json://zoe%21:pw%2Fx1@127.0.0.1:{free_port}/tokenInPath/more?-key=valueOfQuery&+X-Key=valueOfHeader"
        outcome = await send(url)
    finally:
        root.removeHandler(handler)
    assert outcome.kind is Result.NOT_SENT
    parts = ("zoe", "pw", "x1", "tokenInPath", "more", "valueOfQuery", "valueOfHeader", "127.0.0.1")
    assert not [part for part in parts if part in outcome.error]
    assert heard == []


async def test_p9_what_a_server_echoes_is_not_told(send, inbox) -> None:
    """The password comes to it, and may come back."""
    inbox.faults.append(Fault("status", 401))
    outcome = await send(inbox.channel)
    assert outcome.kind is Result.ERROR
    assert PASSWORD not in f"{outcome}"


@pytest.mark.parametrize(
    "url",
    ["syslog://", "dbus://", "macosx://", "windows://", "file:///etc/passwd", "config://host/x", "nonsense", "json://",
     "http://127.0.0.1:1/config", "exec:///bin/true", "json://[", "include://x"],
)  # fmt: skip
async def test_what_reaches_nobody_elsewhere_is_refused(send, url: str) -> None:
    """Desktops, this machine's own log, files, configurations, and what is no URL."""
    outcome = await send(url)
    assert outcome.kind is Result.NOT_SENT
    assert url not in outcome.error


async def test_what_is_missing_is_named(context) -> None:
    """The section, the channel, the secret, what it holds."""
    params = SendParameters(channel="oncall", body="x")

    def unreadable(name: str) -> str:
        raise ConfigurationError(f"the secret {name} can't be read")

    broken = context(sections("oncall"))
    object.__setattr__(broken, "secret", unreadable)
    for made, words in (
        (context(), "notify.channels is not set"),
        (context(sections("other")), "there is no channel oncall"),
        (context(sections("oncall")), "there is no secret oncall_url"),
        (context(sections("oncall"), {"oncall_url": " "}), "is empty"),
        (broken, "can't be read"),
    ):
        outcome = await NotifySend().run(params, made)
        assert outcome.kind is Result.NOT_SENT
        assert words in outcome.error


def test_a_channel_that_is_not_configured_is_found_in_the_rule() -> None:
    """Before anything is sent."""
    params = SendParameters(channel="oncall", body="x")
    assert NotifySend().check(params, {}) is None
    assert NotifySend().check(params, sections("oncall")) is None
    assert NotifySend().check(params, sections("other")) == (
        "there is no channel oncall under notify.channels in the configuration"
    )


def test_a_channel_that_is_down_holds_up_no_other() -> None:
    """Each has its own place in the outbox; and a message is not one that may be sent twice."""
    params = SendParameters(channel="oncall", body="x")
    assert NotifySend().channel(params) == "notify.oncall"
    assert not NotifySend().idempotent(params)


@pytest.mark.parametrize("given", [{"channel": "a b"}, {"channel": ""}, {"body": ""}, {"attach": "/etc/passwd"}])
def test_what_makes_no_message_is_found_in_the_rule(given: dict[str, Any]) -> None:
    """Nothing can be attached, by anybody."""
    with pytest.raises(ValidationError):
        SendParameters.model_validate({"channel": "oncall", "body": "x", **given})


def test_the_plan_is_one_line() -> None:
    """It quotes the message."""
    assert NotifySend().plan(SendParameters(channel="oncall", title="T", body="a\nb")) == "tell oncall: T: a\\nb"


def test_apprise_is_imported_when_a_message_is_sent_and_not_before() -> None:
    """It is large, and most daemons never need it."""
    code = "import sys, remediator.actions.notify; print({'apprise', 'requests', 'aiohttp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
