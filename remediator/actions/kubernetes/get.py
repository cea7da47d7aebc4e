"""`kubernetes.get`: one object whole, or many in short."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import KINDS, Kind, KindText, kind_of
from remediator.actions.kubernetes.listing import raw_list
from remediator.actions.kubernetes.names import Fields, Name, Namespace, Selector
from remediator.actions.kubernetes.objects import Metadata, Object
from remediator.actions.kubernetes.server import Server, ask, fit, no
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Parameters

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class GetParameters(Parameters):
    """Which objects."""

    kind: KindText = Field(
        description="The kind: `Pod`, `Deployment`; of an API that is not Kubernetes' own `Kind.version.group`.",
        examples=["Deployment", "Rollout.v1alpha1.argoproj.io"],
    )
    namespace: Namespace | None = Field(default=None, description="The namespace; none for kinds that are in none.")
    name: Name | None = Field(default=None, description="The name of one object.")
    selector: Selector | None = Field(default=None, description="A label selector.", examples=["app=web,tier!=cache"])
    fields: Fields | None = Field(
        default=None, description="A field selector.", examples=["status.phase=Pending", "spec.nodeName=node-1"]
    )

    @model_validator(mode="after")
    def _sensible(self) -> GetParameters:
        if self.name is not None and (self.selector or self.fields):
            raise ValueError("give `name`, or `selector` and `fields`")
        if self.kind in KINDS and (fault := misplaced(KINDS[self.kind], self.namespace)):
            raise ValueError(fault)
        return self


def misplaced(kind: Kind, namespace: str | None) -> str | None:
    """Say what is wrong with a namespace for a kind."""
    if kind.namespaced and namespace is None:
        return f"a {kind.name} is in a namespace: give `namespace`"
    if not kind.namespaced and namespace is not None:
        return f"a {kind.name} is in no namespace: leave `namespace` out"
    return None


class Get(Action[GetParameters]):
    """Get one object, or list those that match.

    With `name`: `object` is the whole object, without `managedFields`. Else `items` lists `name`, `namespace`,
    `labels`, `created`, and where there are such `phase`, `conditions` (type → status), `node`, `ready`, `restarts`,
    `replicas` and `ready_replicas`; `count` is their number. A list that is more than a result may hold (64 KiB) fails:
    it is never cut. A Secret is not read; mind that a Pod's `env` may hold what others should not see.

    Example:
        - id: pods
          uses: kubernetes.get
          with:
            kind: Pod
            namespace: '{{ labels.namespace }}'
            selector: app={{ labels.app }}
          expect: result.count > 0
    """

    name = "kubernetes.get"
    effect = Effect.READ
    parameters = GetParameters
    section = "kubernetes"

    def plan(self, params: GetParameters) -> str:
        """Name them."""
        where = f" in {params.namespace}" if params.namespace else ""
        what = [params.name or "", params.selector or "", params.fields or ""]
        return visible(f"get {params.kind} {' '.join(filter(None, what)) or '(all)'}{where}", longest=2000)

    async def run(self, params: GetParameters, context: Context) -> Outcome:
        """Get them."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        kind = await kind_of(params.kind, server)
        if isinstance(kind, Outcome):
            return kind
        if fault := misplaced(kind, params.namespace):
            return no(fault)
        if params.name is not None:
            return await _one(server, kind, params.namespace, params.name)
        found = await raw_list(
            server, kind, params.namespace, selector=params.selector or "", fields=params.fields or ""
        )
        if isinstance(found, Outcome):
            return found
        items = list[JsonValue]()
        for each in found:
            short = _short(each)
            if isinstance(short, Outcome):
                return short
            items.append(short)
        return fitting({"items": items, "count": len(items)}, f"the list of {kind.plural}")


async def _one(server: Server, kind: Kind, namespace: str | None, name: str) -> Outcome:
    found = await ask(server, "GET", kind.where(namespace, name))
    whole = fit(found, _Whole, f"{kind.name} {name}")
    if isinstance(found, Outcome) or isinstance(whole, Outcome):
        return found if isinstance(found, Outcome) else whole  # type: ignore[return-value]
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    if _LAST_APPLIED in whole.metadata.annotations:  # the whole object once more
        metadata["annotations"] = {key: text for key, text in metadata["annotations"].items() if key != _LAST_APPLIED}
    return fitting({"object": {**found, "metadata": metadata}}, f"{kind.name} {name}")


class _Whole(Object, frozen=True):
    metadata: Metadata


class _Status(Object, frozen=True):
    phase: str | None = None
    conditions: tuple[dict[str, Any], ...] = ()
    container_statuses: tuple[dict[str, Any], ...] = ()
    replicas: int | None = None
    ready_replicas: int | None = None


class _Spec(Object, frozen=True):
    node_name: str | None = None


class _Listed(Object, frozen=True):
    metadata: Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


def _short(found: dict[str, Any]) -> dict[str, JsonValue] | Outcome:
    listed = fit(found, _Listed, "an object in the list")
    if isinstance(listed, Outcome):
        return listed
    status = listed.status
    containers = status.container_statuses
    known: dict[str, JsonValue] = {
        "namespace": listed.metadata.namespace or None,
        "labels": listed.metadata.labels,
        "created": listed.metadata.creation_timestamp,
        "phase": status.phase,
        "conditions": {str(each.get("type")): each.get("status") for each in status.conditions} or None,
        "node": listed.spec.node_name,
        "ready": all(each.get("ready") is True for each in containers) if containers else None,
        "restarts": sum(each.get("restartCount", 0) for each in containers) if containers else None,
        "replicas": status.replicas,
        "ready_replicas": status.ready_replicas,
    }
    return {"name": listed.metadata.name} | {key: value for key, value in known.items() if value is not None}
