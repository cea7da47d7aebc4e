"""The commands that propose a run without an alert: run, drill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from remediator.cli import output
from remediator.cli.client import Client, author
from remediator.cli.command import FAULT, Asked, command
from remediator.cli.following import GOOD, PATIENCE, ended, follow
from remediator.cli.story import tell, tell_events
from remediator.model.time import Seconds

_GRACE: Seconds = 60.0  # over a rule's deadline: for what comes before the first step, and after the last


def _pairs(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Mapping[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _value in pairs:
        if not name or not equals:
            raise click.BadParameter("write it as NAME=VALUE")
    names = [name for name, _equals, _value in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.BadParameter(f"{twice} is given twice, and a label has one value")
    return {name: value for name, _equals, value in pairs}


_LABELS = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="As an alert's would be, and such as the rule's matchers want; repeatable.",
)


@command("run", daemon=True)
@click.argument("rule")
@_LABELS
@click.option("--reason", required=True, help="For the record.")
def run(asked: Asked, rule: str, labels: Mapping[str, str], reason: str) -> int:
    """Propose a run of RULE by hand: through the same guards, and in the same mode, as for an alert."""
    client = asked.client
    proposed = _propose(client, {"rule": rule, "labels": labels, "reason": reason})
    run_id = str(proposed["id"])
    _tell_proposed(asked, proposed)
    found = follow(client, run_id, PATIENCE, lambda run: ended(run) or run["state"] == "awaiting_approval")
    if asked.json:
        output.document(found)
    else:
        because = found["because"] or found["reason"]
        output.line(f"Run {run_id}: {found['state']}" + (f": {because}" if because else ""))
    return 0 if not ended(found) or found["state"] in GOOD else FAULT


@command("drill", daemon=True)
@click.argument("rule")
@_LABELS
def drill(asked: Asked, rule: str, labels: Mapping[str, str]) -> int:
    """Try RULE end to end as a drill: with `vars.drill` over `vars`, in books of its own. Follows it to its end."""
    client = asked.client
    deadline = next((each["deadline"] for each in client.ask("GET", "/rules")["rules"] if each["name"] == rule), 0.0)
    proposed = _propose(client, {"rule": rule, "labels": labels, "drill": True})
    run_id = str(proposed["id"])
    told: list[str] = []

    def over(run: dict[str, Any]) -> bool:
        if run["state"] == "awaiting_approval" and not told:
            told.append(run_id)
            asked.say(f"it waits for a person: `remediator approve {run_id}`")
        return ended(run)

    try:
        _tell_proposed(asked, proposed)
        found = follow(client, run_id, deadline + _GRACE, over)
    except KeyboardInterrupt:
        return asked.say(f"left alone, it goes on: `remediator show {run_id}`, `remediator cancel {run_id}`", FAULT)
    if asked.json:
        output.document(found)
    else:
        tell(found)
        tell_events(client.ask("GET", "/events", query={"run": run_id, "limit": 1000})["events"])
    if not ended(found):
        asked.say(f"it is not over yet: `remediator show {run_id}`")
    return 0 if found["state"] in GOOD else FAULT


def _propose(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    proposed: dict[str, Any] = client.ask("POST", "/runs", {**body, "author": author()})
    return proposed


def _tell_proposed(asked: Asked, run: dict[str, Any]) -> None:
    if not asked.json:
        on = f" on {run['target']}" if run["target"] else ""
        output.line(f"Run {run['id']} of {run['rule']}{on} is proposed, mode {run['mode']}")
