"""Kubernetes: `kubernetes.*`. One file has each action or pair of them; below them stand

`server` (one request to the API server), `credentials` (where it is, and who asks), `kinds`, `names` (the grammars), `objects`
and `listing` (what is read of an answer). It needs the extra `remediator[kubernetes]`, which is imported at the first use.
"""

from __future__ import annotations

from typing import Any

from remediator.actions.kubernetes.drain import Drain
from remediator.actions.kubernetes.evidence import Events, Logs
from remediator.actions.kubernetes.exec import Exec
from remediator.actions.kubernetes.get import Get
from remediator.actions.kubernetes.job import RunJob
from remediator.actions.kubernetes.nodes import Cordon, Uncordon
from remediator.actions.kubernetes.owner import OwnerOf
from remediator.actions.kubernetes.patch import Patch
from remediator.actions.kubernetes.pods import DeletePod
from remediator.actions.kubernetes.rollout import RolloutRestart, RolloutStatus, RolloutUndo
from remediator.actions.kubernetes.scale import Scale
from remediator.actions.protocol import Action

ACTIONS: tuple[Action[Any], ...] = (
    Get(), Logs(), Events(), RolloutStatus(), OwnerOf(), RolloutUndo(), RolloutRestart(), Scale(), DeletePod(),
    Cordon(), Uncordon(), Drain(), Patch(), Exec(), RunJob(),
)  # fmt: skip
