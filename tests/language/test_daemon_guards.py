"""The daemon's own guards: each stands in the configuration, has its default, and `off` turns it off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from language.writing import file, rule
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.config import load_config
from remediator.engine import controls
from remediator.errors import ConfigurationError
from remediator.model.books import Allowance
from remediator.model.control import ControlKind
from remediator.rules.configured import standing_of
from remediator.rules.rule import Breaker
from remediator.rules.standing import Standing, Storm

TWO = file(
    rule("guard: {cooldown: 0s}"),
    rule("guard: {cooldown: 0s}", name="other", match="""'{alertname="Slow"}'"""),
)


def configured(folder: Path, guard: str, stage: Stage) -> Standing:
    """Give what a configuration lends, with this under `guard`."""
    (folder / "remediator.yml").write_text(f"guard: {{{guard}}}\n" if guard else "{}\n")
    return standing_of(load_config(folder / "remediator.yml", {}), stage.catalog)


async def under(stage: Stage, folder: Path, guard: str, **off: Any) -> None:
    """Put two rules in force under a guard of the daemon's, the others off."""
    standing = configured(folder, guard, stage)
    named = {
        name: getattr(standing, name) for name in ("allowances", "blast_radius", "breaker", "storm", "max_running")
    }
    await stage.rules(TWO, **{**named, **off})


async def reasons(stage: Stage) -> list[str]:
    return [reason or state for state, reason in await stage.states()]


async def test_daemon_guard_limit(stage: Stage, tmp_path: Path) -> None:
    """Over all rules; 30 per 1h by default."""
    assert configured(tmp_path, "", stage).allowances == (Allowance(30, 3600.0),)
    assert configured(tmp_path, "limit: off", stage).allowances == ()
    await under(stage, tmp_path, "limit: [2 per 1h, 10 per 1d]")
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    await stage.fires(app="c")
    assert await reasons(stage) == ["succeeded", "succeeded", "limit"]


async def test_daemon_guard_blast_radius(stage: Stage, tmp_path: Path) -> None:
    """Over all rules; off by default."""
    assert configured(tmp_path, "", stage).blast_radius is None
    await under(stage, tmp_path, "blast_radius: {targets: 2, per: 1h}")
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    await stage.fires(app="c")
    await stage.fires("Slow", app="a")
    assert await reasons(stage) == ["succeeded", "succeeded", "blast_radius", "succeeded"]


async def test_daemon_guard_breaker(stage: Stage, tmp_path: Path) -> None:
    """Over all rules; five failures in an hour by default, till a person closes it."""
    assert configured(tmp_path, "", stage).breaker == Breaker(5, 3600.0, None)
    assert configured(tmp_path, "breaker: off", stage).breaker is None
    await under(stage, tmp_path, "breaker: {failures: 2, per: 1h, reset: manual}")
    stage.outcomes["test.write"] = [Outcome(Result.REFUSED, error="no")] * 2 + [Outcome(Result.OK, {})]
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    await stage.fires(app="c")
    now = stage.clock.now()
    (laid,) = await stage.store.view(lambda tx: tx.controls(now))
    await controls.lift(stage.engine, laid.id, "ann", "mended")
    await stage.fires(app="d")
    assert await reasons(stage) == ["step", "step", "breaker", "succeeded"]


async def test_daemon_guard_max_running(stage: Stage, tmp_path: Path) -> None:
    """So many at work, more wait, P0 first; 10 by default."""
    assert configured(tmp_path, "", stage).max_running == 10
    assert configured(tmp_path, "max_running: off", stage).max_running is None
    await under(stage, tmp_path, "max_running: 1")
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="a")
    await stage.fires("Slow", app="b")
    assert await reasons(stage) == ["running", "max_running"]
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert await reasons(stage) == ["succeeded", "succeeded"]
    with pytest.raises(ConfigurationError, match="max_running"):
        configured(tmp_path, "max_running: 0", stage)


async def test_daemon_guard_storm(stage: Stage, tmp_path: Path) -> None:
    """More distinct alerts than that in the span: nothing till `hold` after it has passed, then a second chance."""
    assert configured(tmp_path, "", stage).storm == Storm(200, 60.0, 600.0)
    assert configured(tmp_path, "storm: off", stage).storm is None
    await under(stage, tmp_path, "storm: {alerts: 2, per: 1m, hold: 5m}")
    await stage.notify(*(stage.alert(app=app) for app in "abc"))
    assert await reasons(stage) == ["storm"] * 3
    now = stage.clock.now()
    assert [each.kind for each in await stage.store.view(lambda tx: tx.controls(now))] == [ControlKind.STORM]
    await stage.passes(359)
    assert stage.calls == []
    await stage.passes(1)
    assert stage.used("test.write") == 3
