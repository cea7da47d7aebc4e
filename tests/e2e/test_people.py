"""People and their roles, as the daemon reads them from its configuration."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from daemon import Daemon, eventually, fetch

pytestmark = pytest.mark.slow

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    mode: approve
    approval: {approvers: [ann]}
    steps: [{uses: log, with: {message: mended}}]
"""


def user(name: str, role: str) -> dict[str, str]:
    """Give somebody the token that is their name."""
    return {"role": role, "token": hashlib.sha256(name.encode()).hexdigest()}


def test_p12_whom_the_configuration_names_may_approve_until_it_names_them_no_more(tmp_path: Path) -> None:
    """Access is reloaded with the rest: somebody who is taken out is out, without a restart."""
    (tmp_path / "rules.yml").write_text(RULE)
    access = {"users": {"ann": user("ann", "operator"), "vic": user("vic", "viewer")}}
    with Daemon(tmp_path, {"mode": "auto", "rules": ["rules.yml"], "access": access}) as daemon:
        first, second = (asking(daemon, app) for app in ("web", "db"))
        assert answer(daemon, first, daemon.token) == 409
        assert answer(daemon, first, "vic") == 403
        assert answer(daemon, first, "eve") == 401
        assert answer(daemon, first, "ann") == 200
        eventually(lambda: daemon.run(first)["state"] == "succeeded", "what Ann approved is done")
        configuration = json.loads(daemon.config.read_text())
        daemon.config.write_text(json.dumps(configuration | {"access": {"users": {"vic": access["users"]["vic"]}}}))
        eventually(lambda: fetch(f"{daemon.url}/api/v1/runs", token="ann").status == 401, "Ann is out")
        assert answer(daemon, second, "ann") == 401
        assert daemon.run(second)["state"] == "awaiting_approval"
        assert fetch(f"{daemon.url}/api/v1/runs", token="vic").status == 200


def asking(daemon: Daemon, app: str) -> str:
    """Give a run that awaits approval."""
    alert = {"status": "firing", "labels": {"alertname": "Down", "app": app}}
    run = str(daemon.post({"alerts": [alert]}).json()["runs"][0])
    eventually(lambda: daemon.run(run)["state"] == "awaiting_approval", "a person is asked")
    return run


def answer(daemon: Daemon, run: str, token: str) -> int:
    """Approve the plan that it has now, and give the status."""
    plan = daemon.run(run)["plan_hash"]
    return fetch(f"{daemon.url}/api/v1/runs/{run}/approve", {"plan_hash": plan}, token=token).status
