"""The fakes, started by their one command, and a real daemon that acts on them by the configuration that they write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from daemon import Daemon, Program, eventually, fetch

from remediator.actions.catalog import load_catalog

ROOT = Path(__file__).resolve().parents[2]
SLACK, FLY = "http://127.0.0.1:9404", "http://127.0.0.1:9402"  # as `python deploy/fakes` has them
RULES = """
rules:
  - name: rollback-bad-release
    summary: Roll back a release whose error rate is too high.
    match: '{alertname="HighErrorRate", app=~".+"}'
    facts: [{id: releases, uses: fly.releases, with: {app: '{{ labels.app }}'}}]
    target: 'fly/{{ labels.app }}'
    guard: {cooldown: 30m, only_if: facts.releases.current.age_s < 7200}
    steps: [{uses: fly.rollback, with: {app: '{{ labels.app }}'}, timeout: 1m}]
    verify:
      within: 1m
      checks: [{uses: fly.status, with: {app: '{{ labels.app }}'}, expect: result.machines.serving == result.machines.total}]
    on_success: [{uses: slack.post, with: {text: 'Rolled {{ labels.app }} back'}}]
    on_failure: [{uses: pagerduty.trigger, with: {summary: 'Rollback of {{ labels.app }} did not help', severity: critical}}]
"""
ALERT = {"alerts": [{"status": "firing", "labels": {"alertname": "HighErrorRate", "app": "web"}}]}


def asked(url: str, path: str) -> list[dict[str, Any]]:
    """Give the requests that a fake has seen for one path."""
    return [each for each in fetch(f"{url}/_seen").json() if each["path"] == path]


@pytest.mark.slow
def test_a_rule_acts_on_the_fakes_and_its_message_survives_a_kill(tmp_path: Path) -> None:
    """Rolled back and verified; the chat turns the message away, the daemon is killed, and the next one sends it."""
    program = [sys.executable, str(ROOT / "deploy" / "fakes"), str(tmp_path / "fakes")]
    with Program("fakes", program, tmp_path, f"{SLACK}/_seen"):
        written = eventually((tmp_path / "fakes" / "remediator.yml").read_text, "the configuration is written")
        config = yaml.safe_load(written)
        for secret in config["secrets"].values():
            secret["file"] = str(tmp_path / "fakes" / secret["file"])
        wanted = {action.section for action in load_catalog().values()} - {None, "postgres", "ssh"}
        assert wanted <= set(config), "a platform has no fake, or its fake no section"
        config = {key: value for key, value in config.items() if key in {"secrets", "fly", "slack", "pagerduty"}}
        (tmp_path / "rules.yml").write_text(RULES)
        with Daemon(tmp_path, {"mode": "auto", "rules": ["rules.yml"], **config}) as daemon:
            fetch(f"{SLACK}/_faults", [{"kind": "status", "status": 429}])
            assert daemon.post(ALERT).status == 200
            (run,) = eventually(lambda: daemon.runs(state="succeeded"), "the run succeeds")
            assert [step["uses"] for step in run["steps"]] == [
                "fly.releases",
                "fly.rollback",
                "fly.status",
                "slack.post",
            ]
            assert "it is kept" in run["steps"][-1]["error"]
            daemon.kill()
            daemon.start()
            eventually(lambda: len(asked(SLACK, "/chat.postMessage")) == 2, "the message is sent", within=30)
            assert "xoxb-fake" not in daemon.log.read_text()


@pytest.mark.slow
def test_the_shipped_rules_for_kubernetes_look_up_owners_and_tell_people(tmp_path: Path) -> None:
    """A pod's Deployment is found, and what has long run is not rolled back but paged; a failed Job's log is kept and told of."""
    program = [sys.executable, str(ROOT / "deploy" / "fakes"), str(tmp_path / "fakes")]
    with Program("fakes", program, tmp_path, f"{SLACK}/_seen"):
        written = eventually((tmp_path / "fakes" / "remediator.yml").read_text, "the configuration is written")
        config = yaml.safe_load(written)
        for secret in config["secrets"].values():
            secret["file"] = str(tmp_path / "fakes" / secret["file"])
        config["kubernetes"]["kubeconfig"] = str(tmp_path / "fakes" / "kubeconfig")
        config = {key: config[key] for key in ("secrets", "kubernetes", "slack", "pagerduty", "prometheus")}
        more = {
            "rules": [str(ROOT / "rules" / "kubernetes" / "cluster.yml")],
            "vars": {"incidents": "#ops", "clean": "true"},
            "exec": {"allow": ["true"]},
        }
        crash = {"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "web-0", "container": "web"}
        job = {"alertname": "KubeJobFailed", "namespace": "shop", "job_name": "nightly-1"}
        with Daemon(tmp_path, {"mode": "auto", **config, **more}) as daemon:
            daemon.post({"alerts": [{"status": "firing", "labels": labels} for labels in (crash, job)]})
            (told,) = eventually(lambda: daemon.runs(state="succeeded"), "people are told of the Job")
            (held,) = eventually(lambda: daemon.runs(state="blocked"), "the rollback is held back")
            assert (held["target"], held["reason"]) == ("workload/shop/web", "only_if")
            facts = {step["id"]: step["result"] for step in held["steps"] if step["phase"] == "facts"}
            assert (facts["owner"]["kind"], "panic" in facts["last_words"]["log"]) == ("Deployment", True)
            assert told["target"] == "job/shop/nightly-1"
            assert "line 300" in next(step["result"]["log"] for step in told["steps"] if step["id"] == "log")
            eventually(lambda: asked("http://127.0.0.1:9403", "/v2/enqueue"), "somebody is paged")
