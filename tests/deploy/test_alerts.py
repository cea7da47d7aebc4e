"""The alert rules about the daemon: each is raised by what it is about and by nothing less, and says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from remediator import metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = [
    rule for group in yaml.safe_load((FOLDER / "remediator.rules.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((FOLDER / "remediator-alerts-test.yml").read_text())["tests"]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


@promtool
@pytest.mark.parametrize(
    "command", [["check", "rules", "remediator.rules.yml"], ["test", "rules", "remediator-alerts-test.yml"]]
)
def test_p18_promtool_finds_the_alerts_right(command: list[str]) -> None:
    """Those that are raised, and those that are just not."""
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_both_ways_and_says_what_to_do(rule: dict) -> None:
    """With a link to a heading that is there."""
    name = rule["alert"]
    expected = {bool(t["promql_expr_test"][0]["exp_samples"]) for t in TESTS if t["name"].split(":")[0] == name}
    assert expected == {True, False}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_alerts_speak_of_metrics_that_there_are() -> None:
    """A name that was mistyped would never be raised."""
    known = {each._name for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)}
    named = {name for rule in RULES for name in re.findall(r"remediator_\w+", rule["expr"])}
    strange = {
        name
        for name in named
        if re.sub(r"_(total|sum|count|bucket|info)$", "", name) not in known and name not in known
    }
    assert strange == set()
