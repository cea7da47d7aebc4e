"""`kubernetes.rollout_status`, `rollout_undo` and `rollout_restart`.

Sources: `patchAppsV1NamespacedDeployment` in the API reference; "Rolling Back a Deployment" in the documentation: each
revision's pod template is kept in a ReplicaSet; "resourceVersion" in API Concepts: a patch that names one is refused with 409
once the object has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import KINDS
from remediator.actions.kubernetes.listing import raw_list
from remediator.actions.kubernetes.names import Name, Namespace
from remediator.actions.kubernetes.objects import Metadata, Object
from remediator.actions.kubernetes.server import JSON_PATCH, MERGE, Server, ask, fit, no, unread
from remediator.actions.kubernetes.workloads import REVISION, Template, Workload, WorkloadKind, progress_of
from remediator.actions.protocol import Action, Context, Effect, Outcome, Parameters, Result

_DEPLOYMENT, _REPLICA_SET = KINDS["Deployment"], KINDS["ReplicaSet"]
_HASH = "pod-template-hash"  # which the controller adds to the template in a ReplicaSet
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


class WorkloadParameters(Parameters):
    """Which workload."""

    namespace: Namespace = Field(description="Its namespace.")
    name: Name = Field(description="Its name.")
    kind: WorkloadKind = Field(default="Deployment", description="Its kind.")


class RolloutStatus(Action[WorkloadParameters]):
    """Tell how far a workload is rolled out.

    `complete` is true or false, and `reason` says what is waited for (null where it is complete); `stuck` is true where a
    Deployment's deadline for progress has passed. Besides there are `desired`, `updated`, `ready`, `available`, `revision`,
    `paused` and `images`.

    Example:
        - uses: kubernetes.rollout_status
          with: {namespace: '{{ labels.namespace }}', name: '{{ labels.deployment }}'}
          expect: result.complete
    """

    name = "kubernetes.rollout_status"
    effect = Effect.READ
    parameters = WorkloadParameters
    section = "kubernetes"

    def plan(self, params: WorkloadParameters) -> str:
        """Name it."""
        return visible(f"look how far {_title(params)} is rolled out", longest=2000)

    async def run(self, params: WorkloadParameters, context: Context) -> Outcome:
        """Look."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        found = await _workload(server, params)
        if isinstance(found, Outcome):
            return found
        progress = progress_of(params.kind, found)
        if isinstance(progress, str):
            return unread(f"{progress}: nothing can be told from it")
        return Outcome(
            Result.OK,
            {
                "kind": params.kind, "namespace": params.namespace, "name": params.name,
                "complete": progress.waiting is None, "reason": progress.waiting, "stuck": progress.stuck,
                "desired": progress.desired, "updated": progress.updated, "ready": progress.ready,
                "available": progress.available, "revision": progress.revision, "paused": found.spec.paused,
                "images": found.spec.template.images,
            },
        )  # fmt: skip


class RestartParameters(WorkloadParameters):
    """Which workload is to be restarted."""


class RolloutRestart(Action[RestartParameters]):
    """Restart a workload's pods, a few at a time as its own strategy says.

    As `kubectl rollout restart` does, by an annotation in its pod template. One that is paused is refused: nothing would
    happen. `generation` is the workload's after the change; it comes back before the pods have been replaced: verify with
    `kubernetes.rollout_status`.

    Example:
        - uses: kubernetes.rollout_restart
          with: {namespace: '{{ labels.namespace }}', name: '{{ labels.deployment }}'}
    """

    name = "kubernetes.rollout_restart"
    effect = Effect.WRITE
    parameters = RestartParameters
    section = "kubernetes"

    def plan(self, params: RestartParameters) -> str:
        """Name it."""
        return visible(f"restart the pods of {_title(params)}, as its strategy says", longest=2000)

    async def run(self, params: RestartParameters, context: Context) -> Outcome:
        """Set the annotation."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        found = await _workload(server, params)
        if isinstance(found, Outcome):
            return found
        if found.spec.paused:
            return no(f"{_title(params)} is paused, so that a restart would do nothing: resume it first")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        patch = {
            # The uid only: the status changes its resourceVersion all the time while it is in trouble.
            "metadata": {"uid": found.metadata.uid},
            "spec": {"template": {"metadata": {"annotations": {_RESTARTED: now}}}},
        }
        where = KINDS[params.kind].where(params.namespace, params.name)
        answer = fit(await ask(server, "PATCH", where, json=patch, kind=MERGE), Workload, _title(params))
        if isinstance(answer, Outcome):
            return answer
        return Outcome(Result.OK, {"generation": answer.metadata.generation, "restarted_at": now})


class UndoParameters(Parameters):
    """Which Deployment, and to what."""

    namespace: Namespace = Field(description="Its namespace.")
    name: Name = Field(description="The Deployment.")
    revision: int | None = Field(default=None, ge=1, description="Back to that revision; default: the one before.")


class RolloutUndo(Action[UndoParameters]):
    """Roll a Deployment back to its previous revision, or to a named one.

    Its pod template becomes that of the revision's ReplicaSet. It is refused where there is no earlier revision, where the
    Deployment is paused, and where it is changed by somebody else meanwhile. `from_revision`, `to_revision`, `images` and
    `generation` tell what was done; verify with `kubernetes.rollout_status`. The number of replicas stays.

    Example:
        - uses: kubernetes.rollout_undo
          with: {namespace: '{{ labels.namespace }}', name: '{{ labels.deployment }}'}
    """

    name = "kubernetes.rollout_undo"
    effect = Effect.WRITE
    parameters = UndoParameters
    section = "kubernetes"

    def plan(self, params: UndoParameters) -> str:
        """Name it, and the revision."""
        to = "its previous revision" if params.revision is None else f"revision {params.revision}"
        return visible(f"roll Deployment {params.namespace}/{params.name} back to {to}", longest=2000)

    async def run(self, params: UndoParameters, context: Context) -> Outcome:
        """Find the revision, and put its template in force."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        what = f"Deployment {params.namespace}/{params.name}"
        where = _DEPLOYMENT.where(params.namespace, params.name)
        found = fit(await ask(server, "GET", where), Workload, what)
        if isinstance(found, Outcome):
            return found
        if found.spec.paused:
            return no(f"{what} is paused, so that nothing would be rolled out: resume it first")
        now = _number(found.metadata)
        if now is None:
            return no(f"{what} says no revision of its own: its controller has not rolled it out yet")
        kept = await _revisions(server, params.namespace, found)
        if isinstance(kept, Outcome):
            return kept
        target = _target(kept, now, params.revision, what)
        if isinstance(target, Outcome):
            return target
        return await _put(server, where, found, (now, target), kept[target])


async def _revisions(server: Server, namespace: str, found: Workload) -> dict[int, dict[str, Any]] | Outcome:
    """Give the pod template of each revision that is kept."""
    labels = found.spec.selector.get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listed = await raw_list(server, _REPLICA_SET, namespace, selector=selector)
    sets = listed if isinstance(listed, Outcome) else fit(listed, list[_ReplicaSet], "the list of replicasets")
    if isinstance(sets, Outcome):
        return sets
    kept: dict[int, dict[str, Any]] = {}
    for each in sets:
        owner, number = each.metadata.controller, _number(each.metadata)
        if owner is not None and owner.uid == found.metadata.uid and number is not None:
            kept[number] = _bare(each.spec.template)
    return kept


class _ReplicaSetSpec(Object, frozen=True):
    template: dict[str, Any]


class _ReplicaSet(Object, frozen=True):
    metadata: Metadata
    spec: _ReplicaSetSpec


def _number(metadata: Metadata) -> int | None:
    text = metadata.annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _bare(template: dict[str, Any]) -> dict[str, Any]:
    """Give a ReplicaSet's template as the Deployment had it."""
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != _HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _target(kept: dict[int, Any], now: int, wanted: int | None, what: str) -> int | Outcome:
    if wanted is not None:
        if wanted == now:
            return no(f"{what} is at revision {now} already")
        if wanted not in kept:
            return no(
                f"{what} has no revision {wanted} any more; there is {', '.join(map(str, sorted(kept))) or 'none'}"
            )
        return wanted
    earlier = [number for number in kept if number < now]
    if not earlier:
        return no(f"{what} has no revision before {now} to go back to: mend it forward")
    return max(earlier)


async def _put(server: Server, where: str, found: Workload, step: tuple[int, int], template: dict[str, Any]) -> Outcome:
    now, target = step
    images = fit(template, Template, f"the template of revision {target}")
    if isinstance(images, Outcome):
        return images
    patch = [
        # As it was read, so that it is refused with 409 where somebody has changed it since.
        {"op": "replace", "path": "/metadata/resourceVersion", "value": found.metadata.resource_version},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]
    answer = await ask(server, "PATCH", where, json=patch, kind=JSON_PATCH)
    after = fit(answer, Workload, f"Deployment {found.metadata.name}")
    if isinstance(after, Outcome):
        return after
    told = {"from_revision": now, "to_revision": target, "images": images.images}
    return Outcome(Result.OK, {**told, "generation": after.metadata.generation})


async def _workload(server: Server, params: WorkloadParameters) -> Workload | Outcome:
    where = KINDS[params.kind].where(params.namespace, params.name)
    return fit(await ask(server, "GET", where), Workload, _title(params))


def _title(params: WorkloadParameters) -> str:
    return f"{params.kind} {params.namespace}/{params.name}"
