"""`kubernetes.rollout_undo`, `rollout_restart`, `scale` and `patch`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from remediator.actions.kubernetes.patch import Patch, PatchParameters
from remediator.actions.kubernetes.scale import Scale, ScaleParameters
from remediator.actions.protocol import Result

WEB = {"namespace": "shop", "name": "web"}
API = {"namespace": "shop", "name": "api"}


def web(cluster):
    """Give the Deployment as it is now."""
    return cluster.objects["deployments", "shop", "web"]


# --- rollout_undo ---


async def test_a_deployment_goes_back_to_the_revision_before(use, cluster) -> None:
    """Its pod template becomes the old one, without what the controller had added to it."""
    outcome = await use("rollout_undo", **WEB)
    assert outcome.result == {
        "from_revision": 2, "to_revision": 1, "images": ["registry.example.com/web:1.0"], "generation": 2,
    }  # fmt: skip
    template = web(cluster)["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "registry.example.com/web:1.0"
    assert template["metadata"]["labels"] == {"app": "web"}
    assert web(cluster)["spec"]["replicas"] == 3


async def test_a_named_revision_is_taken(use, cluster) -> None:
    """If it is there, and not the one in force."""
    assert (await use("rollout_undo", revision=1, **WEB)).result["to_revision"] == 1
    cluster.reset()
    assert "at revision 2 already" in (await use("rollout_undo", revision=2, **WEB)).error
    outcome = await use("rollout_undo", revision=7, **WEB)
    assert outcome.kind is Result.REFUSED
    assert "no revision 7 any more; there is 1, 2" in outcome.error


async def test_without_an_earlier_revision_it_is_refused(use, writes) -> None:
    """There is nothing to go back to."""
    outcome = await use("rollout_undo", **API)
    assert outcome.kind is Result.REFUSED
    assert "no revision before 1" in outcome.error
    assert writes() == []


async def test_revisions_of_another_deployment_do_not_count(use, cluster, writes) -> None:
    """Even under the same labels: the owner decides."""
    cluster.objects["replicasets", "shop", "web-hash1"]["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert (await use("rollout_undo", **WEB)).kind is Result.REFUSED
    assert writes() == []


async def test_a_later_revision_is_not_the_one_before(use, cluster) -> None:
    """Revision 3 was made and is in force no more."""
    cluster.objects["replicasets", "shop", "web-hash1"]["metadata"]["annotations"][
        "deployment.kubernetes.io/revision"
    ] = "3"
    assert (await use("rollout_undo", **WEB)).kind is Result.REFUSED


async def test_a_paused_deployment_is_neither_rolled_back_nor_restarted(use, cluster, writes) -> None:
    """Nothing would come of it."""
    web(cluster)["spec"]["paused"] = True
    for verb in ("rollout_undo", "rollout_restart"):
        outcome = await use(verb, **WEB)
        assert outcome.kind is Result.REFUSED
        assert "paused" in outcome.error
    assert writes() == []


@pytest.mark.parametrize(("verb", "given"), [("rollout_undo", {}), ("scale", {"to": 5})])
async def test_what_was_changed_meanwhile_is_left_alone(use, cluster, monkeypatch, verb: str, given) -> None:
    """The API server says 409, and nothing is sent again."""
    listed = cluster._list

    def changed_meanwhile(*arguments):
        web(cluster)["metadata"]["resourceVersion"] = "99999"
        return listed(*arguments)

    monkeypatch.setattr(cluster, "_list", changed_meanwhile)
    outcome = await use(verb, **WEB, **given)
    assert outcome.kind is Result.REFUSED
    assert outcome.result == {"status": 409}
    assert "nothing was done" in outcome.error
    assert web(cluster)["spec"]["replicas"] == 3


# --- rollout_restart ---


async def test_a_restart_changes_the_template(use, cluster) -> None:
    """By the annotation that kubectl uses."""
    outcome = await use("rollout_restart", **WEB)
    annotations = web(cluster)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": outcome.result["restarted_at"]}
    assert outcome.result["generation"] == 2
    assert (await use("rollout_restart", namespace="shop", name="agent", kind="DaemonSet")).kind is Result.OK


# --- scale ---


@pytest.mark.parametrize(
    ("given", "replicas"),
    [
        ({"to": 5}, 5), ({"by": 2, "ceiling": 10}, 5), ({"by": 5, "ceiling": 4}, 4), ({"by": -1}, 2), ({"by": -9}, 1),
        ({"by": -9, "floor": 2}, 2), ({"to": 0, "allow_zero": True}, 0), ({"by": -3, "allow_zero": True}, 0),
    ],
)  # fmt: skip
async def test_it_scales_between_the_floor_and_the_ceiling(use, cluster, given, replicas: int) -> None:
    """From three."""
    outcome = await use("scale", **WEB, **given)
    assert outcome.result == {"autoscaler": None, "before": 3, "replicas": replicas, "changed": True}
    assert web(cluster)["spec"]["replicas"] == replicas


@pytest.mark.parametrize(
    ("replicas", "given", "says"),
    [
        (1, {"by": -1}, "the floor is 1"), (2, {"by": -1, "floor": 2}, "the floor is 2"),
        (1, {"by": -1, "floor": 2}, "the floor is 2"), (4, {"by": 1, "ceiling": 4}, "the ceiling is 4"),
        (6, {"by": 1, "ceiling": 4}, "the ceiling is 4"), (0, {"by": 1, "ceiling": 4}, "has no replicas"),
    ],
)  # fmt: skip
async def test_beyond_its_bounds_nothing_is_scaled(use, cluster, writes, replicas: int, given, says: str) -> None:
    """Nor is anything moved the other way to come within them."""
    web(cluster)["spec"]["replicas"] = replicas
    outcome = await use("scale", **WEB, **given)
    assert outcome.kind is Result.REFUSED
    assert says in outcome.error
    assert writes() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "`to` or `by`"), ({"to": 1, "by": 1}, "`to` or `by`"), ({"to": 0}, "allow_zero"), ({"by": 1}, "ceiling"),
        ({"by": 0}, "changes nothing"), ({"by": -1, "floor": 0}, "allow_zero"), ({"to": 2, "floor": 3}, "not between"),
        ({"to": 9, "ceiling": 3}, "not between"), ({"by": 1, "floor": 4, "ceiling": 3}, "below"), ({"to": -1}, "greater"),
    ],
)  # fmt: skip
def test_a_scale_that_makes_no_sense_is_refused(given, says: str) -> None:
    """Zero above all."""
    with pytest.raises(ValidationError, match=says):
        ScaleParameters.model_validate({**WEB, **given})


async def test_what_has_the_number_already_is_not_touched(use, writes) -> None:
    """And that is a success."""
    outcome = await use("scale", to=3, **WEB)
    assert outcome.result["changed"] is False
    assert writes() == []


async def test_what_an_autoscaler_has_in_hand_is_not_scaled(use, writes) -> None:
    """It would scale it back."""
    outcome = await use("scale", to=4, **API)
    assert outcome.kind is Result.REFUSED
    assert "HorizontalPodAutoscaler api" in outcome.error
    assert "minReplicas or maxReplicas" in outcome.error
    assert writes() == []


async def test_the_autoscalers_minimum_is_changed_where_the_rule_says_so(use, cluster, writes) -> None:
    """Up to its maximum, and no further."""
    outcome = await use("scale", by=2, ceiling=10, min_replicas=True, **API)
    assert outcome.result == {"autoscaler": "api", "before": 2, "replicas": 4, "changed": True}
    assert cluster.objects["horizontalpodautoscalers", "shop", "api"]["spec"]["minReplicas"] == 4
    assert cluster.objects["deployments", "shop", "api"]["spec"]["replicas"] == 2
    assert len(writes()) == 1
    outcome = await use("scale", to=9, min_replicas=True, **API)
    assert outcome.kind is Result.REFUSED
    assert "maxReplicas is 5" in outcome.error


async def test_an_autoscaler_that_can_not_be_read_stops_it(use, cluster, writes) -> None:
    """Whether there is one is not guessed."""
    del cluster.objects["horizontalpodautoscalers", "shop", "api"]["spec"]["scaleTargetRef"]
    assert (await use("scale", to=4, **WEB)).kind is Result.ERROR
    assert writes() == []


async def test_a_replica_set_of_a_deployment_is_not_scaled(use, writes) -> None:
    """The Deployment would scale it back."""
    outcome = await use("scale", namespace="shop", name="web-hash2", kind="ReplicaSet", to=4)
    assert outcome.kind is Result.REFUSED
    assert "made by Deployment web" in outcome.error
    assert writes() == []


def test_only_an_absolute_number_may_be_sent_twice() -> None:
    """Two more, twice, are four more."""
    assert Scale().idempotent(ScaleParameters(**WEB, to=3)) is True
    assert Scale().idempotent(ScaleParameters(**WEB, by=1, ceiling=9)) is False


# --- patch ---


async def test_a_patch_changes_what_it_names(use, cluster) -> None:
    """Items of lists are put together by their names, or with `merge` replaced."""
    side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "y"}]}}}}
    outcome = await use("patch", allow=["Deployment"], kind="Deployment", patch=side, **WEB)
    assert outcome.result == {"generation": 2, "changed": True}
    names = [each["name"] for each in web(cluster)["spec"]["template"]["spec"]["containers"]]
    assert names == ["web", "side"]
    assert (await use("patch", allow=["Deployment"], kind="Deployment", patch=side, **WEB)).result["changed"] is False
    await use("patch", allow=["Deployment"], kind="Deployment", patch=side, type="merge", **WEB)
    assert [each["name"] for each in web(cluster)["spec"]["template"]["spec"]["containers"]] == ["side"]


async def test_a_kind_that_is_not_allowed_is_not_patched(use, cluster) -> None:
    """Neither the check before the run nor the run itself lets it through."""
    given = {"kind": "ConfigMap", "patch": {"data": {"color": "red"}}, **WEB}
    params = PatchParameters.model_validate(given)
    assert "add ConfigMap to kubernetes.patch" in Patch().check(params, {"kubernetes": {"patch": ["Deployment"]}})
    assert Patch().check(params, {"kubernetes": {"patch": ["ConfigMap"]}}) is None
    for allow in (["Deployment", "configmap"], []):
        outcome = await use("patch", allow=allow, **given)
        assert outcome.kind is Result.NOT_SENT
    assert cluster.seen == []


async def test_a_kind_of_others_is_patched_by_merge(use, cluster) -> None:
    """Kubernetes knows no strategic merge for it."""
    with pytest.raises(ValidationError, match="type: merge"):
        PatchParameters(kind="Widget.v1.example.com", namespace="shop", name="gear", patch={"spec": {}})
    given = {"kind": "Widget.v1.example.com", "namespace": "shop", "name": "gear", "patch": {"spec": {"size": 2}}}
    outcome = await use("patch", allow=["Widget.v1.example.com"], type="merge", **given)
    assert outcome.kind is Result.OK
    assert cluster.objects["widgets", "shop", "gear"]["spec"]["size"] == 2


async def test_an_invalid_patch_is_refused_with_the_servers_reason(use) -> None:
    """So that the author can mend it."""
    outcome = await use("patch", allow=["Deployment"], kind="Deployment", patch={"spec": {"replicas": -1}}, **WEB)
    assert outcome.kind is Result.REFUSED
    assert "spec.replicas: Invalid value" in outcome.error
    assert "mend the rule" in outcome.error


def test_an_empty_patch_is_refused() -> None:
    """It says nothing."""
    with pytest.raises(ValidationError, match="at least 1"):
        PatchParameters(kind="Deployment", patch={}, **WEB)
