"""Values to keep in a store."""

from __future__ import annotations

from typing import Any

from remediator.model.alert import Episode, Notification
from remediator.model.run import Event, EventKind, Mode, Run, State
from remediator.model.story import Story
from remediator.store.protocol import Decided, Store, Transaction

NOW = 1_795_000_000.0


def episode(number: int, **changes: Any) -> Episode:
    """Make an open episode."""
    values: dict[str, Any] = {
        "id": number,
        "fingerprint": f"{number:016x}",
        "labels": {"alertname": "Down", "app": f"app{number}"},
        "annotations": {"summary": "it is down"},
        "generator_url": "http://prometheus/graph",
        "starts_at": NOW - 10,
        "first_seen": NOW,
        "last_seen": NOW,
        "ended_at": None,
        "group_key": "{}",
        "group_labels": {"alertname": "Down"},
    }
    return Episode(**{**values, **changes})


def run(number: int, **changes: Any) -> Run:
    """Make a run that waits."""
    values: dict[str, Any] = {
        "id": f"{number:026d}",
        "rule": "restart",
        "rule_hash": "h",
        "state": State.WAITING,
        "created_at": NOW,
        "opened_by": number,
        "target": f"app{number}",
        "mode": Mode.AUTO,
        "due_at": NOW,
    }
    return Run(**{**values, **changes})


def story(number: int, **changes: Any) -> Story:
    """Make the story of a run that waits."""
    return Story(run=run(number, **changes), alert=episode(number))


def admitted(number: int, at: float, **changes: Any) -> Story:
    """Make the story of a run that was admitted, began and ended."""
    values: dict[str, Any] = {
        "state": State.SUCCEEDED, "admitted_at": at, "started_at": at, "ended_at": at + 1, "due_at": None,
    }  # fmt: skip
    return story(number, **{**values, **changes})


def notification(number: int) -> Notification:
    """Make a notification without alerts of interest."""
    return Notification(f"{number:026d}", NOW, "hook", "{}", {}, 0, (), (), b"{}")


def event(number: int, run_id: str | None = None) -> Event:
    """Make a line of history."""
    return Event(at=NOW + number, kind=EventKind.NOTIFICATION, run=run_id, data={"number": number})


async def put(store: Store, *stories: Story) -> None:
    """Keep runs, with the alert that opened each."""

    async def script(tx: Transaction) -> None:
        await tx.save_episodes([each.alert for each in stories], [], [])
        await tx.add(stories)
        await tx.add_decisions(
            [Decided(each.alert.id, each.run.rule, each.run.id, NOW, each.run.target) for each in stories]
        )

    await store.transact(script)
