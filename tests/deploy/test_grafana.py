"""The dashboard: Grafana's own types take it, and it shows every metric of the daemon and none that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.generate import metric_rows
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "remediator.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel, target["expr"]) for panel in PANELS for target in panel["targets"]]


def lost(mine: Any, read: Any, path: str = "") -> Iterator[str]:
    """Give what stands in one document and not, or otherwise, in another."""
    if isinstance(mine, dict) and isinstance(read, dict):
        for key, value in mine.items():
            yield from lost(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key}"]
    elif isinstance(mine, list) and isinstance(read, list) and len(mine) == len(read):
        for place, (one, other) in enumerate(zip(mine, read, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif mine != read:
        yield path


def through_grafanas_types(dashboard: dict[str, Any]) -> Any:
    """Read a dashboard by Grafana's types, and write it again: keys that they don't know are gone."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def test_grafana_knows_every_key() -> None:
    """Of the dashboard, its panels, their queries and their options."""
    assert list(lost(DASHBOARD, through_grafanas_types(DASHBOARD))) == []


@pytest.mark.parametrize("key", ["title", "description", "gridPos"])
def test_a_key_that_grafana_does_not_know_would_be_found(key: str) -> None:
    """Also in a panel."""
    wrong = {f"{name}s" if name == key else name: value for name, value in PANELS[0].items()}
    dashboard = {**DASHBOARD, "panels": [wrong]}
    assert list(lost(dashboard, through_grafanas_types(dashboard))) == [f".panels[0].{key}s"]


def names_in(expression: str) -> set[str]:
    """Give the metrics that an expression asks for."""
    return set(re.findall(r"\b(?:remediator_\w+|up)\b", re.sub(r'"[^"]*"', "", expression)))


def test_every_metric_is_shown_and_no_other() -> None:
    """A histogram is shown by its buckets."""
    rows = {name.strip("`"): kind for name, kind, *_ in metric_rows()}
    ours = {f"{name}_bucket" if kind == "histogram" else name for name, kind in rows.items()}
    shown = {name for _, expression in QUERIES for name in names_in(expression)}
    assert shown == ours | {"up"}


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    """As rules, with Grafana's own variable for the span filled in."""
    rules = [
        {"record": f"shown:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(QUERIES)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def test_it_asks_the_prometheus_that_one_chooses() -> None:
    """By a variable, since each Grafana calls its own otherwise."""
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${" + variable["name"] + "}"}


def test_no_panel_lies_on_another() -> None:
    """Each has its place on a grid of 24 columns, a number of its own, and says what it shows."""
    cells = [
        (column, line)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [panel["title"] for panel in PANELS if not panel["description"]] == []
