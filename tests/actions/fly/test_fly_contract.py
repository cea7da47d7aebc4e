"""What is sent to Fly.io, and what the fake answers, held against the vendor's published OpenAPI documents.

They are no part of the project: they are looked for beside the checkout, and skipped by name where they are absent. Fields
that newer pages of the reference add to them are named here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml
from aiohttp import ClientSession
from fakes.fly import TOKEN, FakeFly

SPECIFICATIONS = Path(__file__).resolve().parents[3] / ".." / "shared" / "specs"
DOCUMENTS = ("fly_machines_2024.json", "fly_machines_sdk.yaml")
USES = (
    ("status", {}), ("machines", {}), ("volumes", {}), ("restart", {"grace": "20s"}), ("stop", {"all": True}),
    ("start", {}), ("stop", {"all": True, "grace": "45s"}), ("start", {}), ("scale", {"by": 1, "ceiling": 6}),
    ("scale", {"to": 1}), ("rollback", {}), ("snapshot", {}),
)  # fmt: skip


@cache
def document(name: str) -> Any:
    """Read one of the documents, or skip."""
    path = SPECIFICATIONS / name
    if not path.exists():
        pytest.skip(f"the vendor's document {name} is not beside the checkout")
    return json.loads(path.read_text()) if name.endswith(".json") else yaml.safe_load(path.read_text())


def operation(spec: Mapping[str, Any], method: str, path: str) -> Mapping[str, Any] | None:
    """Give what the document says of a request."""
    for template, methods in spec["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return methods.get(method.lower())
    return None


def closed(spec: Mapping[str, Any], schema: Any) -> Any:
    """Give a schema with references resolved, in which an object takes the properties that are named alone."""
    if isinstance(schema, list):
        return [closed(spec, each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return closed(spec, spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    made = {key: closed(spec, value) for key, value in schema.items() if key not in {"description", "example"}}
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    for composed in ("allOf", "anyOf", "oneOf"):
        if composed in made:  # parts that were closed by themselves would exclude each other
            made[composed] = [{**part, "additionalProperties": True} for part in made[composed]]
    return made


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_every_request_to_the_machines_api_is_one_that_is_published(name: str, fly: FakeFly, use) -> None:
    """Its path, method, query and body, with no field that the document does not know."""
    spec = document(name)
    for action, params in USES:
        outcome = await use(action, **params)
        assert outcome.ok, outcome.error
    asked = [seen for seen in fly.seen if seen.path.startswith("/v1/")]
    kinds = set()
    for seen in asked:
        described = operation(spec, seen.method, unquote(seen.path.removeprefix("/v1")))
        assert described is not None, f"{seen.method} {seen.path} is not published"
        kinds.add(described["operationId"])
        known = {each["name"] for each in described.get("parameters", ()) if each["in"] == "query"}
        assert {key for key, _ in seen.query} <= known
        if not seen.body:
            assert not described.get("requestBody", {}).get("required")
            continue
        content = described["requestBody"]["content"]["application/json"]
        jsonschema.validate(seen.json, closed(spec, content["schema"]))
    assert len(kinds) == 11  # none of the kinds of request was left out above


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_the_fake_answers_as_it_is_published(name: str, fly: FakeFly) -> None:
    """So that what the actions read of it is what Fly.io gives."""
    spec = document(name)
    newer = {"host_status"}  # of a machine: in superfly/fly-go since
    async with ClientSession(fly.url, headers={"Authorization": f"FlyV1 {TOKEN}"}) as session:
        for path in ("/apps/web", "/apps/web/machines", "/apps/web/machines/148ed726c15789", "/apps/web/volumes"):
            described = operation(spec, "GET", path)
            assert described is not None
            async with session.get(f"/v1{path}") as response:
                answer = await response.json()
            rows = [
                {key: value for key, value in row.items() if key not in newer and value is not None}
                for row in (answer if isinstance(answer, list) else [answer])
            ]
            schema = closed(spec, described["responses"]["200"]["content"]["application/json"]["schema"])
            jsonschema.validate(rows if isinstance(answer, list) else rows[0], schema)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_time_to_stop_in_is_a_text(name: str) -> None:
    """A number is refused by the API: the document says so, and the test above would not notice if it were left out."""
    spec = document(name)
    assert spec["components"]["schemas"]["StopRequest"]["properties"]["timeout"]["type"] == "string"
