"""The stand of `exec.*`: programs in a folder that write down how they were called."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from platforms.stand import Stand

# Without site-packages and without the environment's word: it starts in a moment, and the same way always.
_PROGRAM = """\
#!{python} -IS
import json, os, sys
known = {{key: value for key, value in os.environ.items() if key not in ("REMEDIATOR_RUN", "LC_CTYPE")}}
env = {{key: value for key, value in known.items() if not key.startswith(("REMEDIATOR", "_"))}}
said = {{"argv": sys.argv, "env": env, "stdin": sys.stdin.read(), "cwd": os.path.relpath(os.getcwd(), {folder!r})}}
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(said) + "\\n")
print(json.dumps({{"percent": 40}}))
"""
_NAMES = ("restart-unit", "disk-used")


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Write the programs."""
    calls = folder / "calls.jsonl"
    for name in _NAMES:
        program = folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder), calls=str(calls)))
        program.chmod(0o755)
    (folder / "web").mkdir()

    def arrived() -> Any:
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    given = {
        "stdin": "restart {{ labels.app }}\n",
        "env": {"APP": "{{ labels.app }}", "PATH": "/usr/bin"},
        "cwd": "{{ labels.app }}",
    }
    return Stand(
        settings={"exec": {"allow": [f"./{name}" for name in _NAMES], "cwd": str(folder), "env": {}, "user": None}},
        samples={
            "exec.run": [{"argv": ["./restart-unit", "--unit={{ labels.unit }}", "now"], "idempotent": True, **given}],
            "exec.probe": [{"argv": ["./disk-used", "of {{ labels.mountpoint }}"], **given}],
        },
        arrived=arrived,
        reset=lambda: calls.unlink(missing_ok=True),
    )
