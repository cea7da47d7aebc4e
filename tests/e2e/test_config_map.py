"""A configuration and a rule file that Kubernetes mounts from ConfigMaps: it swaps a link called `..data` beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Daemon, eventually

pytestmark = pytest.mark.slow
RULE = """
rules:
  - name: %s
    summary: Tells.
    match: '{alertname="Any"}'
    target: any
    steps:
      - {uses: log, with: {message: hello}}
"""


def swap(file: Path, version: str, text: str) -> None:
    """Change what is mounted as Kubernetes does: the file is a link into the folder behind `..data`, and the old one goes."""
    folder, data = file.parent, file.parent / "..data"
    old = data.resolve()
    (folder / f"..{version}").mkdir()
    (folder / f"..{version}" / file.name).write_text(text)
    (folder / "..data_tmp").symlink_to(f"..{version}")
    (folder / "..data_tmp").rename(data)
    if old != data:
        (old / file.name).unlink()
        old.rmdir()
    else:
        file.unlink(missing_ok=True)
        file.symlink_to(f"..data/{file.name}")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose configuration is in one ConfigMap, and whose only rule is in another."""
    (tmp_path / "rules").mkdir()
    rule, state = tmp_path / "rules" / "rule.yml", tmp_path / "state"
    daemon = Daemon(tmp_path, {"rules": [str(rule)], "state": str(state), "store": f"sqlite:///{state}/remediator.db"})
    swap(daemon.config, "first", daemon.config.read_text())
    swap(rule, "first", RULE % "first")
    with daemon:
        yield daemon


def test_a_configuration_is_taken_up_each_time_that_it_changes(mounted: Daemon) -> None:
    """The change that somebody waits for may be the second one."""
    config = json.loads(mounted.config.read_text())
    for mode in ("off", "approve", "dry-run"):
        swap(mounted.config, mode, json.dumps({**config, "mode": mode}))
        eventually(lambda: f'"mode": "{mode}", "event": "rules loaded"' in mounted.output(), f"the mode is {mode}")  # noqa: B023


def test_a_rule_file_is_taken_up_each_time_that_it_changes(mounted: Daemon) -> None:
    """Also where the configuration names it, and not its folder."""
    for version in ("second", "third"):
        swap(mounted.folder / "rules" / "rule.yml", version, RULE % version)
        eventually(lambda: [each["name"] for each in mounted.ask("/rules")["rules"]] == [version], version)  # noqa: B023
