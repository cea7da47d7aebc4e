"""One scenario of each runbook: what is broken, for real, which rule mends it, and how it is seen that it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import Failure, ask
from runbooks import Runbooks
from telling import ENDS, say, told

_EVERY = 0.2  # seconds between two looks
_DEADLINE = 120.0  # seconds from what is broken to the run's end, and from there till the world is seen to be well


@dataclass(frozen=True)
class Scenario:
    """What goes wrong, and what mends it."""

    runbook: str
    alert: str
    rule: str
    tells: str  # what goes wrong
    breaks: Callable[[Runbooks], None]
    healed: Callable[[Runbooks], str | None]  # the proof in words, once the world gives it
    after: Callable[[Runbooks], None] = lambda _: None  # what makes the world ready for the next scenario


def _answers(world: Runbooks) -> bool:
    return ask(f"{world.edge}/health")[0] == 200


def _releases(world: Runbooks) -> set[str]:
    return {machine["image"].rpartition("-")[2] for machine in world.world()["machines"]}


def _damage_newest_backup(world: Runbooks) -> None:
    """Overwrite the middle of the newest backup, once one has been taken."""
    run = world.api("runs", {"rule": "back-up-daily", "reason": "something to damage", "author": "demo"})["id"]
    until = time.monotonic() + _DEADLINE
    while world.api(f"runs/{run}")["state"] not in ENDS:
        if time.monotonic() > until:
            raise Failure("no backup was taken in time")
        time.sleep(_EVERY)
    newest = _newest_backup(world)
    with newest.open("r+b") as file:
        file.seek(newest.stat().st_size // 2)
        file.write(b"\0" * 256)


def _newest_backup(world: Runbooks) -> Path:
    return max((world.folder / "backups").glob("*.dump"), key=lambda path: path.stat().st_mtime)


def _no_service(world: Runbooks) -> str | None:
    return "/health answers from outside again" if _answers(world) else None


def _rolled_back(world: Runbooks) -> str | None:
    errors = world.measured("app:http_errors:ratio_rate2m")
    if _releases(world) == {"STEADY"} and errors is not None and errors < 0.05:
        return f"both machines run STEADY again, {errors:.0%} of requests fail"
    return None


def _connections(world: Runbooks) -> str | None:
    used = world.measured("app_database:connections_used:ratio")
    return f"{used:.0%} of the connections are used" if used is not None and used < 0.9 else None


def _memory(world: Runbooks) -> str | None:
    used = world.measured("max(app_machine:memory_used:ratio)")
    machines = len(world.world()["machines"])
    return (
        f"{machines} machines, the fullest uses {used:.0%} of its memory" if used is not None and used < 0.85 else None
    )


def _throttled(world: Runbooks) -> str | None:
    pace = world.measured("sum(rate(api_cost_dollars_total[3s])) * 3600")
    share = ask(f"{world.edge}/api/workflows/throttle")[1]["share"]
    return f"workflows go on at {share} of their pace, for ${pace:.0f} an hour" if pace and pace < 2500 else None


def _blocked(world: Runbooks) -> str | None:
    refused = world.world()["refused"]
    return f"the attacker was turned away at the door, {_well(world)}" if refused and _answers(world) else None


def _well(world: Runbooks) -> str:
    return "and others are not" if _answers(world) else "and so is everybody"


def _scaled(world: Runbooks) -> str | None:
    slow, machines = world.measured("app:http_latency_seconds:p95_5m"), len(world.world()["machines"])
    return f"{machines} machines, p95 {slow:.1f} s" if machines == 3 and slow is not None and slow < 3 else None


def _scaled_in(world: Runbooks) -> None:
    """Send the crowd home, and see the machine that was added go: CapacityUnused fires, and scale-in-idle-app answers."""
    world.do("visitors", number=4)
    until = time.monotonic() + _DEADLINE
    while len(world.world()["machines"]) != 2:
        if time.monotonic() > until:
            raise Failure("the machine that was added was not taken away again")
        time.sleep(_EVERY)
    say("the crowd is gone, and so is the machine that was added")


def _restored(world: Runbooks) -> str | None:
    good = world.measured("backup_restore_test_success")
    return f"{_newest_backup(world).name} was taken, and restored in a trial" if good == 1 else None


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        "incident-response", "ServiceDown", "restore-service", "all processes of the application are killed",
        lambda world: world.do("kill"), _no_service,
    ),
    Scenario(
        "database-issues", "DatabasePoolExhausted", "free-connections",
        "the application leaves transactions open till hardly a connection is left",
        lambda world: world.do("break", how={"what": "connections", "till": 37}), _connections,
    ),
    Scenario(
        "monitoring-alerts", "HighMemoryUsage", "restart-leaking-machine", "a machine leaks memory",
        lambda world: world.do("break", how={"what": "memory"}), _memory,
    ),
    Scenario(
        "backup-and-restore", "BackupBroken", "replace-broken-backup", "the newest backup is damaged on its disk",
        _damage_newest_backup, _restored,
    ),
    Scenario(
        "security-incidents", "UnauthorizedAccess", "block-address", "somebody guesses passwords",
        lambda world: world.do("attack"), _blocked,
    ),
    Scenario(
        "performance-degradation", "HighLatency", "scale-out-busy-app", "a crowd of visitors comes",
        lambda world: world.do("visitors", number=70), _scaled, _scaled_in,
    ),
    Scenario(
        "deployment-rollback", "ErrorRateAfterRelease", "rollback-bad-release", "a release fails each third request",
        lambda world: world.do("deploy", tag="BAD"), _rolled_back, lambda world: world.do("a week goes by"),
    ),
    Scenario(
        "cost-management", "ApiCostsWarning", "throttle-api-costs", "the workflows have gone mad, and spend",
        lambda world: world.do("break", how={"what": "costs", "dollars": 195}), _throttled,
    ),
)  # fmt: skip


def play(world: Runbooks, scenario: Scenario, after: int) -> int:
    """Break something, and tell what follows till it is mended; gives the last event told. Raises Failure where it isn't."""
    say(f"-- {scenario.runbook}: {scenario.tells} --")
    began = time.monotonic()
    scenario.breaks(world)
    after, run = _follow(world, scenario, after)
    while (proof := scenario.healed(world)) is None:
        _in_time(world, began, "the world was not well again")
    say(
        f"verdict: {scenario.runbook}: healed in {time.monotonic() - began:.0f} s by {scenario.rule}: {proof}; run {run}"
    )
    scenario.after(world)
    while scenario.alert in world.firing() and scenario.runbook != "cost-management":  # 30 days are long
        _in_time(world, began, f"{scenario.alert} has not resolved")
    return after


def _follow(world: Runbooks, scenario: Scenario, after: int) -> tuple[int, str]:
    """Tell what the daemon does till a run of the scenario's rule has ended well; gives its id."""
    began, seen, runs = time.monotonic(), False, set[str]()
    while True:
        for event in world.api(f"events?after={after}&limit=1000")["events"]:
            after, data = event["seq"], event["data"]
            if event["kind"] == "run.proposed" and data["rule"] == scenario.rule:
                runs.add(event["run"])
            words = told(event)
            if words is not None and (event["run"] in runs or event["run"] is None):
                say(words)
            if event["run"] in runs and event["kind"] == "run.moved" and data["to"] in ENDS and data.get("from"):
                if data["to"] != "succeeded":
                    raise Failure(f"the run of {scenario.rule} is {data['to']}: {data['because']}")
                return after, event["run"]
        if not seen and scenario.alert in world.firing():
            seen = True
            say(f"Prometheus fires {scenario.alert}")
        _in_time(world, began, f"no run of {scenario.rule} has ended well")


def _in_time(world: Runbooks, began: float, otherwise: str) -> None:
    world.watch()
    if time.monotonic() - began > _DEADLINE:
        raise Failure(f"{otherwise} within {_DEADLINE:g} s")
    time.sleep(_EVERY)
