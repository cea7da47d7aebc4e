"""The rights that the shipped manifests give are those that `kubernetes.*` needs, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.fake import Seen
from fakes.kubernetes import FakeKubernetes

from remediator.actions.kubernetes import ACTIONS
from remediator.actions.kubernetes.kinds import KINDS
from remediator.actions.protocol import Effect, Result

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
SHOP = {"namespace": "shop"}
WEB = {**SHOP, "name": "web"}
# Each action that the manifests are for, in the ways that ask for different things.
READS: list[tuple[str, dict[str, Any]]] = [
    ("get", {"kind": "Deployment", **WEB}),
    ("get", {"kind": "Pod", **SHOP}),
    ("events", {"kind": "Pod", "name": "web-0", **SHOP}),
    ("logs", {"pod": "web-0", **SHOP}),
    ("owner", {"pod": "web-0", **SHOP}),
    ("owner", {"pod": "agent-1", **SHOP}),
    ("owner", {"pod": "nightly-1-x", **SHOP}),
    *(("rollout_status", {"kind": kind, "name": name, **SHOP}) for kind, name in
      (("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent"))),
]  # fmt: skip
MENDS: list[tuple[str, dict[str, Any]]] = [
    *(("rollout_restart", {"kind": kind, "name": name, **SHOP}) for kind, name in
      (("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent"))),
    ("rollout_undo", WEB),
    ("scale", {**WEB, "to": 4, "ceiling": 9}),
    ("scale", {"kind": "StatefulSet", "name": "db", "to": 2, "ceiling": 9, **SHOP}),
    ("scale", {"name": "api", "to": 3, "ceiling": 9, "min_replicas": True, **SHOP}),
    ("delete_pod", {"pod": "web-0", **SHOP}),
]  # fmt: skip
ON_NODES: list[tuple[str, dict[str, Any]]] = [
    ("cordon", {"node": "node-1"}),
    ("drain", {"node": "node-1", "without_controller": True}),
    ("uncordon", {"node": "node-1"}),
]
NOT_MEANT = {"exec", "job", "patch"}  # as rights.yml says

Right = tuple[str, str, str]  # verb, API group, resource


def rights(*roles: str) -> set[Right]:
    """Give what roles allow."""
    files = [FOLDER / "rights.yml", FOLDER / "rights-on-nodes.yml"]
    manifests = [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    found = [each for each in manifests if each["kind"] == "ClusterRole" and each["metadata"]["name"] in roles]
    assert len(found) == len(roles)
    return {
        (verb, group, resource)
        for role in found
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def needed(seen: list[Seen]) -> Iterator[Right]:
    """Give the right that the API server asks for at each request ("Authorization Overview": request verbs)."""
    for each in seen:
        parts = each.path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        rest = rest[2:] if rest[0] == "namespaces" and len(rest) > 2 else rest
        resource = "/".join([rest[0], *rest[2:]])
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(each.method)
        yield verb or ("get" if len(rest) > 1 else "list"), group, resource


@pytest.mark.parametrize(
    ("uses", "role"),
    [(READS, "remediator-reads"), (MENDS, "remediator-mends"), (ON_NODES, "remediator-nodes")],
    ids=["reads", "mends", "on nodes"],
)
async def test_the_rights_are_what_the_actions_need(
    cluster: FakeKubernetes, use, uses: list[tuple[str, dict[str, Any]]], role: str
) -> None:
    """Whatever changes something is allowed because one of them does it."""
    asked: set[Right] = set()
    for verb, given in uses:
        cluster.reset()
        cluster.seen.clear()
        outcome = await use(verb, **given)
        assert outcome.kind is Result.OK, f"{verb}: {outcome.error}"
        asked |= {*needed(cluster.seen)}
    reads = {(verb, group, resource) for verb, group, resource in asked if verb in {"get", "list"}}
    assert reads <= rights("remediator-reads")
    assert role == "remediator-reads" or asked - reads == rights(role)


def gets(part: Any) -> Iterator[Right]:
    """Give what a rule file asks for; the plural of a kind that others bring along is that in small letters, and an s."""
    if isinstance(part, dict) and part.get("uses") == "kubernetes.get":
        verb, kind = "get" if "name" in part["with"] else "list", part["with"]["kind"]
        if kind in KINDS:
            yield verb, KINDS[kind].group, KINDS[kind].plural
        else:
            name, _, group = kind.split(".", 2)
            yield verb, group, f"{name.lower()}s"
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from gets(below)


def test_the_shipped_rules_may_read_what_they_ask_for() -> None:
    """Also of kinds that are not Kubernetes' own."""
    files = [each for each in (ROOT / "rules" / "kubernetes").glob("*.yml") if not each.name.endswith(".test.yml")]
    asked = {right for file in files for right in gets(yaml.safe_load(file.read_text(encoding="utf-8")))}
    assert asked
    assert asked - rights("remediator-reads") == set()


def test_the_shipped_rules_mend_by_what_the_manifests_are_for() -> None:
    """None of them uses an action that the rights leave out."""
    texts = [each.read_text(encoding="utf-8") for each in (ROOT / "rules" / "kubernetes").glob("*.yml")]
    used = {verb for text in texts for verb in re.findall(r"\bkubernetes\.([a-z_]+)", text)}
    assert not used & NOT_MEANT


def test_no_right_to_read_changes_anything() -> None:
    """It is given everywhere."""
    assert {verb for verb, _, _ in rights("remediator-reads")} == {"get", "list"}


def test_every_action_was_thought_of() -> None:
    """A new one gets its rights, or a line that says what it would need."""
    actions = {action.name.partition(".")[2]: action for action in ACTIONS}
    tried = {verb for verb, _ in [*READS, *MENDS, *ON_NODES]}
    assert tried | NOT_MEANT == actions.keys()
    assert {verb for verb, _ in READS} == {verb for verb in tried if actions[verb].effect is Effect.READ}
    said = (FOLDER / "rights.yml").read_text(encoding="utf-8")
    assert [verb for verb in NOT_MEANT if f"`kubernetes.{verb}`" not in said] == []
