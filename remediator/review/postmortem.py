"""The draft of a post-mortem: what the record of a run knows, in order, and the questions that only people can answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from remediator.actions.bounds import visible
from remediator.actions.protocol import Effect
from remediator.model.time import Seconds, format_duration
from remediator.review.sentences import sentence
from remediator.review.wording import markdown
from remediator.rules.matchers import labels_text

Document = Mapping[str, Any]  # a run, a step or an event, as the API gives it
EffectOf = Callable[[str], str | None]  # of an action, by its name; None where it is not known here

_MOST_LINES, _LONGEST = 40, 4000  # of one step's result: lines, and characters
_CHECKS = {"verify"}
_HAPPENED = ("run.proposed", "run.moved", "run.refused", "run.admitted", "run.climbed", "run.joined", "revert.held",
             "approval.asked", "control.laid", "control.lifted", "step.started", "step.ended")  # fmt: skip
_DECIDED = ("run.refused", "run.admitted", "run.climbed", "approval.asked", "control.laid", "control.lifted")


@dataclass(frozen=True, slots=True)
class Incident:
    """All that a post-mortem is made of."""

    run: Document
    events: Sequence[Document]  # of the run, the oldest first
    around: Sequence[Document]  # other runs on its target or of its alerts, about that time, the oldest first


def draft(incident: Incident, effect_of: EffectOf) -> str:
    """Give the draft in Markdown. What alerts and platforms have said stands in it without any power to mark up."""
    run = incident.run
    parts = [
        [f"# Post-mortem: {markdown(run['rule'])} on {markdown(run['target'] or 'an unnamed target')}", ""],
        ["This is a draft, made from the record of the run. Lines that begin with “?” are for people.", ""],
        _summary(run),
        ["## Impact", "", "- ? Who noticed what, for how long, and what did it cost?", ""],
        _timeline(incident),
        _evidence(run, effect_of),
        _listing("Decisions", (_line(event) for event in incident.events if event["kind"] in _DECIDED)),
        _listing("What was done", _deeds(run, effect_of)),
        _listing("Did it help?", _proof(run)),
        _listing("Around it", (_other(each) for each in incident.around)),
        ["## Open questions", "", *(f"- ? {each}" for each in _questions(incident)), ""],
        ["## What changes", "", "| What | Who | By when |", "| --- | --- | --- |", "| ? | ? | ? |"],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _summary(run: Document) -> list[str]:
    began = min((alert["starts_at"] for alert in run["alerts"]), default=None)
    rows = [
        ("Run", run["id"] + (" (a drill)" if run["drill"] else "")),
        ("Priority", run["priority"]),
        ("Came to", run["state"] + (f": {run['because']}" if run["because"] else "")),
        ("Began", began),
        ("Known to the daemon", _after(run["created_at"], began)),
        ("First step", _after(run["started_at"], began)),
        ("Over", _after(run["ended_at"], began)),
    ]
    alerts = [f"`{_labels(alert['labels'])}`" for alert in run["alerts"]]
    told = [f"| {name} | {markdown(str(value))} |" for name, value in rows if value is not None]
    return ["| | |", "| --- | --- |", *told, "", *(f"- Alert: {each}" for each in alerts), ""]


def _labels(labels: Mapping[str, str]) -> str:
    return visible(labels_text(labels)).replace("`", "'").replace("|", "¦")


def _after(at: str | None, began: str | None) -> str | None:
    if at is None or began is None:
        return at
    return f"{at}, {format_duration(_seconds(began, at))} after it began"


def _seconds(begin: str, end: str) -> Seconds:
    span = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0.0, round(span.total_seconds()))


def _timeline(incident: Incident) -> list[str]:
    alerts = [(alert["starts_at"], f"the alert {_name(alert)} begins") for alert in incident.run["alerts"]]
    alerts += [
        (alert["ended_at"], f"the alert {_name(alert)} ends") for alert in incident.run["alerts"] if alert["ended_at"]
    ]
    told = [(event["at"], sentence(event)) for event in incident.events if event["kind"] in _HAPPENED]
    told += [(each["created_at"], f"{_of(each)} is proposed") for each in incident.around]
    lines = sorted(alerts + told, key=lambda line: line[0])  # what is of one instant stays in its order
    return ["## Timeline", "", *(f"- {at} {markdown(words)}" for at, words in lines), ""]


def _of(run: Document) -> str:
    takes_back = f", to take back what run {run['reverts']} did," if run["reverts"] else ""
    return f"{'drill' if run['drill'] else 'run'} {run['id']} of {run['rule']}{takes_back}"


def _name(alert: Document) -> str:
    return str(alert["labels"].get("alertname", "without a name"))


def _evidence(run: Document, effect_of: EffectOf) -> list[str]:
    lines = ["## Evidence", ""]
    for step in run["steps"]:
        if effect_of(step["uses"]) != Effect.READ or step["phase"] in _CHECKS or step["started_at"] is None:
            continue
        said = step["result"] if step["result"] is not None else step["error"]
        lines += [
            f"{step['started_at']} {markdown(step['uses'])}{_named(step)}: {step['state']}",
            "",
            *_block(said),
            "",
        ]
    return lines if len(lines) > 2 else [*lines, "Nothing was read.", ""]


def _named(step: Document) -> str:
    return f" ({markdown(step['id'])})" if step["id"] else ""


def _block(said: Any) -> list[str]:
    """Give a result as a block of code, bounded, whose fence is longer than any in it."""
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, indent=1)
    lines = text[:_LONGEST].splitlines()
    shown = [visible(line) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES or len(text) > _LONGEST:
        shown.append("… (`remediator show -o json` has all of it)")
    fence = "`" * max(3, 1 + max((len(found) for line in shown for found in re.findall("`+", line)), default=0))
    return [fence, *shown, fence]


def _deeds(run: Document, effect_of: EffectOf) -> Iterable[str]:
    for step in run["steps"]:
        if effect_of(step["uses"]) == Effect.READ or (step["started_at"] is None and step["state"] != "planned"):
            continue
        parameters = json.dumps(step["parameters"], ensure_ascii=False)[:300] if step["parameters"] else ""
        error = f": {step['error']}" if step["error"] else ""
        at = f"{step['started_at']} " if step["started_at"] else ""
        told = f"{step['phase']}: {step['uses']} {parameters} {step['state']}{error}"
        yield f"{at}{markdown(told)}"


def _proof(run: Document) -> Iterable[str]:
    checks = {(step["id"] or step["uses"]): step for step in run["steps"] if step["phase"] in _CHECKS}
    for name, step in checks.items():
        error = f": {step['error']}" if step["error"] else ""
        told = f"{name}: {step['state']} when last looked at{error}"
        yield f"{step['ended_at']} {markdown(told)}"
    yield markdown(f"The run came to {run['state']}" + (f": {run['because']}" if run["because"] else "."))


def _other(run: Document) -> str:
    because = f": {run['because']}" if run["because"] else ""
    subject = f"{run['rule']} on {run['target']}" if run["target"] else run["rule"]
    told = f"run {run['id']}, {subject}: {run['state']}{because}"
    return f"{run['created_at']} {markdown(told)}"


def _line(event: Document) -> str:
    return f"{event['at']} {markdown(sentence(event))}"


def _questions(incident: Incident) -> Iterable[str]:
    run = incident.run
    yield "What was the cause, and what had changed shortly before?"
    yield "Could it have been seen earlier, or kept from happening?"
    if run["state"] == "failed":
        yield f"Why did {markdown(run['rule'])} not help?"
    if run["state"] == "blocked":
        yield f"Was it right to refuse ({markdown(str(run['reason']))})? Which guard has to change?"
    if run["state"] == "unknown":
        yield "How did the step end whose end is not known?"
    if run["state"] == "planned":
        yield "Would it have helped? If so, is its rule ready for more than dry-run?"
    if run["rung"]:
        yield "Why did the first rungs of the ladder not help?"
    if any(event["kind"] == "approval.asked" for event in incident.events):
        yield "Was the answer to what was asked given soon enough? Must it be asked the next time?"
    mine = [each for each in incident.around if each["rule"] == run["rule"]]
    same = [each for each in mine if not each["reverts"] and not each["drill"]]
    if same and not run["reverts"] and not run["drill"]:
        yield f"Why was the same needed {len(same) + 1} times?"
    yield "Who was told, and did they know what to do?"


def _listing(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"- {line}" for line in lines]
    return [f"## {title}", "", *(found or ["Nothing."]), ""]
