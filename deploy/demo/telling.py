"""How the demos tell what happens: one line each, with the seconds since the start, out of the daemon's own history."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
ENDS = ("succeeded", "failed", "blocked", "cancelled", "planned", "unknown")


def say(text: str) -> None:
    """Tell one line."""
    print(f"{time.monotonic() - BEGAN:4.0f} s  {text}", flush=True)


def told(event: dict[str, Any]) -> str | None:
    """Put an event of the daemon's history into words; None for what is not worth them."""
    data = event["data"]
    match event["kind"]:
        case "notification.received":
            counts = f"{data['opened']} began to fire, {data['closed']} resolved"
            return f"the daemon has taken a notification in, alerts: {data['alerts']} ({counts})"
        case "run.proposed":
            return f"rule {data['rule']} matches; run {event['run']} is proposed for {data['target'] or 'it'}"
        case "run.admitted":
            return f"guards allow it: {data['target']}, mode {data['mode']}, lock {data['lock']} taken"
        case "run.refused":
            return f"guards refuse it: {data['reason']}: {data['because']}"
        case "step.started" if data["phase"] != "verify":
            return f"step begins: {data['uses']} {_shown(data['parameters'])}".rstrip()
        case "step.ended" if data["phase"] != "verify":
            return f"step {data['state']}: {data['uses']}" + (f": {data['error']}" if data["error"] else "")
        case "run.moved" if data.get("from") not in (None, data["to"]):
            return f"the run is {data['to']}" + (f": {data['because']}" if data["because"] else "")
    return None


def _shown(parameters: Any) -> str:
    argv = parameters.get("argv")
    return shlex.join([Path(argv[0]).name, *argv[1:]]) if argv else str(parameters.get("url", ""))
