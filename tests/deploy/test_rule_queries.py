"""What the shipped rules ask Prometheus, evaluated by promtool: what the answer is decides whether a machine is added."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from remediator.actions.catalog import load_catalog
from remediator.rules.load import load_rules

ROOT = Path(__file__).parents[2]
VARS = yaml.safe_load((ROOT / "rules" / "performance-degradation.yml").read_text())["vars"]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def calls(api: str, quick: str, slow: str) -> list[dict[str, str]]:
    """Give the histogram of one API: how many of its calls took up to a second, and up to twenty."""
    name = f'external_api_duration_seconds_bucket{{api="{api}"'
    return [
        {"series": f'{name},le="1"}}', "values": quick},
        {"series": f'{name},le="20"}}', "values": slow},
        {"series": f'{name},le="+Inf"}}', "values": slow},
    ]


def answers(folder: Path, series: list[dict[str, str]], least: float) -> bool:
    """Tell whether the query for the slowest API gives one number, of at least so many seconds and under ten more."""
    query = f"({VARS['outside']}) >= {least} < {least + 10}"
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": f"count({query})", "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": 1}]}
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps({"rule_files": [], "tests": [test]}))
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, check=False).returncode == 0


def test_each_query_asks_of_our_application_and_in_a_drill_of_the_one_in_staging() -> None:
    """The errors of another one in the same Prometheus prove nothing; which API outside is slow is the same for all."""
    for file in sorted((ROOT / "rules").glob("*.yml")):
        own = {} if file.name.endswith(".test.yml") else yaml.safe_load(file.read_text()).get("vars", {})
        for name, query in own.items():
            if name != "outside" and isinstance(query, str) and re.search(r"\[[0-9]+[mhd]\]", query):
                app = f'app="{own["app"]}"'
                assert query.count(app) == query.count("["), f"{name} of {file.name}"
                assert own["drill"][name] == query.replace(app, f'app="{own["drill"]["app"]}"'), (
                    f"{name} of {file.name}"
                )


@promtool
def test_an_api_that_nobody_asks_is_not_slow(tmp_path: Path) -> None:
    """Its quantile is no number, which compared with one would refuse every machine more."""
    assert answers(tmp_path, calls("openai", "5+0x20", "5+0x20"), 0)
    assert answers(tmp_path, [], 0)


@promtool
def test_the_slowest_api_is_seen_beside_one_that_nobody_asks(tmp_path: Path) -> None:
    """And one that is quick is not taken for slow."""
    idle = calls("openai", "5+0x20", "5+0x20")
    slow = [*idle, *calls("anthropic", "0+0x20", "0+60x20")]
    assert answers(tmp_path, slow, VARS["outside_s"])
    assert not answers(tmp_path, slow, 0)
    assert answers(tmp_path, [*idle, *calls("anthropic", "0+60x20", "0+60x20")], 0)


def asked(folder: Path, name: str, series: list[dict[str, str]], at: str, value: float) -> None:
    """Assert what one of the queries for Kubernetes comes to."""
    query = yaml.safe_load((ROOT / "rules" / "kubernetes" / "application.yml").read_text())["vars"][name]
    expected = [{"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}]
    file = folder / "test.yml"
    test = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    file.write_text(json.dumps({"rule_files": [], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_the_memory_asked_for_is_that_of_the_pods_of_our_deployment(tmp_path: Path) -> None:
    """Where a neighbour in the namespace is nearly full, a pod that was replaced has helped all the same."""
    series = [
        {"series": f'{name}{{namespace="shop",pod="{pod}",container="{container}"{more}}}', "values": value}
        for pod, container, used in (("web-5d-1", "web", "40"), ("cache-0", "cache", "99"))
        for name, more, value in (
            ("container_memory_working_set_bytes", "", used),
            ("kube_pod_container_resource_limits", ',resource="memory"', "100"),
        )
    ]
    asked(tmp_path, "memory", series, "0m", 0.4)


@promtool
def test_a_release_that_was_rolled_back_to_is_not_fresh(tmp_path: Path) -> None:
    """Its ReplicaSet is an old one; that of the bad release is newer, and has no pods: to roll back once more would be to it."""
    series = [
        {"series": f'{name}{{namespace="shop",replicaset="{replicas}"{more}}}', "values": values}
        for replicas, made, pods in (("web-old", "0x60", "0x55 3x10"), ("web-bad", "3000x60", "3x55 0x10"))
        for name, more, values in (
            ("kube_replicaset_created", "", made),
            ("kube_replicaset_owner", ',owner_kind="Deployment",owner_name="web"', "1x60"),
            ("kube_replicaset_spec_replicas", "", pods),
        )
    ]
    asked(tmp_path, "release_age", series, "55m", 300)
    asked(tmp_path, "release_age", series, "60m", 3600)


DEPLOYMENT = {"series": 'kube_deployment_spec_replicas{namespace="shop",deployment="web"}', "values": "3x60"}


def pod(name: str, memory: str, processor: str, lag: str) -> list[dict[str, str]]:
    """Give what is measured at one pod, in parts of a hundred, seconds, and seconds."""
    where = f'namespace="shop",pod="{name}",container="web"'
    return [
        {"series": f"container_memory_working_set_bytes{{{where}}}", "values": f"{memory}x60"},
        {"series": f'kube_pod_container_resource_limits{{{where},resource="memory"}}', "values": "100x60"},
        {"series": f"container_cpu_usage_seconds_total{{{where}}}", "values": processor},
        {"series": f'kube_pod_container_resource_limits{{{where},resource="cpu"}}', "values": "1x60"},
        {"series": f"nodejs_eventloop_lag_p99_seconds{{{where}}}", "values": f"{lag}x60"},
    ]


@promtool
def test_what_is_measured_at_pods_raises_alerts_that_the_rules_for_kubernetes_take(tmp_path: Path) -> None:
    """The page gives them: by `app` alone, as at Fly.io, they would reach no rule."""
    page = (ROOT / "docs" / "metrics-expected.md").read_text()
    (tmp_path / "kubernetes.rules.yml").write_text(page.partition("```yaml prometheus\n")[2].partition("```")[0])
    high = {"severity": "high", "priority": "P2", "namespace": "shop"}
    busy = {
        "HighMemoryUsage": {**high, "pod": "web-a"}, "EventLoopLag": {**high, "pod": "web-a"},
        "HighCpuUsage": {**high, "deployment": "web"},
    }  # fmt: skip
    idle = {"CapacityUnused": {"severity": "info", "priority": "P3", "namespace": "shop", "deployment": "web"}}
    tests = [
        {
            "interval": "1m",
            "input_series": [*pod("web-a", *used), *pod("web-b", "10", "0+6x60", "0.01"), DEPLOYMENT],
            "alert_rule_test": [
                {
                    "eval_time": "40m",
                    "alertname": name,
                    "exp_alerts": [{"exp_labels": raised[name]}] if name in raised else [],
                }
                for name in (*busy, *idle)
            ],
        }
        for used, raised in ((("95", "0+54x60", "0.2"), busy), (("10", "0+6x60", "0.01"), idle))
    ]
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": ["kubernetes.rules.yml"], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = load_rules([ROOT / "rules" / "kubernetes" / "application.yml"], load_catalog()).rules.rules
    for name, labels in {**busy, **idle}.items():
        assert any(all(each.matches({"alertname": name, **labels}) for each in rule.match) for rule in rules), name
