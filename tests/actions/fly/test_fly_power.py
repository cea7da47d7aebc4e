"""`fly.restart`, `fly.stop`, `fly.start` and `fly.snapshot` against the fake Fly.io."""

from __future__ import annotations

import asyncio

import pytest
from fakes.fake import Fault
from fakes.fly import Machine, config_of
from pydantic import ValidationError

from remediator.actions.fly import FlyRestart, FlyStart, FlyStop
from remediator.actions.protocol import Result

FIRST, SECOND = "148ed726c15789", "148ed726c15790"


async def test_all_machines_are_restarted_one_after_the_other(fly, use, writes) -> None:
    """Each is looked at till it serves, before the next."""
    outcome = await use("restart")
    assert outcome.result == {"app": "web", "restarted": [FIRST, SECOND], "skipped": []}
    asked = [f"{seen.method} {seen.path.removeprefix('/v1/apps/web/machines')}" for seen in fly.seen]
    assert asked == [
        "GET ", f"POST /{FIRST}/restart", f"GET /{FIRST}", f"POST /{SECOND}/restart", f"GET /{SECOND}",
    ]  # fmt: skip


async def test_what_rests_or_is_no_server_is_not_restarted(fly, use) -> None:
    """Stopped machines, standbys, those of a schedule and of a deployment; the first are listed."""
    release = fly.releases[0]
    fly.machine(SECOND).state = "stopped"
    fly.machines += [
        Machine(config_of(release, standbys=[FIRST])), Machine(config_of(release, schedule="daily")),
        Machine(config_of(release, "fly_app_release_command")), Machine(config_of(release), state="destroying"),
        Machine(config_of(release, auto_destroy=True)),
    ]  # fmt: skip
    outcome = await use("restart")
    assert (outcome.result["restarted"], outcome.result["skipped"]) == ([FIRST], [{"id": SECOND, "state": "stopped"}])


async def test_a_machine_that_is_ill_is_restarted_first(fly, use) -> None:
    """The one that still serves is put at risk last."""
    fly.machine(SECOND).sick = True
    assert (await use("restart")).result["restarted"] == [SECOND, FIRST]


async def test_only_the_named_machines_are_restarted(use, writes) -> None:
    """With the time that they get to end by themselves."""
    outcome = await use("restart", machines=[SECOND], grace="20s")
    assert outcome.result["restarted"] == [SECOND]
    assert writes() == [f"POST machines/{SECOND}/restart"]


async def test_only_the_named_group_is_restarted(fly, use) -> None:
    """The other group is left alone."""
    worker = Machine(config_of(fly.releases[0], "worker"))
    fly.machines.append(worker)
    assert (await use("restart", group="worker")).result["restarted"] == [worker.own]


async def test_a_machine_that_the_app_does_not_have_refuses_all(use, writes) -> None:
    """Nothing is done."""
    outcome = await use("restart", machines=[FIRST, "0123456789abcd"])
    assert outcome.kind is Result.REFUSED
    assert "no machine 0123456789abcd" in outcome.error
    assert writes() == []


@pytest.mark.parametrize("name", ["restart", "start"])
async def test_p5_an_app_without_machines_is_refused(fly, use, writes, name: str) -> None:
    """Nothing is not all."""
    fly.machines.clear()
    outcome = await use(name)
    assert (outcome.kind, writes()) == (Result.REFUSED, [])


async def test_a_restart_of_what_rests_is_refused(fly, use, writes) -> None:
    """It would have done nothing, and says how to start."""
    for machine in fly.machines:
        machine.state = "stopped"
    outcome = await use("restart")
    assert (outcome.kind, writes()) == (Result.REFUSED, [])
    assert "fly.start" in outcome.error


async def test_a_machine_that_stays_ill_ends_the_restart_at_the_deadline(fly, use, writes) -> None:
    """The other one is not touched, and both are told."""
    fly.sick_images.add(fly.machine(FIRST).config["image"])
    began = asyncio.get_running_loop().time()
    outcome = await use("restart", seconds=1.2)
    assert asyncio.get_running_loop().time() - began < 1.2
    assert outcome.kind is Result.ERROR
    assert "up is critical (connect: connection refused)" in outcome.error
    assert outcome.result == {"restarted": [], "stopped_at": f"machine {FIRST}", "untouched": [SECOND]}
    assert writes() == [f"POST machines/{FIRST}/restart"]


async def test_a_refusal_after_the_first_is_an_error_that_tells_how_far_it_came(fly, use, writes) -> None:
    """A deployment holds the second machine's lease."""
    fly.machine(SECOND).lease = "nonce"
    outcome = await use("restart")
    assert outcome.kind is Result.ERROR
    assert f"1 of 2 machines of web are restarted ({FIRST}), then machine {SECOND}" in outcome.error
    assert "leased by somebody else" in outcome.error
    assert outcome.result == {"restarted": [FIRST], "stopped_at": f"machine {SECOND}", "untouched": []}


async def test_a_refusal_of_the_first_is_a_refusal(fly, use) -> None:
    """Nothing was done."""
    fly.machine(FIRST).lease = "nonce"
    outcome = await use("restart")
    assert outcome.kind is Result.REFUSED
    assert f"no machine of web is restarted: machine {FIRST}" in outcome.error
    assert outcome.result["untouched"] == [SECOND]


async def test_being_asked_to_wait_before_anything_is_done_is_not_sent(fly, use) -> None:
    """And after the first it is an error: it is neither done nor not."""
    fly.faults.extend([None, Fault("status", 429)])
    outcome = await use("restart")
    assert (outcome.kind, outcome.retry_after) == (Result.NOT_SENT, 7)
    fly.faults.extend([None, None, None, Fault("status", 429)])
    outcome = await use("restart")
    assert (outcome.kind, outcome.retry_after) == (Result.ERROR, None)


async def test_a_time_out_of_the_platforms_own_is_an_error(fly, use) -> None:
    """A 408 does not tell whether the machine was restarted."""
    fly.faults.extend([None, Fault("status", 408)])
    assert (await use("restart")).kind is Result.ERROR


async def test_p2_a_lost_answer_is_not_sent_again(fly, use, writes) -> None:
    """The machine was restarted once, and the outcome says that nobody knows."""
    fly.faults.extend([None, Fault("cut-after")])
    outcome = await use("restart")
    assert outcome.kind is Result.ERROR
    assert writes() == [f"POST machines/{FIRST}/restart"]
    assert fly.machine(FIRST).restarts == 1


async def test_named_machines_are_stopped_with_grace(fly, use) -> None:
    """The API takes the time as a text."""
    outcome = await use("stop", machines=[SECOND], grace="45s")
    assert outcome.result == {"app": "web", "stopped": [SECOND], "skipped": []}
    assert next(seen.json for seen in fly.seen if seen.method == "POST") == {"timeout": "45s"}
    assert [machine.state for machine in fly.machines] == ["started", "stopped"]


async def test_what_is_stopped_is_not_stopped_again(fly, use, writes) -> None:
    """Twice is the same as once."""
    await use("stop", all=True)
    outcome = await use("stop", all=True)
    assert (outcome.kind, outcome.result["stopped"], len(outcome.result["skipped"])) == (Result.OK, [], 2)
    assert len(writes()) == 2


@pytest.mark.parametrize("more", [{}, {"group": "app"}, {"machines": []}, {"machines": [FIRST], "all": True}])
def test_p5_what_is_to_be_stopped_has_to_be_said(more: dict) -> None:
    """No machine named is not all of them."""
    with pytest.raises(ValidationError):
        FlyStop.parameters.model_validate({"app": "web", **more})


async def test_machines_at_rest_are_started(fly, use, writes) -> None:
    """The others are left alone."""
    fly.machine(SECOND).state = "suspended"
    outcome = await use("start")
    assert outcome.result == {"app": "web", "started": [SECOND], "skipped": [{"id": FIRST, "state": "started"}]}
    assert writes() == [f"POST machines/{SECOND}/start"]


async def test_starting_what_runs_is_fine(use, writes) -> None:
    """Twice is the same as once."""
    assert (await use("start")).kind is Result.OK
    assert writes() == []


def test_only_a_restart_must_not_be_repeated() -> None:
    """Start and stop leave alone what is so already."""
    named = {"app": "web", "machines": [FIRST]}
    kinds = {
        action.name: action.idempotent(action.parameters.model_validate(named))
        for action in (FlyRestart(), FlyStart(), FlyStop())
    }
    assert kinds == {"fly.restart": False, "fly.start": True, "fly.stop": True}


def test_machines_and_group_exclude_each_other() -> None:
    """Which of the two would be meant is not guessed."""
    with pytest.raises(ValidationError):
        FlyRestart.parameters.model_validate({"app": "web", "machines": [FIRST], "group": "app"})


@pytest.mark.parametrize(
    ("action", "params", "plan"),
    [
        (FlyRestart(), {}, "restart the app web"),
        (FlyRestart(), {"machines": [FIRST]}, f"restart the machines {FIRST} of the app web"),
        (FlyStop(), {"all": True}, "stop all of the app web"),
        (FlyStart(), {"group": "app"}, "start the machines of the group app of the app web"),
    ],
)
def test_the_plan_names_the_machines(action, params: dict, plan: str) -> None:
    """In one line."""
    said = action.plan(action.parameters.model_validate({"app": "web", **params}))
    assert said == f"{plan} at Fly.io, one machine after the other"


async def test_a_snapshot_is_taken_of_every_volume(fly, use) -> None:
    """But of those that are being destroyed."""
    fly.volumes += [{**fly.volumes[0], "id": "vol_2"}, {**fly.volumes[0], "id": "vol_3", "state": "pending_destroy"}]
    outcome = await use("snapshot")
    assert outcome.result == {"app": "web", "volumes": ["vol_4y1q8k2p6m3n9x7r", "vol_2"]}
    assert fly.snapshots == ["vol_4y1q8k2p6m3n9x7r", "vol_2"]


@pytest.mark.parametrize("volume", [None, "vol_nobody"])
async def test_p5_without_a_volume_no_snapshot_is_taken(fly, use, volume: str | None) -> None:
    """It is refused: a rule may count on it."""
    if volume is None:
        fly.volumes.clear()
    outcome = await use("snapshot", volume=volume)
    assert (outcome.kind, fly.snapshots) == (Result.REFUSED, [])


async def test_a_snapshot_that_fails_after_the_first_tells_which_were_taken(fly, use) -> None:
    """It is an error, whatever the second said."""
    fly.volumes.append({**fly.volumes[0], "id": "vol_2"})
    fly.faults.extend([None, None, Fault("status", 422)])
    outcome = await use("snapshot")
    assert (outcome.kind, outcome.result) == (Result.ERROR, {"volumes": ["vol_4y1q8k2p6m3n9x7r"]})
    assert "of 1 of 2 volumes, then volume vol_2" in outcome.error
