"""`kubernetes.scale`: a workload, or the autoscaler that has it in hand.

Sources: `patchAppsV1NamespacedDeploymentScale` and `HorizontalPodAutoscaler` (autoscaling/v2) in the API reference.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import KINDS
from remediator.actions.kubernetes.listing import list_of
from remediator.actions.kubernetes.names import Name, Namespace
from remediator.actions.kubernetes.objects import AnyObject, Metadata, Object
from remediator.actions.kubernetes.server import MERGE, Server, ask, fit, no
from remediator.actions.protocol import Action, Context, Effect, Outcome, Result
from remediator.actions.scaling import Scaling

_AUTOSCALER = KINDS["HorizontalPodAutoscaler"]


class ScaleParameters(Scaling):
    """Which workload, and to how many replicas."""

    namespace: Namespace = Field(description="Its namespace.")
    name: Name = Field(description="Its name.")
    kind: Literal["Deployment", "StatefulSet", "ReplicaSet"] = Field(default="Deployment", description="Its kind.")
    min_replicas: bool = Field(
        default=False,
        description="Where a HorizontalPodAutoscaler has the workload in hand: change the autoscaler's minReplicas. "
        "Without that it is refused, since the autoscaler would scale it back.",
    )


class _Spec(Object, frozen=True):
    replicas: int


class _Workload(Object, frozen=True):
    metadata: Metadata
    spec: _Spec


class _Reference(Object, frozen=True):
    kind: str
    name: str
    api_version: str = ""


class _AutoscalerSpec(Object, frozen=True):
    scale_target_ref: _Reference
    max_replicas: int
    min_replicas: int = 1  # the API's default


class _Autoscaler(Object, frozen=True):
    metadata: Metadata
    spec: _AutoscalerSpec


class Scale(Action[ScaleParameters]):
    """Scale a workload to a number of replicas, or by some more or fewer between a floor and a ceiling.

    Never below the floor, never to zero unless `allow_zero`. Where a HorizontalPodAutoscaler has the workload in hand it is
    refused, or with `min_replicas: true` the autoscaler's minReplicas is changed in the same way. `before`, `replicas`,
    `changed` and `autoscaler` (its name, or null) tell what was done. It is refused, too, where somebody else changes the
    workload meanwhile.

    Example:
        - uses: kubernetes.scale
          with: {namespace: '{{ labels.namespace }}', name: '{{ labels.deployment }}', by: 2, ceiling: 10}
    """

    name = "kubernetes.scale"
    effect = Effect.WRITE
    parameters = ScaleParameters
    section = "kubernetes"

    def idempotent(self, params: ScaleParameters) -> bool:
        """Tell whether the number is absolute."""
        return params.to is not None

    def plan(self, params: ScaleParameters) -> str:
        """Give the number."""
        what = f"{params.kind} {params.namespace}/{params.name}"
        hand = ", or its autoscaler's minReplicas" if params.min_replicas else ""
        return visible(f"scale {what}{hand} {params.much}", longest=2000)

    async def run(self, params: ScaleParameters, context: Context) -> Outcome:
        """Look who has it in hand, and scale."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        kind, what = KINDS[params.kind], f"{params.kind} {params.namespace}/{params.name}"
        where = kind.where(params.namespace, params.name)
        found = fit(await ask(server, "GET", where), _Workload, what)
        if isinstance(found, Outcome):
            return found
        above = found.metadata.controller
        if above is not None and params.kind == "ReplicaSet":
            return no(f"{what} was made by {above.kind} {above.name}, which would scale it back: scale that")
        autoscalers = await list_of(server, _AUTOSCALER, params.namespace, _Autoscaler)
        if isinstance(autoscalers, Outcome):
            return autoscalers
        hands = [each for each in autoscalers if _aims(each.spec.scale_target_ref, params)]
        if hands:
            return await _by_autoscaler(server, params, hands)
        target = params.target(found.spec.replicas, "replicas")
        if isinstance(target, str):
            return no(f"{what} was not scaled: {target}", before=found.spec.replicas)
        version = found.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": target}}
        return await _change(server, f"{where}/scale", patch, {"before": found.spec.replicas, "replicas": target})


def _aims(reference: _Reference, params: ScaleParameters) -> bool:
    group = reference.api_version.rpartition("/")[0]
    return (reference.kind, reference.name) == (params.kind, params.name) and group in {"apps", "extensions", ""}


async def _by_autoscaler(server: Server, params: ScaleParameters, hands: list[_Autoscaler]) -> Outcome:
    what = f"{params.kind} {params.namespace}/{params.name}"
    names = ", ".join(each.metadata.name for each in hands)
    if not params.min_replicas or len(hands) > 1:
        return no(
            f"{what} is in the hand of the HorizontalPodAutoscaler {names}, which would scale it back: raise its "
            f"minReplicas or maxReplicas instead"
            + ("" if len(hands) > 1 else ", for the first with `min_replicas: true`")
        )
    (hand,) = hands
    before = hand.spec.min_replicas
    target = params.target(before, "replicas")
    if isinstance(target, str):
        return no(f"minReplicas of {names} was not changed: {target}", before=before)
    if target > hand.spec.max_replicas:
        return no(
            f"minReplicas of {names} can't be {target}: its maxReplicas is {hand.spec.max_replicas}; raise that first"
        )
    patch = {"metadata": {"resourceVersion": hand.metadata.resource_version}, "spec": {"minReplicas": target}}
    where = _AUTOSCALER.where(params.namespace, names)
    return await _change(server, where, patch, {"before": before, "replicas": target, "autoscaler": names})


async def _change(server: Server, where: str, patch: dict[str, object], told: dict[str, int | str]) -> Outcome:
    result = {"autoscaler": None, **told, "changed": told["before"] != told["replicas"]}
    if not result["changed"]:
        return Outcome(Result.OK, result)
    answer = fit(await ask(server, "PATCH", where, json=patch, kind=MERGE), AnyObject, "what was scaled")
    return answer if isinstance(answer, Outcome) else Outcome(Result.OK, result)
