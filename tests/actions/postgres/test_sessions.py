"""Sessions in the way, on a real server: who is hit, and who never is."""

from __future__ import annotations

import asyncpg
import pytest
from postgres import APPLICATION, OWNER, SUPERUSER, standby_of
from pydantic import ValidationError

from remediator.actions.postgres.sessions import NAMED, IdleSelection
from remediator.actions.protocol import Result

BOTH = ["idle", "idle in transaction"]


def pids(outcome) -> set[int]:
    """Give who was hit."""
    return {each["pid"] for each in outcome.result["sessions"]}


def alive(place) -> set[int]:
    """Give who is there."""
    found = place.server.run("SELECT pid FROM pg_stat_activity WHERE datname = current_database()", place.name)
    return set(map(int, found.split()))


async def gone(place, *sessions: asyncpg.Connection) -> None:
    """Wait till sessions have ended."""
    ended = [session.get_server_pid() for session in sessions]
    await place.until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY($1::int[])", ended)


async def test_idle_sessions_are_ended(place) -> None:
    """Those with an open transaction, failed or not, only where they are meant."""
    idle, open_, failed = [await place.session() for _ in range(3)]
    await open_.execute("BEGIN")
    await failed.execute("BEGIN")
    with pytest.raises(asyncpg.PostgresError):
        await failed.execute("SELECT nothing")
    first = await place.use("terminate_idle", states=["idle in transaction"], age="1ms")
    assert first.kind is Result.OK, first.error
    assert pids(first) == {open_.get_server_pid(), failed.get_server_pid()}
    assert {each["state"] for each in first.result["sessions"]} == {
        "idle in transaction",
        "idle in transaction (aborted)",
    }
    await gone(place, open_, failed)
    assert idle.get_server_pid() in alive(place)
    second = await place.use("terminate_idle", states=["idle"], age="1ms")
    assert pids(second) == {idle.get_server_pid()}
    assert set(second.result["sessions"][0]) == {"pid", "user", "database", "application", "state", "age_s", "query"}


async def test_who_is_young_or_at_work_is_let_be(place) -> None:
    """By age, and by state."""
    idle, working = await place.session(), await place.session()
    await place.busy(working)
    assert (await place.use("terminate_idle", states=BOTH, age="1h")).result["count"] == 0
    assert (await place.use("cancel_long", age="1h")).result["count"] == 0
    outcome = await place.use("terminate_idle", states=BOTH, age="1ms")
    assert pids(outcome) == {idle.get_server_pid()}


async def test_a_long_statement_is_cancelled_and_its_session_goes_on(place) -> None:
    """And with `terminate_long` the session ends, too."""
    working, idle = await place.session(), await place.session()
    pid = await place.busy(working)
    outcome = await place.use("cancel_long", age="1ms")
    assert pids(outcome) == {pid}
    with pytest.raises(asyncpg.QueryCanceledError):
        await place.working[0]
    assert await working.fetchval("SELECT 1") == 1
    await place.busy(working)
    assert pids(await place.use("terminate_long", age="1ms")) == {pid}
    await gone(place, working)
    assert await idle.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("filters", "hit"),
    [
        ({"application": "web-1"}, {"a"}),
        ({"application": "web*"}, {"a", "b"}),
        ({"application": "web"}, set()),
        ({"application": "%"}, set()),
        ({"user": APPLICATION}, {"a", "b"}),
        ({"user": f"{OWNER[:4]}*"}, {"c"}),
        ({"user": "*"}, {"a", "b", "c"}),
        ({"user": APPLICATION, "application": "web-2"}, {"b"}),
        ({"connected_to": "nowhere"}, set()),
    ],
)
async def test_filters_take_names_and_beginnings(place, filters: dict[str, str], hit: set[str]) -> None:
    """No filter is a pattern of SQL's."""
    sessions = {
        "a": await place.session(application="web-1"),
        "b": await place.session(application="web-2"),
        "c": await place.session(user=OWNER, application="other"),
    }
    outcome = await place.use("terminate_idle", states=["idle"], age="1ms", **filters)
    assert outcome.kind is Result.OK, outcome.error
    assert pids(outcome) == {sessions[each].get_server_pid() for each in hit}


async def test_other_databases_are_let_be_unless_they_are_named(place) -> None:
    """A server holds many."""
    other = place.server.database()
    stranger = await place.session(database=other)
    assert pids(await place.use("terminate_idle", states=["idle"], age="1ms")) == set()
    assert pids(await place.use("terminate_idle", states=["idle"], age="1ms", connected_to=other)) == {
        stranger.get_server_pid()
    }


async def test_superusers_and_our_own_are_never_hit(place) -> None:
    """Whatever they do."""
    root = await place.session(user=SUPERUSER)
    ours = await place.session(user=OWNER, application="remediator")
    working = await place.session(user=SUPERUSER)
    await place.busy(working)
    for action, more in (("terminate_idle", {"states": BOTH}), ("cancel_long", {}), ("terminate_long", {})):
        outcome = await place.use(action, age="1ms", **more)
        assert (outcome.kind, outcome.result["count"]) == (Result.OK, 0), outcome.error
    assert {root.get_server_pid(), ours.get_server_pid(), working.get_server_pid()} <= alive(place)


async def test_replication_is_never_hit(primary) -> None:
    """A standby follows on, and its sessions are no candidates."""
    primary.server.run("CREATE ROLE follower LOGIN REPLICATION")
    follower = standby_of(primary.server, "follower")
    try:
        await primary.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
        before = primary.server.run("SELECT pid FROM pg_stat_replication")
        for action, more in (("terminate_idle", {"states": BOTH}), ("cancel_long", {}), ("terminate_long", {})):
            outcome = await primary.use(action, age="1ms", connected_to="*", user="follower", **more)
            assert (outcome.kind, outcome.result["count"]) == (Result.OK, 0), outcome.error
        assert primary.server.run("SELECT pid FROM pg_stat_replication") == before
    finally:
        follower.stop()


async def test_p5_no_more_than_the_cap_the_oldest_first(place) -> None:
    """And how many are left is said."""
    sessions = [await place.session() for _ in range(5)]
    for session in sessions:
        await session.execute("SELECT 1")
    outcome = await place.use("terminate_idle", states=["idle"], age="1ms", most=2)
    assert pids(outcome) == {session.get_server_pid() for session in sessions[:2]}
    assert (outcome.result["count"], outcome.result["left"]) == (2, 3)


async def test_a_session_that_has_changed_meanwhile_is_let_be(place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It woke up between the list and the blow: the blow asks once more."""
    from remediator.actions.postgres.sessions import PostgresTerminateIdle

    woken = await place.session()
    await woken.execute("BEGIN")
    asleep = await place.session()
    real = PostgresTerminateIdle._candidates

    async def slow(self, session, params):
        found = await real(self, session, params)
        await woken.execute("COMMIT")
        return found

    monkeypatch.setattr(PostgresTerminateIdle, "_candidates", slow)
    outcome = await place.use("terminate_idle", states=BOTH, age="1ms")
    assert pids(outcome) == {asleep.get_server_pid()}
    assert outcome.result["changed"] == 1
    assert await woken.fetchval("SELECT 1") == 1


async def test_p5_who_may_not_be_seen_is_not_taken_for_nobody(place) -> None:
    """A user without rights learns which right it needs."""
    place.server.run("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
    weak = place.at(url=place.server.trusted(place.name, "weak"), password=None)
    theirs = await place.session()
    outcome = await weak.use("terminate_idle", states=BOTH, age="1ms")
    assert outcome.kind is Result.REFUSED
    assert "GRANT pg_read_all_stats" in outcome.error
    place.server.run("GRANT pg_read_all_stats TO weak")
    outcome = await weak.use("terminate_idle", states=BOTH, age="1ms")
    assert outcome.kind is Result.REFUSED
    assert "GRANT pg_signal_backend" in outcome.error
    assert await theirs.fetchval("SELECT 1") == 1


async def test_a_password_in_a_statement_is_not_shown(place) -> None:
    """What somebody typed to the server is no business of the record."""
    session = await place.session(user=OWNER)
    await session.execute("BEGIN")
    await session.execute("ALTER ROLE current_user PASSWORD 'new-one-77'")
    outcome = await place.use("terminate_idle", states=["idle in transaction"], age="1ms")
    assert "new-one-77" not in str(outcome.result)
    assert outcome.result["sessions"][0]["query"] == "ALTER ROLE current_user PASSWORD '…'"


def test_p10_a_star_from_outside_is_no_pattern() -> None:
    """Else a label would mean everybody."""
    assert NAMED.fits("web*")
    assert NAMED.fits("*")
    assert not NAMED.takes("*")
    assert not NAMED.takes("")
    assert not NAMED.fits("a*b")


@pytest.mark.parametrize(
    "wrong", [{"age": "1m"}, {"states": [], "age": "1m"}, {"states": ["idle"]}, {"states": ["idle"], "age": "0"}]
)
def test_states_and_age_are_named(wrong: dict) -> None:
    """No default ends anybody."""
    with pytest.raises(ValidationError):
        IdleSelection.model_validate({"database": "main", **wrong})
