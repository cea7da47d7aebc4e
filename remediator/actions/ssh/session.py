"""One command carried out over one SSH connection. This module loads asyncssh, and is itself loaded when that is wanted.

Source: RFC 4254, section 6: `exec`, `signal`, `exit-status` and `exit-signal`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncssh

from remediator.actions.bounds import clean, visible
from remediator.actions.protocol import Outcome, Result
from remediator.model.time import Seconds

CAP = 64 * 1024  # bytes kept of each of stdout and stderr
GRACE: Seconds = 5.0  # between SIGTERM and SIGKILL
_LAST_WAIT: Seconds = 1.0  # for SIGKILL to take effect, and for its end to be told
_QUIET: Seconds = 2.0  # without output after the exit: then somebody else holds the program's pipes
_KEEPALIVE: Seconds = 30.0  # so that a connection which is gone is found out

# It would log each command at INFO.
logging.getLogger("asyncssh").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to, and as whom."""

    host: str
    port: int
    user: str
    key: str  # paths of files
    known_hosts: str

    def __str__(self) -> str:
        """Give it for a message."""
        return self.host if self.port == 22 else f"{self.host}, port {self.port}"


@dataclass(frozen=True, slots=True)
class Order:
    """What to carry out."""

    command: str
    stdin: bytes
    kept_open: bool  # the end of its input is the order to end it


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    exit_status: int | None
    exit_signal: str | None
    stdout: str
    stderr: str
    truncated: bool  # something was cut, or its pipes were not seen to their end
    seconds: Seconds
    failure: str | None  # why it was not carried out to its end


async def carry_out(machine: Machine, order: Order, deadline: float) -> Ended | Outcome:
    """Carry out a command to its end, at the latest until `deadline` on the loop's clock; then SIGTERM, 5 s, SIGKILL.

    An Outcome says that nothing was run, and why. Cancelling does as the deadline does, and a second time hangs up at once.
    """
    async with _connected(machine, deadline) as connection:
        if isinstance(connection, Outcome):
            return connection
        return await _converse(connection, machine, order, deadline)


@asynccontextmanager
async def _connected(machine: Machine, deadline: float) -> AsyncIterator[asyncssh.SSHClientConnection | Outcome]:
    connection = await _connect(machine, deadline)
    try:
        yield connection
    finally:
        if not isinstance(connection, Outcome):
            connection.abort()
            await connection.wait_closed()


async def _connect(machine: Machine, deadline: float) -> asyncssh.SSHClientConnection | Outcome:
    """Connect and log in. Whatever goes wrong here, no command was sent."""
    try:
        keys = await asyncio.to_thread(asyncssh.load_keypairs, [machine.key])
    except (OSError, asyncssh.KeyImportError, ValueError) as error:
        return _not_sent(f"the private key {machine.key} can't be used: {_said(error)}; correct ssh.key")
    try:
        hosts = await asyncio.to_thread(asyncssh.read_known_hosts, machine.known_hosts)
    except (OSError, ValueError) as error:
        return _not_sent(
            f"the known hosts {machine.known_hosts} can't be read: {_said(error)}; correct ssh.known_hosts"
        )
    known = hosts.match(machine.host.lower(), "", None if machine.port == 22 else machine.port)
    if not known[0] and not known[1]:
        return _not_sent(f"{machine} is not in {machine.known_hosts}, so it is not spoken to: {_advice(machine)}")
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncssh.connect(
                machine.host, machine.port, username=machine.user, client_keys=keys, known_hosts=known,
                # Nothing from the daemon's user: no configuration, agent, certificates, tokens or tickets.
                config=None, agent_path=None, x509_trusted_certs=None, x509_trusted_cert_paths=(), pkcs11_provider=None,
                gss_host=None, preferred_auth=("publickey",), keepalive_interval=_KEEPALIVE,
            )  # fmt: skip
    except TimeoutError:
        why = "no connection within the step's time"
    except asyncssh.HostKeyNotVerifiable:
        return _not_sent(
            f"{machine} shows another key than the one in {machine.known_hosts}: find out why, it may not be the machine "
            f"that you mean. If its key was changed, {_advice(machine)}"
        )
    except asyncssh.PermissionDenied:
        words = f"{machine} does not let {machine.user} in with the key {machine.key}: add its public half there"
        return Outcome(Result.REFUSED, error=visible(f"{words} to ~/.ssh/authorized_keys", longest=500))
    except (asyncssh.ConnectionLost, asyncssh.KeyExchangeFailed, ConnectionResetError):
        why = f"it hung up: is it an SSH server, with a key of a kind that {machine.known_hosts} has for it?"
    except (asyncssh.Error, OSError, ValueError) as error:
        why = f"can't connect: {_said(error)}"
    return _not_sent(f"nothing was sent to {machine}: {why}")


async def _converse(
    connection: asyncssh.SSHClientConnection, machine: Machine, order: Order, deadline: float
) -> Ended | Outcome:
    loop = asyncio.get_running_loop()
    began = loop.time()
    talk = _Talk()
    failure: str | None = None
    try:
        async with asyncio.timeout_at(deadline):
            await connection.create_session(lambda: talk, order.command, encoding=None, env=(), send_env=())
            talk.say(order)
            await talk.over.wait()
    except TimeoutError:
        if talk.channel is None:
            return _not_sent(f"nothing was sent to {machine}: no connection within the step's time")
        ended = await talk.end()
        after = f"had not ended after {loop.time() - began:.1f} s"
        failure = f"{after} and was ended" if ended else f"{after}, and may still run: look there, and end it by hand"
    except asyncio.CancelledError:
        await talk.end()
        raise
    except asyncssh.ChannelOpenError as error:
        if talk.channel is not None and connection.is_closed():  # nobody has refused: the answer never came
            return talk.ended(loop.time() - began, f"was not seen to its end: {talk.lost}; it may have been run")
        words = f"{machine} refuses to run a command for {machine.user}: {_said(error)}"
        return Outcome(Result.REFUSED, error=visible(words, longest=500))
    except (asyncssh.Error, OSError) as error:
        failure = f"was not seen to its end: {_said(error)}; it may have been run"
    else:
        if talk.told:
            await talk.finish()
        else:
            failure = f"was not seen to its end: {talk.lost}; it may have been run"
    return talk.ended(loop.time() - began, failure)


class _Kept:
    """One of the command's streams, of which the first and the last half of `CAP` are kept."""

    def __init__(self) -> None:
        self._first = bytearray()
        self._last = bytearray()
        self._total = 0

    @property
    def truncated(self) -> bool:
        """Tell whether something was cut out of the middle."""
        return self._total > CAP

    def take(self, data: bytes) -> None:
        """Take what has come."""
        self._total += len(data)
        room = CAP // 2 - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        del self._last[: -CAP // 2]

    def text(self) -> str:
        """Give it as text."""
        mark = f"\n[… {self._total - CAP} bytes cut …]\n".encode() if self.truncated else b""
        return clean(self._first + mark + self._last)


@dataclass(eq=False)
class _Talk(asyncssh.SSHClientSession[bytes]):
    """What is heard of one command. Its methods without a word of ours are called by asyncssh."""

    stdout: _Kept = field(default_factory=_Kept)
    stderr: _Kept = field(default_factory=_Kept)
    exit_status: int | None = None
    exit_signal: str | None = None
    lost: str = "the connection was lost"
    over: asyncio.Event = field(default_factory=asyncio.Event)  # its end was told, or can't be any more
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    channel: asyncssh.SSHClientChannel[bytes] | None = None
    heard: float = 0.0  # on the loop's clock, when there was output last

    @property
    def told(self) -> bool:
        """Tell whether the server has said how the command ended."""
        return self.exit_status is not None or self.exit_signal is not None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Keep the channel."""
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take output: all of it, so that the command never waits for us."""
        self.heard = asyncio.get_running_loop().time()
        (self.stderr if datatype == asyncssh.EXTENDED_DATA_STDERR else self.stdout).take(data)

    def eof_received(self) -> bool:
        """Leave the other direction open: its end has a meaning of its own."""
        return True

    def exit_status_received(self, status: int) -> None:
        """Take how it ended."""
        self.exit_status = status
        self.over.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Take which signal ended it."""
        self.exit_signal = signal
        self.over.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take that nothing more will come."""
        self.lost = _said(exc) if exc is not None else "the server closed the connection without saying how it ended"
        self.over.set()
        self.closed.set()

    def say(self, order: Order) -> None:
        """Give the command its input."""
        assert self.channel is not None  # noqa: S101 - the session is open
        with suppress(OSError):  # it may have ended without reading any
            self.channel.write(order.stdin)
            if not order.kept_open:
                self.channel.write_eof()

    def _signal(self, name: str) -> None:
        if self.channel is not None:
            with suppress(OSError):
                self.channel.send_signal(name)
                self.channel.write_eof()

    async def _closes(self, seconds: Seconds) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        except TimeoutError:
            return False
        return True

    async def end(self) -> bool:
        """Ask the command to end, then kill it; tells whether the server has said that it ended."""
        for name, patience in (("TERM", GRACE), ("KILL", _LAST_WAIT)):
            self._signal(name)
            if await self._closes(patience):
                break
        return self.told

    async def finish(self) -> None:
        """Hear the rest of the output, and end what the command has left running, as the end of its input does."""
        loop = asyncio.get_running_loop()
        assert self.channel is not None  # noqa: S101 - it has spoken
        with suppress(OSError):
            self.channel.write_eof()
        self.heard, latest = loop.time(), loop.time() + GRACE
        while (left := min(self.heard + _QUIET, latest) - loop.time()) > 0:
            if await self._closes(left):
                return

    def ended(self, seconds: Seconds, failure: str | None) -> Ended:
        """Give it all."""
        truncated = self.stdout.truncated or self.stderr.truncated or not self.closed.is_set()
        return Ended(
            self.exit_status, self.exit_signal, self.stdout.text(), self.stderr.text(), truncated, seconds, failure
        )


def _not_sent(words: str) -> Outcome:
    return Outcome(Result.NOT_SENT, error=visible(words, longest=500))


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # of a name that nobody knows
    return str(error) or type(error).__name__


def _advice(machine: Machine) -> str:
    port = "" if machine.port == 22 else f"-p {machine.port} "
    return f"take its key with `ssh-keyscan {port}{machine.host}`, compare it with the machine's own, and add it there"
