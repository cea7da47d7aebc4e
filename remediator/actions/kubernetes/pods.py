"""`kubernetes.delete_pod`, so that its controller makes it anew.

Sources: `deleteCoreV1NamespacedPod` and `DeleteOptions` in the API reference; "Static Pods" in the documentation.
"""

from __future__ import annotations

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import POD
from remediator.actions.kubernetes.names import Name, Namespace, Uid
from remediator.actions.kubernetes.objects import Pod
from remediator.actions.kubernetes.server import ask, fit, no
from remediator.actions.protocol import Action, Context, Duration, Effect, Outcome, Parameters, Result

_MIRROR = "kubernetes.io/config.mirror"  # of a static pod, which only its node's kubelet can end


class DeleteParameters(Parameters):
    """Which pod."""

    namespace: Namespace = Field(description="The pod's namespace.")
    pod: Name = Field(description="The pod.")
    uid: Uid | None = Field(
        default=None,
        description="Only while it is still that pod, as `kubernetes.owner` tells; then it may be retried, too.",
    )
    without_controller: bool = Field(default=False, description="Also one that nothing would make anew.")
    grace: Duration | None = Field(default=None, ge=1, description="What it gets to end; default: as the pod says.")


class DeletePod(Action[DeleteParameters]):
    """Delete a pod, so that its controller makes it anew.

    It is refused for a pod without a controller (unless `without_controller`), for a static pod, and where the pod has been
    made anew since it was looked at. It does not look at PodDisruptionBudgets: to respect them use `kubernetes.drain`. `uid`
    and `node` are those of the pod that was deleted.

    Example:
        - uses: kubernetes.delete_pod
          with: {namespace: '{{ labels.namespace }}', pod: '{{ labels.pod }}'}
    """

    name = "kubernetes.delete_pod"
    effect = Effect.WRITE
    parameters = DeleteParameters
    section = "kubernetes"

    def idempotent(self, params: DeleteParameters) -> bool:
        """Tell whether it can only hit one pod: a StatefulSet's next one has the same name."""
        return params.uid is not None

    def plan(self, params: DeleteParameters) -> str:
        """Name it."""
        which = f" (uid {params.uid})" if params.uid else ""
        return visible(f"delete pod {params.namespace}/{params.pod}{which}", longest=2000)

    async def run(self, params: DeleteParameters, context: Context) -> Outcome:
        """Look at it, and delete just that one."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        where, what = POD.where(params.namespace, params.pod), f"pod {params.namespace}/{params.pod}"
        found = fit(await ask(server, "GET", where), Pod, what)
        if isinstance(found, Outcome):
            return found
        if why := _kept(params, found):
            return no(f"{what} was not deleted: {why}")
        options: dict[str, object] = {
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": found.metadata.uid},
        }  # fmt: skip
        if params.grace is not None:
            options["gracePeriodSeconds"] = int(params.grace)
        answer = await ask(server, "DELETE", where, json=options)
        if isinstance(answer, Outcome):
            return answer
        return Outcome(Result.OK, {"uid": found.metadata.uid, "node": found.spec.node_name})


def _kept(params: DeleteParameters, found: Pod) -> str | None:
    """Say why a pod is not to be deleted."""
    if params.uid is not None and found.metadata.uid != params.uid:
        return f"it has been made anew, and its uid is {found.metadata.uid} now"
    if mirrors(found):
        return "it is a static pod, which its node's kubelet keeps: change its manifest there"
    if found.metadata.controller is None and not params.without_controller:
        return "it has no controller that would make it anew; say `without_controller: true` to delete it for good"
    return None


def mirrors(pod: Pod) -> bool:
    """Tell whether a pod is only the picture of a static pod."""
    return _MIRROR in pod.metadata.annotations
