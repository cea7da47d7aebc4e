"""`tls.certificate` against servers with good certificates, bad ones, and none."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from platforms.proxy import broken_port
from platforms.tls import Made, certificate, serving
from pydantic import ValidationError

from remediator.actions.protocol import Outcome, Result
from remediator.actions.tls import Certificate, CertificateParameters


@pytest.fixture
def authority(tmp_path: Path, monkeypatch) -> Made:
    """Give an authority that the system trusts."""
    made = certificate(authority=True, subject="An authority")
    (tmp_path / "system.pem").write_bytes(made.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return made


@pytest.fixture
async def read(context, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Outcome]]]:
    """Read the certificate of a server that has it."""
    async with AsyncExitStack() as stack:

        async def go(shown: Made, change: Callable[[ssl.SSLContext], Any] | None = None, **given: Any) -> Outcome:
            serves = shown.context(tmp_path)
            if change is not None:
                change(serves)
            port, _ = await serving(stack, serves)
            return await Certificate().run(CertificateParameters(host="127.0.0.1", port=port, **given), context())

        yield go


async def test_a_good_certificate_is_told_whole(read, authority: Made) -> None:
    """And it is verified, against what the system trusts."""
    made = certificate("web.example.com", "*.example.com", "127.0.0.1", issuer=authority, days=30)
    outcome = await read(made)
    assert outcome.kind is Result.OK, outcome.error
    assert 29.9 < outcome.result.pop("days_left") <= 30.0
    end, begin = outcome.result.pop("not_after"), outcome.result.pop("not_before")
    assert datetime.fromisoformat(end) == made.certificate.not_valid_after_utc
    assert datetime.fromisoformat(begin) == made.certificate.not_valid_before_utc
    assert outcome.result == {
        "subject": "CN=A server", "issuer": "CN=An authority", "names": ["web.example.com", "*.example.com", "127.0.0.1"],
        "serial": f"{made.certificate.serial_number:x}", "protocol": "TLSv1.3", "verified": True, "why_not": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["web.example.com", "db.example.com"])
async def test_a_name_of_its_own_may_be_asked_for(read, authority: Made, name: str) -> None:
    """The address is then no matter."""
    made = certificate("web.example.com", issuer=authority)
    outcome = await read(made, server_name=name)
    assert outcome.kind is Result.OK
    assert outcome.result["verified"] == (name == "web.example.com")


async def test_the_name_reaches_the_server(context, authority: Made, tmp_path: Path) -> None:
    """One that serves many needs it; an address is no such name."""
    async with AsyncExitStack() as stack:
        port, seen = await serving(stack, certificate("127.0.0.1", issuer=authority).context(tmp_path))
        for name in ("web.example.com", None):
            params = CertificateParameters(host="127.0.0.1", port=port, server_name=name)
            assert (await Certificate().run(params, context())).kind is Result.OK
    names = [each["name"] for each in seen if "name" in each]
    assert names == ["web.example.com", "web.example.com", None]  # the first is not its name: it was looked at again


async def test_one_that_has_run_out_is_read(read, authority: Made) -> None:
    """That is what the action is for."""
    outcome = await read(certificate("127.0.0.1", issuer=authority, days=-2.5))
    assert outcome.kind is Result.OK
    assert -2.6 < outcome.result["days_left"] <= -2.5
    assert (outcome.result["verified"], outcome.result["why_not"]) == (False, "certificate has expired")


async def test_one_that_is_not_good_yet_is_read(read, authority: Made) -> None:
    """Verified it is not."""
    outcome = await read(certificate("127.0.0.1", issuer=authority, days=500))
    assert outcome.kind is Result.OK
    assert (outcome.result["verified"], outcome.result["why_not"]) == (False, "certificate is not yet valid")


@pytest.mark.usefixtures("authority")
async def test_one_that_is_self_signed_is_read(read) -> None:
    """And it is good where `ca` says so."""
    made = certificate("127.0.0.1")
    outcome = await read(made)
    assert outcome.kind is Result.OK
    assert (outcome.result["verified"], outcome.result["why_not"]) == (False, "self-signed certificate")
    assert outcome.result["issuer"] == outcome.result["subject"]


async def test_one_for_another_name_is_read(read, authority: Made) -> None:
    """The reason names the one that was wanted."""
    outcome = await read(certificate("web.example.com", issuer=authority))
    assert outcome.kind is Result.OK
    assert outcome.result["verified"] is False
    assert "127.0.0.1" in outcome.result["why_not"]


@pytest.mark.usefixtures("authority")
async def test_an_authority_of_ones_own_is_verified_against(read, tmp_path: Path) -> None:
    """In place of those that the system trusts."""
    own = certificate(authority=True, subject="Our own")
    (tmp_path / "own.pem").write_bytes(own.pem)
    made = certificate("127.0.0.1", issuer=own)
    assert (await read(made)).result["verified"] is False
    assert (await read(made, ca=str(tmp_path / "own.pem"))).result["verified"] is True


@pytest.mark.parametrize("content", [None, "nonsense"])
async def test_an_authority_that_can_not_be_read_is_named(read, tmp_path: Path, content: str | None) -> None:
    """Nobody was asked."""
    file = tmp_path / "own.pem"
    if content is not None:
        file.write_text(content)
    outcome = await read(certificate("127.0.0.1"), ca=str(file))
    assert outcome.kind is Result.NOT_SENT
    assert f"the certificates in {file} can't be read" in outcome.error


@pytest.mark.usefixtures("authority")
async def test_one_without_names_is_read(read) -> None:
    """It has an empty list of them."""
    outcome = await read(certificate())
    assert outcome.kind is Result.OK
    assert outcome.result["names"] == []


@pytest.mark.usefixtures("authority")
async def test_p5_names_that_do_not_fit_are_an_error_never_cut(read) -> None:
    """A list is whole, or is none."""
    outcome = await read(certificate(*(f"{'x' * 60}{n}.example.com" for n in range(1000))))
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert "never cut" in outcome.error


@pytest.mark.usefixtures("authority")
async def test_nothing_unseen_is_in_what_it_says(read) -> None:
    """Whoever makes certificates may write what they like."""
    outcome = await read(certificate("127.0.0.1", subject="a\x1b[2J\u202eb"))
    assert outcome.kind is Result.OK
    assert "\x1b" not in outcome.result["subject"]
    assert "\u202e" not in outcome.result["subject"]


def _old(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")


async def test_an_old_protocol_is_told(read, authority: Made) -> None:
    """One may want to hear of it."""
    outcome = await read(certificate("127.0.0.1", issuer=authority), _old)
    assert outcome.kind is Result.OK
    assert outcome.result["protocol"] == "TLSv1.2"


def _demanding(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_REQUIRED


async def test_a_server_that_demands_a_certificate_is_read(read, authority: Made) -> None:
    """By TLS 1.3 it says so after the handshake."""
    outcome = await read(certificate("127.0.0.1", issuer=authority), _demanding)
    assert outcome.kind is Result.OK
    assert outcome.result["verified"] is True


@pytest.mark.parametrize(
    ("kind", "result", "words"),
    [
        ("refused", Result.NOT_SENT, "can't connect: Connection refused; nothing was sent"),
        ("hang", Result.ERROR, "no complete answer within the step's time"),
        ("cut", Result.ERROR, "hung up"),
        ("garbage", Result.ERROR, "is it the right port?"),
    ],
)
async def test_a_broken_port_comes_to_a_right_outcome(context, kind: str, result: Result, words: str) -> None:
    """Within the step's time."""
    async with broken_port(kind) as port, asyncio.timeout(3):
        outcome = await Certificate().run(CertificateParameters(host="127.0.0.1", port=port), context(seconds=1.0))
    assert (outcome.kind, outcome.result) == (result, None)
    assert words in outcome.error


async def test_a_server_that_speaks_plain_text_is_no_certificate(context, serve) -> None:
    """As one of HTTP does."""

    async def handler(request: Any) -> Any:
        raise AssertionError("nothing of HTTP is asked")

    port = int((await serve(handler)).rpartition(":")[2])
    outcome = await Certificate().run(CertificateParameters(host="127.0.0.1", port=port), context())
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert "is it the right port?" in outcome.error


async def test_a_name_that_nobody_knows_was_not_reached(context) -> None:
    """Nothing was sent."""
    outcome = await Certificate().run(CertificateParameters(host="nowhere.invalid"), context())
    assert outcome.kind is Result.NOT_SENT
    assert "nowhere.invalid, port 443: can't connect: " in outcome.error


@pytest.mark.parametrize("host", ["", ".", ".example.com", "a..b", "x" * 64, "ä" * 64, "a\0b"])
@pytest.mark.parametrize("name", ["host", "server_name"])
async def test_what_is_no_host_comes_to_an_outcome(context, host: str, name: str) -> None:
    """However odd: no exception gets out."""
    params = CertificateParameters.model_validate({"host": "127.0.0.1", "port": 1, name: host})
    outcome = await Certificate().run(params, context())
    assert outcome.kind is not Result.OK
    assert outcome.error


async def test_without_cryptography_the_reason_says_what_to_install(read, monkeypatch) -> None:
    """It is an extra."""
    shown = certificate("127.0.0.1")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    outcome = await read(shown)
    assert outcome.kind is Result.NOT_SENT
    assert "pip install 'remediator[tls]'" in outcome.error


def test_the_plan_names_the_server() -> None:
    """In one line."""
    assert Certificate().plan(CertificateParameters(host="a\n")) == "read the certificate of a\\n, port 443"
    named = CertificateParameters(host="10.0.0.7", port=6443, server_name="web.example.com")
    assert Certificate().plan(named) == "read the certificate for web.example.com of 10.0.0.7, port 6443"


@pytest.mark.parametrize("port", [0, -1, 65536, "443"])
def test_a_port_is_one(port: object) -> None:
    """A number that TCP has."""
    with pytest.raises(ValidationError):
        CertificateParameters.model_validate({"host": "a", "port": port})
