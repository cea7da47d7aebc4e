"""What the suite over the catalog can't tell of Kubernetes: a write whose connection is lost, an answer from elsewhere."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from fakes.fake import Fault
from platforms.kubernetes import stand as start
from platforms.proxy import broken_port
from platforms.stand import use as use_at

from remediator.actions.kubernetes import ACTIONS
from remediator.actions.protocol import Effect, Resources, Result

NOT_JSON = {"kubernetes.logs", "kubernetes.exec"}
WRITES = [action.name for action in ACTIONS if action.effect is Effect.WRITE]


@pytest.fixture
async def place(tmp_path):
    """Start the stand."""
    async with AsyncExitStack() as stack:
        yield await start(stack, tmp_path)


@pytest.fixture
async def resources():
    """Connections that are closed with the test."""
    made = Resources()
    yield made
    await made.close()


@pytest.mark.parametrize("fault", ["cut", "cut-after"])
@pytest.mark.parametrize("name", [name for name in WRITES if name != "kubernetes.exec"])
async def test_a_write_whose_connection_is_lost_is_unknown_and_never_sent_again(
    place, resources, name: str, fault: str
) -> None:
    """At each of its writes."""
    params = place.params(name, place.written(name)[0])
    assert (await use_at(place, name, params, resources)).kind is Result.OK
    writing = [number for number, seen in enumerate(place.fake.seen) if seen.method != "GET"]
    if name == "kubernetes.uncordon":
        assert writing == []  # it is not cordoned
        return
    assert writing
    for at in writing:
        place.reset()
        place.fake.seen.clear()
        place.fake.faults.extend([None] * at + [Fault(fault)])
        outcome = await use_at(place, name, params, resources)
        assert outcome.kind is Result.ERROR, outcome.error
        assert len(place.fake.seen) == at + 1
        place.fake.faults.clear()


@pytest.mark.parametrize("name", [action.name for action in ACTIONS])
async def test_a_server_that_hangs_up_is_an_error(place, resources, name: str) -> None:
    """On a connection of its own nothing is asked again for good."""
    params = place.params(name, place.written(name)[0])
    async with broken_port("cut") as port:
        outcome = await use_at(place, name, params, resources, at=port)
    assert outcome.kind is Result.ERROR


@pytest.mark.parametrize(
    "body", [{"status": "ok"}, [], {"kind": "Page", "items": []}, {"kind": "Page", "metadata": {}}]
)
@pytest.mark.parametrize("name", [action.name for action in ACTIONS if action.name not in NOT_JSON])
async def test_what_answers_json_and_is_no_kubernetes_is_an_error(
    place, resources, serve, tmp_path, name: str, body
) -> None:
    """Such as a gateway's page, with 200: nothing is read out of it, and nothing goes on."""

    async def page(request: web.Request) -> web.Response:
        return web.json_response(body)

    port = int((await serve(page)).rpartition(":")[2])
    params = place.params(name, place.written(name)[0])
    assert (await use_at(place, name, params, resources, at=port)).kind is Result.ERROR
