"""Fly.io: `fly.*`. `reads`, `releases` and `logs` look; `power`, `scale`, `rollback` and `snapshot` write.

Below them stand `server` (one request to the Machines API or to GraphQL), `shapes` (what is read of an answer), `names` (the
grammars), `population` (which machines are meant), and `walk` (from machine to machine, and how far it came).

Sources: fly.io/docs, "Machines API" (apps, machines and volumes resources, and "Machine states and lifecycle"), and what
Fly.io's own client superfly/fly-go sends for releases, logs and tokens.
"""

from __future__ import annotations

from typing import Any

from remediator.actions.fly.logs import FlyLogs
from remediator.actions.fly.power import FlyRestart, FlyStart, FlyStop
from remediator.actions.fly.reads import FlyMachines, FlyStatus, FlyVolumes
from remediator.actions.fly.releases import FlyReleases
from remediator.actions.fly.rollback import FlyRollback
from remediator.actions.fly.scale import FlyScale
from remediator.actions.fly.snapshot import FlySnapshot
from remediator.actions.protocol import Action

ACTIONS: tuple[Action[Any], ...] = (
    FlyStatus(), FlyMachines(), FlyReleases(), FlyLogs(), FlyVolumes(),
    FlyRestart(), FlyScale(), FlyRollback(), FlyStop(), FlyStart(), FlySnapshot(),
)  # fmt: skip
