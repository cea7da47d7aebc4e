"""`tls.certificate`: what a server shows, read whether it is good or not.

The standard library tells what a certificate says only where it verifies it, and one that has run out is the very one to be
read. So the certificate itself is taken apart by `cryptography`, loaded when the first one is.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.protocol import Action, Context, Effect, Gate, JsonValue, Outcome, Parameters, Result

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as Shown

_DAY = 86_400.0


class CertificateParameters(Parameters):
    """Whose certificate, and against what it is verified."""

    host: Annotated[str, Gate.HOST] = Field(description="The host to connect to.")
    port: int = Field(default=443, ge=1, le=65535, description="The port, on which TLS is spoken from the first byte.")
    server_name: Annotated[str, Gate.HOST] | None = Field(
        default=None, description="The name that is asked for and that the certificate should have; default the host."
    )
    ca: str | None = Field(
        default=None,
        description="A file of certificates, in PEM, to verify against in place of those that the system trusts.",
    )


class Certificate(Action[CertificateParameters]):
    """Read the certificate that a server shows, and how long it is still good.

    `days_left` (with fractions; below zero where it has run out), `not_after`, `not_before`, `subject`, `issuer`, `names`
    (that it is for), `serial`, `protocol`, `verified`, and `why_not`. One that has run out, is self-signed or for another
    name is read like any other: `verified` is false then, and `why_not` says why. It is the server's own certificate that is
    read; of those above it only `why_not` tells. A server that demands a certificate of the client may hang up first.

    Example:
        - id: certificate
          uses: tls.certificate
          with:
            host: '{{ labels.host }}'
            port: 6443
          expect: result.days_left > 14
    """

    name = "tls.certificate"
    effect = Effect.READ
    parameters = CertificateParameters

    def plan(self, params: CertificateParameters) -> str:
        """Name the server."""
        asked = "" if params.server_name is None else f" for {params.server_name}"
        return visible(f"read the certificate{asked} of {params.host}, port {params.port}", longest=2000)

    async def run(self, params: CertificateParameters, context: Context) -> Outcome:
        """Shake hands; a second time, without verifying, where that fails."""
        where = f"{params.host}, port {params.port}"
        try:
            async with asyncio.timeout_at(context.deadline):
                seen = await _see(params)
        except TimeoutError:
            return _error(f"{where}: no complete answer within the step's time")
        except _Unusable as error:
            return Outcome(Result.NOT_SENT, error=visible(f"{error}; nothing was sent", longest=300))
        except ssl.SSLError as error:
            return _error(f"{where} does not come to terms on TLS: {_reason(error)}; is it the right port?")
        except (OSError, ValueError) as error:
            return _error(f"{where} hung up before it showed a certificate: {_said(error)}")
        try:
            result = _told(seen)
        except ModuleNotFoundError:
            return Outcome(
                Result.NOT_SENT, error="tls.certificate needs cryptography: run `pip install 'remediator[tls]'`"
            )
        except ValueError as error:
            return _error(f"{where} shows a certificate that can't be read: {error}")
        return fitting(result, f"the certificate of {where}")


ACTIONS: tuple[Action[Any], ...] = (Certificate(),)


class _Unusable(Exception):
    """Nothing could be asked, and why."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a handshake has shown."""

    certificate: bytes  # DER
    protocol: str
    why_not: str | None = None  # it is not verified


async def _see(params: CertificateParameters) -> _Seen:
    """Shake hands. Raises _Unusable, ssl.SSLError, OSError and ValueError."""
    try:
        # The system's certificates are some hundreds, read anew each time: they change while the daemon runs.
        trusting = await asyncio.to_thread(ssl.create_default_context, cafile=params.ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _Unusable(f"the certificates in {params.ca} can't be read: {_said(error)}; correct `ca`") from None
    try:
        return await _shake(params, trusting)
    except ssl.SSLCertVerificationError as error:
        why_not = error.verify_message
    except ssl.SSLError as error:
        why_not = _reason(error)
    except ConnectionError:
        why_not = "the server hung up when it was asked as clients ask today"
    seen = await _shake(params, _trusting_nobody())
    return _Seen(seen.certificate, seen.protocol, why_not or "it can't be verified")


def _trusting_nobody() -> ssl.SSLContext:
    """Make a context that looks and believes nothing: old protocols and weak keys are what one may want to hear of."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


async def _shake(params: CertificateParameters, context: ssl.SSLContext) -> _Seen:
    connected = False

    class Greeting(asyncio.Protocol):
        """Nothing is said after the handshake."""

    def greeting() -> asyncio.Protocol:
        nonlocal connected
        connected = True
        return Greeting()

    name = params.server_name or params.host
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(
            greeting, params.host, params.port, ssl=context, server_hostname=name
        )
    except OSError as error:
        if connected:
            raise
        raise _Unusable(f"{params.host}, port {params.port}: can't connect: {_said(error)}") from None
    try:
        shown: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True)
        if certificate is None:
            raise ValueError("it shows no certificate")
        return _Seen(certificate, shown.version() or "")
    finally:
        transport.abort()


def _told(seen: _Seen) -> dict[str, JsonValue]:
    """Give what a certificate says. Raises ValueError where it can't be read, ModuleNotFoundError without `cryptography`."""
    from cryptography import x509  # noqa: PLC0415 - see the module's docstring

    read = x509.load_der_x509_certificate(seen.certificate)
    left = (read.not_valid_after_utc.timestamp() - time.time()) / _DAY
    return {
        "days_left": math.floor(left * 1000) / 1000,
        "not_after": _written(read.not_valid_after_utc),
        "not_before": _written(read.not_valid_before_utc),
        "subject": visible(read.subject.rfc4514_string()),
        "issuer": visible(read.issuer.rfc4514_string()),
        "names": _names(read),
        "serial": f"{read.serial_number:x}",
        "protocol": seen.protocol,
        "verified": seen.why_not is None,
        "why_not": None if seen.why_not is None else visible(seen.why_not, longest=300),
    }


def _names(read: Shown) -> list[str]:
    """Give the hosts and addresses that it is for; names of other kinds are no server's."""
    from cryptography import x509  # noqa: PLC0415

    with suppress(x509.ExtensionNotFound):
        found = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = found.get_values_for_type(x509.DNSName)
        return [visible(str(name)) for name in (*hosts, *found.get_values_for_type(x509.IPAddress))]
    return []


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(words: str) -> Outcome:
    return Outcome(Result.ERROR, error=visible(words, longest=300))


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # of a name that nobody knows
    return str(error) or type(error).__name__
