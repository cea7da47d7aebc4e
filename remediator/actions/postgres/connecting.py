"""How an action comes to a database: which one is meant, a connection to it, and in words what went wrong.

A connection is made for each use and closed with it: it costs some milliseconds, holds none of the server's places between
two uses, and assumes no session behind a pooler. Codes of errors: PostgreSQL, appendix A.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from remediator.actions.bounds import redact, visible
from remediator.actions.protocol import Action, Context, Duration, Grammar, JsonValue, Outcome, Parameters, Result
from remediator.errors import ConfigurationError
from remediator.forms.postgres import NAME
from remediator.model.time import Seconds

if TYPE_CHECKING:
    from asyncpg import Connection

US = "remediator"  # `application_name` of our sessions
DATABASE = Grammar("the name of a database under `postgres.databases`", NAME)
_LAST_WAIT: Seconds = (
    0.5  # for a statement to be cancelled on the server, and for the connection to be closed in good order
)
_CREDENTIALS = {"28000", "28P01"}
_WORDS = 600  # characters of an error


# In schemas a duration is what people write, and not the number that it becomes.
Span: TypeAlias = Annotated[Duration, Field(gt=0)]


class OfDatabase(Parameters):
    """Which database is meant."""

    database: Annotated[str, DATABASE] = Field(description="Its name under `postgres.databases` in the configuration.")


@dataclass(frozen=True, slots=True)
class Database:
    """One configured database, as one use of an action speaks to it."""

    name: str
    url: str
    password: str | None = field(default=None, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # text that is to appear nowhere → what does
    backups: str | None = None
    backup_command: tuple[str, ...] = ()

    def at(self, database: str) -> str:
        """Give the address of another database of the same server."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    def outcome(self, kind: Result, words: str, result: JsonValue = None) -> Outcome:
        """Make an Outcome that is not OK: its words are fit to be shown, and tell no secret."""
        return Outcome(kind, result, visible(redact(words, self.secrets).replace("\n", " "), longest=_WORDS))


def database_of(context: Context, name: str) -> Database | Outcome:
    """Give the database of that name, with its password, or say what is missing."""
    section = context.settings.get("postgres") or {}
    known = section.get("databases") or {}
    if why := unknown(name, known):
        return Outcome(Result.NOT_SENT, error=why)
    found = known[name]
    reference = (found.get("password") or {}).get("secret")
    password = None
    if reference is not None:
        try:
            password = context.secret(reference)
        except KeyError:
            words = f"there is no secret {reference}, which postgres.databases.{name}.password names: add it"
            return Outcome(Result.NOT_SENT, error=f"{words} under `secrets`")
        except ConfigurationError as error:
            return Outcome(Result.NOT_SENT, error=str(error))
        if not password or "\0" in password:
            return Outcome(Result.NOT_SENT, error=f"the secret {reference} is no password: it is empty, or holds NUL")
    return Database(
        name, found["url"], password, {password: f"[secret {reference}]"} if password else {},
        found.get("backups"), tuple(found.get("backup_command") or ()),
    )  # fmt: skip


def unknown(name: str, known: Mapping[str, Any]) -> str | None:
    """Say that there is no database of that name, if so."""
    if name in known:
        return None
    listed = f"there is {', '.join(known)}" if known else "there is none"
    return visible(
        f"there is no database {name} under postgres.databases in the configuration: {listed}", longest=_WORDS
    )


class Session:
    """One connection, and what was done by it: a use that breaks off says so."""

    def __init__(self, database: Database, connection: Connection[Any], context: Context) -> None:
        self.database = database
        self.connection = connection
        self.context = context
        self.done: list[str] = []

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection[Any]]:
        """Give the connection in a transaction that can't write; the server itself ends what takes too long.

        It is rolled back: a server before version 16 lets large objects be written in it.
        """
        transaction = self.connection.transaction(readonly=True)
        await transaction.start()
        await self.connection.fetchval("SELECT set_config('statement_timeout', $1, true)", self.milliseconds())
        yield self.connection
        await transaction.rollback()  # where something was raised, closing the connection does it

    def milliseconds(self) -> str:
        """Give the time for a statement: a little less than there is, so that the server's own answer comes in time."""
        return str(max(1, int(self.context.remaining() * 950)))

    def broken(self, error: Exception) -> Outcome:
        """Say what became of a use in which a statement failed."""
        name, words = self.database.name, _sentence(error)
        before = f"; done before it: {'; '.join(self.done)}" if self.done else ""
        code = getattr(error, "sqlstate", None) or ""
        if isinstance(error, TimeoutError) or code == "57014":
            words = f"the database {name} did not answer in time, and the statement was cancelled"
            return self.database.outcome(Result.ERROR, f"{words}{before}; see what it is busy with: postgres.activity")
        if _said_no(error) and not code.startswith(("08", "57P")):
            advice = _ADVICE.get(code, "correct what it was asked")
            kind = Result.ERROR if self.done else Result.REFUSED
            return self.database.outcome(kind, f"the database {name} refused: {words}{before}; {advice}")
        words = f"the connection to the database {name} was lost: {words}{before}"
        return self.database.outcome(Result.ERROR, f"{words}; see whether the server is up")


_TURNED_AWAY = {
    "53300": "its places are all taken; from version 16 on, pg_use_reserved_connections keeps one for our user",
    "57P03": "it is starting up or shutting down: wait for it",
}
_ADVICE = {
    "42501": "give its user the right",
    "25006": "it takes no writes: it is a standby, or the transaction only reads",
    "55P03": "somebody else has locked it: see postgres.locks",
    "53100": "its disk is full: make room",
}


async def in_session(
    database: Database, context: Context, ask: Callable[[Session], Awaitable[Outcome]], *, url: str | None = None
) -> Outcome:
    """Connect, ask, and close, all before the deadline; whatever goes wrong is an Outcome."""
    connection = await connect(database, context, url or database.url)
    if isinstance(connection, Outcome):
        return connection
    session = Session(database, connection, context)
    try:
        async with asyncio.timeout_at(context.deadline):
            return await ask(session)
    except _failures() as error:
        return session.broken(error)
    finally:
        await _close(connection)


async def connect(database: Database, context: Context, url: str) -> Connection[Any] | Outcome:
    """Connect, or say why not: until a connection stands, no statement was sent."""
    import asyncpg  # noqa: PLC0415 - loaded by whoever uses a database

    try:
        async with asyncio.timeout_at(context.deadline):
            return await asyncpg.connect(
                url, password=database.password, timeout=context.remaining() + 1, statement_cache_size=0,
                server_settings={"application_name": US},
            )  # fmt: skip
    except _failures() as error:
        words = f"the database {database.name} could not be reached"
        if isinstance(error, TimeoutError):
            return database.outcome(
                Result.NOT_SENT, f"{words} in time; nothing was asked: see whether the server is up"
            )
        if getattr(error, "sqlstate", None) in _CREDENTIALS:
            advice = "renew the secret, or correct the user in its url"
            return database.outcome(
                Result.REFUSED, f"the database {database.name} refused: {_sentence(error)}; {advice}"
            )
        advice = _TURNED_AWAY.get(
            getattr(error, "sqlstate", None) or "", "see whether the server is up, and whether its url is right"
        )
        return database.outcome(Result.NOT_SENT, f"{words}: {_sentence(error)}; nothing was asked: {advice}")


async def _close(connection: Connection[Any]) -> None:
    with suppress(*_failures()):
        async with asyncio.timeout(_LAST_WAIT):
            await connection.close()
            return
    connection.terminate()


def _failures() -> tuple[type[Exception], ...]:
    """Give all that asyncpg raises when the server, the network or what is asked is at fault."""
    import asyncpg  # noqa: PLC0415

    return (
        OSError, TimeoutError, EOFError, ValueError, OverflowError, asyncpg.PostgresError, asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )  # fmt: skip


def _said_no(error: Exception) -> bool:
    """Tell whether the server has answered, and not lost its tongue."""
    import asyncpg  # noqa: PLC0415

    lost = isinstance(error, asyncpg.PostgresConnectionError)
    return not lost and isinstance(error, asyncpg.PostgresError | ValueError | OverflowError)


def _sentence(error: Exception) -> str:
    """Give what an error says: the server's detail with it, where there is one."""
    detail = getattr(error, "detail", None)
    words = str(getattr(error, "message", None) or error or type(error).__name__).strip().split("\n", 1)[0]
    return f"{words} ({detail})" if detail else words


Q = TypeVar("Q", bound=OfDatabase)


class DatabaseAction(Action[Q]):
    """Base of the actions that concern a configured database."""

    section = "postgres"

    def check(self, params: Q, settings: Mapping[str, Any]) -> str | None:
        """Say that the database is not configured, if so."""
        section = settings.get("postgres")
        return None if section is None else unknown(params.database, section.get("databases") or {})

    async def run(self, params: Q, context: Context) -> Outcome:
        """Find the database, and do what is to be done."""
        database = database_of(context, params.database)
        return database if isinstance(database, Outcome) else await self.work(database, params, context)

    @abstractmethod
    async def work(self, database: Database, params: Q, context: Context) -> Outcome:
        """Do it, and raise nothing."""


class SessionAction(DatabaseAction[Q]):
    """Base of the actions that need one connection."""

    async def work(self, database: Database, params: Q, context: Context) -> Outcome:
        """Connect and ask."""
        return await in_session(database, context, lambda session: self.ask(session, params))

    @abstractmethod
    async def ask(self, session: Session, params: Q) -> Outcome:
        """Ask; what asyncpg raises is made an Outcome by the caller."""
