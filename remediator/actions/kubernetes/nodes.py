"""`kubernetes.cordon` and `kubernetes.uncordon`.

Source: `patchCoreV1Node` in the API reference, and "Manual Node administration" in the documentation.
"""

from __future__ import annotations

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import NODE
from remediator.actions.kubernetes.names import Name
from remediator.actions.kubernetes.objects import Node
from remediator.actions.kubernetes.server import MERGE, Server, ask, fit
from remediator.actions.protocol import Action, Context, Effect, Outcome, Parameters, Result


class NodeParameters(Parameters):
    """Which node."""

    node: Name = Field(description="The node.")


class Cordon(Action[NodeParameters]):
    """Let no more pods be scheduled on a node; those that run there stay.

    `changed` is false where it was cordoned before.

    Example:
        - uses: kubernetes.cordon
          with: {node: '{{ labels.node }}'}
    """

    name = "kubernetes.cordon"
    effect = Effect.WRITE
    parameters = NodeParameters
    section = "kubernetes"

    def idempotent(self, params: NodeParameters) -> bool:
        """It is: it says what shall be."""
        return True

    def plan(self, params: NodeParameters) -> str:
        """Name it."""
        return visible(f"cordon node {params.node}", longest=2000)

    async def run(self, params: NodeParameters, context: Context) -> Outcome:
        """Mark it as unschedulable."""
        return await _mark(params.node, True, context)


class UncordonParameters(NodeParameters):
    """Which node is to take pods again."""


class Uncordon(Action[UncordonParameters]):
    """Let pods be scheduled on a node again.

    `changed` is false where it was not cordoned. It asks nobody who cordoned it: that may have been a person.

    Example:
        - uses: kubernetes.uncordon
          with: {node: '{{ labels.node }}'}
    """

    name = "kubernetes.uncordon"
    effect = Effect.WRITE
    parameters = UncordonParameters
    section = "kubernetes"

    def idempotent(self, params: UncordonParameters) -> bool:
        """It is: it says what shall be."""
        return True

    def plan(self, params: UncordonParameters) -> str:
        """Name it."""
        return visible(f"uncordon node {params.node}", longest=2000)

    async def run(self, params: UncordonParameters, context: Context) -> Outcome:
        """Mark it as schedulable."""
        return await _mark(params.node, False, context)


async def _mark(node: str, unschedulable: bool, context: Context) -> Outcome:
    server = await server_of(context)
    if isinstance(server, Outcome):
        return server
    found = await node_of(server, node)
    if isinstance(found, Outcome):
        return found
    changed = found.spec.unschedulable is not unschedulable
    if changed and (fault := await mark(server, found, unschedulable)):
        return fault
    return Outcome(Result.OK, {"node": node, "unschedulable": unschedulable, "changed": changed})


async def node_of(server: Server, node: str) -> Node | Outcome:
    """Give a node."""
    return fit(await ask(server, "GET", NODE.where(None, node)), Node, f"node {node}")


async def mark(server: Server, node: Node, unschedulable: bool) -> Outcome | None:
    """Mark a node, if it is still the one that was looked at; gives what went wrong."""
    patch = {"metadata": {"uid": node.metadata.uid}, "spec": {"unschedulable": unschedulable}}
    where = NODE.where(None, node.metadata.name)
    after = fit(await ask(server, "PATCH", where, json=patch, kind=MERGE), Node, f"node {node.metadata.name}")
    return after if isinstance(after, Outcome) else None
