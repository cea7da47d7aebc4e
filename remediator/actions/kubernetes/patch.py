"""`kubernetes.patch`: an object changed as the rule says, of a kind that the configuration allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.get import misplaced
from remediator.actions.kubernetes.kinds import KINDS, KindText, kind_of
from remediator.actions.kubernetes.names import Name, Namespace
from remediator.actions.kubernetes.objects import AnyObject
from remediator.actions.kubernetes.server import MERGE, STRATEGIC, ask, fit, no
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result


class PatchParameters(Parameters):
    """Which object, and what of it."""

    kind: KindText = Field(description="The kind; it must stand in the configuration's `kubernetes.patch`.")
    namespace: Namespace | None = Field(default=None, description="The namespace; none for kinds that are in none.")
    name: Name = Field(description="The object.")
    patch: Annotated[dict[str, Any], Gate.JSON] = Field(
        min_length=1,
        description="What is to become different, as a part of the object.",
        examples=[{"spec": {"paused": True}}],
    )
    type: Literal["strategic", "merge"] = Field(
        default="strategic",
        description="`strategic` puts items of lists such as `containers` together by name; `merge` replaces lists "
        "whole, and is all that kinds have that are not Kubernetes' own.",
    )

    @model_validator(mode="after")
    def _sensible(self) -> PatchParameters:
        if self.kind in KINDS and (fault := misplaced(KINDS[self.kind], self.namespace)):
            raise ValueError(fault)
        if self.kind not in KINDS and self.type == "strategic":
            raise ValueError(
                f"{self.kind} is not one of Kubernetes' own kinds, which alone know that: say `type: merge`"
            )
        return self


class Patch(Action[PatchParameters]):
    """Change a part of an object, of a kind in the configuration's `kubernetes.patch`.

    The object must be there. `generation` is its own after the change (0 for kinds without), `changed` tells whether
    anything became different.

    Example:
        - uses: kubernetes.patch
          with:
            kind: Deployment
            namespace: '{{ labels.namespace }}'
            name: '{{ labels.deployment }}'
            patch: {metadata: {annotations: {remediator/run: '{{ run.id }}'}}}
    """

    name = "kubernetes.patch"
    effect = Effect.WRITE
    parameters = PatchParameters
    section = "kubernetes"

    def idempotent(self, params: PatchParameters) -> bool:
        """It is: it says what shall be."""
        return True

    def check(self, params: PatchParameters, settings: Mapping[str, Any]) -> str | None:
        """Say that the kind may not be changed, if so."""
        return _forbidden(params, settings) if "kubernetes" in settings else None

    def plan(self, params: PatchParameters) -> str:
        """Name it, and quote the patch."""
        what = f"{params.kind} {params.namespace + '/' if params.namespace else ''}{params.name}"
        return visible(f"change {what}: {msgspec.json.encode(params.patch).decode()}", longest=2000)

    async def run(self, params: PatchParameters, context: Context) -> Outcome:
        """Change it."""
        if "kubernetes" in context.settings and (why := _forbidden(params, context.settings)):
            return Outcome(Result.NOT_SENT, error=why)
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        kind = await kind_of(params.kind, server)
        if isinstance(kind, Outcome):
            return kind
        if fault := misplaced(kind, params.namespace):
            return no(fault)
        where, what = kind.where(params.namespace, params.name), f"{kind.name} {params.name}"
        before = fit(await ask(server, "GET", where), AnyObject, what)
        if isinstance(before, Outcome):
            return before
        patch = {**params.patch, "metadata": {**_metadata(params.patch), "uid": before.metadata.uid}}
        how = STRATEGIC if params.type == "strategic" else MERGE
        after = fit(await ask(server, "PATCH", where, json=patch, kind=how), AnyObject, what)
        if isinstance(after, Outcome):
            return after
        changed = after.metadata.resource_version != before.metadata.resource_version
        return Outcome(Result.OK, {"generation": after.metadata.generation, "changed": changed})


def _metadata(patch: Mapping[str, Any]) -> dict[str, Any]:
    metadata = patch.get("metadata")
    return dict(metadata) if isinstance(metadata, Mapping) else {}


def _forbidden(params: PatchParameters, settings: Mapping[str, Any]) -> str | None:
    allowed = (settings.get("kubernetes") or {}).get("patch") or ()
    if params.kind in allowed:
        return None
    return f"a {visible(params.kind)} may not be changed by kubernetes.patch: add {visible(params.kind)} to kubernetes.patch"
