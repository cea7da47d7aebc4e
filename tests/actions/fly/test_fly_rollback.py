"""`fly.rollback` against the fake Fly.io: to which release, machine by machine, and what is left when it stops half way."""

from __future__ import annotations

import asyncio
import json

import pytest
from fakes.fake import Fault
from fakes.fly import FakeFly, Machine, Release, config_of, image

from remediator.actions.fly import FlyRollback
from remediator.actions.fly.rollback import RollbackParameters
from remediator.actions.protocol import Result

FIRST, SECOND = "148ed726c15789", "148ed726c15790"
GOOD, FRESH = image("GOOD"), image("FRESH")


def images(fly: FakeFly) -> list[str]:
    """Give what each machine runs."""
    return [machine.config["image"] for machine in fly.machines]


async def test_all_machines_go_back_to_the_last_healthy_release(fly, use) -> None:
    """The failed one in between is passed over; each is looked at till it serves, before the next."""
    outcome = await use("rollback")
    assert outcome.kind is Result.OK
    assert outcome.result == {
        "app": "web", "from": 43, "to": 41, "image": GOOD, "updated": [FIRST, SECOND], "unchanged": [],
    }  # fmt: skip
    assert images(fly) == [GOOD, GOOD]
    asked = [f"{seen.method} {seen.path.removeprefix('/v1/apps/web/machines')}" for seen in fly.seen]
    assert asked == ["POST /graphql", "GET ", f"POST /{FIRST}", f"GET /{FIRST}", f"POST /{SECOND}", f"GET /{SECOND}"]


async def test_nothing_but_the_image_and_its_record_changes(fly, use) -> None:
    """Environment, checks, guest and all that we know nothing of stay; the machine says which release it runs."""
    before = {**fly.machine(FIRST).config, "of_the_future": {"x": [1]}}
    fly.machine(FIRST).config = before
    await use("rollback")
    after = fly.machine(FIRST).config
    assert {**after, "image": None, "metadata": None} == {**before, "image": None, "metadata": None}
    assert after["metadata"] == {
        **before["metadata"], "fly_release_version": "41", "fly_release_id": "rel_41", "remediator_rolled_back_from": "43",
    }  # fmt: skip
    assert (await use("status")).result["machines"]["serving"] == 2


async def test_p9_the_environment_of_a_machine_is_told_nowhere(fly, use) -> None:
    """It is sent back as it came, and stands in no result or error."""
    fly.faults.extend([None, None, None, None, Fault("status", 422)])
    outcome = await use("rollback")
    assert outcome.kind is Result.ERROR
    assert "hunter2" not in json.dumps([outcome.result, outcome.error])


async def test_without_a_healthy_release_before_it_nothing_is_done(fly, use, writes) -> None:
    """All failed, or are unknown, or there is none."""
    for statuses in (["complete", "failed", "interrupted"], ["complete", "running", "pending"], ["complete"], []):
        fly.releases[:] = [Release(43 - n, f"T{n}", 600.0 * n, status) for n, status in enumerate(statuses)]
        outcome = await use("rollback")
        assert outcome.kind is Result.REFUSED
        assert "nothing was rolled back" in outcome.error
    assert writes() == []


async def test_the_current_release_is_never_its_own_way_back(fly, use) -> None:
    """Whether its own deployment was completed or failed."""
    fly.releases[0].status = "failed"
    assert (await use("rollback")).result["to"] == 41


async def test_a_release_that_was_rolled_back_from_is_not_healthy_again(fly, use) -> None:
    """Its deployment was completed, and it was bad all the same: a later rollback passes it over."""
    await use("rollback")
    newer = Release(44, "NEWER", 60)
    fly.releases.insert(0, newer)
    for machine in fly.machines:  # as a deployment does: it keeps metadata that it doesn't know
        kept = machine.config["metadata"]
        machine.config = config_of(newer)
        machine.config["metadata"] = {**kept, **machine.config["metadata"]}
    assert (await use("releases")).result["rollback_to"] == 41
    outcome = await use("rollback")
    assert (outcome.result["from"], outcome.result["to"]) == (44, 41)
    assert fly.machine(FIRST).config["metadata"]["remediator_rolled_back_from"] == "43,44"


async def test_a_second_rollback_of_one_release_is_refused(fly, use, writes) -> None:
    """All machines run the healthy release already: it would do nothing."""
    await use("rollback")
    outcome = await use("rollback")
    assert outcome.kind is Result.REFUSED
    assert "already" in outcome.error
    assert len(writes()) == 2


async def test_a_release_with_the_same_image_is_not_rolled_back(fly, use, writes) -> None:
    """New secrets make a release too, and an image does not take them back."""
    fly.releases.insert(0, Release(44, "FRESH", 60))
    outcome = await use("rollback")
    assert (outcome.kind, writes()) == (Result.REFUSED, [])
    assert "configuration or secrets have changed" in outcome.error


async def test_what_runs_the_healthy_release_already_is_left_alone(fly, use) -> None:
    """A rollback that stopped half way is taken up where it stopped."""
    fly.machine(FIRST).config = config_of(fly.releases[2])
    outcome = await use("rollback")
    assert (outcome.result["updated"], outcome.result["unchanged"]) == ([SECOND], [FIRST])


async def test_machines_that_no_deployment_made_are_left_alone(fly, use) -> None:
    """They run another image, which is none of the app's releases; and so are a deployment's tools."""
    by_hand = Machine({"image": "docker.io/library/redis:7"})
    tool = Machine(config_of(fly.releases[0], "fly_app_release_command"))
    fly.machines += [by_hand, tool]
    assert (await use("rollback")).result["updated"] == [FIRST, SECOND]
    assert by_hand.config == {"image": "docker.io/library/redis:7"}


async def test_p5_without_such_machines_it_is_refused(fly, use, writes) -> None:
    """Nothing is not a success."""
    fly.machines[:] = [Machine({"image": "docker.io/library/redis:7"})]
    assert (await use("rollback")).kind is Result.REFUSED
    fly.machines.clear()
    assert (await use("rollback")).kind is Result.REFUSED
    assert writes() == []


async def test_a_machine_whose_host_does_not_answer_refuses_it(fly, use, writes) -> None:
    """Half of its configuration would be lost."""
    fly.machine(SECOND).host_status = "unreachable"
    outcome = await use("rollback")
    assert (outcome.kind, writes()) == (Result.REFUSED, [])


async def test_a_machine_at_rest_is_updated_last_and_not_started(fly, use) -> None:
    """Fly.io's proxy starts it when it is needed."""
    fly.machine(FIRST).state = "stopped"
    outcome = await use("rollback")
    assert outcome.result["updated"] == [SECOND, FIRST]
    assert (fly.machine(FIRST).state, images(fly)) == ("stopped", [GOOD, GOOD])


async def test_a_machine_that_is_ill_is_updated_first(fly, use) -> None:
    """The one that still serves is put at risk last."""
    fly.machine(SECOND).sick = True
    assert (await use("rollback")).result["updated"] == [SECOND, FIRST]


async def test_an_old_image_that_does_not_serve_either_ends_it_at_the_deadline(fly, use, writes) -> None:
    """The other machine is not touched, and both are told."""
    fly.sick_images.add(GOOD)
    began = asyncio.get_running_loop().time()
    outcome = await use("rollback", seconds=1.2)
    assert asyncio.get_running_loop().time() - began < 1.2
    assert outcome.kind is Result.ERROR
    assert outcome.result == {"updated": [], "stopped_at": f"machine {FIRST}", "untouched": [SECOND]}
    assert "up is critical" in outcome.error
    assert images(fly) == [GOOD, FRESH]
    assert writes() == [f"POST machines/{FIRST}"]


async def test_a_new_version_that_failed_is_given_up_at_once(fly, use) -> None:
    """It never was well, so there is nothing to wait for."""
    machine = fly.machine(FIRST)
    machine.shown = lambda: {
        **Machine.shown(machine),
        "state": "failed" if machine.config["image"] == GOOD else machine.state,
    }
    began = asyncio.get_running_loop().time()
    outcome = await use("rollback", seconds=10)
    assert asyncio.get_running_loop().time() - began < 5
    assert outcome.kind is Result.ERROR
    assert "it is failed" in outcome.error


async def test_the_new_version_is_waited_for_not_the_old_one(fly, use) -> None:
    """The old one may still be shown as serving, when the new one is not there yet."""
    machine = fly.machine(FIRST)
    old = machine.instance
    sights = iter((None, None, old, old))  # in the list, in the answer to the update, and twice after it

    def shown() -> dict:
        return {**Machine.shown(machine), "instance_id": next(sights, None) or machine.instance}

    machine.shown = shown
    assert (await use("rollback")).kind is Result.OK
    assert [seen.method for seen in fly.seen if seen.path.endswith(FIRST)] == ["POST", "GET", "GET", "GET"]


async def test_a_machine_that_somebody_else_changes_ends_it(fly, use) -> None:
    """A deployment at work holds leases."""
    fly.machine(SECOND).lease = "nonce"
    outcome = await use("rollback")
    assert outcome.kind is Result.ERROR
    assert f"1 of 2 machines of web are updated ({FIRST}), then machine {SECOND}" in outcome.error
    assert images(fly) == [GOOD, FRESH]


async def test_a_machine_that_has_changed_since_it_was_looked_at_is_not_overwritten(fly, use) -> None:
    """The version that was seen goes with the update."""
    machine = fly.machine(FIRST)
    seen = machine.instance
    machine.shown = lambda: {**Machine.shown(machine), "instance_id": "01OLD"}
    outcome = await use("rollback")
    assert outcome.kind is Result.REFUSED
    assert "current version is another" in outcome.error
    assert (machine.instance, images(fly)) == (seen, [FRESH, FRESH])


async def test_p2_an_update_whose_answer_is_lost_is_not_sent_again(fly, use, writes) -> None:
    """Nobody knows what became of it."""
    fly.faults.extend([None, None, Fault("cut-after")])
    outcome = await use("rollback")
    assert (outcome.kind, writes()) == (Result.ERROR, [f"POST machines/{FIRST}"])


def test_a_rollback_is_not_repeated() -> None:
    """A second one could take back what was deployed in between."""
    assert not FlyRollback().idempotent(RollbackParameters(app="web"))


@pytest.mark.parametrize("body", [{"data": {"app": {"releases": {}}}}, {"data": {"app": {}}}, {"data": []}, []])
async def test_p5_releases_that_can_not_be_read_are_an_error(context, serve, body: object) -> None:
    """They are not no releases."""
    from aiohttp import web

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(body)

    url = await serve(handler)
    settings = {"fly": {"token": {"secret": "t"}, "url": url, "api_url": url}}
    outcome = await FlyRollback().run(RollbackParameters(app="web"), context(settings, {"t": "fm2_x0123456789"}))
    assert outcome.kind is Result.ERROR
