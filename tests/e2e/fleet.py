"""Several daemons over one PostgreSQL database, with the same rules, and one program whose effects all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from daemon import Answer, Daemon, eventually

_HOLD = """#!/bin/sh
echo "begun $1" >> FOLDER/effects
until [ -e FOLDER/gate ]; do sleep 0.02; done
echo "ended $1" >> FOLDER/effects
"""
RULES = """
rules:
  - name: hold
    summary: Acts, and ends when the test opens the gate.
    match: alertname=Hold
    target: 'unit/{{ labels.unit }}'
    guard: {cooldown: 0s}
    steps:
      - uses: exec.run
        with: {argv: [HOLD, '{{ labels.unit }}']}
"""


class Fleet:
    """Daemons that are started when they are entered, and killed in the end."""

    def __init__(self, folder: Path, store: str, count: int = 2, rules: str = RULES, **config: Any) -> None:
        self.folder = folder
        program = folder / "hold"
        program.write_text(_HOLD.replace("FOLDER", str(folder)))
        program.chmod(0o755)
        (folder / "rules").mkdir()
        self.rules = folder / "rules" / "hold.yml"
        self.rules.write_text(rules.replace("HOLD", str(program)))
        self.daemons: list[Daemon] = []
        guard = dict.fromkeys(("limit", "max_running", "storm", "breaker", "blast_radius"), "off")
        shared = {
            "store": store, "state": "state", "mode": "auto", "rules": [str(folder / "rules")], "guard": guard,
            "exec": {"allow": [str(program)]},
        }  # fmt: skip
        for number in range(count):
            (folder / f"daemon{number}").mkdir()
            self.daemons.append(Daemon(folder / f"daemon{number}", {**shared, **config}))
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        for daemon in self.daemons:
            self._closing.enter_context(daemon)
        return self

    def __exit__(self, *problem: object) -> None:
        self.open_gate()
        self._closing.close()

    def effects(self) -> list[str]:
        """Give what the programs have done."""
        file = self.folder / "effects"
        return file.read_text().splitlines() if file.exists() else []

    def open_gate(self) -> None:
        """Let the programs end."""
        (self.folder / "gate").touch()


def hold(*units: str, status: str = "firing", starts_at: str = "2026-01-01T00:00:00Z") -> Mapping[str, Any]:
    """Make a notification."""
    alerts = [
        {"status": status, "labels": {"alertname": "Hold", "unit": unit}, "startsAt": starts_at} for unit in units
    ]
    return {"version": "4", "groupKey": "{}", "status": status, "alerts": alerts}


def begun(fleet: Fleet, daemon: Daemon, unit: str = "a") -> str:
    """Let a step begin at one of the daemons, and give its run."""
    answer = daemon.post(hold(unit))
    assert answer.status == 200, answer.body
    eventually(lambda: f"begun {unit}" in fleet.effects(), "the step is at work")
    run: str = answer.json()["runs"][0]
    return run


def until(daemon: Daemon, run: str, state: str, within: float = 20.0) -> dict[str, Any]:
    """Wait till a run is in a state, as one of the daemons tells it, and give it."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [daemon.run(run)]
        return bool(found[0]["state"] == state)

    eventually(there, f"the run is {state}", within)
    return found[0]


def taken(answer: Answer) -> bool:
    """Tell whether a notification is kept; anything else than 503 is a defect."""
    assert answer.status in {200, 503}, answer
    return answer.status == 200
