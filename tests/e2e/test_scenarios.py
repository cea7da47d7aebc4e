"""A scenario of each runbook: broken for real, seen by Prometheus, told by Alertmanager, healed by the shipped rules.

All of `rules/` and `deploy/prometheus` is in force, over an application with PostgreSQL behind it; the clouds are fakes.
`make demo SCENARIO=all` shows the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import eventually
from demonstration import Demo
from world import installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
# By runbook: what has happened by the time that it is healed, in this order.
TOLD = {
    "incident-response": ("Prometheus fires ServiceDown", "step succeeded: fly.restart", "/health answers from outside again"),
    "database-issues": ("Prometheus fires DatabasePoolExhausted", "step succeeded: postgres.terminate_idle", "are used"),
    "monitoring-alerts": ("Prometheus fires HighMemoryUsage", "step succeeded: fly.restart", "of its memory"),
    "backup-and-restore": (
        "Prometheus fires BackupBroken", "step failed: postgres.verify_backup", "the file is damaged",
        "step succeeded: postgres.backup", "step succeeded: postgres.verify_backup", "restored in a trial",
    ),
    "security-incidents": (
        "Prometheus fires UnauthorizedAccess", "block-address.sh block 203.0.113.7 web", "turned away at the door",
    ),
    "performance-degradation": (
        "Prometheus fires HighLatency", "step succeeded: fly.scale", "3 machines", "and so is the machine that was added",
    ),
    "deployment-rollback": (
        "Prometheus fires ErrorRateAfterRelease", "step succeeded: fly.rollback", "both machines run STEADY again",
    ),
    "cost-management": ("Prometheus fires ApiCostsWarning", "step succeeded: http.request", "at 0.5 of their pace"),
}  # fmt: skip


@pytest.fixture(scope="module")
def played() -> Iterator[Demo]:
    """Play all of them in one world, one after the other."""
    for tool in ("prometheus", "prometheus-alertmanager"):
        installed(tool)
    with tempfile.TemporaryDirectory(prefix="scenarios-") as folder:
        demo = Demo(Path(folder), "all")
        for place in (Path(folder), demo.folder):
            place.chmod(0o711)  # PostgreSQL runs as another user where we are root, and passes through
        try:
            yield demo
        finally:
            demo.finish()


@pytest.mark.parametrize("runbook", TOLD)
def test_what_the_runbook_is_for_is_healed_by_its_rule(played: Demo, runbook: str) -> None:
    """The alert fires, the rule acts, and the world is seen to be well again."""
    began = f"-- {runbook}:"
    eventually(
        lambda: (began in played.said() and all(each in played.said().partition(began)[2] for each in TOLD[runbook]))
        or played.process.poll() is not None,
        f"{runbook} is healed",
        within=200,
    )  # fmt: skip
    rest = played.said().partition(began)[2].partition(" s  -- ")[0]
    assert f"verdict: {runbook}: healed" in rest, played.said()[-4000:]
    for sentence in TOLD[runbook]:
        assert sentence in rest, f"{sentence!r} was not told, or not in its place:\n{rest}"
        rest = rest.partition(sentence)[2]


def test_the_scenarios_leave_nothing_behind(played: Demo) -> None:
    """Neither files, nor processes that work among them."""
    eventually(lambda: played.process.poll() is not None, "the demo ends", within=200)
    assert (played.status, played.left_behind()) == (0, [])


def test_each_shipped_runbook_has_a_scenario() -> None:
    """And what `make demo` lists are these."""
    runbooks = {path.stem for path in (ROOT / "rules").glob("*.yml") if not path.name.endswith(".test.yml")}
    assert set(TOLD) == runbooks - {"service-down", "high-error-rate"}


def test_a_scenario_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    """Each with what goes wrong in it."""
    demo = Demo(tmp_path, "nonsense")
    said = demo.finish()
    assert demo.status == 2
    assert all(f"  {name}" in said for name in (*TOLD, "shop", "all"))
