"""Where a rule's request may go: private addresses are refused, at the address that is connected to, unless allowed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from remediator.actions.fetch import Call, fetch
from remediator.actions.http import GetParameters, HttpGet, HttpRequest, RequestParameters
from remediator.actions.protocol import Outcome, Result
from remediator.actions.reach import Reach

PRIVATE = (
    "127.0.0.1", "127.9.9.9", "10.0.0.7", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.1.1", "0.0.0.0",
    "0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "fdaa::3", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.7",
    "::ffff:7f00:1", "64:ff9b::10.0.0.7", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:7::1", "::127.0.0.1", "2001:db8::1",
    "2001::1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1")
CREDENTIALS = (
    "169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "2002:a9fe:a9fe::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.fault("redirect to another host")
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    """Whatever form the address has; and the operator hears what to add where."""
    why = Reach().refuses("web.example.com", address)
    assert why is not None
    assert why.startswith("web.example.com leads to the private address ")
    assert why.endswith("add it to http.private in the configuration")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_that_leads_to_a_public_address_is_reached(address: str) -> None:
    """Nothing need be allowed for it."""
    assert Reach().refuses("web.example.com", address) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_only_the_author_can_have_written_is_reached(address: str) -> None:
    """He sees where it leads. `http.allow` is what lets a label write hosts."""
    assert Reach(allow=("*.example.com",)).refuses_literal(address) is None


@pytest.mark.parametrize("pattern", ["*", "1*", "127.0.0.?"])
def test_an_address_that_a_label_can_have_written_is_refused(pattern: str) -> None:
    """Where a pattern of `http.allow` covers it; `http.private` opens it."""
    why = Reach(allow=(pattern,)).refuses_literal("127.0.0.1")
    assert why == "127.0.0.1 is a private address: if it may be reached, add it to http.private in the configuration"
    assert Reach(allow=(pattern,), private=("127.0.0.1",)).refuses_literal("127.0.0.1") is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost."])
def test_localhost_is_this_machine_and_nothing_else(host: str) -> None:
    """Written by the author it is reached, so long as it is what it says."""
    assert Reach().refuses(host, "127.0.0.1") is None
    assert Reach().refuses(host, "::1") is None
    assert Reach().refuses(host, "10.0.0.7") is not None
    assert Reach(allow=("local*",)).refuses(host, "127.0.0.1") is not None


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "10.0.0.7", "web.internal", "*.internal", "WEB.internal"])
def test_a_network_an_address_or_a_name_opens_what_it_says(entry: str) -> None:
    """And no more."""
    reach = Reach(private=(entry,))
    assert reach.refuses("web.internal", "10.0.0.7") is None
    assert reach.refuses("web.example.com", "192.168.0.1") is not None


@pytest.mark.parametrize("address", CREDENTIALS)
@pytest.mark.parametrize("private", [(), ("*",), ("0.0.0.0/0", "::/0"), ("169.254.0.0/16", "metadata.internal")])
def test_where_clouds_hand_out_credentials_nothing_goes_by_accident(address: str, private: tuple[str, ...]) -> None:
    """By no name, no network and no author's hand."""
    reach = Reach(private=private)
    assert "hands out credentials" in (reach.refuses("metadata.internal", address) or "")
    assert "hands out credentials" in (reach.refuses_literal(address) or "")


def test_exactly_the_address_opens_it() -> None:
    """Somebody meant it."""
    assert Reach(private=("169.254.169.254",)).refuses_literal("169.254.169.254") is None


def test_every_network_that_is_not_for_the_internet_is_private() -> None:
    """As IANA's registries of special-purpose addresses have them: the first and the last of each."""
    networks = (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "224.0.0.0/4", "240.0.0.0/4", "fc00::/7", "fe80::/10", "ff00::/8",
    )  # fmt: skip
    for network in map(ipaddress.ip_network, networks):
        for address in (network[0], network[-1]):
            assert Reach().refuses("a.example", str(address)), address


# --- by real requests ---


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, ...]]]:
    """Answer for names as a name server would, each time with the next of its answers; the last one stays."""
    answers: dict[str, list[tuple[str, ...]]] = {}
    real = socket.getaddrinfo

    def answer(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host not in answers:
            return real(host, port, *more, **named)
        queue = answers[host]
        addresses = queue.pop(0) if len(queue) > 1 else queue[0]
        return [found for address in addresses for found in real(address, port, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return answers


@pytest.fixture
async def server(serve) -> tuple[str, list[str]]:
    """Serve on the loopback; gives the port, and a list of the paths that were asked for."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": "/there"})
        return web.Response(text="here")

    url = await serve(handler)
    return url.rpartition(":")[2], asked


@pytest.fixture
def get(context) -> Callable[..., Any]:
    """Run `http.get` to its end."""
    made = {}

    async def go(url: str, **section: Any) -> Outcome:
        made.setdefault("context", context())
        settings = {"http": section} if section else {}
        return await HttpGet().run(GetParameters(url=url), context(settings))

    return go


@pytest.mark.fault("redirect to another host")
async def test_nothing_is_sent_to_a_name_that_leads_to_this_machine(get, server, name_server) -> None:
    """Till the configuration allows the name or the address."""
    port, asked = server
    name_server["web.internal"] = [("127.0.0.1",)]
    outcome = await get(f"http://web.internal:{port}/a")
    assert outcome.kind is Result.NOT_SENT
    assert outcome.error.endswith(
        "can't connect: web.internal leads to the private address 127.0.0.1: if it may be reached, "
        "add it to http.private in the configuration; nothing was sent"
    )
    assert asked == []
    for private in (["*.internal"], ["127.0.0.0/8"]):
        assert (await get(f"http://web.internal:{port}/b", private=private)).kind is Result.OK
    assert asked == ["/b", "/b"]


async def test_a_write_is_guarded_too(context, server, name_server) -> None:
    """It goes by another session."""
    port, asked = server
    name_server["web.internal"] = [("127.0.0.1",)]
    outcome = await HttpRequest().run(RequestParameters(url=f"http://web.internal:{port}/a"), context())
    assert (outcome.kind, asked) == (Result.NOT_SENT, [])


async def test_to_be_named_by_a_label_is_not_to_be_reached_privately(get, server, name_server) -> None:
    """`http.allow` speaks of names; what they lead to is not the operator's word."""
    port, asked = server
    name_server["web.example.com"] = [("127.0.0.1",)]
    outcome = await get(f"http://web.example.com:{port}/", allow=["*.example.com"])
    assert (outcome.kind, asked) == (Result.NOT_SENT, [])


@pytest.mark.fault("redirect to another host")
async def test_a_name_that_changes_its_mind_gains_nothing(get, context, server, name_server) -> None:
    """It is asked once for each connection, and what was judged is what is connected to (DNS rebinding)."""
    port, asked = server
    name_server["a.example"] = [("127.0.0.1",), ("127.0.0.2",), ("127.0.0.1",)]
    assert (await get(f"http://a.example:{port}/", private=["127.0.0.1"])).kind is Result.OK
    assert (len(name_server["a.example"]), len(asked)) == (2, 1)
    settings = {"http": {"private": ["127.0.0.1"]}}
    outcome = await HttpRequest().run(RequestParameters(url=f"http://a.example:{port}/"), context(settings))
    assert (outcome.kind, len(name_server["a.example"]), len(asked)) == (Result.NOT_SENT, 1, 1)
    assert "127.0.0.2" in outcome.error


async def test_of_a_names_addresses_only_those_in_reach_are_tried(server, name_server, get) -> None:
    """The others are as if they weren't there."""
    port, asked = server
    name_server["both.example"] = [("10.255.255.1", "127.0.0.1")]
    assert (await get(f"http://both.example:{port}/", private=["127.0.0.1"])).kind is Result.OK
    assert asked == ["/"]


@pytest.mark.parametrize("host", ["0x7f000001", "0x7f.1", "0177.0.0.1", "2130706433", "127.1", "127.0.0.1."])
async def test_an_old_way_to_write_an_address_is_no_way_round(get, server, host: str) -> None:
    """The resolver of the C library takes them; here they are names, and lead where they must not."""
    port, asked = server
    outcome = await get(f"http://{host}:{port}/")
    assert (outcome.kind, asked) == (Result.NOT_SENT, [])


async def test_what_the_author_writes_himself_is_reached(get, server) -> None:
    """A redirect within the server, too."""
    port, asked = server
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        assert (await get(f"http://{host}:{port}/redirect")).kind is Result.OK, host
    assert asked == ["/redirect", "/there"] * 3


async def test_where_a_label_may_write_it_an_address_is_refused(get, server) -> None:
    """At the request, and before that when the rule is looked through."""
    port, asked = server
    url = f"http://127.0.0.1:{port}/"
    outcome = await get(url, allow=["*"])
    assert (outcome.kind, asked) == (Result.NOT_SENT, [])
    assert "127.0.0.1 is a private address" in outcome.error
    settings = {"http": {"allow": ["*"], "private": []}}
    for action, params in ((HttpGet(), GetParameters(url=url)), (HttpRequest(), RequestParameters(url=url))):
        assert "127.0.0.1 is a private address" in (action.check(params, settings) or "")
        assert action.check(params, {}) is None


async def test_the_configurations_own_addresses_are_not_guarded(context, server, name_server) -> None:
    """A platform's URL is the operator's; and a rule gets no connection that was made for one."""
    port, asked = server
    name_server["prometheus.internal"] = [("127.0.0.1",)]
    url = f"http://prometheus.internal:{port}/"
    one = context()
    assert not isinstance(await fetch(Call("GET", url), one), Outcome)
    outcome = await HttpGet().run(GetParameters(url=url), one)
    assert (outcome.kind, len(asked)) == (Result.NOT_SENT, 1)


async def test_a_configuration_that_allows_less_closes_what_was_open(context, server, name_server) -> None:
    """A connection that was kept open is not used any more."""
    port, asked = server
    name_server["web.internal"] = [("127.0.0.1",)]
    params = GetParameters(url=f"http://web.internal:{port}/")
    assert (await HttpGet().run(params, context({"http": {"private": ["*.internal"]}}))).kind is Result.OK
    assert (await HttpGet().run(params, context({"http": {"private": []}}))).kind is Result.NOT_SENT
    assert len(asked) == 1
