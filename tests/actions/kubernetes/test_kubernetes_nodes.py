"""`kubernetes.delete_pod`, `cordon`, `uncordon` and `drain`."""

from __future__ import annotations

import pytest

from remediator.actions.kubernetes import drain
from remediator.actions.kubernetes.pods import DeleteParameters, DeletePod
from remediator.actions.protocol import Result

WEB_0 = {"namespace": "shop", "pod": "web-0"}
EVICTIONS = [f"POST /api/v1/namespaces/shop/pods/{pod}/eviction" for pod in ("web-0", "web-2", "api-0")]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(drain, "PAUSE", 0.01)


def names(cluster, node: str) -> list[str]:
    """Give the pods of a node."""
    return sorted(
        name
        for (plural, _, name), pod in cluster.objects.items()
        if plural == "pods" and pod["spec"]["nodeName"] == node
    )


# --- delete_pod ---


async def test_a_pod_is_deleted_if_it_is_still_the_same(use, cluster) -> None:
    """The API server is told the uid of the one that was looked at."""
    uid = cluster.objects["pods", "shop", "web-0"]["metadata"]["uid"]
    outcome = await use("delete_pod", grace="5s", **WEB_0)
    assert outcome.result == {"uid": uid, "node": "node-1"}
    assert ("pods", "shop", "web-0") not in cluster.objects
    assert cluster.seen[-1].json == {
        "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, "gracePeriodSeconds": 5,
    }  # fmt: skip


async def test_a_pod_that_was_made_anew_meanwhile_stays(use, cluster, monkeypatch) -> None:
    """Between the look and the deletion: the API server says 409."""
    remove = cluster._delete

    def anew(*arguments):
        cluster.objects["pods", "shop", "web-0"]["metadata"]["uid"] = "new"
        return remove(*arguments)

    monkeypatch.setattr(cluster, "_delete", anew)
    outcome = await use("delete_pod", **WEB_0)
    assert outcome.kind is Result.REFUSED
    assert ("pods", "shop", "web-0") in cluster.objects


async def test_a_named_uid_is_waited_for_by_nobody_else(use, writes) -> None:
    """With it the deletion may be repeated, without it not."""
    outcome = await use("delete_pod", uid="another", **WEB_0)
    assert outcome.kind is Result.REFUSED
    assert "made anew" in outcome.error
    assert writes() == []
    assert DeletePod().idempotent(DeleteParameters(**WEB_0, uid="a")) is True
    assert DeletePod().idempotent(DeleteParameters(**WEB_0)) is False


async def test_a_pod_that_nothing_would_make_anew_stays(use, cluster, writes) -> None:
    """Unless the rule says so; a static pod stays in any case."""
    outcome = await use("delete_pod", namespace="shop", pod="alone")
    assert outcome.kind is Result.REFUSED
    assert "no controller" in outcome.error
    outcome = await use("delete_pod", namespace="shop", pod="kube-proxy-node-1", without_controller=True)
    assert "static pod" in outcome.error
    assert writes() == []
    assert (await use("delete_pod", namespace="shop", pod="alone", without_controller=True)).kind is Result.OK
    assert ("pods", "shop", "alone") not in cluster.objects


# --- cordon, uncordon ---


async def test_a_node_is_cordoned_and_uncordoned(use, cluster, writes) -> None:
    """And what is so already is not touched."""
    node = {"node": "node-1"}
    assert (await use("uncordon", **node)).result["changed"] is False
    assert (await use("cordon", **node)).result == {"node": "node-1", "unschedulable": True, "changed": True}
    assert (await use("cordon", **node)).result["changed"] is False
    assert (await use("uncordon", **node)).result["changed"] is True
    assert cluster.objects["nodes", "", "node-1"]["spec"] == {"unschedulable": False}
    assert len(writes()) == 2


# --- drain ---


async def test_a_node_is_emptied_by_evictions(use, cluster, writes) -> None:
    """Of all but DaemonSets' pods and static ones; the node is cordoned first."""
    outcome = await use("drain", node="node-1")
    assert outcome.result == {"node": "node-1", "evicted": ["shop/api-0", "shop/web-0", "shop/web-2"]}
    assert names(cluster, "node-1") == ["agent-1", "kube-proxy-node-1"]
    assert writes() == ["PATCH /api/v1/nodes/node-1", *EVICTIONS]


async def test_a_budget_is_waited_for(use, cluster, writes) -> None:
    """An eviction that it forbids is asked again, and the pod is never deleted around it."""
    cluster.objects["poddisruptionbudgets", "shop", "web"]["status"]["disruptionsAllowed"] = 0
    cluster.budget_after = 3
    outcome = await use("drain", node="node-1")
    assert outcome.kind is Result.OK
    assert cluster.evictions_refused == 3
    assert not any(each.startswith("DELETE") for each in writes())


async def test_a_budget_that_never_allows_it_ends_with_the_step(use, cluster, writes) -> None:
    """The operator learns what was done, what was not, and which budget it was."""
    cluster.objects["poddisruptionbudgets", "shop", "web"]["status"]["disruptionsAllowed"] = 0
    outcome = await use("drain", seconds=1.0, node="node-1")
    assert outcome.kind is Result.ERROR
    assert "pods evicted: 1 (shop/api-0)" in outcome.error
    assert "disruption budget web" in outcome.error
    assert "it stays cordoned" in outcome.error
    assert cluster.objects["nodes", "", "node-1"]["spec"] == {"unschedulable": True}
    assert {"web-0", "web-2"} <= set(names(cluster, "node-1"))
    assert not any(each.startswith("DELETE") for each in writes())


async def test_pods_that_take_long_to_end_are_evicted_once(use, cluster, writes) -> None:
    """And waited for: the node is not empty before they are gone."""
    cluster.slow_to_end = True
    outcome = await use("drain", seconds=1.0, node="node-1")
    assert outcome.kind is Result.ERROR
    assert "still there at the step's end: shop/web-0, shop/web-2, shop/api-0" in outcome.error
    assert writes()[1:] == EVICTIONS


@pytest.mark.parametrize("given", [{"without_controller": True}, {}])
async def test_a_pod_without_a_controller_stops_it_before_anything_is_done(use, cluster, writes, given) -> None:
    """Unless the rule says that it may be lost."""
    cluster.pod("lonely", "node-1", {}, None)
    outcome = await use("drain", node="node-1", **given)
    if given:
        assert outcome.kind is Result.OK
        return
    assert outcome.kind is Result.REFUSED
    assert "shop/lonely has no controller" in outcome.error
    assert writes() == []


async def test_data_that_would_be_lost_stops_it(use, cluster, writes) -> None:
    """Unless the rule says that it may be lost."""
    cluster.objects["pods", "shop", "web-0"]["spec"]["volumes"] = [{"name": "cache", "emptyDir": {}}]
    assert "emptyDir" in (await use("drain", node="node-1")).error
    assert writes() == []
    assert (await use("drain", node="node-1", lose_empty_dirs=True)).kind is Result.OK


async def test_a_list_of_pods_from_elsewhere_is_not_believed(use, cluster, writes, monkeypatch) -> None:
    """A selector that a server passes over must not become everything (promise P5)."""
    listed = cluster._list

    def all_of_them(request, plural, kind, namespace):
        return listed(request.clone(rel_url="/api/v1/pods"), plural, kind, namespace)

    monkeypatch.setattr(cluster, "_list", all_of_them)
    outcome = await use("drain", node="node-1")
    assert outcome.kind is Result.ERROR
    assert "on another node" in outcome.error
    assert writes() == []
