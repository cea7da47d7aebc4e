"""Incidents that must stay impossible: real outages that automation caused or fed, and what stops each of them here.

Each has a rule file that tells of it, with the rule that would have done it, and rule tests: one named after the incident, in
which the guards stop it, and one of the same rule without them, which does the damage. What a rule test can't show, because it
takes a crash, a reload, another version or a worker that is late, is here.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from stage import START, Stage, stage_in

from remediator.actions.catalog import load_catalog
from remediator.app import read_rules, standing_of
from remediator.config import Config, LoadedConfig
from remediator.engine import controls
from remediator.errors import StoreError, StoreForeign, StoreLocked
from remediator.match import stopping_matcher
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Mode
from remediator.review.ruletest.examine import examine
from remediator.review.ruletest.load import RuleTest, Wiring, find_tests, read_tests
from remediator.review.stubs import stub
from remediator.rules.load import load_rules
from remediator.rules.matchers import parse_matchers
from remediator.rules.templates import Expression
from remediator.store.sqlite import open_store

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "incidents.md"
CATALOG = stub(load_catalog())
WIRING = Wiring(CATALOG, lambda loaded: read_rules(loaded, CATALOG), lambda loaded: standing_of(loaded, CATALOG))
LOADED = read_tests(find_tests([HERE]), LoadedConfig(Config(), None, HERE, {}), WIRING)

INCIDENTS = (
    "google-diskerase",
    "facebook-2010",
    "aws-ebs-2011",
    "azure-2012",
    "knight-capital-2012",
    "github-2012",
    "twilio-2013",
    "google-compute-engine-2016",
    "reddit-2016",
    "aws-s3-2017",
    "github-2018",
    "google-2019",
    "cloudflare-2019",
    "facebook-2021",
    "datadog-2023",
    "unisuper-2024",
    "cloudflare-r2-2025-02",
    "cloudflare-r2-2025-03",
    "aws-dynamodb-2025",
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A started stage without rules."""
    async with stage_in(tmp_path) as started:
        yield started


# --- rule tests ---


@pytest.mark.parametrize("test", LOADED.tests, ids=lambda test: f"{_slug(test)}: {test.form.name}")
def test_incident(test: RuleTest) -> None:
    """What the rules do, run by run, is what the file says: with the guard they stop, without it they would have done it."""
    verdict = examine(test, CATALOG)
    assert verdict.passed, verdict.message


def _slug(test: RuleTest) -> str:
    return Path(test.file).name.removesuffix(".test.yml")


def test_every_file_of_rule_tests_could_be_read() -> None:
    """A test with a fault would not be run at all."""
    assert [str(problem) for problem in LOADED.problems] == []


@pytest.mark.parametrize("incident", INCIDENTS)
def test_every_incident_is_told_of_and_has_its_two_tests(incident: str) -> None:
    """A rule file that begins with the story, a test by its name, one of the rule without the guard, a line on the page."""
    assert (HERE / f"{incident}.yml").read_text().startswith("# ")
    names = {test.form.name for test in LOADED.tests if _slug(test) == incident}
    assert {incident, f"{incident}, unguarded"} <= names
    assert f"(../tests/incidents/{incident}.yml)" in PAGE.read_text()


def test_there_are_no_other_rule_files() -> None:
    """One that is not in the list would be promised nowhere."""
    files = {path.name for path in HERE.glob("*.yml")}
    assert files == {f"{incident}{suffix}" for incident in INCIDENTS for suffix in (".yml", ".test.yml")}


def test_the_rules_say_what_they_act_on_how_success_is_told_and_who_hears_of_failure() -> None:
    """All that they lack are the guards that they are about."""
    loaded = load_rules([HERE], CATALOG)
    assert loaded.problems == ()
    for rule in loaded.rules.rules:
        assert rule.writes
        assert all(rung.verify for rung in rule.rungs)
        assert rule.on_failure


# --- Knight Capital: one stale server of eight ---

ORDERS = """
rules:
  - name: send-order
    summary: Send an order once more that the market has not filled.
    match: '{alertname="OrderOpen"}'
    target: 'order/{{ labels.order }}'
    guard: {cooldown: 0s, limit: 2 per 1d per target}
    steps:
      - {uses: test.write, with: {says: VERSION sends}}
      - {uses: test.write, with: {says: VERSION counts}}
"""


async def test_incident_knight_capital_2012_a_run_keeps_the_rule_it_began_with(stage: Stage) -> None:
    """A half of the old and a half of the new rule is neither; and the limit counts the runs of both."""
    await stage.rules(ORDERS.replace("VERSION", "old"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires("OrderOpen", order="212")
    await stage.rules(ORDERS.replace("VERSION", "new"))
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert stage.calls == [("test.write", "old sends"), ("test.write", "old counts")]
    await stage.fires("OrderOpen", order="212", n="2")
    await stage.fires("OrderOpen", order="212", n="3")
    assert stage.calls[2:] == [("test.write", "new sends"), ("test.write", "new counts")]
    assert await stage.states() == [("succeeded", None), ("succeeded", None), ("blocked", "limit")]


async def test_incident_knight_capital_2012_a_daemon_that_was_left_behind_does_not_start(tmp_path: Path) -> None:
    """Neither beside the others nor after them: it would take what they wrote for something else."""
    path = tmp_path / "store.db"
    store = open_store(path)
    with pytest.raises(StoreLocked, match="another daemon"):
        open_store(path)
    await store.close()
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")  # those that were not left behind have migrated it
    connection.close()
    with pytest.raises(StoreForeign, match="upgrade Remediator"):
        open_store(path)


# --- Twilio: a store that turned read-only ---

CHARGE = """
rules:
  - name: charge-card
    summary: Charge the card of an account whose balance is low.
    match: '{alertname="BalanceLow"}'
    target: 'account/{{ labels.account }}'
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: '{{ labels.account }}'}, retry: {attempts: 3, backoff: 10s}}]
"""


async def turn_read_only(stage: Stage) -> None:
    """Let SQLite refuse every write, as it does on a file system that was mounted read-only."""

    async def script(tx: object) -> None:
        tx.connection.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]

    await stage.store.transact(script)


async def test_incident_twilio_2013_nothing_starts_while_the_store_can_not_be_written(stage: Stage) -> None:
    """The alert is not acknowledged, so that it comes again, and nothing is done that could not be recorded (P4)."""
    await stage.rules(CHARGE)
    await turn_read_only(stage)
    for _ in range(3):
        with pytest.raises(StoreError):
            await stage.fires("BalanceLow", account="ac1")
        await stage.passes(60)
    assert stage.calls == []
    await stage.crash()  # the store is mended, and the daemon started
    await stage.fires("BalanceLow", account="ac1")
    assert stage.calls == [("test.write", "ac1")]


async def test_incident_twilio_2013_a_charge_that_can_not_be_recorded_is_never_repeated(stage: Stage) -> None:
    """The store turns read-only while it is made: whether it went well is for a person to find out (P2)."""
    await stage.rules(CHARGE)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires("BalanceLow", account="ac1")
    await turn_read_only(stage)
    stage.blocked.pop("test.write").set()
    await stage.passes(600)
    assert stage.calls == [("test.write", "ac1")]
    await stage.crash()
    await stage.passes(1800)
    await stage.fires("BalanceLow", account="ac1", n="2")
    await stage.passes(1800)
    assert stage.calls == [("test.write", "ac1")]
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("unknown", "interrupted")
    assert f"look at account/ac1, then `remediator resolve {run['id']}" in run["because"]


# --- Reddit: configuration management put the automation back ---

SCALE = """
rules:
  - name: end-unknown-servers
    summary: End the servers of a pool that the registry no longer knows.
    match: '{alertname="UnknownServers"}'
    target: 'pool/{{ labels.pool }}'
    mode: auto
    steps: [{uses: test.write}]
"""


async def test_incident_reddit_2016_nothing_but_a_person_lifts_a_pause(stage: Stage) -> None:
    """Not a restart, not the configuration that is put back with `mode: auto`, not an edited rule, not time (P7)."""
    await stage.rules(SCALE)
    await controls.pause(stage.engine, "ann", "the registry is being moved", rule=None, target=None, span=None)
    await stage.fires("UnknownServers", pool="app")
    await stage.crash()
    await stage.rules(SCALE, mode="dry-run")
    await stage.rules(SCALE, mode="auto")
    await stage.rules(SCALE.replace("no longer knows", "does not know"))
    await stage.fires("UnknownServers", pool="cache")
    await stage.passes(7200)
    assert stage.calls == []
    assert {state for state in await stage.states() if state != ("cancelled", "rule_changed")} == {
        ("waiting", "paused")
    }
    await controls.resume(stage.engine, "ann", "it is moved", rule=None, target=None)
    await stage.settle()
    assert stage.used("test.write") == 2


async def test_incident_reddit_2016_nor_a_mode_that_a_person_has_laid(stage: Stage) -> None:
    """It may be lower than what the configuration says, and stays so till a person takes it away."""
    await stage.rules(SCALE)
    laid = Control(
        new_id(START),
        ControlKind.MODE,
        laid_at=START,
        author="ann",
        reason="the registry is being moved",
        mode=Mode.DRY_RUN,
    )
    await controls.lay_mode(stage.engine, laid)
    await stage.crash()
    await stage.rules(SCALE, mode="auto")
    await stage.fires("UnknownServers", pool="app")
    await stage.passes(3600)
    assert await stage.states() == [("planned", None)]
    await controls.lift(stage.engine, laid.id, "ann", "it is moved")
    await stage.fires("UnknownServers", pool="cache")
    assert await stage.states() == [("planned", None), ("succeeded", None)]
    assert stage.used("test.write") == 1


# --- Cloudflare: a regular expression ---

FIREWALL = ".*(?:.*=.*)"  # what was left of the firewall's expression when it was taken apart
LONGEST = 64 * 1024  # bytes of a label's value: webhook.max_value


def seconds(judge: Callable[[str], bool], length: int) -> float:
    """Say how long judging a text takes that is not what is looked for; the best of some, since the machine has other work."""
    text = "x" * length
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        assert not judge(text)
        taken.append(time.perf_counter() - began)
    return min(taken)


def by_rule() -> Callable[[str], bool]:
    """Judge by the rule's `match`."""
    (rule,) = load_rules([HERE / "cloudflare-2019.yml"], CATALOG).rules.rules
    return lambda text: stopping_matcher(rule, {"alertname": "SuspiciousRequest", "query": text}) is None


def by_matcher() -> Callable[[str], bool]:
    """Judge by a matcher, as in `unless_firing`."""
    (matcher,) = parse_matchers(f'query=~"{FIREWALL}"')
    return lambda text: matcher.matches({"query": text})


def by_expression() -> Callable[[str], bool]:
    """Judge by an expression, as in `only_if`."""
    expression = Expression(f"labels.query is matches('{FIREWALL}')")
    return lambda text: expression.holds({"labels": {"query": text}})


@pytest.mark.parametrize("judged", [by_rule, by_matcher, by_expression])
def test_incident_cloudflare_2019_a_regular_expression_takes_time_in_proportion(
    judged: Callable[[], Callable[[str], bool]],
) -> None:
    """Sixteen times the text takes sixteen times as long, give or take; where it backtracks, 256 times."""
    judge = judged()
    assert seconds(judge, LONGEST) < 64 * seconds(judge, LONGEST // 16)


def test_incident_cloudflare_2019_an_engine_that_backtracks_would_have_done_it() -> None:
    """The same expression, and a text that is sixteen times shorter: it takes longer than the longest does here."""
    expression = re.compile(FIREWALL)
    backtracking = seconds(lambda text: expression.fullmatch(text) is not None, LONGEST // 16)
    assert backtracking > seconds(by_rule(), LONGEST)


# --- UniSuper: a blank parameter ---


@pytest.mark.parametrize(
    ("blank", "key"),
    [
        ("target:", "target"),
        ("target: ''", "target"),
        ("target: ' '", "target"),
        ("match:", "match"),
        ("""match: '{cloud=~".*"}'""", "match"),
        ("steps:", "steps"),
        ("steps: [{uses: exec.run, with: {argv: }}]", "steps[0].with.argv"),
        ("steps: [{uses: exec.run, with: {argv: []}}]", "steps[0].with.argv"),
        ("steps: [{uses: exec.run, with: {argv: [delete-cloud, null]}}]", "steps[0].with.argv[1]"),
        ("steps: [{uses: http.request, with: {method: DELETE, url: }}]", "steps[0].with.url"),
        ("steps: [{uses: http.request, with: {method: DELETE, url: ''}}]", "steps[0].with.url"),
        ("guard: {blast_radius: {targets: 1, per: }}", "guard.blast_radius.per"),
        ("guard: {limit: }", "guard.limit"),
        ("guard: {only_if: ''}", "guard.only_if"),
        ("mode:", "mode"),
    ],
)
def test_incident_unisuper_2024_a_rule_with_a_blank_is_not_loaded(tmp_path: Path, blank: str, key: str) -> None:
    """Whatever was to stand there: it is no default, and not everything. Without the blank the rule is in order."""
    assert load_rules([deletion(tmp_path)], CATALOG).ok
    loaded = load_rules([deletion(tmp_path, blank)], CATALOG)
    assert not loaded.ok
    assert loaded.rules.rules == ()
    assert key in {problem.key for problem in loaded.problems}


def deletion(folder: Path, other: str = "") -> Path:
    """Write a rule that deletes, one of its keys as given."""
    keys = {
        "match": """match: '{alertname="TermEnded"}'""",
        "target": "target: 'cloud/{{ labels.cloud }}'",
        "steps": "steps: [{uses: exec.run, with: {argv: [delete-cloud, '{{ labels.cloud }}']}}]",
        other.partition(":")[0]: other,
    }
    file = folder / "rule.yml"
    file.write_text("\n    ".join(["rules:\n  - name: delete-cloud\n    summary: Delete it.", *keys.values()]))
    return file


# --- DynamoDB: a worker that was late ---

PLAN = """
rules:
  - name: apply-plan
    summary: Apply the newest plan for an endpoint's addresses.
    match: '{alertname="PlanReady"}'
    target: 'endpoint/{{ labels.endpoint }}'
    steps:
      - {id: newest, uses: test.read}
      - {uses: test.write, with: {says: 'plan {{ steps.newest.result.generation }}'}}
"""


async def test_incident_aws_dynamodb_2025_a_worker_that_is_late_applies_nothing(stage: Stage) -> None:
    """It has read plan 110 and sleeps past its lease: what it does when it wakes is nothing; the plan is read anew (P3)."""
    await stage.rules(PLAN)
    stage.outcomes["test.read"] = [{"generation": 110}, {"generation": 145}]
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires("PlanReady", endpoint="us-east-1")
    stage.clock.time += 600
    now = stage.clock.now()
    (taken,) = await stage.store.transact(lambda tx: tx.claim("another", now, now + 60, 10))
    stage.blocked.pop("test.read").set()
    await stage.settle()
    assert stage.used("test.write") == 0
    (before,) = (await stage.run())["steps"]
    assert (before["state"], before["result"]) == ("started", None)
    assert taken.run.open
    await stage.passes(61)  # the other one was killed: its lease runs out too
    assert stage.calls == [("test.read", ""), ("test.read", ""), ("test.write", "plan 145")]
    assert await stage.states() == [("succeeded", None)]
