"""The history of a run in sentences: one for each event, as the API gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from remediator.model.time import format_duration, format_rfc3339


def sentence(event: Mapping[str, Any]) -> str:
    """Say what happened."""
    kind = str(event["kind"])
    if event["hash"] is None and kind != "run.moved":
        return kind  # a viewer's: what it held may have been left out
    return _SENTENCES[kind](event["data"]) if kind in _SENTENCES else kind


def _moved(data: dict[str, Any]) -> str:
    return str(data["to"]) + _why(data.get("because") or data.get("reason"))


def _proposed(data: dict[str, Any]) -> str:
    rule = f"rule {data['rule']}, mode {data['mode']}"
    if data.get("reverts"):
        return f"proposed, to take back what run {data['reverts']} did: {rule}"
    if data.get("author"):
        what = "a drill" if data["drill"] else "by hand"
        why = f", for {data['given_reason']}" if data["given_reason"] else ""
        return f"proposed, {what}, by {data['author']}{why}: {rule}"
    return f"proposed by {'the schedule of ' if data.get('origin') == 'schedule' else ''}{rule}"


def _laid(data: dict[str, Any]) -> str:
    kind = {
        "approve": "approved", "reject": "rejected", "cancel": "cancel ordered", "mode": f"mode {data['mode']} laid",
        "resolve": f"resolved as {data['outcome']}", "pause": "paused", "breaker": "breaker opened", "storm": "storm seen",
    }.get(data["kind"], str(data["kind"]))  # fmt: skip
    return f"{kind} by {data['author']}" + _why(data["reason"])


def _times(data: dict[str, Any]) -> str:
    if data["times"] == 1:
        return f"at {data['last']}"
    return f"{data['times']} times from {data['first']} to {data['last']}"


def _why(words: str | None) -> str:
    return f": {words}" if words else ""


def whom(asked: Mapping[str, Any]) -> str:
    """Say who is asked for leave: names, or anyone who may, and how many of them."""
    who = ", ".join(asked["approvers"] or ()) or "whoever may operate the daemon"
    return who if asked["quorum"] == 1 else f"{asked['quorum']} of {who}"


_SENTENCES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "run.proposed": _proposed,
    "run.joined": lambda data: "another alert " + ("waits for it to close" if data["deferred"] else "joined it"),
    "run.moved": _moved,
    "run.refused": lambda data: f"refused by {data['reason']}: {data['because']}",
    "run.admitted": lambda data: f"admitted, mode {data['mode']}" + (f", lock {data['lock']}" if data["lock"] else ""),
    "run.healed": lambda data: f"healed by itself after {format_duration(data['seconds'])}",
    "run.climbed": lambda data: f"climbed to rung {data['rung'] + 1}: {data['because']}",
    "revert.held": lambda data: f"the revert of run {data['reverts']} is held: {data['because']}",
    "schedule.missed": lambda data: f"{data['rule']} did not begin {_times(data)}: {data['because']}",
    "approval.asked": lambda data: f"asked {whom(data)} till {format_rfc3339(data['until'])}, plan {data['plan_hash']}",
    "step.started": lambda data: f"{data['phase']}: {data['uses']} started, attempt {data['attempt']}",
    "step.ended": lambda data: f"{data['phase']}: {data['uses']} {data['state']}" + _why(data["error"]),
    "control.laid": _laid,
    "control.lifted": lambda data: f"{data['kind']} lifted by {data['author']}" + _why(data["reason"]),
}
