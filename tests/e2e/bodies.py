"""Bad, odd and hostile input, each by a name that says what is wrong with it, and ways to send it."""

from __future__ import annotations

import base64
import http.client
import json
import select
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from daemon import Answer, Daemon

MEBIBYTE = 1024 * 1024
TOKEN, USER, PASSWORD = "a webhook's token", "alertmanager", "with:colons:in it"
MARK = "mark5d1e"  # stands in labels everywhere, and must be seen nowhere it doesn't belong


def basic(password: str) -> str:
    """Write a header of basic authentication."""
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


# Authorization headers of those who have none.
STRANGERS = [
    "", "Bearer", "Bearer ", "Bearer wrong", f"bearer {TOKEN}x", "Bearer \xff\xfe", f"Digest {TOKEN}", "Basic !!!",
    "Basic /w==", basic(""), basic("wrong"), basic(PASSWORD + "\0"),
]  # fmt: skip


def alert(unit: str, **more: Any) -> dict[str, Any]:
    """Make an alert that no rule matches, unless it is told to."""
    labels = {"alertname": "Quiet", "unit": unit, "mark": MARK, **more.pop("labels", {})}
    return {"status": "firing", "labels": labels, "startsAt": "2026-01-01T00:00:00Z", **more}


def odd(unit: str, **more: Any) -> dict[str, Any]:
    """Make an alert that is found again by its name."""
    return alert(unit, labels={"alertname": "Odd"}, **more)


def note(unit: str, value: str) -> dict[str, Any]:
    """Make an alert whose value becomes an argument."""
    return alert(unit, labels={"alertname": "Note", "value": value})


def post(daemon: Daemon, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Post with the right token and any other headers, patiently."""
    with closing(http.client.HTTPConnection(daemon.url.removeprefix("http://"), timeout=60)) as connection:
        shown = {"Authorization": f"Bearer {daemon.credential}", **(headers or {})}
        connection.request("POST", "/webhook/alertmanager", body, shown)
        response = connection.getresponse()
        return Answer(response.status, response.read())


def connect(daemon: Daemon) -> socket.socket:
    """Open a connection to write on by oneself."""
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def head(daemon: Daemon, *headers: str) -> bytes:
    """Write the head of a request."""
    lines = ["POST /webhook/alertmanager HTTP/1.1", "Host: here", f"Authorization: Bearer {daemon.credential}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


def answer_on(connection: socket.socket) -> Answer:
    """Read the answer to what was written on a connection."""
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return Answer(response.status, response.read())


def refused(answer: Answer, status: int) -> str:
    """See that an answer is a refusal in the one shape of errors, short and with a reason, and give that."""
    assert answer.status == status, answer
    error = answer.json()["error"]
    assert {*error} == {"code", "message", "details"}
    assert error["message"]
    assert len(answer.body) < 4096, "a refusal doesn't send the body back"
    message: str = error["message"]
    return message


class SlowSenders:
    """Fifty connections that send a byte of their body every half second, every other one without saying how long it is."""

    def __init__(self, daemon: Daemon) -> None:
        self.connections = [connect(daemon) for _ in range(50)]
        self.began = time.monotonic()
        for known, unknown in zip(self.connections[::2], self.connections[1::2], strict=True):
            known.sendall(head(daemon, f"Content-Length: {30 * MEBIBYTE}"))
            unknown.sendall(head(daemon, "Transfer-Encoding: chunked") + b"3e8\r\n")

    def drip(self) -> list[tuple[float, Answer]]:
        """Go on until each was answered: (after so many seconds, what)."""
        answers: list[tuple[float, Answer]] = []
        open_ = list(self.connections)
        while open_ and time.monotonic() - self.began < 60:
            answered, _, _ = select.select(open_, [], [], 0.5)
            for connection in answered:
                answers.append((time.monotonic() - self.began, answer_on(connection)))
                open_.remove(connection)
            for connection in open_:
                connection.send(b" ")
        for connection in self.connections:
            connection.close()
        return answers


# Bodies that are no notifications.
GOOD = json.dumps(alert("good"))
DEEP = 100_000
LONG = "9" * 5000
LONE = '"\\ud800"'
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a text": b'"alerts"',
    "a list": f"[{GOOD}]".encode(),
    "no alerts": b'{"version": "4"}',
    "null for alerts": b'{"alerts": null}',
    "no alert": b'{"alerts": []}',
    "cut off": f'{{"alerts": [{GOOD}'.encode(),
    "something behind it": f'{{"alerts": [{GOOD}]}} {{}}'.encode(),
    "deep alerts": b'{"alerts": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep lists elsewhere": f'{{"alerts": [{GOOD}], "more": {"[" * DEEP}{"]" * DEEP}}}'.encode(),
    "deep mappings elsewhere": (
        '{"alerts": [' + GOOD + '], "more": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}"
    ).encode(),
    "deep and not closed": b"[" * DEEP,
    "NaN": f'{{"alerts": [{GOOD}], "truncatedAlerts": NaN}}'.encode(),
    "NaN elsewhere": f'{{"alerts": [{GOOD}], "more": NaN}}'.encode(),
    "-Infinity": f'{{"alerts": [{GOOD}], "truncatedAlerts": -Infinity}}'.encode(),
    "1e999": f'{{"alerts": [{GOOD}], "truncatedAlerts": 1e999}}'.encode(),
    "5,000 digits": f'{{"alerts": [{GOOD}], "truncatedAlerts": {LONG}}}'.encode(),
    "25 digits": f'{{"alerts": [{GOOD}], "truncatedAlerts": {LONG[:25]}}}'.encode(),
    "invalid UTF-8": f'{{"alerts": [{GOOD}]}}'.encode().replace(b"good", b"g\xff\xfed"),
    "an overlong form": f'{{"alerts": [{GOOD}]}}'.encode().replace(b"good", b"\xc0\xaf"),
    "UTF-16": f'{{"alerts": [{GOOD}]}}'.encode("utf-16"),
    "half a pair in the group's key": f'{{"alerts": [{GOOD}], "groupKey": {LONE}}}'.encode(),
    "half a pair in a group label": f'{{"alerts": [{GOOD}], "groupLabels": {{"a": {LONE}}}}}'.encode(),
    "half a pair in the receiver": f'{{"alerts": [{GOOD}], "receiver": {LONE}}}'.encode(),
}

# Alerts that can't be taken.
HALF = "\ud800"
BAD: dict[str, Any] = {
    "NUL in a value": alert("bad", labels={"a": "x\0y"}),
    "NUL in a name": alert("bad", labels={"x\0y": "a"}),
    "half a pair in a value": alert("bad", labels={"a": HALF}),
    "half a pair in a name": alert("bad", labels={HALF: "a"}),
    "half a pair in an annotation": alert("bad", annotations={"a": HALF}),
    "half a pair in a URL": alert("bad", generatorURL=HALF),
    "no time": alert("bad", startsAt="yesterday"),
    "no such day": alert("bad", startsAt="2026-02-30T00:00:00Z"),
    "no offset": alert("bad", startsAt="2026-01-01T00:00:00"),
    "a number for a time": alert("bad", startsAt=1),
    "before the year 1": alert("bad", startsAt="0001-01-01T00:00:00+23:59"),
    "no end": alert("bad", status="resolved", endsAt="later"),
    "another status": alert("bad", status="suppressed"),
    "a long status": alert("bad", status="firing" * 100_000),
    "no status": {"labels": {"alertname": "Quiet"}},
    "a number for a value": alert("bad", labels={"a": 1}),
    "null for a value": alert("bad", labels={"a": None}),
    "a list of labels": {"status": "firing", "labels": ["alertname", "Quiet"]},
    "null": None,
    "a text": "firing",
    "10,000 labels": alert("bad", labels={f"l{number}": "x" for number in range(10_000)}),
    "a value of 1 MiB": alert("bad", labels={"a": "x" * MEBIBYTE}),
    "a name of 1 MiB": alert("bad", labels={"x" * MEBIBYTE: "a"}),
    "an annotation of 1 MiB": alert("bad", annotations={"a": "x" * MEBIBYTE}),
    "10,000 annotations": alert("bad", annotations={f"a{number}": "x" for number in range(10_000)}),
}

# Alerts that are odd but clear, with whether each fires then.
ODD: dict[str, tuple[Any, bool]] = {
    "ancient": (odd("ancient", startsAt="0001-01-02T00:00:00Z"), True),
    "in the future": (odd("future", startsAt="9999-12-31T23:59:59.999999999Z"), True),
    "no times": (odd("timeless", startsAt="", endsAt=""), True),
    "no labels": ({"status": "firing", "labels": {}}, True),
    "a made-up fingerprint": (odd("fingerprint", fingerprint="../../etc/passwd"), True),
    "half a pair in the fingerprint": (odd("halved", fingerprint=HALF), True),
    "unknown fields": (odd("fields", more={"deep": [1, {"er": None}]}), True),
    "resolved before it fired": (odd("early", status="resolved", endsAt="2026-01-02T00:00:00Z"), False),
    "resolved before it began": (odd("wrong", status="resolved", endsAt="1999-01-01T00:00:00Z"), False),
    "a name of many scripts": (
        alert("ünïcödé", labels={"alertname": "Odd", "host.name": "雪", "שלום": "\u202egnitsrever"}),
        True,
    ),
}

# Values that mean something elsewhere: to be passed on as they are, and to be refused.
INERT = [
    "; rm -rf /", "$(touch broken-out)", "`touch broken-out`", "a && touch broken-out", "{{ 7*7 }}", "{% raw %}", "${HOME}",
    "%s%n", "../../etc/passwd", "* ?", "'\"\\", "=cmd()", "<!channel>", "<script>alert(1)</script>", " ",
    "\u202egnp.exe", "x --flag", "雪",
]  # fmt: skip
UNSAFE = ["--flag", "-rf", "a\nb", "a\r\nb", "\x1b[31mred", "a\tb", "\x9b31m", "a\u2028b", "x\x7f"]

# Bytes that are no requests.
_POST = f"POST /webhook/alertmanager HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
NO_REQUESTS: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"POST /webhook/alertmanager\r\n\r\n",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n",
    "a long header": _POST + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
    "a length and chunks": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": _POST + b"Content-Length: -1\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "a chunk without end": _POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "a transfer coding": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
}
