"""The commands that hold the daemon back, and let it go on: pause, resume, mode, controls."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import output
from remediator.cli.client import author
from remediator.cli.command import FAULT, Asked, command
from remediator.model.run import Mode


@command("pause", daemon=True)
@click.option("--rule", help="Only this rule.")
@click.option("--target", help="Only this target.")
@click.option("--reason", required=True, help="For whoever finds it.")
@click.option("--for", "span", metavar="DURATION", help="Lifts itself after so long (default: only `resume` lifts it).")
def pause(asked: Asked, rule: str | None, target: str | None, reason: str, span: str | None) -> None:
    """Stop: no new step begins until `resume`. A step at work finishes."""
    control = _lay(asked, {"kind": "pause", "rule": rule, "target": target, "reason": reason, "for": span})
    if asked.json:
        output.document(control)
        return
    lifting = _lifting(control) if rule or target else "`remediator resume`"  # which lifts those on everything alone
    until = f"until {control['until'] or lifting}"
    output.line(f"Paused {_on(control)} {until}: {reason}")


@command("mode", daemon=True)
@click.argument("mode", type=click.Choice([str(each) for each in Mode]))
@click.option("--rule", help="Only for this rule.")
@click.option("--target", help="Only for this target.")
@click.option("--reason", required=True, help="For whoever finds it.")
@click.option("--for", "span", metavar="DURATION", help="Lifts itself after so long (default: only a person lifts it).")
def mode(asked: Asked, mode: str, rule: str | None, target: str | None, reason: str, span: str | None) -> None:
    """Lay the highest mode that may be in force, until it is lifted. It lowers, and never raises."""
    body = {"kind": "mode", "mode": mode, "rule": rule, "target": target, "reason": reason, "for": span}
    control = _lay(asked, body)
    if asked.json:
        output.document(control)
        return
    until = f"until {control['until']}" if control["until"] else f"until {_lifting(control)}"
    output.line(f"At most {mode} on {_on(control)} {until}: {reason}")


def _lay(asked: Asked, body: dict[str, Any]) -> dict[str, Any]:
    """Lay a control. For a rule that is not in force too, since runs may still be at work by it: but say so."""
    control: dict[str, Any] = asked.client.ask("POST", "/controls", {**body, "author": author()})
    if "warning" in control:
        asked.say(control["warning"])
    return control


@command("controls", daemon=True)
def controls(asked: Asked) -> None:
    """List what is laid and in force: pauses, modes, open breakers, a storm; and how to lift each."""
    laid = asked.client.ask("GET", "/controls")["controls"]
    if asked.json:
        output.document(laid)
        return
    rows = [
        (each["id"], _what(each), _on(each), each["author"], each["laid_at"], each["until"], each["reason"])
        for each in laid
    ]
    output.table(("CONTROL", "WHAT", "ON", "BY", "SINCE", "UNTIL", "REASON"), rows)
    if laid:
        output.line("Each is lifted by `remediator resume --control CONTROL --reason …`.")


@command("resume", daemon=True)
@click.option("--rule", help="The pause of this rule.")
@click.option("--target", help="The pause of this target.")
@click.option("--control", metavar="CONTROL", help="This very one, by its id or the end of it: a mode, a breaker…")
@click.option("--reason", default="", help="For the record.")
def resume(asked: Asked, rule: str | None, target: str | None, control: str | None, reason: str) -> int:
    """Lift pauses, or one control of any kind; what they held is looked at again."""
    if control is not None:
        if rule or target:
            raise click.UsageError("--control names the one to lift: leave out --rule and --target")
        return _lift(asked, control, reason)
    client = asked.client
    body = {"kind": "resume", "rule": rule, "target": target, "reason": reason, "author": author()}
    lifted = client.ask("POST", "/controls", body)["lifted"]
    where = _on(body)
    if asked.json:
        output.document({"lifted": lifted})
    elif lifted:
        output.line(f"Resumed {where}: {output.count(len(lifted), 'pause')} lifted")
    else:
        output.line(f"No pause is laid on {where}")
    for left in client.ask("GET", "/controls")["controls"] if not asked.json else ():
        output.line(f"Still laid: {_what(left)} on {_on(left)} ({left['reason']}), until {_lifting(left)}")
    return 0 if lifted else FAULT


def _lift(asked: Asked, control: str, reason: str) -> int:
    ids = [each["id"] for each in asked.client.ask("GET", "/controls")["controls"]]
    found = [each for each in ids if control and (each.startswith(control) or each.endswith(control))]
    if len(found) != 1:
        return asked.say(f"{len(found)} controls in force have an id that begins or ends with {control!r}", FAULT)
    query = {"reason": reason, "author": author()}
    lifted = asked.client.ask("DELETE", f"/controls/{found[0]}", query=query)
    output.document({"lifted": [lifted]}) if asked.json else output.line(f"Lifted: {_what(lifted)} on {_on(lifted)}")
    return 0


def _what(control: dict[str, Any]) -> str:
    if control["mode"]:
        return f"mode {control['mode']}"
    kind = str(control["kind"])
    return kind if control["book"] == "live" else f"{kind} of {control['book']} runs"


def _on(control: dict[str, Any]) -> str:
    parts = [f"rule {control['rule']}"] if control["rule"] else []
    parts += [f"target {control['target']}"] if control["target"] else []
    return " on ".join(parts) or "everything"


def _lifting(control: dict[str, Any]) -> str:
    by_hand = f"`remediator resume --control {control['id']}`"
    return f"{control['until']} or {by_hand}" if control["until"] else by_hand
