"""The heartbeat: it is heard as long as the daemon could do its work, and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from stage import Stage, stage_in

from remediator.config import load_config
from remediator.engine.controls import pause
from remediator.errors import StoreError
from remediator.forms.heartbeat import HeartbeatForm
from remediator.forms.section import SecretName
from remediator.heartbeat import Heartbeat
from remediator.secrets import Secrets


class Switch:
    """A dead man's switch."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.answers = 200

    async def take(self, request: web.Request) -> web.Response:
        """Hear a beat."""
        self.heard.append(f"{request.method} {request.path}")
        return web.Response(status=self.answers)


class Patient:
    """A daemon's engine with its heart, and the switch that listens to it."""

    def __init__(self, stage: Stage, switch: Switch, url: str, folder: Path) -> None:
        self.stage, self.switch = stage, switch
        self.trouble: str | None = None
        (folder / "url").write_text(f"{url}/ping/c0ffee-secret\n")
        (folder / "remediator.yml").write_text("secrets: {URL: {file: url}}\n")
        secrets = Secrets(load_config(folder / "remediator.yml", {}))
        self.form: HeartbeatForm | None = HeartbeatForm(url=SecretName(secret="URL"))
        self.heart = Heartbeat(stage.engine, secrets, lambda: self.form, lambda: self.trouble)

    async def lives(self, seconds: float = 60.0) -> int:
        """Let some time pass, look once, and tell how many beats were heard by then."""
        await self.stage.passes(seconds)
        await self.heart.tick()
        return len(self.switch.heard)


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    """Somebody well."""
    switch = Switch()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", switch.take)
    async with TestServer(app) as server, stage_in(tmp_path) as stage:
        yield Patient(stage, switch, str(server.make_url("")).rstrip("/"), tmp_path)


async def test_p18_it_beats_as_often_as_it_is_to(patient: Patient) -> None:
    """By GET, at the address that a secret holds."""
    assert [await patient.lives(seconds) for seconds in (1, 30, 29, 1)] == [1, 1, 1, 2]
    assert patient.switch.heard[0] == "GET /ping/c0ffee-secret"


async def test_p18_nobody_who_is_unable_beats(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook is closed, the store takes no writes, or no worker looks: each is silence, and ends with its cause."""
    assert await patient.lives() == 1
    patient.trouble = "stopping"
    assert await patient.lives() == 1
    patient.trouble = None
    assert await patient.lives() == 2

    async def refuses(script: Any) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(patient.stage.store, "transact", refuses)
        await patient.heart.tick()
        patient.stage.clock.time += 60
        await patient.heart.tick()
    assert len(patient.switch.heard) == 2
    assert await patient.lives() == 3
    patient.stage.engine.workers.looked_at -= 100
    patient.stage.clock.time += 60
    await patient.heart.tick()
    assert len(patient.switch.heard) == 3


async def test_a_pause_is_no_silence(patient: Patient) -> None:
    """Whoever is paused is well; the pause has an alert of its own."""
    await pause(patient.stage.engine, "ann", "look", rule=None, target=None, span=None)
    assert await patient.lives() == 1


async def test_what_is_not_taken_is_said_once_without_the_address(patient: Patient) -> None:
    """And when it is over."""
    patient.switch.answers = 404
    with structlog.testing.capture_logs() as said:
        await patient.lives()
        await patient.lives()
        patient.switch.answers = 200
        await patient.lives()
        await patient.lives()
    told = [(line["log_level"], line.get("because")) for line in said if "heartbeat" in line["event"]]
    assert told == [("error", "the other end answered 404"), ("info", None)]
    assert "c0ffee" not in str(said)


async def test_where_nobody_listens_nothing_is_told_of_the_address_either(patient: Patient) -> None:
    """The error of a connection names it."""
    patient.form = HeartbeatForm(url="http://127.0.0.1:1/c0ffee-secret")
    with structlog.testing.capture_logs() as said:
        assert await patient.lives() == 0
    assert any("could not be sent" in str(line.get("because")) for line in said)
    assert "c0ffee" not in str(said)


async def test_without_the_section_there_is_none(patient: Patient) -> None:
    """It may come and go with a reload."""
    form, patient.form = patient.form, None
    assert await patient.lives() == 0
    patient.form = form
    assert await patient.lives() == 1
