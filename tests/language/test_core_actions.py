"""Every action of the core: its effect, its parameters, and what its result holds, from one real use in a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from language.writing import Load, faults, file, rule
from stage import Stage

from remediator.actions.protocol import Effect
from remediator.rules.load import load_rules

ALERT = {
    "fingerprint": "0" * 16, "labels": {"alertname": "Down"}, "annotations": {}, "receivers": [{"name": "x"}],
    "startsAt": "2026-01-15T10:00:00Z", "updatedAt": "2026-01-15T10:00:00Z", "endsAt": "2026-01-15T10:05:00Z",
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
}  # fmt: skip


@asynccontextmanager
async def serving(answer: Any, asked: list[Any]) -> AsyncIterator[str]:
    """Answer every request with this, and note what was asked."""

    async def handle(request: web.Request) -> web.Response:
        asked.append((request.method, request.path, dict(request.query), await request.text()))
        return web.json_response(answer)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


async def used(stage: Stage, action: str, with_: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Let a run use an action, and give the record of its step."""
    text = file(rule(steps=json.dumps([{"uses": action, "with": with_}])))
    written = stage.folder / "rules.yml"
    written.write_text(text)
    loaded = load_rules([written], stage.catalog)
    assert loaded.ok, loaded.problems
    await stage.engine.adopt(loaded.rules, stage.standing, settings)
    await stage.fires(app="web", n=str(len(await stage.runs())))
    run = (await stage.runs())[-1]
    assert run["state"] == "succeeded", run
    await stage.engine.drain(5)  # lets go of connections
    step: dict[str, Any] = run["steps"][-1]
    return step


def parameters(stage: Stage, action: str) -> list[str]:
    return [field.alias or name for name, field in stage.catalog[action].parameters.model_fields.items()]


async def test_action_exec_run(stage: Stage, load: Load, tmp_path: Path) -> None:
    """Writes; the program must stand in `exec.allow`, which is empty by default."""
    allowed = {"exec": {"allow": ["/bin/sh"], "env": {}, "user": None, "cwd": None}}
    script = 'read line; echo "{\\"said\\": \\"$line $A\\"}"; pwd >&2; exit 3'
    with_ = {"argv": ["/bin/sh", "-c", script], "stdin": "hi\n", "env": {"A": "b"}, "cwd": str(tmp_path), "ok": [3]}
    step = await used(stage, "exec.run", with_, **allowed)
    result = step["result"]
    assert (result["exit_status"], result["json"], result["stderr"].strip()) == (3, {"said": "hi b"}, str(tmp_path))
    assert result["stdout"] == '{"said": "hi b"}\n'
    assert result["seconds"] >= 0
    action = stage.catalog["exec.run"]
    assert action.effect is Effect.WRITE
    assert not action.idempotent(action.parameters.model_validate({"argv": ["x"]}))
    assert action.idempotent(action.parameters.model_validate({"argv": ["x"], "idempotent": True}))
    assert set(parameters(stage, "exec.run")) == {"argv", "stdin", "env", "cwd", "ok", "idempotent"}
    one = file(rule(steps="[{uses: exec.run, with: {argv: [/bin/ls]}}]"))
    assert faults(load(one, {"exec": {"allow": []}})) == [("steps[0].with", "not-allowed")]


async def test_action_exec_probe(stage: Stage) -> None:
    """Reads, as its author vouches; the rest is the same."""
    allowed = {"exec": {"allow": ["/bin/sh"], "env": {}, "user": None, "cwd": None}}
    step = await used(stage, "exec.probe", {"argv": ["/bin/sh", "-c", "echo 7"]}, **allowed)
    assert {"exit_status", "stdout", "stderr", "json", "seconds"} <= set(step["result"])
    assert step["result"]["json"] == 7
    assert stage.catalog["exec.probe"].effect is Effect.READ
    assert set(parameters(stage, "exec.run")) - set(parameters(stage, "exec.probe")) == {"idempotent"}


async def test_action_http_get(stage: Stage) -> None:
    """Reads: status, headers, body, JSON and seconds."""
    asked: list[Any] = []
    async with serving({"up": True}, asked) as url:
        step = await used(stage, "http.get", {"url": f"{url}/health", "query": {"app": "web"}, "headers": {"X-A": "b"}})
    assert {"status", "headers", "body", "json", "seconds"} <= set(step["result"])
    assert (step["result"]["status"], step["result"]["json"]) == (200, {"up": True})
    assert asked == [("GET", "/health", {"app": "web"}, "")]
    assert stage.catalog["http.get"].effect is Effect.READ
    assert set(parameters(stage, "http.get")) == {"url", "query", "headers", "auth"}


async def test_action_http_request(stage: Stage) -> None:
    """Writes: `json` or `form` or `body`; a status outside `ok`, by default 2xx, is a no."""
    asked: list[Any] = []
    async with serving({"done": True}, asked) as url:
        step = await used(
            stage, "http.request", {"url": f"{url}/scale", "method": "PUT", "json": {"n": 2}, "ok": [200]}
        )
    assert step["result"]["json"] == {"done": True}
    assert [(method, path, json.loads(body)) for method, path, _, body in asked] == [("PUT", "/scale", {"n": 2})]
    action = stage.catalog["http.request"]
    assert action.effect is Effect.WRITE
    assert not action.idempotent(action.parameters.model_validate({"url": "http://a/", "method": "POST"}))
    more = {"method", "json", "form", "body", "sign", "ok", "idempotent"}
    assert set(parameters(stage, "http.request")) == {*parameters(stage, "http.get"), *more}


@pytest.mark.parametrize(("count", "value"), [(1, 1.5), (2, None)])
async def test_action_prometheus_query(stage: Stage, count: int, value: float | None) -> None:
    """Reads: `samples`, each with labels and value, and `value` when there is exactly one."""
    vector = [{"metric": {"n": str(number)}, "value": [1, "1.5"]} for number in range(count)]
    answer = {"status": "success", "data": {"resultType": "vector", "result": vector}}
    async with serving(answer, []) as url:
        step = await used(stage, "prometheus.query", {"query": "up"}, prometheus={"url": url})
    assert step["result"]["samples"] == [{"labels": {"n": str(number)}, "value": 1.5} for number in range(count)]
    assert step["result"].get("value") == value
    assert stage.catalog["prometheus.query"].effect is Effect.READ
    assert parameters(stage, "prometheus.query") == ["query"]


async def test_action_alertmanager_alerts(stage: Stage) -> None:
    """Reads: `alerts` and `count`."""
    asked: list[Any] = []
    async with serving([ALERT], asked) as url:
        step = await used(stage, "alertmanager.alerts", {"match": '{alertname="Down"}'}, alertmanager={"url": url})
    assert step["result"]["count"] == 1
    assert step["result"]["alerts"][0]["labels"] == {"alertname": "Down"}
    assert asked[0][2]["filter"] == 'alertname="Down"'
    assert stage.catalog["alertmanager.alerts"].effect is Effect.READ
    assert parameters(stage, "alertmanager.alerts") == ["match"]


async def test_action_wait(stage: Stage) -> None:
    """Reads: a timer, it holds no worker."""
    await stage.rules(file(rule(steps="[{uses: wait, with: {for: 5m}}, {uses: test.write}]")))
    await stage.fires(app="web")
    assert len(stage.engine.workers.tasks) == 0
    await stage.passes(299)
    assert stage.used("test.write") == 0
    await stage.passes(1)
    assert stage.used("test.write") == 1
    assert stage.catalog["wait"].effect is Effect.READ
    assert parameters(stage, "wait") == ["for"]


async def test_action_log(stage: Stage) -> None:
    """Reads, as far as the world is concerned: it speaks in dry-run too."""
    step = await used(stage, "log", {"message": "{{ labels.app }} is ill"})
    assert step["result"] == {"message": "web is ill"}
    assert stage.catalog["log"].effect is Effect.READ
    assert parameters(stage, "log") == ["message"]
