"""A stand: where the actions of one group are tried, be it a fake, a real server or this machine.

The file `tests/platforms/GROUP.py` has the stand of the actions `GROUP.*`: `async def stand(stack, folder) -> Stand` starts
what it needs on an exit stack. The suites beside this (examples, faults, hostile labels) go through the whole catalog, so a
new action is covered without being named; one without a stand fails them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import yaml
from fakes.fake import Fake, Seen

from remediator.actions.catalog import describe, load_catalog
from remediator.actions.protocol import Action, Context, Outcome, Parameters, Resources
from remediator.rules.parameters import ParameterTemplates

CATALOG = load_catalog()
LABELS = {
    "alertname": "HighErrorRate", "severity": "critical", "app": "web", "service": "web", "instance": "web-1:9100",
    "namespace": "shop", "deployment": "web", "pod": "web-0", "node": "node-1", "database": "main", "cluster": "eu",
    "unit": "web.service", "mountpoint": "/", "host": "web-1.example.com",
}  # fmt: skip


@dataclass(frozen=True)
class Stand:
    """One group's place to be tried in."""

    settings: Mapping[str, Any]  # sections of the configuration that lead there
    secrets: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)  # over LABELS, for the examples
    steps: Mapping[str, Any] = field(default_factory=dict)  # what examples see of earlier steps, by id
    hosts: Sequence[str] = ()  # patterns of `http.allow`
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # more `with`s, by action
    fake: Fake | None = None  # HTTP, with faults on demand
    arrived: Callable[[], Any] | None = None  # without a fake: all that has arrived so far, as JSON values
    reach: Callable[[int], Mapping[str, Any]] | None = None  # settings that lead to another port of the loopback
    alone: bool = False  # it changes something of the whole process: another can't stand beside it
    reset: Callable[[], None] | None = None  # makes everything as it was at the start
    harmless: tuple[str, ...] = ()  # beginnings of `METHOD /path` that only read, though the method is no GET
    offline: frozenset[str] = frozenset()  # actions of the group that ask nobody over a network
    fine: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (action, fault) that may be OK, and why

    def scope(self, **more: str) -> dict[str, Any]:
        """Give what templates of the examples see."""
        labels = {**LABELS, **self.labels, **more}
        return {
            "steps": self.steps,
            "labels": labels, "annotations": {"summary": "It is down"}, "target": f"app/{labels['app']}", "vars": {},
            "rule": {"name": "mend-web"}, "run": {"id": "01jd", "url": "http://127.0.0.1:9095/runs/01jd", "rung": 0},
            "priority": "P1", "alerts": [{"labels": labels}], "group": {"labels": {}, "key": ""},
        }  # fmt: skip

    def written(self, name: str) -> list[dict[str, Any]]:
        """Give every `with` by which an action is tried: its example's first."""
        steps = describe(CATALOG[name])["steps"]
        (own,) = [step.get("with") or {} for step in steps if step["uses"] == name]
        return [own, *map(dict, self.samples.get(name, ()))]

    def params(self, name: str, written: Mapping[str, Any], **labels: str) -> Parameters:
        """Render parameters as the engine would. Raises what it raises."""
        return ParameterTemplates(written, CATALOG[name].parameters).render(self.scope(**labels), self.hosts)

    def arrivals(self) -> Any:
        """Give all that has arrived, as JSON values."""
        if self.fake is not None:
            return [_taken_apart(each) for each in self.fake.seen]
        return self.arrived() if self.arrived is not None else []


def _taken_apart(seen: Seen) -> Any:
    """Give a request as the platform understands it."""
    form = seen.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    body: Any = parse_qsl(seen.body, keep_blank_values=True) if form else seen.json
    keep = {"accept", "accept-encoding", "content-length", "host", "connection", "user-agent"}
    headers = {name: value for name, value in seen.headers.items() if name not in keep}
    return {
        "method": seen.method, "path": [unquote(part) for part in seen.path.split("/")], "query": list(seen.query),
        "headers": headers, "body": body if body is not None else seen.body,
    }  # fmt: skip


def group_of(name: str) -> str:
    """Give the group of an action: what stands before the dot."""
    return name.partition(".")[0]


async def stand_of(name: str, stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the stand of an action's group. Raises ModuleNotFoundError where there is none: write one."""
    group = group_of(name)
    module = importlib.import_module(f"platforms.{'core' if '.' not in name else group}")
    stand: Stand = await module.stand(stack, folder)
    return stand


async def use(
    stand: Stand, name: str, params: Parameters, resources: Resources, *, seconds: float = 10.0, at: int | None = None
) -> Outcome:
    """Use an action once; `at` leads it to another port."""
    import asyncio

    settings = stand.settings if at is None or stand.reach is None else {**stand.settings, **stand.reach(at)}
    deadline = asyncio.get_running_loop().time() + seconds
    context = Context(deadline, settings, stand.secrets.__getitem__, run="01jd", resources=resources)
    action: Action[Any] = CATALOG[name]
    return await action.run(params, context)


def told(outcome: Outcome) -> str:
    """Give everything that an outcome would leave in a record."""
    return json.dumps({"result": outcome.result, "error": outcome.error}, ensure_ascii=False)


__all__ = ["CATALOG", "LABELS", "Stand", "group_of", "stand_of", "told", "use", "yaml"]
