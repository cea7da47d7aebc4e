"""HTTP against real servers on the loopback: ill-behaved ones too."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress

import pytest
from aiohttp import web
from pydantic import ValidationError

from remediator.actions.bounds import encoded_size
from remediator.actions.fetch import BODY_LIMIT
from remediator.actions.http import GetParameters, HttpGet, HttpRequest, RequestParameters
from remediator.actions.protocol import MAX_RESULT_BYTES, Context, Effect, Outcome, Result

TOKEN = 's3cr"et/täken'


@pytest.fixture
def get(context):
    """Run `http.get` to its end."""

    async def go(url: str, seconds: float = 10.0, **given: object) -> Outcome:
        made: Context = context(secrets={"token": TOKEN, "empty": "", "torn": "a\nb"}, seconds=seconds)
        return await HttpGet().run(GetParameters.model_validate({"url": url, **given}), made)

    return go


@pytest.fixture
def request_(context):
    """Run `http.request` to its end."""

    async def go(url: str, seconds: float = 10.0, **given: object) -> Outcome:
        made: Context = context(secrets={"token": TOKEN}, seconds=seconds)
        return await HttpRequest().run(RequestParameters.model_validate({"url": url, **given}), made)

    return go


@pytest.fixture
async def raw() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start servers that read one request's head and then do with the connection as they like."""
    servers, tasks = [], []

    async def start(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> str:
        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await answer(reader, writer)

        server = await asyncio.start_server(serve_one, "127.0.0.1")
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.gather(*tasks)


async def echo(request: web.Request) -> web.Response:
    """Answer with all that was asked."""
    said = {
        "method": request.method,
        "path": request.raw_path,
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": await request.text(),
    }
    return web.json_response(said, headers={"X-Seen": request.headers.get("Authorization", "-")})


def answering(*args: object, **given: object) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make a handler that gives the same answer always."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(*args, **given)

    return handler


async def test_the_result_has_all_that_a_rule_may_ask_for(get, serve) -> None:
    """Status, headers by lower-case name, the body, what it is as JSON, and the time it took."""
    url = await serve(answering(text='{"up": true}', headers={"X-Version": "7"}))
    outcome = await get(f"{url}/health")
    assert outcome.kind is Result.OK
    assert (outcome.result["status"], outcome.result["body"], outcome.result["json"]) == (
        200,
        '{"up": true}',
        {"up": True},
    )
    assert outcome.result["headers"]["x-version"] == "7"
    assert outcome.result["truncated"] is False
    assert 0 < outcome.result["seconds"] < 5


@pytest.mark.parametrize("status", [204, 304, 404, 503])
async def test_any_status_is_an_answer_to_a_get(get, serve, status: int) -> None:
    """Which status is good is for `expect` to say."""
    outcome = await get(await serve(answering(status=status)))
    assert (outcome.kind, outcome.result["status"]) == (Result.OK, status)


async def test_the_request_says_whose_it_is(get, serve) -> None:
    """The server's log can be joined with the run; a rule's own header goes first."""
    url = await serve(echo)
    headers = (await get(url)).result["json"]["headers"]
    assert (headers["remediator-run"], headers["user-agent"]) == ("01jd", "remediator")
    assert (await get(url, headers={"user-agent": "mine"})).result["json"]["headers"]["user-agent"] == "mine"


async def test_p10_query_values_are_encoded_by_the_client(get, serve) -> None:
    """A value can neither end the query nor begin another parameter; what the URL had is kept."""
    url = await serve(echo)
    outcome = await get(f"{url}/a%2Fb?x=1", query={"q": "a&b=c#d é", "n": 2, "yes": True})
    assert outcome.result["json"]["path"] == "/a%2Fb?x=1&q=a%26b%3Dc%23d+%C3%A9&n=2&yes=true"


async def test_what_is_not_json_is_no_value(get, serve) -> None:
    """Whatever the server calls it."""
    outcome = await get(await serve(answering(text='{"up": ', content_type="application/json")))
    assert (outcome.kind, outcome.result["json"], outcome.result["body"]) == (Result.OK, None, '{"up": ')


async def test_bytes_that_are_not_text_are_replaced(get, serve) -> None:
    """Headers and bodies are text, without NUL or halves of characters."""
    outcome = await get(await serve(answering(body=b"a\xff\0b", headers={"X-Odd": "\udcff"})))
    assert outcome.result["body"] == "a\ufffd\ufffdb"
    encoded_size(outcome.result)  # raises where it could not be written


async def test_no_cookie_is_kept(get, serve) -> None:
    """One rule's session is not another's."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1"})

    url = await serve(handler)
    await get(url)
    await get(url)
    assert seen == [None, None]


async def test_a_proxy_in_the_environment_is_not_used(get, serve, monkeypatch) -> None:
    """Where a request goes stands in the rule, not in the daemon's environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await get(await serve(answering(text="direct")))).result["body"] == "direct"


async def test_a_big_body_is_read_to_the_bound_only(get, serve) -> None:
    """The rest of an endless answer is left with the server, and the result fits its bound."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    outcome = await get(await serve(endless))
    assert (outcome.kind, outcome.result["truncated"], outcome.result["json"]) == (Result.OK, True, None)
    assert BODY_LIMIT // 2 < len(outcome.result["body"]) <= BODY_LIMIT
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


async def test_a_compressed_bomb_is_read_to_the_bound_only(get, serve) -> None:
    """What unpacks to 200 MB does so 64 KiB at a time, and not to its end."""
    bomb = gzip.compress(b"\0" * 200_000_000, 1)
    outcome = await get(await serve(answering(body=bomb, headers={"Content-Encoding": "gzip"})))
    assert outcome.result["truncated"] is True
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


async def test_many_headers_make_a_bounded_result(get, serve) -> None:
    """Headers that go past their share are left out, and it is said so."""
    headers = {f"X-{number}": "é" * 3000 for number in range(20)}
    outcome = await get(await serve(answering(headers=headers)))
    assert outcome.result["truncated"] is True
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


@pytest.mark.fault("hung HTTP target")
async def test_a_server_that_hangs_is_left_at_the_deadline(get, serve) -> None:
    """It had the request, so nobody can say what it did with it."""

    async def hang(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    outcome = await get(await serve(hang), seconds=0.3)
    assert outcome.kind is Result.ERROR
    assert "no complete answer after 0.3 s; the request may have been received" in outcome.error


@pytest.mark.fault("hung HTTP target")
async def test_a_body_that_drips_is_left_at_the_deadline(get, raw) -> None:
    """The deadline is for the whole answer, not for each byte."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()  # raises when the client has gone
            await asyncio.sleep(0.02)  # this is the fault itself

    outcome = await get(await raw(drip), seconds=0.3)
    assert outcome.kind is Result.ERROR
    assert "no complete answer after 0.3 s" in outcome.error


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"\x1b[2J nonsense\r\n\r\n"]
)
async def test_a_connection_that_is_cut_is_an_error(request_, raw, answer: bytes) -> None:
    """Before the answer, in it, or in place of it: the request may have had its effect."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    outcome = await request_(await raw(cut))
    assert outcome.kind is Result.ERROR
    assert "may have been received" in outcome.error
    assert "\x1b" not in outcome.error


async def test_p2_nothing_was_sent_to_a_port_where_nobody_listens(request_) -> None:
    """A refused connection is safe to try again."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    outcome = await request_(f"http://127.0.0.1:{port}/x?token=1")
    assert outcome.kind is Result.NOT_SENT
    assert outcome.error.startswith(f"POST http://127.0.0.1:{port}/x: ")
    assert outcome.error.endswith("; nothing was sent")


@pytest.mark.fault("DNS failure")
async def test_p2_nothing_was_sent_to_a_name_that_does_not_resolve(request_, monkeypatch) -> None:
    """A failure of DNS is safe to try again."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = await request_("http://nobody.invalid/")
    assert outcome.kind is Result.NOT_SENT
    assert "Name or service not known" in outcome.error


async def test_p2_nothing_was_sent_where_no_connection_came_about(request_) -> None:
    """A host that answers no SYN has had no request."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # more than the backlog takes
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        outcome = await request_(f"http://127.0.0.1:{full.getsockname()[1]}", seconds=0.3)
        for client in waiting:
            client.close()
    assert outcome.kind is Result.NOT_SENT


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_p2_a_write_is_sent_once_where_the_server_drops_the_connection(request_, raw, method: str) -> None:
    """A client that repeats by itself would do it twice: on a fresh connection as on one that was used before."""
    heads = 0

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        heads += 1
        while heads == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            heads += 1

    url = await raw(answer_the_first)
    first, second = await request_(url, method=method), await request_(url, method=method)
    assert (first.kind, second.kind, heads) == (Result.OK, Result.ERROR, 2)
    assert "may have been received" in second.error


async def test_a_connection_is_kept_for_gets_and_new_for_each_write(get, request_, serve) -> None:
    """Polling does not shake hands anew each time; a write never meets a connection that the server has given up."""
    peers = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response()

    url = await serve(handler)
    for _ in range(3):
        await get(url)
    for _ in range(3):
        await request_(url)
    assert (len(set(peers[:3])), len(set(peers[3:]))) == (1, 3)


async def test_a_get_follows_a_redirect_within_the_server(get, serve) -> None:
    """With its credentials, since it is the same server."""

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/old":
            return web.Response(status=302, headers={"Location": "/new?x=1"})
        return await echo(request)

    outcome = await get(f"{await serve(handler)}/old", headers={"X-Api": "1"})
    assert (outcome.result["json"]["path"], outcome.result["json"]["headers"]["x-api"]) == ("/new?x=1", "1")


@pytest.mark.fault("redirect to another host")
async def test_p9_a_redirect_elsewhere_is_not_followed(get, serve) -> None:
    """The other server hears nothing, of the secret least of all; the operator hears where it pointed."""
    heard = []

    async def other(request: web.Request) -> web.Response:
        heard.append(request.headers)
        return web.Response()

    elsewhere = await serve(other)
    url = await serve(answering(status=307, headers={"Location": f"{elsewhere}/in?code=1"}))
    outcome = await get(url, auth={"bearer": {"secret": "token"}})
    assert outcome.kind is Result.ERROR
    assert f"redirects elsewhere, to {elsewhere}/in, which is not followed" in outcome.error
    assert heard == []


@pytest.mark.parametrize("location", ["https://127.0.0.1/", "file:///etc/passwd", "//example.invalid/x", "http://[bad"])
async def test_another_scheme_or_host_is_elsewhere(get, serve, location: str) -> None:
    """Only the very same scheme, host and port is the same server."""
    outcome = await get(await serve(answering(status=301, headers={"Location": location})))
    assert outcome.kind is Result.ERROR


async def test_a_circle_of_redirects_ends(get, serve) -> None:
    """Five are followed."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/again"})

    outcome = await get(await serve(handler))
    assert (outcome.kind, len(seen)) == (Result.ERROR, 6)
    assert "redirects more than 5 times" in outcome.error


@pytest.mark.fault("redirect to another host")
async def test_a_write_is_never_redirected(request_, serve) -> None:
    """Sending it again elsewhere is not what the rule said."""
    outcome = await request_(await serve(answering(status=307, headers={"Location": "/new"})))
    assert (outcome.kind, outcome.result["status"]) == (Result.REFUSED, 307)


async def test_a_status_outside_ok_is_the_answer_no(request_, serve) -> None:
    """By default any 2xx is yes; the error names the status and what the server said first."""
    url = await serve(answering(status=409, text="\n\x1b[31mlocked\nby others"))
    outcome = await request_(f"{url}/x?key=1")
    assert (outcome.kind, outcome.result["status"]) == (Result.REFUSED, 409)
    assert outcome.error == f"POST {url}/x was answered 409: \\x1b[31mlocked"
    assert (await request_(url, ok=[409])).kind is Result.OK
    assert (await request_(await serve(answering(status=204)))).kind is Result.OK
    assert (await request_(await serve(answering(status=204)), ok=[200])).kind is Result.REFUSED


@pytest.mark.parametrize(
    ("given", "kind", "body"),
    [
        ({"json": {"a": [1, None]}}, "application/json", '{"a":[1,null]}'),
        ({"json": None}, "application/json", "null"),
        ({"form": {"a": "x&y=z", "b": "é"}}, "application/x-www-form-urlencoded", "a=x%26y%3Dz&b=%C3%A9"),
        ({"body": "a,é"}, "text/plain; charset=utf-8", "a,é"),
        ({"body": "a,b", "headers": {"content-type": "text/csv"}}, "text/csv", "a,b"),
        ({}, None, ""),
    ],
)
async def test_a_body_is_json_a_form_or_text(request_, serve, given: dict[str, object], kind: str, body: str) -> None:
    """Each is sent with its type, unless the rule names another."""
    said = (await request_(await serve(echo), method="PATCH", **given)).result["json"]
    assert (said["method"], said["body"]) == ("PATCH", body)
    assert kind is None or said["headers"]["content-type"] == kind


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"bearer": {"secret": "token"}}, f"Bearer {TOKEN}"),
        (
            {"basic": {"user": "remediator", "password": {"secret": "token"}}},
            f"Basic {base64.b64encode(f'remediator:{TOKEN}'.encode()).decode()}",
        ),
    ],
)
async def test_p9_a_secret_goes_to_the_server_and_nowhere_else(get, request_, serve, auth, header: str) -> None:
    """Even a server that echoes it does not bring it into the result, an error or the plan."""
    heard = []

    async def handler(request: web.Request) -> web.Response:
        heard.append(request.headers["Authorization"])
        said = {"ascii": heard[-1], "secret": TOKEN}
        text = f"{heard[-1]}\n{json.dumps(said)}\n{json.dumps(said, ensure_ascii=False)}"
        status = 500 if request.method == "POST" else 200
        return web.Response(
            status=status, text=json.dumps(said) if "json" in request.path else text, headers={"X-E": heard[-1]}
        )

    url = await serve(handler)
    outcomes = [await get(url, auth=auth), await get(f"{url}/json", auth=auth), await request_(url, auth=auth)]
    assert heard == [header] * 3
    assert [outcome.kind for outcome in outcomes] == [Result.OK, Result.OK, Result.REFUSED]
    assert "[secret token]" in outcomes[1].result["json"]["ascii"]
    params = RequestParameters.model_validate({"url": url, "auth": auth})
    told = (
        json.dumps([(o.result, o.error) for o in outcomes], ensure_ascii=False)
        + HttpRequest().plan(params)
        + repr(params)
    )
    for form in (TOKEN, json.dumps(TOKEN)[1:-1], header.split()[1], "s3cr"):
        assert form not in told


async def test_p9_a_secret_that_the_bound_cuts_through_is_taken_off(get, serve) -> None:
    """Half a secret is still a secret."""
    text = "x" * (BODY_LIMIT - 5) + TOKEN
    outcome = await get(await serve(answering(text=text)), auth={"bearer": {"secret": "token"}})
    assert outcome.result["truncated"] is True
    assert TOKEN[:2] not in outcome.result["body"]


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "there is no secret gone"), ("empty", "is empty"), ("torn", "line ends")]
)
async def test_a_secret_that_can_not_be_used_stops_before_anything_is_sent(get, name: str, why: str) -> None:
    """It is named, not shown."""
    outcome = await get("http://127.0.0.1:9", auth={"bearer": {"secret": name}})
    assert outcome.kind is Result.NOT_SENT
    assert why in outcome.error


async def test_cancelling_drops_the_request(context, serve) -> None:
    """A cancelled step leaves no connection open."""
    arrived, dropped = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        arrived.set()
        transport = request.transport
        while not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0)
        dropped.set()
        return web.Response()

    url = await serve(hang)
    task = asyncio.create_task(HttpGet().run(GetParameters(url=url), context()))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await dropped.wait()


def test_the_plan_is_method_and_url() -> None:
    """In one line, whatever the URL holds."""
    assert HttpGet().plan(GetParameters(url="https://a.example/x")) == "GET https://a.example/x"
    assert (
        HttpRequest().plan(RequestParameters(url="https://a.example/x", method="DELETE"))
        == "DELETE https://a.example/x"
    )


def test_only_the_author_makes_it_repeatable() -> None:
    """No method is repeatable by its name."""
    assert HttpGet().effect is Effect.READ
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert not HttpRequest().idempotent(RequestParameters(url="https://a.example", method=method))
    assert HttpRequest().idempotent(RequestParameters(url="https://a.example", idempotent=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://a.example/"},
        {"url": "a.example"},
        {"url": "http://"},
        {"url": "http://user:password@a.example/"},
        {"url": "http://a.example:99999/"},
        {"url": "http://a.example", "headers": {"X-A": "b\r\nX-C: d"}},
        {"url": "http://a.example", "headers": {"X A": "b"}},
        {"url": "http://a.example", "headers": {"Host": "b"}},
        {"url": "http://a.example", "headers": {"transfer-encoding": "chunked"}},
        {"url": "http://a.example", "headers": {"authorization": "x"}, "auth": {"bearer": {"secret": "token"}}},
        {"url": "http://a.example", "auth": {"bearer": "plain"}},
        {"url": "http://a.example", "auth": {"basic": {"user": "a:b", "password": {"secret": "token"}}}},
        {"url": "http://a.example", "query": {"a": None}},
        {"url": "http://a.example", "json": None, "body": "x"},
        {"url": "http://a.example", "form": {}, "json": {}},
        {"url": "http://a.example", "method": "GET"},
        {"url": "http://a.example", "ok": [1000]},
        {"url": "http://a.example", "ok": []},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    """Nothing is guessed, and no plain secret has a place."""
    with pytest.raises(ValidationError):
        RequestParameters.model_validate(wrong)


# --- signed bodies, and being asked to come back ---

SIGN = {"key": {"secret": "token"}, "header": "X-Hub-Signature-256", "prefix": "sha256="}


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"json": {"a": "é"}}, '{"a":"é"}'.encode()),
        ({"form": {"a": "x&y"}}, b"a=x%26y"),
        ({"body": "plain\n"}, b"plain\n"),
        ({}, b""),
    ],
)
async def test_a_signature_is_over_the_very_bytes_that_are_sent(request_, serve, given, body: bytes) -> None:
    """HMAC in hexadecimal, as GitHub and many others check it; no body is signed as an empty one."""
    heard = []

    async def handler(request: web.Request) -> web.Response:
        heard.append((await request.read(), request.headers["X-Hub-Signature-256"]))
        return web.Response()

    assert (await request_(await serve(handler), sign=SIGN, **given)).kind is Result.OK
    assert heard == [(body, "sha256=" + hmac.new(TOKEN.encode(), body, hashlib.sha256).hexdigest())]


async def test_a_signature_is_the_published_one(context, serve) -> None:
    """Test case 2 of RFC 4231, in the longer of the two hashes, in the header that is the default."""
    heard = []

    async def handler(request: web.Request) -> web.Response:
        heard.append(request.headers["X-Signature"])
        return web.Response()

    url = await serve(handler)
    sign = {"key": {"secret": "k"}, "algorithm": "sha512"}
    params = RequestParameters.model_validate({"url": url, "body": "what do ya want for nothing?", "sign": sign})
    await HttpRequest().run(params, context(secrets={"k": "Jefe"}))
    assert heard == [
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    ]


async def test_p9_neither_the_key_nor_the_signature_is_recorded(request_, serve) -> None:
    """A server that echoes them does not bring them into the result."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"{request.headers['X-Hub-Signature-256']} is not of {TOKEN}")

    outcome = await request_(await serve(handler), sign=SIGN, json={})
    told = json.dumps([outcome.result, outcome.error], ensure_ascii=False)
    assert "sha256=[signed with token] is not of [secret token]" in told
    assert hmac.new(TOKEN.encode(), b"{}", hashlib.sha256).hexdigest() not in told


@pytest.mark.parametrize("name", ["gone", "empty"])
async def test_without_its_key_nothing_is_sent(context, name: str) -> None:
    """Unsigned it would be turned away, or worse, taken."""
    sign = {"key": {"secret": name}}
    params = RequestParameters.model_validate({"url": "http://127.0.0.1:9", "json": {}, "sign": sign})
    outcome = await HttpRequest().run(params, context(secrets={"empty": ""}))
    assert outcome.kind is Result.NOT_SENT
    assert f"secret {name}" in outcome.error


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"x-hub-signature-256": "x"}},
        {"sign": {**SIGN, "header": "authorization"}, "auth": {"bearer": {"secret": "t"}}},
    ],
)
def test_two_may_not_write_one_header(more: dict[str, object]) -> None:
    """Which of them counted nobody could tell."""
    with pytest.raises(ValidationError, match="`sign` writes the header"):
        RequestParameters.model_validate({"url": "https://a.example", "sign": SIGN, **more})


@pytest.mark.parametrize(
    ("status", "after", "kind", "pause"),
    [
        (429, "7", Result.NOT_SENT, 7.0),
        (429, None, Result.NOT_SENT, None),
        (503, "120", Result.REFUSED, 120.0),
        (503, "soon", Result.REFUSED, None),
        (500, "7", Result.REFUSED, None),
    ],
)
async def test_a_server_that_asks_to_be_left_alone_is(request_, serve, status, after, kind, pause) -> None:
    """429 says that the request was turned away unread; 503 may come from a gateway, after the request was taken."""
    headers = {} if after is None else {"Retry-After": after}
    outcome = await request_(await serve(answering(status=status, headers=headers)))
    assert (outcome.kind, outcome.retry_after, outcome.result["status"]) == (kind, pause, status)
