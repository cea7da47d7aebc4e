"""Where the API server is, and in whose name it is asked: a kubeconfig, or the service account of the pod we run in.

lightkube (the extra `remediator[kubernetes]`) reads both. Tokens in files are read anew each time, since Kubernetes renews
those of service accounts every hour; the rest when a file that it came from has changed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from remediator.actions.bounds import visible
from remediator.actions.children import Command, NotStarted, run
from remediator.actions.kubernetes.server import Server
from remediator.actions.protocol import Context, Outcome, Result

if TYPE_CHECKING:
    from ssl import SSLContext

    from lightkube.config.kubeconfig import SingleConfig
    from lightkube.config.models import User

_MARK = "[credential of the kubeconfig]"
_EARLY = 30.0  # seconds before its end at which a program's token counts as run out


class _Unusable(Exception):
    """Why there is no way to the API server, as a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of a kubeconfig, and of what."""

    asked: tuple[str | None, str | None]  # the file, and the context in it
    files: tuple[Path, ...]
    stamp: tuple[object, ...]  # of the files, when they were read
    config: SingleConfig
    tls: SSLContext | None


async def server_of(context: Context) -> Server | Outcome:
    """Give the API server that the configuration leads to, or say why none can be asked."""
    section = context.settings.get("kubernetes") or {}
    asked = (section.get("kubeconfig"), section.get("context"))
    kept: dict[str, _Made] = context.resources.get("kubernetes", dict, dict.clear)
    try:
        made = kept.get("last")
        if made is None or made.asked != asked or made.stamp != _stamp(made.files):
            made = kept["last"] = _read(*asked)
        name, secrets = await _authorization(made.config, context)
    except ImportError:
        return Outcome(
            Result.NOT_SENT, error="kubernetes.* needs lightkube: run `pip install 'remediator[kubernetes]'`"
        )
    except _Unusable as error:
        return Outcome(Result.NOT_SENT, error=visible(str(error), longest=500))
    headers = {"Accept": "application/json"} | ({"Authorization": name} if name else {})
    url = made.config.cluster.server.rstrip("/")
    return Server("the API server", url, headers, secrets, context=context, tls=made.tls)


def _stamp(files: Sequence[Path]) -> tuple[object, ...]:
    return tuple(_state(file) for file in files)


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(kubeconfig: str | None, name: str | None) -> _Made:
    """Read the kubeconfig, or the pod's service account. Raises _Unusable and ImportError."""
    import yaml  # noqa: PLC0415
    from lightkube import ConfigError  # noqa: PLC0415
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415

    place = kubeconfig or "the pod's service account"
    own = (Path(kubeconfig),) if kubeconfig else ()
    before = _stamp(own)  # a file that changes while it is read is read again the next time
    try:
        whole = KubeConfig.from_service_account() if kubeconfig is None else KubeConfig.from_file(kubeconfig)
        config = whole.get(name)
        if config is None:
            raise _Unusable(f"{place} names no cluster")
        named = tuple(_files(config))
        stamp = (*before, *_stamp(named))
        tls = _tls(config)
    except ConfigError as error:
        without = "kubernetes.kubeconfig is not set, and this is no pod with a service account"
        words = without if kubeconfig is None else error
        raise _Unusable(f"{words}: name a kubeconfig and a context in it under `kubernetes`") from None
    except OSError as error:
        raise _Unusable(f"{place}: {error.filename or ''} {error.strerror or error}: may the daemon read it?") from None
    except (yaml.YAMLError, msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError) as error:
        # The error's own words may quote the file, and a token with it.
        words = f"{place} is no kubeconfig that can be used ({type(error).__name__}): try it with kubectl"
        raise _Unusable(words) from None
    if not config.cluster.server.startswith(("https://", "http://")):
        raise _Unusable(f"the server of {place} is no URL: {config.cluster.server}")
    return _Made((kubeconfig, name), (*own, *named), stamp, config, tls)


def _files(config: SingleConfig) -> Iterator[Path]:
    """Give the files that a configuration names; tokens are not among them."""
    user = config.user
    for file in (config.cluster.certificate_auth, user and user.client_cert, user and user.client_key):
        if file:
            yield Path(config.abs_file(file))


def _tls(config: SingleConfig) -> SSLContext | None:
    if not config.cluster.server.startswith("https://"):
        return None
    from lightkube.config.client_adapter import verify_cluster  # noqa: PLC0415
    from lightkube.config.models import User  # noqa: PLC0415

    return verify_cluster(config.cluster, config.user or User(), config.abs_file)


async def _authorization(config: SingleConfig, context: Context) -> tuple[str, dict[str, str]]:
    """Give the header Authorization, empty where a certificate speaks for us, and the secrets in it."""
    user = config.user
    if user is None:
        return "", {}
    if user.auth_provider is not None and not user.token:
        raise _Unusable("the kubeconfig's user has an auth-provider, which is no more: use `exec`, or a token")
    if user.username and user.password:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return f"Basic {pair}", {user.password: _MARK, pair: _MARK}
    token = await _token(config, user, context)
    if token is None:
        return "", {}
    if not token or not token.isascii() or not token.isprintable():
        raise _Unusable("the token of the kubeconfig fits no header: it is empty or has line ends")
    return f"Bearer {token}", {token: _MARK}


def _read_token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError) as error:
        raise _Unusable(f"the token in {file} can't be read: {error}") from None


async def _token(config: SingleConfig, user: User, context: Context) -> str | None:
    if user.token_file is not None:
        return _read_token(Path(config.abs_file(user.token_file)))
    if user.token is not None:
        return user.token
    if user.exec is None:
        return None
    kept: dict[str, tuple[str, float]] = context.resources.get("kubernetes.tokens", dict, dict.clear)
    whose = repr(user.exec)
    if whose not in kept or time.time() >= kept[whose][1]:
        kept[whose] = await _asked_of_program(user.exec, context)
    return kept[whose][0]


async def _asked_of_program(program: Any, context: Context) -> tuple[str, float]:
    """Give the token that the kubeconfig's program has for us, and until when it is good.

    Source: "client-go credential plugins" in the Kubernetes documentation (`ExecCredential`).
    """
    info = {"apiVersion": program.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    env = {**os.environ, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
    env |= {each.name: each.value for each in program.env or ()}
    if context.run:
        env["REMEDIATOR_RUN"] = context.run
    argv = [program.command, *(program.args or ())]
    executable = await asyncio.to_thread(_which, program.command)
    ended = await run(Command(argv, executable, env), context.deadline)
    if isinstance(ended, NotStarted):
        raise _Unusable(f"{ended.why}; it is what the kubeconfig gets its token of")
    what = f"{program.command}, of which the kubeconfig gets its token,"
    if ended.timed_out or ended.exit_status != 0:
        raise _Unusable(f"{what} ended with {'a timeout' if ended.timed_out else ended.exit_status}: try it by hand")
    try:
        status = msgspec.json.decode(ended.stdout, type=dict[str, Any])["status"]
        token = status["token"]
        end = status.get("expirationTimestamp")
        good_until = datetime.fromisoformat(end).timestamp() - _EARLY if end else 0.0
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError):
        raise _Unusable(f"{what} gave no ExecCredential with a token") from None
    if not isinstance(token, str):
        raise _Unusable(f"{what} gave a token that is no text")
    return token, good_until


def _which(program: str) -> str:
    return shutil.which(program) or program
