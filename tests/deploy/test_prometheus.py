"""The rules for Prometheus that are shipped raise the runbooks' alerts, and the page of metrics tells what they ask for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "recording.rules.yml", FOLDER / "runbooks.rules.yml")
TESTS = (FOLDER / "runbooks-alerts-test.yml", FOLDER / "runbooks-alerts-days-test.yml")
LABELS = {"severity", "priority"}


def alerts() -> dict[str, dict[str, str]]:
    """Give the labels that each alert sets."""
    groups = yaml.safe_load(RULES[1].read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["labels"] for group in groups for rule in group["rules"]}


def promtool(*words: str) -> None:
    """Run promtool beside the files, and show what it says where it finds fault."""
    ran = subprocess.run(["promtool", *words], check=False, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_reads_the_rules() -> None:
    """Both files are good, and no rule is there twice."""
    promtool("check", "rules", *(path.name for path in RULES))


def test_each_alert_is_raised_and_not_just_below() -> None:
    """Each alert fires for the app beyond its threshold with its labels, and not for the one just below."""
    promtool("test", "rules", *(path.name for path in TESTS))


def test_no_alert_is_untested() -> None:
    """Each alert has a test in the files that promtool runs."""
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    assert {test["name"] for test in tests} == set(alerts())


def test_alerts_say_how_bad_they_are() -> None:
    """Each alert has a severity, and a priority of its own but where its metric brings one."""
    assert {name for name, labels in alerts().items() if set(labels) != LABELS} == {"IncidentUnacknowledged"}


def test_the_page_names_every_metric_and_alert() -> None:
    """Each metric and alert of the table is in the rules, and the other way round."""
    page = (ROOT / "docs" / "metrics-expected.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    raised = {name for row in rows for name in re.findall(r"`(\w+)`", row[4])}
    assert raised == set(alerts())
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    fed = {
        entry["series"].partition("{")[0].removesuffix("_bucket") for test in tests for entry in test["input_series"]
    }
    assert {row[0].strip(" `") for row in rows} == fed
