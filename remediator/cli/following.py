"""Following: looking at a run until something has become of it, for so long and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from remediator.cli.client import Client
from remediator.model.run import State
from remediator.model.time import Seconds

PATIENCE: Seconds = 10.0  # that a command waits to see what it asked for
GOOD = frozenset({State.SUCCEEDED, State.PLANNED})

_OFTEN, _SELDOM = 0.1, 1.0  # seconds between two looks: the first ones, and when it takes longer


def ended(run: dict[str, Any]) -> bool:
    """Tell whether nothing more will happen to a run."""
    return not State(run["state"]).open


def follow(client: Client, run_id: str, seconds: Seconds, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look at a run until that holds of it, at most for so long, and give it as it is then."""
    began = time.monotonic()
    while True:
        run: dict[str, Any] = client.ask("GET", f"/runs/{run_id}")
        waited = time.monotonic() - began
        if until(run) or waited > seconds:
            return run
        time.sleep(_OFTEN if waited < PATIENCE else _SELDOM)
