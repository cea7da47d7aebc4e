"""`kubernetes.exec`: a program run in a container, over the API's WebSocket.

Sources: `connectCoreV1GetNamespacedPodExec` in the API reference, and KEP-4006 for the channels of `v5.channel.k8s.io` and
`v4.channel.k8s.io`: each message begins with its channel, 1 stdout, 2 stderr, 3 a `Status` that tells how it ended.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from remediator.actions.bounds import bounded, clean, parse_json, redact, visible
from remediator.actions.fetch import Answer
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import POD
from remediator.actions.kubernetes.names import Container, Name, Namespace
from remediator.actions.kubernetes.server import Server, refused
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result

_KEPT = 32 * 1024  # bytes of each stream that are kept of its beginning, and of its end
_FAREWELL = 0.2  # seconds that the other end gets to say goodbye
_LARGEST = 4 * 1024 * 1024  # bytes of one message
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _STDERR, _STATUS = 1, 2, 3


class ExecParameters(Parameters):
    """What to run, and where."""

    namespace: Namespace = Field(description="The pod's namespace.")
    pod: Name = Field(description="The pod.")
    container: Container | None = Field(default=None, description="The container; needed where the pod has several.")
    command: list[Annotated[str, Gate.ARGUMENT, Field(pattern=r"^[^\x00]*$")]] = Field(
        min_length=1, description="The program and its arguments, each one argument: there is no shell."
    )
    ok: list[int] = Field(default=[0], min_length=1, description="Exit statuses that count as success.")
    idempotent: bool = Field(
        default=False,
        description="Whether running it twice is the same as running it once: then it may be retried, "
        "and run again after a crash.",
    )


class Exec(Action[ExecParameters]):
    """Run a program in a container, and see how it ends.

    `exit_status`, `stdout`, `stderr`, `json` (stdout, where it is JSON), `truncated` and `seconds` are as with `exec.run`.
    Kubernetes can't end a program from outside: one that has not ended with the step's timeout may go on, and the error
    says so. Heavy work belongs into `kubernetes.job`.

    Example:
        - uses: kubernetes.exec
          with:
            namespace: '{{ labels.namespace }}'
            pod: '{{ labels.pod }}'
            container: web
            command: [nginx, -s, reload]
    """

    name = "kubernetes.exec"
    effect = Effect.WRITE
    parameters = ExecParameters
    section = "kubernetes"

    def idempotent(self, params: ExecParameters) -> bool:
        """Tell what the author of the rule says of the program."""
        return params.idempotent

    def plan(self, params: ExecParameters) -> str:
        """Give the command line, quoted as for a shell."""
        where = f"pod {params.namespace}/{params.pod}" + (f", container {params.container}" if params.container else "")
        return visible(f"run {shlex.join(params.command)} in {where}", longest=2000)

    async def run(self, params: ExecParameters, context: Context) -> Outcome:
        """Run it to its end."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        began = time.perf_counter()
        talk = _Talk(server, params)
        fault = await talk.hold()
        result = talk.result(time.perf_counter() - began)
        if fault is not None:
            return fault
        program = params.command[0]
        if talk.exit_status is None:
            words = f"{program} was not run to its end in {params.pod}: {talk.failure}"
            return Outcome(Result.ERROR, result, visible(redact(words, server.secrets), longest=500))
        if talk.exit_status not in params.ok:
            lines = (line.strip() for line in reversed(result["stderr"].split("\n")))
            last = next(filter(None, lines), "and said nothing on stderr")
            words = f"{program} ended with exit status {talk.exit_status} in {params.pod}: {last}"
            return Outcome(Result.REFUSED, result, visible(words, longest=300))
        return Outcome(Result.OK, result)


@dataclass(slots=True)
class _Stream:
    """One of its streams, of which the beginning and the end are kept."""

    first: bytearray = field(default_factory=bytearray)
    last: bytearray = field(default_factory=bytearray)
    total: int = 0

    def take(self, data: bytes) -> None:
        """Take what has come."""
        self.total += len(data)
        room = _KEPT - len(self.first)
        self.first += data[:room]
        self.last += data[room:]
        del self.last[:-_KEPT]

    @property
    def cut(self) -> int:
        """Give how many bytes were not kept."""
        return self.total - len(self.first) - len(self.last)

    def text(self, secrets: Mapping[str, str]) -> str:
        """Give it as text."""
        mark = f"\n[… {self.cut} bytes cut …]\n".encode() if self.cut else b""
        return redact(clean(self.first + mark + self.last), secrets)


@dataclass(slots=True)
class _Talk:
    """One conversation with a container."""

    server: Server
    params: ExecParameters
    streams: dict[int, _Stream] = field(default_factory=lambda: {_STDOUT: _Stream(), _STDERR: _Stream()})
    exit_status: int | None = None
    failure: str = "the connection was closed before it had ended; it may still run"

    async def hold(self) -> Outcome | None:
        """Talk till the program has ended; gives why it could not be."""
        import aiohttp  # noqa: PLC0415

        what = f"{self.params.command[0]} in pod {self.params.namespace}/{self.params.pod}"
        try:
            async with asyncio.timeout_at(self.server.context.deadline):
                await self._exchange()
        except TimeoutError:
            return self._unknown(
                f"{what} had not ended at the step's end; it may still run there: look, and end it by hand"
            )
        except aiohttp.ClientConnectorError as error:
            return Outcome(
                Result.NOT_SENT,
                error=visible(f"{what}: can't connect: {error.strerror}; nothing was sent", longest=300),
            )
        except aiohttp.WSServerHandshakeError as error:
            if 400 <= error.status < 600:
                headers = {name.lower(): value for name, value in (error.headers or {}).items()}
                return refused(self.server, f"the wish to run {what}", Answer(error.status, headers, "", False, 0.0))
            return self._unknown(f"what answered the wish to run {what} speaks no WebSocket; it may have been run")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._unknown(f"{what}: {error or type(error).__name__}; it may have been run")
        return None

    def _unknown(self, words: str) -> Outcome:
        return Outcome(Result.ERROR, error=visible(redact(words, self.server.secrets), longest=500))

    async def _exchange(self) -> None:
        import aiohttp  # noqa: PLC0415

        params = self.params
        query = [("command", each) for each in params.command]
        query += [("container", params.container)] if params.container else []
        query += [("stdout", "true"), ("stderr", "true")]
        url = f"{self.server.url}{POD.where(params.namespace, params.pod, 'exec')}"
        ours = {"User-Agent": "remediator"} | (
            {"Remediator-Run": self.server.context.run} if self.server.context.run else {}
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none of its own: the deadline is the caller's
            middlewares=(_once,),
        ) as session:
            talk = session.ws_connect(
                url, params=query, headers={**ours, **self.server.headers}, protocols=_PROTOCOLS,
                ssl=self.server.tls or True, max_msg_size=_LARGEST, timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL),
            )  # fmt: skip
            async with talk as socket:
                if socket.protocol not in _PROTOCOLS:
                    raise ValueError("the API server speaks none of the protocols that tell an exit status")
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                        continue
                    if message.data[0] == _STATUS:
                        self._end(message.data[1:])
                        return
                    if message.data[0] in self.streams:
                        self.streams[message.data[0]].take(message.data[1:])

    def _end(self, data: bytes) -> None:
        """Read the `Status`."""
        status = parse_json(clean(data))
        if not isinstance(status, dict) or status.get("status") not in {"Success", "Failure"}:
            self.failure = "what tells its end is no Status of Kubernetes; it may have been run"
            return
        if status["status"] == "Success":
            self.exit_status = 0
            return
        self.failure = str(status.get("message") or "no reason was given")
        details = status.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        for cause in causes if isinstance(causes, list) else ():
            if isinstance(cause, dict) and cause.get("reason") == "ExitCode" and str(cause.get("message")).isdecimal():
                self.exit_status = int(cause["message"])

    def result(self, seconds: float) -> dict[str, Any]:
        """Give what came of it."""
        out, err = (self.streams[channel].text(self.server.secrets) for channel in (_STDOUT, _STDERR))
        cut = [stream.cut > 0 for stream in self.streams.values()]
        return bounded(
            {
                "exit_status": self.exit_status, "stdout": out, "stderr": err,
                "json": None if self.streams[_STDOUT].cut else parse_json(out), "truncated": any(cut),
                "seconds": round(seconds, 3),
            },
            "stdout", "stderr",
        )  # fmt: skip


async def _once(request: Any, send: Any) -> Any:
    """Send a request once, and follow it nowhere: aiohttp repeats a GET whose connection is lost."""
    import aiohttp  # noqa: PLC0415

    try:
        response = await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientError(str(error)) from error
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientError("the API server redirects, which is not followed")
    return response
