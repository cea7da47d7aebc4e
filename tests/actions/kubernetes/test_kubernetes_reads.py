"""`kubernetes.get`, `logs`, `events`, `rollout_status` and `owner`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from remediator.actions.bounds import encoded_size
from remediator.actions.kubernetes.get import GetParameters
from remediator.actions.protocol import MAX_RESULT_BYTES, Result

SHOP = {"namespace": "shop"}


async def test_one_object_comes_whole_without_what_only_the_cluster_needs(use, cluster) -> None:
    """Neither managedFields nor the last applied configuration, which is the object once more."""
    metadata = cluster.objects["deployments", "shop", "web"]["metadata"]
    metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    outcome = await use("get", kind="Deployment", name="web", **SHOP)
    found = outcome.result["object"]
    assert found["spec"]["replicas"] == 3
    assert "managedFields" not in found["metadata"]
    assert list(found["metadata"]["annotations"]) == ["deployment.kubernetes.io/revision"]


async def test_a_list_comes_in_short(use) -> None:
    """With what one asks of a pod first."""
    outcome = await use("get", kind="Pod", selector="app=web", fields="spec.nodeName=node-1", **SHOP)
    assert outcome.result["count"] == 2
    assert outcome.result["items"][0] == {
        "name": "web-0", "namespace": "shop", "labels": {"app": "web"}, "created": "2026-01-05T10:00:00Z",
        "phase": "Running", "conditions": {"Ready": "True"}, "node": "node-1", "ready": True, "restarts": 1,
    }  # fmt: skip


async def test_a_kind_that_is_not_kubernetes_own_is_looked_up(use) -> None:
    """Its plural is the cluster's to know."""
    assert (await use("get", kind="Widget.v1.example.com", name="gear", **SHOP)).result["object"]["spec"] == {"size": 1}
    outcome = await use("get", kind="Gadget.v1.example.com", name="gear", **SHOP)
    assert outcome.kind is Result.REFUSED
    assert "no kind Gadget" in outcome.error


async def test_a_list_that_is_too_long_fails_and_is_not_cut(use, cluster) -> None:
    """Be it that the API server gives a part, or that a result can't hold it."""
    for number in range(400):
        cluster.pod(f"many-{number}", "node-2", {"app": "many", "note": "x" * 60}, None)
    outcome = await use("get", kind="Pod", selector="app=many", **SHOP)
    assert outcome.kind is Result.ERROR
    assert "never cut" in outcome.error
    for number in range(400, 1100):
        cluster.pod(f"many-{number}", "node-2", {"app": "many"}, None)
    outcome = await use("get", kind="Pod", selector="app=many", **SHOP)
    assert outcome.kind is Result.ERROR
    assert "more than 1000 pods" in outcome.error


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "Secret", "name": "x", **SHOP}, "Secret is not read"),
        ({"kind": "secrets", "name": "x", **SHOP}, "it should be a kind"),
        ({"kind": "Pod"}, "is in a namespace"),
        ({"kind": "Node", **SHOP}, "in no namespace"),
        ({"kind": "Pod", "name": "a", "selector": "b", **SHOP}, "give `name`, or"),
        ({"kind": "Pod", "selector": "", **SHOP}, "a label selector"),
        ({"kind": "Pod", "selector": "app=", **SHOP}, "a label selector"),
        ({"kind": "Pod", "selector": "app=a b", **SHOP}, "a label selector"),
        ({"kind": "Pod", "fields": "status.phase=A,", **SHOP}, "a field selector"),
        ({"kind": "Pod", "namespace": "Shop"}, "a namespace"),
        ({"kind": "Pod", "name": "../nodes", **SHOP}, "the name of an object"),
        ({"kind": "Pod", "name": ".".join(["a" * 60] * 5), **SHOP}, "at most 253"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(given, says: str) -> None:
    """In words for the author of the rule."""
    with pytest.raises(ValidationError, match=says):
        GetParameters.model_validate(given)


@pytest.mark.parametrize(
    "selector", ["app=web", "app==web, tier!=cache", "a.example.com/app in (a, b),!old", "app notin (a)"]
)
def test_selectors_are_taken_as_kubernetes_writes_them(selector: str) -> None:
    """All forms that kubectl takes."""
    assert GetParameters(kind="Pod", namespace="shop", selector=selector).selector == selector


async def test_what_is_missing_in_an_answer_is_an_error(use, cluster) -> None:
    """It is never taken for empty, nor for zero."""
    del cluster.objects["deployments", "shop", "web"]["spec"]["replicas"]
    assert (await use("rollout_status", name="web", **SHOP)).kind is Result.ERROR
    del cluster.objects["pods", "shop", "web-0"]["metadata"]["uid"]
    assert (await use("owner", pod="web-0", **SHOP)).kind is Result.ERROR
    assert (await use("get", kind="Pod", **SHOP)).kind is Result.ERROR


# --- logs and events ---


async def test_the_last_lines_of_a_log(use) -> None:
    """As many as were asked for."""
    outcome = await use("logs", pod="web-0", lines=2, **SHOP)
    assert outcome.result == {"log": "line 299\nline 300\n", "lines": 2, "truncated": False}
    assert "panic" in (await use("logs", pod="web-0", previous=True, **SHOP)).result["log"]


async def test_of_a_log_that_is_too_long_the_end_is_kept(use, cluster) -> None:
    """And it is said that the beginning is missing."""
    cluster.logs["shop", "web-0", False] = "".join(f"{number:06d} \x1b[31mtéxt\n" for number in range(5000))
    outcome = await use("logs", pod="web-0", lines=5000, **SHOP)
    assert outcome.result["truncated"] is True
    assert outcome.result["log"].endswith("004999 \x1b[31mtéxt\n")
    assert outcome.result["log"][6] == " "
    assert MAX_RESULT_BYTES // 2 < encoded_size(outcome.result) <= MAX_RESULT_BYTES


async def test_a_log_that_is_not_there(use, cluster) -> None:
    """What the API server says of it is said on."""
    del cluster.logs["shop", "web-0", True]
    outcome = await use("logs", pod="web-0", previous=True, **SHOP)
    assert outcome.kind is Result.REFUSED
    assert "previous terminated container" in outcome.error


async def test_events_come_newest_first(use, cluster) -> None:
    """Of an object, of a type; those that don't fit are counted."""
    outcome = await use("events", kind="Pod", name="web-0", **SHOP)
    assert [event["reason"] for event in outcome.result["events"]] == ["BackOff", "Pulled"]
    assert (await use("events", type="Warning", **SHOP)).result["count"] == 1
    for number in range(100):
        cluster.add(
            "events", "shop", f"x.{number}", reason="Failed", type="Warning", message="m" * 1500,
            involvedObject={"kind": "Pod", "name": "x"}, eventTime=f"2026-02-01T00:00:{number % 60:02d}Z",
        )  # fmt: skip
    outcome = await use("events", **SHOP)
    assert outcome.result["count"] == 102
    assert outcome.result["truncated"] is True
    assert outcome.result["events"][0]["last"] == "2026-02-01T00:00:59Z"
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


# --- rollout_status ---


async def test_a_rollout_that_is_complete(use) -> None:
    """Of each kind."""
    outcome = await use("rollout_status", name="web", **SHOP)
    assert outcome.result == {
        "kind": "Deployment", "namespace": "shop", "name": "web", "complete": True, "reason": None, "stuck": False,
        "desired": 3, "updated": 3, "ready": 3, "available": 3, "revision": "2", "paused": False,
        "images": ["registry.example.com/web:1.1"],
    }  # fmt: skip
    assert (await use("rollout_status", name="agent", kind="DaemonSet", **SHOP)).result["complete"] is True
    assert (await use("rollout_status", name="db", kind="StatefulSet", **SHOP)).result["complete"] is True


@pytest.mark.parametrize(
    ("kind", "name", "changes", "reason"),
    [
        ("Deployment", "web", {"observedGeneration": 0}, "has not seen the last change"),
        ("Deployment", "web", {"updatedReplicas": 1}, "1 of 3 replicas are of the new revision"),
        ("Deployment", "web", {"updatedReplicas": None, "replicas": None, "availableReplicas": None}, "0 of 3"),
        ("Deployment", "web", {"replicas": 4}, "1 replicas of an older revision"),
        ("Deployment", "web", {"availableReplicas": 2}, "2 of 3 new replicas are available"),
        ("DaemonSet", "agent", {"updatedNumberScheduled": 1}, "1 of 2 pods are of the new revision"),
        ("DaemonSet", "agent", {"numberAvailable": 1}, "1 of 2 pods are available"),
        ("StatefulSet", "db", {"readyReplicas": 0}, "0 of 1 replicas are ready"),
        ("StatefulSet", "db", {"updatedReplicas": 0, "updateRevision": "db-2"}, "0 of 1 replicas are of the new"),
    ],
)
async def test_a_rollout_that_is_not_complete(use, cluster, kind: str, name: str, changes, reason: str) -> None:
    """And for what it waits; a counter that Kubernetes leaves out is zero."""
    plural = f"{kind.lower()}s"
    status = cluster.objects[plural, "shop", name]["status"]
    for key, value in changes.items():
        if value is None:
            del status[key]
        else:
            status[key] = value
    outcome = await use("rollout_status", name=name, kind=kind, **SHOP)
    assert outcome.kind is Result.OK
    assert outcome.result["complete"] is False
    assert reason in outcome.result["reason"]


async def test_a_rollout_past_its_deadline_is_stuck(use, cluster) -> None:
    """Nothing will come of waiting."""
    cluster.objects["deployments", "shop", "web"]["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}
    ]
    outcome = await use("rollout_status", name="web", **SHOP)
    assert outcome.result["stuck"] is True
    assert outcome.result["complete"] is False


# --- owner ---


async def test_from_a_pod_to_its_deployment(use, cluster) -> None:
    """Through the ReplicaSet."""
    outcome = await use("owner", pod="web-0", **SHOP)
    assert (outcome.result["kind"], outcome.result["name"]) == ("Deployment", "web")
    assert [each["kind"] for each in outcome.result["chain"]] == ["ReplicaSet", "Deployment"]
    assert outcome.result["uid"] == cluster.objects["pods", "shop", "web-0"]["metadata"]["uid"]


async def test_from_a_pod_to_its_cron_job(use) -> None:
    """Through the Job."""
    outcome = await use("owner", pod="nightly-1-x", **SHOP)
    assert [each["kind"] for each in outcome.result["chain"]] == ["Job", "CronJob"]


async def test_a_pod_without_an_owner_says_so(use) -> None:
    """It is no error."""
    outcome = await use("owner", pod="alone", **SHOP)
    assert outcome.kind is Result.OK
    assert (outcome.result["controlled"], outcome.result["kind"], outcome.result["chain"]) == (False, None, [])


async def test_an_owner_of_a_kind_that_is_not_kubernetes_own_ends_the_chain(use, cluster) -> None:
    """Such as an operator's."""
    cluster.objects["deployments", "shop", "web"]["metadata"]["ownerReferences"] = [
        {"apiVersion": "example.com/v1", "kind": "Widget", "name": "gear", "uid": "1", "controller": True}
    ]
    outcome = await use("owner", pod="web-0", **SHOP)
    assert (outcome.result["kind"], outcome.result["name"]) == ("Widget", "gear")


async def test_an_owner_that_was_made_anew_is_not_the_pods_own(use, cluster) -> None:
    """A name alone proves nothing."""
    cluster.objects["replicasets", "shop", "web-hash2"]["metadata"]["uid"] = "another"
    outcome = await use("owner", pod="web-0", **SHOP)
    assert outcome.kind is Result.ERROR
    assert "made anew" in outcome.error
