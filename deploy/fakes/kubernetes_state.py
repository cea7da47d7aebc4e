"""The objects that the fake of Kubernetes holds, and the shop that is there at the start."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from fakes.kubernetes_objects import Object, pod_template

STAMP = "2026-01-05T10:00:00Z"
REVISION = "deployment.kubernetes.io/revision"

# Where each kind is: API version, plural, kind, whether in a namespace.
RESOURCES = (
    ("v1", "pods", "Pod", True), ("v1", "events", "Event", True), ("v1", "configmaps", "ConfigMap", True),
    ("v1", "nodes", "Node", False), ("apps/v1", "deployments", "Deployment", True),
    ("apps/v1", "replicasets", "ReplicaSet", True), ("apps/v1", "statefulsets", "StatefulSet", True),
    ("apps/v1", "daemonsets", "DaemonSet", True), ("batch/v1", "jobs", "Job", True), ("batch/v1", "cronjobs", "CronJob", True),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", True),
    ("example.com/v1", "widgets", "Widget", True),
)  # fmt: skip


class Cluster:
    """A cluster with a shop in it."""

    def __init__(self) -> None:
        self.version = 1000
        self.objects: dict[tuple[str, str, str], Object] = {}  # (plural, namespace, name)
        self.logs: dict[tuple[str, str, bool], str] = {}  # (namespace, pod, previous)
        self._fill()

    def _fill(self) -> None:
        for node in ("node-1", "node-2"):
            self.add("nodes", "", node, spec={}, status={"conditions": [{"type": "Ready", "status": "True"}]})
        self._deployment("web", 3, ("registry.example.com/web:1.0", "registry.example.com/web:1.1"))
        self._deployment("api", 2, ("registry.example.com/api:2.0",))
        self.add(
            "horizontalpodautoscalers", "shop", "api",
            spec={
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}, "minReplicas": 2,
                "maxReplicas": 5,
            },
        )  # fmt: skip
        self.add("daemonsets", "shop", "agent", spec={"selector": {}, "template": pod_template("agent", "agent:1")}, status={
            "observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2,
            "numberAvailable": 2,
        })  # fmt: skip
        database = {"replicas": 1, "selector": {}, "template": pod_template("db", "db:1")}
        self.add("statefulsets", "shop", "db", spec=database, status={
            "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "currentRevision": "db-1", "updateRevision": "db-1",
        })  # fmt: skip
        self.pod("agent-1", "node-1", {"app": "agent"}, self.objects["daemonsets", "shop", "agent"])
        self.pod("kube-proxy-node-1", "node-1", {}, None, annotations={"kubernetes.io/config.mirror": "1"})
        self.add(
            "poddisruptionbudgets", "shop", "web", spec={"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 2},
            status={"disruptionsAllowed": 1},
        )  # fmt: skip
        self.add("configmaps", "shop", "web", data={"color": "blue"})
        self.add("cronjobs", "shop", "nightly", spec={"schedule": "0 3 * * *"}, status={})
        self.add("jobs", "shop", "nightly-1", owner=self.objects["cronjobs", "shop", "nightly"], spec={}, status={})
        self.pod("nightly-1-x", "node-2", {"job-name": "nightly-1"}, self.objects["jobs", "shop", "nightly-1"])
        self.pod("alone", "node-2", {}, None)
        self.add("widgets", "shop", "gear", spec={"size": 1})
        for number, (kind, reason) in enumerate([("Normal", "Pulled"), ("Warning", "BackOff")]):
            self.add(
                "events", "shop", f"web-0.{number}", type=kind, reason=reason, message=f"{reason} it", count=number + 1,
                involvedObject={"kind": "Pod", "name": "web-0", "namespace": "shop"},
                firstTimestamp=STAMP, lastTimestamp=f"2026-01-05T10:0{number}:00Z",
            )  # fmt: skip

    def _deployment(self, app: str, replicas: int, images: Sequence[str]) -> None:
        labels = {"app": app}
        deployment = self.add(
            "deployments", "shop", app, labels=labels, annotations={REVISION: str(len(images))},
            spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod_template(app, images[-1])},
            status={
                "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
                "availableReplicas": replicas, "conditions": [{"type": "Available", "status": "True"}],
            },
        )  # fmt: skip
        for number, image in enumerate(images, 1):
            template = pod_template(app, image)
            template["metadata"]["labels"]["pod-template-hash"] = f"hash{number}"
            replica_set = self.add(
                "replicasets", "shop", f"{app}-hash{number}", labels={**labels, "pod-template-hash": f"hash{number}"},
                annotations={REVISION: str(number)}, owner=deployment,
                spec={
                    "replicas": replicas if number == len(images) else 0, "selector": {"matchLabels": labels},
                    "template": template,
                },
                status={},
            )  # fmt: skip
        for number in range(replicas):
            self.pod(f"{app}-{number}", f"node-{1 + number % 2}", labels, replica_set)

    def pod(
        self,
        name: str,
        node: str,
        labels: dict[str, str],
        owner: Object | None,
        annotations: dict[str, str] | None = None,
    ) -> Object:
        """Add a running pod."""
        self.logs["shop", name, False] = "".join(f"line {number}\n" for number in range(1, 301))
        self.logs["shop", name, True] = "starting\npanic: no config\n"
        running = {"name": name.partition("-")[0], "ready": True, "restartCount": 1, "state": {"running": {}}}
        return self.add(
            "pods", "shop", name, labels=labels, annotations=annotations, owner=owner,
            spec={"nodeName": node, "containers": [{"name": name.partition("-")[0], "image": "x"}], "volumes": []},
            status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [running]},
        )  # fmt: skip

    def add(
        self,
        plural: str,
        namespace: str,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        owner: Object | None = None,
        **parts: Any,
    ) -> Object:
        """Add an object."""
        api, _, kind, _ = next(each for each in RESOURCES if each[1] == plural)
        self.version += 1
        metadata: Object = {
            "name": name, "uid": f"00000000-0000-4000-8000-{self.version:012d}", "resourceVersion": str(self.version),
            "generation": 1, "creationTimestamp": STAMP, "managedFields": [{"manager": "fake"}],
        }  # fmt: skip
        if namespace:
            metadata["namespace"] = namespace
        if labels:
            metadata["labels"] = dict(labels)
        if annotations:
            metadata["annotations"] = dict(annotations)
        if owner is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"], "controller": True,
                }
            ]  # fmt: skip
        found = {"apiVersion": api, "kind": kind, "metadata": metadata, **copy.deepcopy(parts)}
        self.objects[plural, namespace, name] = found
        return found
