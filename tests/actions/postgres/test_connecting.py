"""How a use comes to its database, and what is said where it doesn't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from postgres import PASSWORD
from pydantic import ValidationError

from remediator.actions.catalog import load_catalog
from remediator.actions.protocol import Context, Result
from remediator.forms.postgres import Postgres


async def test_an_unknown_database_is_found_by_check(place) -> None:
    """And by the use, with the names that there are."""
    action = load_catalog()["postgres.locks"]
    params = action.parameters.model_validate({"database": "mian"})
    why = action.check(params, place.settings)
    assert why == "there is no database mian under postgres.databases in the configuration: there is main"
    context = Context(asyncio.get_running_loop().time() + 5, place.settings, {}.__getitem__)
    outcome = await action.run(params, context)
    assert (outcome.kind, outcome.error) == (Result.NOT_SENT, why)
    assert action.check(params, {}) is None


async def test_a_wrong_password_is_refused(place) -> None:
    """And is not told."""
    place.server.run("DROP ROLE IF EXISTS other; CREATE ROLE other LOGIN PASSWORD 'another-one'")
    outcome = await place.at(url=place.server.url(place.name, "other")).use("locks")
    assert outcome.kind is Result.REFUSED
    assert "password authentication failed" in outcome.error
    assert "renew the secret" in outcome.error
    assert PASSWORD not in outcome.error


async def test_a_database_that_is_not_on_the_server_is_not_sent_to(place) -> None:
    """The server says so itself."""
    outcome = await place.at(url=place.server.url("nowhere")).use("locks")
    assert outcome.kind is Result.NOT_SENT
    assert '"nowhere" does not exist' in outcome.error


async def test_a_server_that_is_full_turns_away_unread(place) -> None:
    """Nothing was done: it may be tried again."""
    full = place.server.database()
    place.server.run(f"ALTER DATABASE {full} CONNECTION LIMIT 0")
    outcome = await place.at(url=place.server.url(full)).use("locks")
    assert outcome.kind is Result.NOT_SENT
    assert "too many connections" in outcome.error


async def test_a_server_that_goes_away_midway_is_an_error(primary) -> None:
    """Nobody knows how far it came; afterwards nothing is sent any more."""
    asked = asyncio.create_task(primary.use("query", sql="SELECT 1 FROM pg_sleep(600)"))
    await primary.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%FROM pg_sleep(600)'")
    primary.server.stop()
    outcome = await asked
    assert outcome.kind is Result.ERROR
    assert "the connection to the database main was lost" in outcome.error
    again = await primary.use("terminate_long", age="1h")
    assert again.kind is Result.NOT_SENT
    assert "could not be reached" in again.error


@asynccontextmanager
async def stalling(port: int, stalled: asyncio.Event) -> AsyncIterator[int]:
    """Give a port that leads to another, until it is stalled: then nothing comes back any more."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: bool) -> None:
        try:
            while data := await reader.read(65536):
                if back and stalled.is_set():
                    continue
                writer.write(data)
        except ConnectionError:
            pass

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, there_writer))
        await asyncio.gather(pump(reader, there_writer, False), pump(there_reader, writer, True))

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("action", "more"), [("query", {"sql": "SELECT 1 FROM pg_sleep(600)"}), ("terminate_long", {"age": "1h"})]
)
async def test_a_network_that_falls_silent_midway_is_an_error_in_time(place, action: str, more: dict) -> None:
    """The deadline holds, though nothing can be told to the server."""
    stalled = asyncio.Event()
    async with stalling(place.server.port, stalled) as port:
        using = place.at(port)
        loop = asyncio.get_running_loop()
        began = loop.time()
        if action == "query":
            asked = asyncio.create_task(using.use(action, seconds=1.0, **more))
            await place.until(
                "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%FROM pg_sleep(600)' AND state = 'active'"
            )
            stalled.set()
        else:
            stalled.set()
            asked = asyncio.create_task(using.use(action, seconds=1.0, **more))
        outcome = await asked
        assert loop.time() - began < 3.0
    assert outcome.kind in {Result.ERROR, Result.NOT_SENT}
    assert "in time" in outcome.error or "lost" in outcome.error


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("url: 'postgresql://u:secret@h/d'", "a password does not stand in the URL"),
        ("url: 'http://h/d'", "expected a URL such as postgresql://"),
        ("url: 'postgresql://u@h'", "expected a URL such as postgresql://"),
        ("url: 'postgresql://u@h/d?passfile=x'", "passfile, which is not known"),
        ("url: 'postgresql://u@[/d'", "this is not a URL"),
        ("{url: 'postgresql://u@h/d', backup_command: [x]}", "give both"),
    ],
)
def test_a_configuration_that_can_not_work_is_refused(written: str, words: str) -> None:
    """With a sentence for its author."""
    import yaml

    with pytest.raises(ValidationError, match=words):
        Postgres.model_validate({"databases": {"main": yaml.safe_load(written)}})
    with pytest.raises(ValidationError, match="is no name for a database here"):
        Postgres.model_validate({"databases": {"../x": {"url": "postgresql://u@h/d"}}})


def test_paths_are_relative_to_the_configuration() -> None:
    """A program named without a folder is looked for."""
    section = Postgres.model_validate(
        {
            "databases": {
                "a": {"url": "postgresql://u@h/d", "backups": "b", "backup_command": ["bin/copy", "x/y"]},
                "b": {"url": "postgresql:///d?host=/run/postgresql", "backups": "/srv/b", "backup_command": ["rclone"]},
            },
            "programs": "pg/bin",
        }
    )
    found = section.resolved(Path("/etc/remediator"))
    assert found["programs"] == "/etc/remediator/pg/bin"
    assert found["databases"]["a"]["backups"] == "/etc/remediator/b"
    assert found["databases"]["a"]["backup_command"] == ["/etc/remediator/bin/copy", "x/y"]
    assert (found["databases"]["b"]["backups"], found["databases"]["b"]["backup_command"]) == ("/srv/b", ["rclone"])
