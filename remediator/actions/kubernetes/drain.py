"""`kubernetes.drain`: a node cordoned, and emptied by evictions alone, which PodDisruptionBudgets may refuse.

Sources: "API-initiated Eviction" and "Safely Drain a Node" in the documentation. An eviction that a budget forbids is
answered with 429 and the cause `DisruptionBudget`: nothing was done, and it may be asked again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import Field

from remediator.actions.bounds import parse_json, visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import POD
from remediator.actions.kubernetes.listing import list_of
from remediator.actions.kubernetes.names import Name
from remediator.actions.kubernetes.nodes import mark, node_of
from remediator.actions.kubernetes.objects import Pod
from remediator.actions.kubernetes.pods import mirrors
from remediator.actions.kubernetes.server import Server, no, refused, send, unread
from remediator.actions.protocol import Action, Context, Effect, Outcome, Parameters, Result

PAUSE = 1.0  # seconds between two looks at what is left
_RESERVE = 0.3  # seconds before the deadline at which no more is asked


class DrainParameters(Parameters):
    """Which node, and what may be lost."""

    node: Name = Field(description="The node.")
    without_controller: bool = Field(default=False, description="Also pods that nothing would make anew.")
    lose_empty_dirs: bool = Field(default=False, description="Also pods with an `emptyDir`, whose data is lost.")


class Drain(Action[DrainParameters]):
    """Cordon a node, and evict its pods as their PodDisruptionBudgets allow.

    It waits for budgets and for pods to end until the step's timeout, so give it one. Pods of DaemonSets and static pods
    stay. It is refused before anything is done where a pod has no controller or has an `emptyDir`, unless the parameters say
    otherwise; a budget is never gone around. Where it does not come to its end the node stays cordoned, and the error tells
    how far it came. `evicted` lists the pods as `namespace/name`.

    Example:
        - uses: kubernetes.drain
          with: {node: '{{ labels.node }}'}
          timeout: 10m
    """

    name = "kubernetes.drain"
    effect = Effect.WRITE
    parameters = DrainParameters
    section = "kubernetes"

    def idempotent(self, params: DrainParameters) -> bool:
        """It is: of a node that is empty nothing is evicted."""
        return True

    def plan(self, params: DrainParameters) -> str:
        """Name it, and what may be lost."""
        lost = ["pods without a controller"] * params.without_controller + [
            "data in emptyDirs"
        ] * params.lose_empty_dirs
        words = f"cordon node {params.node} and evict its pods as their disruption budgets allow"
        return visible(words + (f"; {' and '.join(lost)} may be lost" if lost else ""), longest=2000)

    async def run(self, params: DrainParameters, context: Context) -> Outcome:
        """Look whether it may be drained, cordon it, and evict."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        node = await node_of(server, params.node)
        if isinstance(node, Outcome):
            return node
        draining = _Draining(server, params)
        found = await draining.look()
        if isinstance(found, Outcome):
            return found
        if not node.spec.unschedulable and (fault := await mark(server, node, True)):
            return fault
        return await draining.empty()


@dataclass(slots=True)
class _Draining:
    """One drain under way."""

    server: Server
    params: DrainParameters
    evicted: dict[str, str] = field(default_factory=dict)  # uid → namespace/name
    missing: set[str] = field(default_factory=set)  # uids that an eviction did not find

    async def look(self) -> list[Pod] | Outcome:
        """Give the pods that are to go, or say why they may not."""
        fields = f"spec.nodeName={self.params.node}"
        pods = await list_of(self.server, POD, None, Pod, fields=fields)
        if isinstance(pods, Outcome):
            return pods
        strange = next((pod for pod in pods if pod.spec.node_name != self.params.node), None)
        if strange is not None:
            return unread(
                f"the API server lists {_title(strange)}, which is on another node: nothing can be told from it"
            )
        going = [pod for pod in pods if not _stays(pod)]
        kept = [f"{_title(pod)} {why}" for pod in going if (why := self._keeps(pod))]
        if kept:
            more = f", and {len(kept) - 3} more" if len(kept) > 3 else ""
            return no(f"node {self.params.node} may not be drained: {'; '.join(kept[:3])}{more}")
        return going

    def _keeps(self, pod: Pod) -> str | None:
        if pod.status.phase in {"Succeeded", "Failed"} or pod.metadata.deletion_timestamp:
            return None
        if pod.metadata.controller is None and not self.params.without_controller:
            return "has no controller that would make it anew (`without_controller: true` evicts it)"
        if any("emptyDir" in volume for volume in pod.spec.volumes) and not self.params.lose_empty_dirs:
            return "keeps data in an emptyDir (`lose_empty_dirs: true` evicts it)"
        return None

    async def empty(self) -> Outcome:
        """Evict until nothing is left that is to go."""
        blocked = ""
        while True:
            left = await self.look()
            if isinstance(left, Outcome):
                return self._stopped(left.error or "")
            if not left:
                return Outcome(Result.OK, {"node": self.params.node, "evicted": sorted(self.evicted.values())})
            before = len(self.evicted)
            for pod in left:
                said = await self._evict(pod)
                if isinstance(said, Outcome):
                    return self._stopped(said.error or "")
                blocked = said or blocked
            if len(self.evicted) == before:
                if self.server.context.remaining() < PAUSE + _RESERVE:
                    names = ", ".join(map(_title, left[:5]))
                    return self._stopped(
                        f"still there at the step's end: {names}; {blocked or 'they have not ended yet'}"
                    )
                await asyncio.sleep(PAUSE)

    async def _evict(self, pod: Pod) -> str | Outcome:
        """Evict a pod that was not before; a text tells which budget forbids it for now."""
        metadata = pod.metadata
        if metadata.uid in self.evicted or metadata.deletion_timestamp:
            return ""
        if metadata.uid in self.missing:
            return unread(f"the API server lists {_title(pod)}, and does not find it to evict it")
        eviction = {
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"namespace": metadata.namespace, "name": metadata.name},
            "deleteOptions": {"preconditions": {"uid": metadata.uid}},
        }  # fmt: skip
        where, body = POD.where(metadata.namespace, metadata.name, "eviction"), msgspec.json.encode(eviction)
        answer = await send(self.server, "POST", where, body=body, kind="application/json")
        if isinstance(answer, Outcome):
            return answer
        status = parse_json(answer.body)
        if answer.status in {200, 201} and isinstance(status, dict) and isinstance(status.get("kind"), str):
            self.evicted[metadata.uid] = _title(pod)
            return ""
        if answer.status in {200, 201}:
            return unread(f"what answered POST {where} is no Kubernetes: is the kubeconfig's server right?")
        if answer.status == 404:
            self.missing.add(metadata.uid)
            return ""
        if answer.status == 429 and (budget := _budget(status)):
            return f"{_title(pod)}: {budget}"
        return refused(self.server, f"POST {where}", answer)

    def _stopped(self, why: str) -> Outcome:
        names = ", ".join(sorted(self.evicted.values())[:5])
        done = f"pods evicted: {len(self.evicted)}" + (f" ({names})" if names else "")
        words = f"node {self.params.node} is cordoned and not drained ({done}): {why}; it stays cordoned: uncordon it, or go on"
        return Outcome(
            Result.ERROR,
            {"node": self.params.node, "evicted": sorted(self.evicted.values())},
            visible(words, longest=900),
        )


def _stays(pod: Pod) -> bool:
    controller = pod.metadata.controller
    return mirrors(pod) or (controller is not None and controller.kind == "DaemonSet")


def _budget(status: Any) -> str:
    """Give what a disruption budget says, empty where it is not one that forbids the eviction."""
    details = status.get("details") if isinstance(status, dict) else None
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == "DisruptionBudget":
            return str(cause.get("message") or status.get("message") or "its disruption budget allows no eviction")
    return ""


def _title(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
