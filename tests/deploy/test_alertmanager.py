"""The routes for Alertmanager that are shipped reach the daemon, and people beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FILE = str(Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml")


def amtool(*words: str) -> str:
    """Run amtool, and give what it says."""
    return subprocess.run(["amtool", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def test_alertmanager_reads_the_routes() -> None:
    """The file is good."""
    assert "SUCCESS" in amtool("check-config", FILE)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=ServiceDown", "severity=critical", "priority=P0"], "remediator,people"),
        (["alertname=HighMemoryUsage", "severity=warning", "priority=P2"], "remediator,chat"),
        (["alertname=IncidentUnacknowledged", "severity=critical", "priority=P0"], "remediator,chat"),
        (["alertname=RemediatorSilent", "severity=critical"], "people"),
        (["alertname=Watchdog"], "dead-mans-switch,remediator,nobody"),
        (["alertname=DailyMetricsSummary", "severity=info"], "remediator,nobody"),
    ],
)
def test_each_alert_takes_its_routes(labels: list[str], receivers: str) -> None:
    """The daemon gets all but what is about itself, and people what is bad."""
    assert amtool("config", "routes", "test", f"--config.file={FILE}", *labels).strip() == receivers
