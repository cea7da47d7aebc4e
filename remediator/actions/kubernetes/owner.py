"""`kubernetes.owner`: from a pod to its workload."""

from __future__ import annotations

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import KINDS, POD, Kind
from remediator.actions.kubernetes.names import Name, Namespace
from remediator.actions.kubernetes.objects import AnyObject, Owner
from remediator.actions.kubernetes.server import ask, fit, unread
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Parameters, Result

_LONGEST = 5  # owners above one another: pod → ReplicaSet → Deployment → what an operator made


class OwnerParameters(Parameters):
    """Which pod."""

    namespace: Namespace = Field(description="The pod's namespace.")
    pod: Name = Field(description="The pod.")


class OwnerOf(Action[OwnerParameters]):
    """Find the workload that a pod belongs to, through all controllers in between.

    `controlled` tells whether the pod has a controller; `kind` and `name` are those of the topmost one (null without),
    such as the Deployment of a pod; `chain` lists all, the pod's own first, each with `kind`, `name` and `uid`; `uid` is
    the pod's own. A controller of a kind that is not Kubernetes' own ends the chain.

    Example:
        - id: owner
          uses: kubernetes.owner
          with: {namespace: '{{ labels.namespace }}', pod: '{{ labels.pod }}'}
          expect: result.kind == "Deployment"
    """

    name = "kubernetes.owner"
    effect = Effect.READ
    parameters = OwnerParameters
    section = "kubernetes"

    def plan(self, params: OwnerParameters) -> str:
        """Name the pod."""
        return visible(f"find the workload of pod {params.namespace}/{params.pod}", longest=2000)

    async def run(self, params: OwnerParameters, context: Context) -> Outcome:
        """Follow the references."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        what = f"pod {params.namespace}/{params.pod}"
        found = fit(await ask(server, "GET", POD.where(params.namespace, params.pod)), AnyObject, what)
        if isinstance(found, Outcome):
            return found
        uid = found.metadata.uid
        chain: list[Owner] = []
        while (owner := found.metadata.controller) is not None:
            if len(chain) == _LONGEST:
                return unread(
                    f"{what} has more than {_LONGEST} owners above one another: look at {owner.kind} {owner.name}"
                )
            chain.append(owner)
            kind = known(owner)
            if kind is None:
                break
            what = f"{owner.kind} {params.namespace}/{owner.name}"
            answer = await ask(server, "GET", kind.where(params.namespace, owner.name))
            found = fit(answer, AnyObject, what)
            if isinstance(found, Outcome):
                return found
            if found.metadata.uid != owner.uid:
                return unread(f"{what} has been made anew since, so the pod is not its own any more: ask again")
        return Outcome(Result.OK, _result(uid, chain))


def known(owner: Owner) -> Kind | None:
    """Give the kind of an owner if it is one of Kubernetes' own."""
    kind = KINDS.get(owner.kind)
    return kind if kind is not None and kind.group == owner.api_version.rpartition("/")[0] else None


def _result(uid: str, chain: list[Owner]) -> dict[str, JsonValue]:
    return {
        "controlled": bool(chain),
        "kind": chain[-1].kind if chain else None,
        "name": chain[-1].name if chain else None,
        "uid": uid,
        "chain": [{"kind": owner.kind, "name": owner.name, "uid": owner.uid} for owner in chain],
    }
