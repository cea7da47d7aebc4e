"""`fly.status`, `fly.machines`, `fly.volumes`, `fly.releases` and `fly.logs` against the fake Fly.io."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from fakes.fly import TOKEN, Machine, Release, config_of
from pydantic import ValidationError

from remediator.actions.bounds import encoded_size
from remediator.actions.fly import FlyMachines
from remediator.actions.fly.names import AppParameters
from remediator.actions.protocol import MAX_RESULT_BYTES, Result

FIRST, SECOND = "148ed726c15789", "148ed726c15790"


async def test_the_status_counts_machines_and_checks(fly, use) -> None:
    """By state and region, and the check that does not pass is named with what it says."""
    fly.machine(SECOND).sick = True
    outcome = await use("status")
    assert outcome.kind is Result.OK
    assert outcome.result == {
        "app": "web",
        "status": "deployed",
        "organization": "shop",
        "machines": {"total": 2, "serving": 1, "by_state": {"started": 2}, "by_region": {"fra": 1, "ams": 1}},
        "checks": {"total": 2, "passing": 1, "warning": 0, "critical": 1},
        "failing": [
            {
                "machine": SECOND,
                "region": "ams",
                "check": "up",
                "status": "critical",
                "output": "connect: connection refused",
            }
        ],
    }


async def test_a_machine_whose_checks_are_not_heard_of_yet_does_not_serve(fly, use) -> None:
    """Its configuration has a check, and the API tells nothing of it: unknown is not passing."""
    machine = fly.machine(FIRST)
    machine.shown = lambda: {key: value for key, value in Machine.shown(machine).items() if key != "checks"}
    assert (await use("status")).result["machines"]["serving"] == 1


async def test_machines_are_listed_without_their_environment(use) -> None:
    """What Fly.io calls `config` holds the app's secrets, as far as people put them into `env`."""
    outcome = await use("machines")
    machine = outcome.result["machines"][0]
    assert (outcome.result["count"], machine["id"], machine["release"], machine["serves"]) == (2, FIRST, 43, True)
    assert machine["config"] == {
        "cpus": 1, "cpu_kind": "shared", "memory_mb": 256, "volumes": [], "standby": False, "schedule": None,
    }  # fmt: skip
    assert "hunter2" not in json.dumps(outcome.result)


async def test_machines_are_narrowed_down_by_region_and_group(fly, use) -> None:
    """Both must fit."""
    fly.machines.append(Machine(config_of(fly.releases[0], "worker"), "fra"))
    assert (await use("machines", region="fra")).result["count"] == 2
    assert (await use("machines", region="fra", group="app")).result["count"] == 1


async def test_a_machine_whose_host_does_not_answer_is_listed_all_the_same(fly, use) -> None:
    """Its configuration is null, and what its checks said last does not count."""
    fly.machine(FIRST).host_status = "unreachable"
    machine = (await use("machines")).result["machines"][0]
    assert (machine["host"], machine["config"], machine["serves"]) == ("unreachable", None, False)


async def test_p5_many_machines_keep_their_number_and_lose_their_details(fly, use) -> None:
    """The list is never cut: it is shortened, or it fails."""
    fly.machines[:] = [Machine(config_of(fly.releases[0])) for _ in range(300)]
    outcome = await use("machines")
    assert (outcome.kind, outcome.result["count"], len(outcome.result["machines"])) == (Result.OK, 300, 300)
    assert set(outcome.result["machines"][0]) == {"id", "name", "state", "region", "serves"}
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
    fly.machines[:] = [Machine(config_of(fly.releases[0])) for _ in range(1000)]
    outcome = await use("machines")
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)


@pytest.mark.parametrize(
    "answer", [None, {}, [{"id": FIRST}], [None], "text", [{**Machine({"image": "a/b"}).shown(), "state": 5}]]
)
async def test_p5_an_answer_that_is_not_the_platforms_is_an_error(context, serve, answer: object) -> None:
    """A list that is not there is no empty list."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(answer)

    settings = {"fly": {"token": {"secret": "t"}, "url": await serve(handler), "api_url": "http://127.0.0.1:1"}}
    params = FlyMachines.parameters.model_validate({"app": "web"})
    outcome = await FlyMachines().run(params, context(settings, {"t": TOKEN}))
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert "URL right" in outcome.error.replace("fly.url", "URL")


async def test_volumes_are_listed_with_how_full_they_are(fly, use) -> None:
    """And the number of those that no machine has."""
    fly.volumes.append({**fly.volumes[0], "id": "vol_2", "attached_machine_id": None, "blocks": 0})
    outcome = await use("volumes")
    assert outcome.result["count"] == 2
    assert outcome.result["unattached"] == 1
    assert [volume["used"] for volume in outcome.result["volumes"]] == [0.5, None]


async def test_releases_tell_the_age_of_the_current_one_and_where_a_rollback_would_go(use) -> None:
    """As rules use it: `facts.releases.current.age_s`."""
    outcome = await use("releases")
    assert outcome.kind is Result.OK
    current = outcome.result["current"]
    assert (current["version"], current["healthy"]) == (43, True)
    assert 598 <= current["age_s"] <= 610
    assert [(each["version"], each["healthy"]) for each in outcome.result["previous"]] == [(42, False), (41, True)]
    assert (outcome.result["running"], outcome.result["rollback_to"], outcome.result["more"]) == ({"43": 2}, 41, False)


async def test_a_release_at_work_is_neither_healthy_nor_not(fly, use) -> None:
    """Nobody can tell yet."""
    fly.releases.insert(0, Release(44, "NEW", 5, "running"))
    assert (await use("releases")).result["current"]["healthy"] is None


async def test_an_app_without_releases_has_no_current_one(fly, use) -> None:
    """A guard that asks for its age then fails, and refuses."""
    fly.releases.clear()
    outcome = await use("releases")
    assert (outcome.result["current"], outcome.result["previous"], outcome.result["rollback_to"]) == (None, [], None)


async def test_releases_beyond_the_limit_are_told_of(fly, use) -> None:
    """`more`."""
    outcome = await use("releases", limit=1)
    assert (outcome.result["previous"], outcome.result["more"]) == ([], True)


async def test_an_app_that_graphql_does_not_know_is_refused(use) -> None:
    """GraphQL answers 200 with errors."""
    outcome = await use("releases", app="nobody")
    assert outcome.kind is Result.REFUSED
    assert "Could not find App" in outcome.error


async def test_an_app_that_is_hidden_from_the_token_is_refused(context, serve) -> None:
    """GraphQL gives null where the token may not see it."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"data": {"app": None}})

    from remediator.actions.fly import FlyReleases

    settings = {"fly": {"token": {"secret": "t"}, "url": "http://127.0.0.1:1", "api_url": await serve(handler)}}
    outcome = await FlyReleases().run(
        FlyReleases.parameters.model_validate({"app": "web"}), context(settings, {"t": TOKEN})
    )
    assert outcome.kind is Result.REFUSED
    assert "may not see it" in outcome.error


async def test_the_newest_lines_are_given_oldest_first(fly, use) -> None:
    """So many as were asked for."""
    outcome = await use("logs", lines=3)
    assert [line["message"] for line in outcome.result["lines"]] == [
        "GET /basket 37",
        "GET /basket 38",
        "GET /basket 39",
    ]
    assert outcome.result["lines"][0] | {"at": ""} == {
        "at": "", "level": "info", "machine": FIRST, "region": "fra", "message": "GET /basket 37",
    }  # fmt: skip
    assert (outcome.result["count"], outcome.result["truncated"]) == (3, False)


async def test_a_log_with_fewer_lines_than_wanted_is_whole(use) -> None:
    """It is short, and nothing was cut."""
    outcome = await use("logs", lines=200)
    assert (outcome.result["count"], outcome.result["truncated"]) == (40, False)


async def test_a_full_answer_of_fewer_lines_than_wanted_says_that_there_may_be_more(fly, use) -> None:
    """Fly.io gives a hundred at once."""
    fly.lines[:] = [(FIRST, f"line {number}") for number in range(150)]
    outcome = await use("logs", lines=200)
    assert (outcome.result["count"], outcome.result["truncated"]) == (100, True)
    assert outcome.result["lines"][-1]["message"] == "line 149"


async def test_logs_of_one_machine_and_one_region(fly, use) -> None:
    """Both are asked of the API."""
    fly.lines.append((SECOND, "the other"))
    outcome = await use("logs", machine=SECOND, region="ams")
    assert [line["message"] for line in outcome.result["lines"]] == ["the other"]


async def test_a_log_that_is_too_long_keeps_its_newest_lines(fly, use) -> None:
    """It is evidence: the oldest go, an endless line is cut, and both are said."""
    fly.lines[:] = [(FIRST, f"{number} " + "x" * 5000) for number in range(60)]
    outcome = await use("logs", lines=60)
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
    assert (outcome.kind, outcome.result["truncated"]) == (Result.OK, True)
    assert outcome.result["lines"][-1]["message"].startswith("59 x")
    assert 20 < outcome.result["count"] < 60


@pytest.mark.parametrize(
    ("token", "header"),
    [
        (TOKEN, f"FlyV1 {TOKEN}"), (f"FlyV1 {TOKEN}", f"FlyV1 {TOKEN}"), ("plain-token", "Bearer plain-token"),
        (f"fm1r_a,{TOKEN}", f"FlyV1 fm1r_a,{TOKEN}"),
    ],
)  # fmt: skip
async def test_each_kind_of_token_goes_by_its_own_scheme(fly, use, token: str, header: str) -> None:
    """As Fly.io's own client does."""
    await use("machines", token=token)
    assert fly.seen[0].headers["authorization"] == header


async def test_p9_a_token_that_is_echoed_is_not_told(context, serve) -> None:
    """Neither as a whole nor without its scheme."""

    async def handler(request: web.Request) -> web.Response:
        said = {"error": f"bad token {request.headers['Authorization'].removeprefix('FlyV1 ')}"}
        return web.json_response(said, status=401)

    settings = {"fly": {"token": {"secret": "t"}, "url": await serve(handler), "api_url": "http://127.0.0.1:1"}}
    params = FlyMachines.parameters.model_validate({"app": "web"})
    outcome = await FlyMachines().run(params, context(settings, {"t": f"FlyV1 {TOKEN}"}))
    assert outcome.kind is Result.REFUSED
    assert TOKEN not in outcome.error
    assert "[secret t]" in outcome.error


@pytest.mark.parametrize("app", ["", "Web", "web/../x", "-web", "web-", "a" * 64, "web?x", "wéb"])
def test_p10_an_app_has_fly_ios_own_grammar(app: str) -> None:
    """What is none is refused before anything is asked."""
    with pytest.raises(ValidationError):
        AppParameters(app=app)
