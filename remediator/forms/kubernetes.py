"""The section `kubernetes` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from remediator.forms.guards import Filled
from remediator.forms.section import Section


class Kubernetes(Section):
    """The cluster, and in whose name it is asked. In a pod nothing has to be said: its service account is taken."""

    kubeconfig: Filled | None = Field(None, description="A kubeconfig file. Default: the pod's own service account.")
    context: Filled | None = Field(None, description="A context of the kubeconfig. Default: its current one.")
    patch: list[Filled] = Field(default_factory=list, description="The kinds that `kubernetes.patch` may change.")

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it."""
        found = self.model_dump()
        return found if self.kubeconfig is None else {**found, "kubeconfig": str(base / self.kubeconfig)}
