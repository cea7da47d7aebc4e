"""The stand of `tls.certificate`: a server with a certificate, on an address of the loopback that no other test has."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from platforms.stand import Stand

PORT = 6443  # that of the example


@dataclass(frozen=True)
class Made:
    """A certificate and its key, in PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def context(self, folder: Path) -> ssl.SSLContext:
        """Make a server's context."""
        file = folder / f"{self.certificate.serial_number:x}.pem"
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(self.pem + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def certificate(
    *names: str, days: float = 30.0, issuer: Made | None = None, authority: bool = False, subject: str = "A server"
) -> Made:
    """Make a certificate for names and addresses, good for 400 days of which some are left; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = datetime.now(UTC) + timedelta(days=days)
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    building = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=400))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        building = building.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
    signer = key if issuer is None else issuer.key
    building = building.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return Made(building.sign(signer, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


async def serving(
    stack: AsyncExitStack, context: ssl.SSLContext, host: str = "127.0.0.1", port: int = 0
) -> tuple[int, list[dict[str, Any]]]:
    """Start a server that shakes hands and says nothing; gives its port, and what has come to it."""
    seen: list[dict[str, Any]] = []

    def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        seen.append({"name": name})

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            while said := await reader.read(1000):
                seen.append({"said": said.decode(errors="replace")})

    context.sni_callback = named  # type: ignore[assignment]
    server = await asyncio.start_server(talk, host, port, ssl=context)
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    return server.sockets[0].getsockname()[1], seen


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Lead to the server: the example's port is no one's choice, so the address is."""
    host = "127." + ".".join(str(1 + each % 254) for each in os.urandom(3))
    names: Sequence[str] = (host, "web.example.com")
    _, seen = await serving(stack, certificate(*names).context(folder), host, PORT)
    here = {"host": "{{ labels.host }}", "port": PORT}
    return Stand(
        settings={},
        labels={"host": host},
        hosts=(host, "zqxj"),
        samples={"tls.certificate": [{**here, "server_name": "{{ labels.host }}"}]},
        arrived=lambda: list(seen),
        reset=seen.clear,
    )
