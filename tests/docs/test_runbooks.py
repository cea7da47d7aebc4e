"""The mapping of the runbooks: whatever they name has a rule, and whatever the page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from remediator.actions.catalog import load_catalog
from remediator.rules.load import load_rules
from remediator.rules.rule import Rule

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbooks.md").read_text()
RULES = {rule.name: rule for rule in load_rules([ROOT / "rules"], load_catalog()).rules.rules}
TESTS = {
    test["name"] for file in (ROOT / "rules").rglob("*.test.yml") for test in yaml.safe_load(file.read_text())["tests"]
}
# Every alert that the runbooks name, and those that stand for a scenario which they describe without a name.
ALERTS = (
    "ServiceDown", "HighErrorRate", "DatabaseConnectionFailure", "HighApiCosts", "HighWorkflowFailureRate", "HighMemoryUsage",
    "NoProductsSynced", "NoVideosGenerated", "RevenueDeclining", "DailyMetricsSummary", "SlowQueries", "DatabasePoolExhausted",
    "TableBloat", "DatabaseLocks", "DataCorruption", "MigrationFailed", "ErrorRateAfterRelease",
    "HealthCheckFailingAfterRelease", "HighLatency", "HighCpuUsage", "EventLoopLag", "BackupMissed", "BackupBroken",
    "UnauthorizedAccess", "KeyCompromised", "DataBreach", "DDoSAttack", "ApiCostsWarning", "ApiCostsCritical",
    "IncidentUnacknowledged", "CapacityUnused",
)  # fmt: skip
RUNBOOKS = {
    "incident-response", "database-issues", "deployment-rollback", "monitoring-alerts", "cost-management", "security-incidents",
    "performance-degradation", "backup-and-restore",
}  # fmt: skip


def cells() -> list[list[str]]:
    """Give the rows of the page's tables, their headings aside."""
    rows = [re.split(r" \| ?", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() not in {"Section", "Drill", "---"}]


def takes(rule: Rule, alert: str) -> bool:
    """Tell whether a rule is for an alert of that name, as far as its name goes."""
    named = [matcher for matcher in rule.match if matcher.name == "alertname"]
    return bool(named) and all(matcher.matches({"alertname": alert}) for matcher in named)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_of_the_runbooks_has_a_rule_that_the_page_names(alert: str) -> None:
    """By the matcher of its name."""
    mine = {name for name, rule in RULES.items() if takes(rule, alert)}
    assert mine, f"no rule takes {alert}"
    assert any(f"`{name}`" in PAGE for name in mine)
    assert alert in PAGE or alert == "IncidentUnacknowledged"


def test_every_runbook_has_its_file_of_rules() -> None:
    """And its tests beside it."""
    for name in RUNBOOKS:
        assert (ROOT / "rules" / f"{name}.yml").exists()
        assert (ROOT / "rules" / f"{name}.test.yml").exists()
        assert f"../rules/{name}.yml" in PAGE


def test_every_shipped_rule_of_the_runbooks_stands_on_the_page() -> None:
    """The two generic ones have documents of their own."""
    generic = {"restart-service-down", "rollback-high-error-rate"}
    between = re.findall(r"`([a-z]+-p)0-([a-z-]+)` to `[a-z]+-p3-[a-z-]+`", PAGE)
    ranges = {f"{begin}{number}-{end}" for begin, end in between for number in range(4)}
    assert [name for name in RULES if name not in generic | ranges and f"`{name}`" not in PAGE] == []


def test_a_drill_of_the_page_gives_the_labels_that_its_rule_asks_for() -> None:
    """Without them it would be refused, or could not be rendered."""
    drills = re.findall(r"`remediator drill ([a-z0-9-]+)((?: --label [a-z]+=\S+?)*)`", PAGE)
    assert len(drills) == PAGE.count("`remediator drill ") - PAGE.count("`remediator drill RULE")
    for name, given in drills:
        labels = dict(re.findall(r"--label ([a-z]+)=(\S+)", given))
        assert all(matcher.matches(labels) for matcher in RULES[name].match), f"{name} does not take {labels}"


def test_what_is_told_of_a_refusal_names_the_application_of_the_alert() -> None:
    """An alert of staging is refused, and must not page as if it were production that is down."""
    ours = re.compile(r"vars\.(app|database|deployment)\b")
    for rule in RULES.values():
        told = str(rule.definition.get("on_blocked")) if rule.match else ""
        assert not ours.search(re.sub(r"default\(vars\.\w+\)", "", told)), f"{rule.name} names what it was not about"


def test_the_example_allows_the_programs_that_drills_run() -> None:
    """As `check` looks at what `vars` say, and not at what `vars.drill` lays over them."""
    allowed = set(yaml.safe_load((ROOT / "deploy" / "runbooks.yml").read_text())["exec"]["allow"])
    drilled = {
        value
        for file in (ROOT / "rules").glob("*.yml")
        if not file.name.endswith(".test.yml")
        for value in (yaml.safe_load(file.read_text()).get("vars") or {}).get("drill", {}).values()
        if isinstance(value, str) and value.startswith(("./", "/"))
    }
    assert drilled
    assert drilled <= allowed


def test_the_page_tells_which_rules_do_not_do_without_fly() -> None:
    """Who has Kubernetes takes the rest of a file: one of these, if only for evidence, keeps the daemon from starting."""
    told = PAGE.partition("## Kubernetes")[2].partition("| Section |")[0]
    whole = {"deployment-rollback.yml", "performance-degradation.yml", "security-incidents.yml"}
    flying = [rule for rule in RULES.values() if "'fly." in str(rule.definition)]
    assert {Path(rule.file).name for rule in flying} >= whole
    assert [rule.name for rule in flying if Path(rule.file).name not in whole and f"`{rule.name}`" not in told] == []
    assert all(f"`{Path(rule.file).name}`" in told for rule in flying)


def test_what_the_page_names_is_there() -> None:
    """Rules in the second column, tests in the third."""
    named = {word for row in cells() if len(row) > 2 for word in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", row[1])}
    assert named <= RULES.keys()
    tests = {row[2].removeprefix("then ") for row in cells() if len(row) > 2 and row[2]}
    vague = {"as below", "under incident response", "under database issues"}
    full = {test.removeprefix("then ") for test in TESTS}
    assert sorted(tests - vague - full) == []


def test_prometheus_raises_every_alert_of_the_runbooks() -> None:
    """By the rules that are shipped for it, and no other."""
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "runbooks.rules.yml").read_text())["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(ALERTS)
