"""The kinds of objects: where the API server keeps each. Those of others are looked up by its discovery.

Sources: the Kubernetes API reference (each kind's paths), and "API discovery" (`APIResourceList`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
from pydantic import AfterValidator

from remediator.actions.api import path
from remediator.actions.kubernetes.server import Server, ask, fit
from remediator.actions.protocol import Outcome, Result


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    api: str  # "v1", "apps/v1"
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """Give its API group, empty for the core's."""
        return self.api.rpartition("/")[0]

    def where(self, namespace: str | None, *below: str) -> str:
        """Give the path of its objects, or of one and what is below it; without a namespace those of all."""
        space = ("namespaces", namespace) if self.namespaced and namespace is not None else ()
        return path("apis" if self.group else "api", *self.api.split("/"), *space, self.plural, *below)


def _of(api: str, *names: tuple[str, str], namespaced: bool = True) -> Iterable[Kind]:
    return (Kind(name, api, plural, namespaced) for name, plural in names)


KINDS = {
    kind.name: kind
    for kind in (
        *_of("v1", ("Pod", "pods"), ("Service", "services"), ("ConfigMap", "configmaps"), ("Endpoints", "endpoints")),
        *_of("v1", ("PersistentVolumeClaim", "persistentvolumeclaims"), ("ServiceAccount", "serviceaccounts")),
        *_of("v1", ("ResourceQuota", "resourcequotas"), ("LimitRange", "limitranges"), ("Event", "events")),
        *_of("v1", ("ReplicationController", "replicationcontrollers")),
        *_of("v1", ("Node", "nodes"), ("Namespace", "namespaces"), namespaced=False),
        *_of("v1", ("PersistentVolume", "persistentvolumes"), namespaced=False),
        *_of("apps/v1", ("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")),
        *_of("apps/v1", ("ReplicaSet", "replicasets"), ("ControllerRevision", "controllerrevisions")),
        *_of("batch/v1", ("Job", "jobs"), ("CronJob", "cronjobs")),
        *_of("autoscaling/v2", ("HorizontalPodAutoscaler", "horizontalpodautoscalers")),
        *_of("policy/v1", ("PodDisruptionBudget", "poddisruptionbudgets")),
        *_of("networking.k8s.io/v1", ("Ingress", "ingresses"), ("NetworkPolicy", "networkpolicies")),
        *_of("discovery.k8s.io/v1", ("EndpointSlice", "endpointslices")),
        *_of("coordination.k8s.io/v1", ("Lease", "leases")),
        *_of("storage.k8s.io/v1", ("StorageClass", "storageclasses"), namespaced=False),
    )
}
POD, NODE, JOB = KINDS["Pod"], KINDS["Node"], KINDS["Job"]

_OTHER = re.compile(r"([A-Z][A-Za-z0-9]{0,62})\.(v[0-9]+(?:(?:alpha|beta)[0-9]+)?)\.([a-z0-9][a-z0-9.-]{0,252})")


def _known(text: str) -> str:
    if text == "Secret":
        raise ValueError("a Secret is not read or changed from here: what it holds would be kept in the records")
    if text not in KINDS and not _OTHER.fullmatch(text):
        raise ValueError(
            "it should be a kind such as Deployment, or, of an API that is not Kubernetes' own, Kind.version.group, "
            "as in Rollout.v1alpha1.argoproj.io"
        )
    return text


KindText: TypeAlias = Annotated[str, AfterValidator(_known)]  # literals only


class _Listed(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _Resources(msgspec.Struct, frozen=True):
    """The API's `APIResourceList`."""

    resources: list[_Listed]


async def kind_of(text: str, server: Server) -> Kind | Outcome:
    """Give the kind of that name; one that is not Kubernetes' own is looked up."""
    if text in KINDS:
        return KINDS[text]
    read = _OTHER.fullmatch(text)
    if read is None:
        raise ValueError(f"{text} is no kind")  # which the parameters' own check has seen to
    name, version, group = read.groups()
    answer = await ask(server, "GET", path("apis", group, version))
    found = fit(answer, _Resources, f"the list of what {group}/{version} has")
    if isinstance(found, Outcome):
        return found
    for each in found.resources:
        if each.kind == name and "/" not in each.name:  # with a slash: what is below one, as `deployments/scale`
            return Kind(name, f"{group}/{version}", each.name, each.namespaced)
    return Outcome(Result.REFUSED, error=f"the cluster has no kind {name} in {group}/{version}: is it installed there?")
