"""`fly.scale` against the fake Fly.io: floors, ceilings, and what is left when it stops half way."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from fakes.fake import Fault
from fakes.fly import FakeFly, Machine, config_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from remediator.actions.fly import FlyScale
from remediator.actions.fly.scale import ScaleParameters
from remediator.actions.protocol import Result

FIRST, SECOND = "148ed726c15789", "148ed726c15790"


def alive(fly: FakeFly) -> list[str]:
    """Give the ids of the machines that are there."""
    return [machine.own for machine in fly.machines if machine.state != "destroyed"]


async def test_scaling_out_clones_the_newest_machine_that_serves(fly, use) -> None:
    """Its configuration and region; and the new one is waited for."""
    outcome = await use("scale", by=1, ceiling=6)
    assert outcome.kind is Result.OK
    created = fly.machines[-1]
    assert outcome.result == {
        "app": "web", "before": 2, "machines": 3, "changed": True, "created": [created.own], "destroyed": [],
    }  # fmt: skip
    assert (created.config, created.region) == (fly.machine(SECOND).config, "ams")


async def test_a_machine_that_is_ill_is_not_cloned_where_one_serves(fly, use) -> None:
    """Though it is newer."""
    fly.machine(SECOND).sick = True
    await use("scale", by=1, ceiling=6)
    assert fly.machines[-1].region == "fra"


async def test_scaling_out_stops_at_the_ceiling(fly, use, writes) -> None:
    """And at the ceiling it is refused: somebody has to look."""
    assert (await use("scale", by=5, ceiling=3)).result["machines"] == 3
    outcome = await use("scale", by=5, ceiling=3)
    assert (outcome.kind, outcome.result) == (Result.REFUSED, {"machines": 3})
    assert "the ceiling is 3" in outcome.error
    assert len(writes()) == 1


async def test_scaling_in_stops_and_destroys_the_newest(fly, use, writes) -> None:
    """It gets to end by itself first."""
    outcome = await use("scale", by=-1)
    assert (outcome.kind, outcome.result["destroyed"], outcome.result["machines"]) == (Result.OK, [SECOND], 1)
    assert writes() == [f"POST machines/{SECOND}/stop", f"DELETE machines/{SECOND}"]


@pytest.mark.parametrize("ill", ["sick", "stopped"])
async def test_scaling_in_takes_first_what_serves_nobody(fly, use, writes, ill: str) -> None:
    """Though it is older; one at rest needs no stopping."""
    machine = fly.machine(FIRST)
    machine.sick, machine.state = ill == "sick", "stopped" if ill == "stopped" else "started"
    outcome = await use("scale", by=-1)
    assert outcome.result["destroyed"] == [FIRST]
    assert len(writes()) == (2 if ill == "sick" else 1)


async def test_scaling_in_stops_at_the_floor(fly, use, writes) -> None:
    """Never below it."""
    outcome = await use("scale", by=-10)
    assert outcome.result["machines"] == 1
    outcome = await use("scale", by=-1)
    assert outcome.kind is Result.REFUSED
    assert "the floor is 1" in outcome.error
    assert len(alive(fly)) == 1


async def test_a_number_below_the_floor_is_never_scaled_out_by_a_negative_one(fly, use, writes) -> None:
    """Nor one above the ceiling in by a positive one."""
    assert (await use("scale", by=-1, floor=5)).kind is Result.REFUSED
    assert (await use("scale", by=1, ceiling=1)).kind is Result.REFUSED
    assert writes() == []


async def test_zero_needs_to_be_allowed(fly, use) -> None:
    """Then it may go there."""
    outcome = await use("scale", to=0, allow_zero=True)
    assert (outcome.kind, outcome.result["machines"], alive(fly)) == (Result.OK, 0, [])


async def test_an_absolute_number_is_the_same_twice_as_once(use, writes) -> None:
    """The second changes nothing."""
    assert (await use("scale", to=3)).result["changed"] is True
    outcome = await use("scale", to=3)
    assert (outcome.kind, outcome.result["changed"], len(writes())) == (Result.OK, False, 1)


@pytest.mark.parametrize("params", [{"to": 2}, {"by": 1, "ceiling": 5}, {"by": -1}, {"to": 0, "allow_zero": True}])
async def test_p5_an_empty_population_is_unknown_and_refused(fly, use, writes, params: dict) -> None:
    """Nobody can say what to clone, and that there is nothing is more likely a mistake."""
    fly.machines.clear()
    outcome = await use("scale", **params)
    assert (outcome.kind, writes()) == (Result.REFUSED, [])


async def test_an_app_with_several_groups_needs_one_named(fly, use, writes) -> None:
    """And only that is counted and scaled."""
    worker = Machine(config_of(fly.releases[0], "worker"))
    fly.machines.append(worker)
    outcome = await use("scale", to=5)
    assert (outcome.kind, writes()) == (Result.REFUSED, [])
    assert "the process groups app, worker" in outcome.error
    outcome = await use("scale", to=2, group="worker")
    assert (outcome.result["before"], fly.machines[-1].config["metadata"]["fly_process_group"]) == (1, "worker")
    assert (await use("scale", to=2, group="nobody")).kind is Result.REFUSED


async def test_p5_a_machine_whose_host_does_not_answer_makes_the_population_unknown(fly, use, writes) -> None:
    """Its group is not known, so the number is not."""
    fly.machine(SECOND).host_status = "unreachable"
    outcome = await use("scale", to=1)
    assert (outcome.kind, writes()) == (Result.REFUSED, [])
    assert "does not answer" in outcome.error


@pytest.mark.parametrize("params", [{"by": 1, "ceiling": 5}, {"by": -1}])
async def test_machines_with_volumes_are_refused(fly, use, writes, params: dict) -> None:
    """A clone would have no data, and data is not to be left behind by accident."""
    fly.machine(FIRST).config["mounts"] = [{"volume": "vol_1", "path": "/data"}]
    outcome = await use("scale", **params)
    assert (outcome.kind, writes()) == (Result.REFUSED, [])
    assert "has a volume" in outcome.error


async def test_nothing_that_runs_is_nothing_to_clone(fly, use, writes) -> None:
    """It is refused."""
    for machine in fly.machines:
        machine.state = "stopped"
    assert (await use("scale", to=3)).kind is Result.REFUSED
    assert writes() == []


async def test_a_new_machine_that_does_not_serve_ends_it_at_the_deadline(fly, use, writes) -> None:
    """It is told which was made, and no other is made."""
    fly.sick_images.add(fly.machine(SECOND).config["image"])
    began = asyncio.get_running_loop().time()
    outcome = await use("scale", to=5, seconds=1.2)
    assert asyncio.get_running_loop().time() - began < 1.2
    assert (outcome.kind, outcome.result["created"]) == (Result.ERROR, [fly.machines[-1].own])
    assert "does not serve" in outcome.error
    assert writes() == ["POST machines"]


async def test_a_platform_without_room_ends_it_and_tells_how_far_it_came(fly, use, writes) -> None:
    """One of two is there."""
    fly.capacity = 3
    outcome = await use("scale", to=4)
    assert (outcome.kind, outcome.result["created"]) == (Result.ERROR, [fly.machines[-1].own])
    assert "1 of 2 machines of web are created" in outcome.error
    assert "insufficient resources" in outcome.error
    assert writes() == ["POST machines", "POST machines"]


async def test_a_platform_without_any_room_refuses(fly, use) -> None:
    """Nothing was done."""
    fly.capacity = 2
    assert (await use("scale", to=4)).kind is Result.REFUSED


async def test_p2_a_machine_whose_creation_was_not_answered_is_not_created_again(fly, use, writes) -> None:
    """Nobody knows, and a later try counts anew."""
    fly.faults.extend([None, Fault("cut-after")])
    outcome = await use("scale", to=3)
    assert (outcome.kind, len(alive(fly)), writes()) == (Result.ERROR, 3, ["POST machines"])
    assert (await use("scale", to=3)).result["changed"] is False


async def test_a_machine_that_is_stopped_and_not_destroyed_is_told(fly, use) -> None:
    """That is neither done nor not."""
    fly.faults.extend([None, None, None, Fault("status", 403)])
    outcome = await use("scale", by=-1)
    assert outcome.kind is Result.ERROR
    assert "it is stopped, and not destroyed" in outcome.error
    assert [machine.state for machine in fly.machines] == ["started", "stopped"]


class _Busy(FakeFly):
    """Whenever a machine is destroyed, somebody else destroys another one."""

    async def _destroy(self, request: web.Request) -> web.Response:
        answer = await super()._destroy(request)
        next(machine for machine in self.machines if machine.state == "started").state = "destroyed"
        return answer


async def test_somebody_else_who_scales_ends_it(context) -> None:
    """It is counted before each further machine: two at work would go below the floor together."""
    async with _Busy() as fly:
        fly.machines += [Machine(config_of(fly.releases[0])) for _ in range(3)]
        settings = {"fly": {"token": {"secret": "t"}, "url": fly.url, "api_url": fly.url}}
        params = ScaleParameters.model_validate({"app": "web", "to": 2})
        outcome = await FlyScale().run(params, context(settings, {"t": "fm2_fakeFlyToken0123456789"}))
        assert outcome.kind is Result.ERROR
        assert "it has 3 machines, not 4" in outcome.error
        assert len(alive(fly)) == 3


@pytest.mark.parametrize(
    "params",
    [
        {}, {"to": 1, "by": 1}, {"by": 0}, {"to": 0}, {"by": -1, "floor": 0}, {"by": 1}, {"to": 1, "floor": 2},
        {"to": 5, "ceiling": 4}, {"by": 1, "ceiling": 1, "floor": 2}, {"to": -1}, {"to": "3"},
    ],
)  # fmt: skip
def test_p5_what_is_not_said_clearly_is_not_valid(params: dict) -> None:
    """Zero by accident, growth without an end, two numbers at once."""
    with pytest.raises(ValidationError):
        ScaleParameters.model_validate({"app": "web", **params})


@given(
    now=st.integers(1, 50), by=st.integers(-100, 100).filter(bool), floor=st.integers(1, 50), more=st.integers(0, 50)
)
def test_p5_no_number_leads_out_of_its_bounds(now: int, by: int, floor: int, more: int) -> None:
    """Where it changes anything, it goes in the direction that was asked for, by no more than that, and within bounds."""
    params = ScaleParameters(app="web", by=by, floor=floor, ceiling=floor + more)
    target = params.target(now, "machines")
    if isinstance(target, int):
        assert 0 < (target - now) / by <= 1
        assert target >= floor if by < 0 else target <= floor + more


def test_only_an_absolute_number_may_be_repeated() -> None:
    """`by` would add up."""
    action = FlyScale()
    assert action.idempotent(ScaleParameters(app="web", to=3))
    assert not action.idempotent(ScaleParameters(app="web", by=-1))


def test_the_plan_gives_the_number_and_the_bounds() -> None:
    """In one line."""
    action = FlyScale()
    assert action.plan(ScaleParameters(app="web", to=3)) == "scale the machines of the app web at Fly.io to 3"
    said = action.plan(ScaleParameters(app="web", group="app", by=2, ceiling=6))
    assert said == "scale the machines of the group app of the app web at Fly.io by +2, at least 1, at most 6"
