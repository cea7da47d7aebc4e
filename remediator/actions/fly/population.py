"""Which machines of an app are meant. An empty or unknown population is refused, and never read as all of them (P5)."""

from __future__ import annotations

from collections.abc import Sequence

from remediator.actions.fly.server import no
from remediator.actions.fly.shapes import LEAVING, Machine
from remediator.actions.protocol import Outcome


def at_work(machines: Sequence[Machine]) -> list[Machine]:
    """Give those that are there to serve: not what is going, a deployment's tools, standbys, or what runs by a schedule."""
    return [
        machine
        for machine in machines
        if machine.state not in LEAVING
        and not machine.reserved
        and not (machine.config and (machine.config.standbys or machine.config.schedule or machine.config.auto_destroy))
    ]


def of_group(app: str, machines: Sequence[Machine], group: str | None) -> list[Machine] | Outcome:
    """Give the machines of one process group; where none is named the app must have a single one."""
    serving = at_work(machines)
    if unknown := [machine.id for machine in serving if machine.config is None]:
        return no(f"the host of machine {unknown[0]} of {app} does not answer, so its group is not known: wait for it")
    groups = sorted({machine.group for machine in serving})
    if group is None and len(groups) > 1:
        return no(f"{app} has the process groups {', '.join(groups)}: name one with `group`")
    found = [machine for machine in serving if group in {None, machine.group}]
    return found or no(f"{app} has no machines" + (f" of the group {group}" if group else "") + ": nothing was done")


def named(app: str, machines: Sequence[Machine], ids: Sequence[str]) -> list[Machine] | Outcome:
    """Give the machines of these ids, in that order; one that the app doesn't have refuses them all."""
    there = {machine.id: machine for machine in machines if machine.state not in LEAVING}
    missing = [own for own in ids if own not in there]
    if missing:
        return no(f"{app} has no machine {', '.join(missing[:5])}: nothing was done; is the id right?")
    return [there[own] for own in dict.fromkeys(ids)]
