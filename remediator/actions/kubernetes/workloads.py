"""Workloads, and how far each is rolled out.

Sources: the API reference (Deployment, StatefulSet, DaemonSet: `spec` and `status`), and "Deployment status" in the
documentation of Deployments; what is complete is what `kubectl rollout status` calls so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from remediator.actions.kubernetes.objects import Condition, Metadata, Object

WorkloadKind: TypeAlias = Literal["Deployment", "StatefulSet", "DaemonSet"]
REVISION = "deployment.kubernetes.io/revision"


class Template(Object, frozen=True):
    """A `PodTemplateSpec`, as far as it is looked at."""

    spec: dict[str, Any]

    @property
    def images(self) -> list[str]:
        """Give the images of its containers."""
        containers = self.spec.get("containers")
        return [str(each.get("image")) for each in containers] if isinstance(containers, list) else []


class _Rolling(Object, frozen=True):
    partition: int = 0


class _Strategy(Object, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: _Rolling | None = None


class _Spec(Object, frozen=True):
    template: Template
    selector: dict[str, Any]
    replicas: int | None = None  # a DaemonSet has none
    paused: bool = False
    update_strategy: _Strategy = _Strategy()  # of StatefulSets and DaemonSets


class _Status(Object, frozen=True):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_ready: int = 0
    number_available: int = 0
    conditions: tuple[Condition, ...] = ()


class Workload(Object, frozen=True):
    """A Deployment, StatefulSet or DaemonSet."""

    metadata: Metadata
    spec: _Spec
    status: _Status


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one is rolled out."""

    desired: int
    updated: int
    ready: int
    available: int
    waiting: str | None  # for what; None: it is complete
    revision: str | None
    stuck: bool = False  # its deadline for progress has passed


def progress_of(kind: WorkloadKind, found: Workload) -> Progress | str:
    """Tell how far it is rolled out; a sentence says what is missing to tell."""
    if kind != "DaemonSet" and found.spec.replicas is None:
        return f"{kind} {found.metadata.name} says no spec.replicas"
    if found.metadata.generation < 1:
        return f"{kind} {found.metadata.name} says no metadata.generation"
    progress = _BY_KIND[kind](found)
    if found.status.observed_generation < found.metadata.generation:
        return replace(progress, waiting="its controller has not seen the last change yet", stuck=False)
    return progress


def _deployment(found: Workload) -> Progress:
    desired, status = found.spec.replicas or 0, found.status
    late = next((each for each in status.conditions if each.reason == "ProgressDeadlineExceeded"), None)
    waiting = None
    if late is not None:
        waiting = f"it has made no progress for longer than its deadline: {late.message or late.reason}"
    elif status.updated_replicas < desired:
        waiting = f"{status.updated_replicas} of {desired} replicas are of the new revision"
    elif status.replicas > status.updated_replicas:
        waiting = f"{status.replicas - status.updated_replicas} replicas of an older revision have not ended yet"
    elif status.available_replicas < status.updated_replicas:
        waiting = f"{status.available_replicas} of {status.updated_replicas} new replicas are available"
    if found.spec.paused and waiting is not None:
        waiting = f"it is paused; {waiting}"
    return Progress(
        desired, status.updated_replicas, status.ready_replicas, status.available_replicas, waiting,
        found.metadata.annotations.get(REVISION), late is not None,
    )  # fmt: skip


def _stateful_set(found: Workload) -> Progress:
    desired, status = found.spec.replicas or 0, found.status
    rolling = found.spec.update_strategy.rolling_update
    wanted = desired - (rolling.partition if rolling else 0)  # below the partition the old revision stays
    waiting = None
    if status.ready_replicas < desired:
        waiting = f"{status.ready_replicas} of {desired} replicas are ready"
    elif found.spec.update_strategy.type == "OnDelete":
        waiting = None  # nothing is rolled out until somebody deletes pods
    elif status.updated_replicas < wanted and status.update_revision != status.current_revision:
        waiting = f"{status.updated_replicas} of {wanted} replicas are of the new revision"
    return Progress(
        desired, status.updated_replicas, status.ready_replicas, status.available_replicas, waiting,
        status.update_revision or None,
    )  # fmt: skip


def _daemon_set(found: Workload) -> Progress:
    status = found.status
    desired, updated = status.desired_number_scheduled, status.updated_number_scheduled
    waiting = None
    if updated < desired and found.spec.update_strategy.type != "OnDelete":
        waiting = f"{updated} of {desired} pods are of the new revision"
    elif status.number_available < desired:
        waiting = f"{status.number_available} of {desired} pods are available"
    return Progress(desired, updated, status.number_ready, status.number_available, waiting, None)


_BY_KIND: Mapping[WorkloadKind, Callable[[Workload], Progress]] = {
    "Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set,
}  # fmt: skip
