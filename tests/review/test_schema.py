"""The schemas for editors: what the daemon takes they take, and what people mistype they find."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from docs.blocks import Block, blocks_of
from docs.generate import ROOT, pages
from jsonschema import Draft202012Validator, ValidationError

from remediator.actions.catalog import describe, load_catalog
from remediator.document import load_document
from remediator.review.schema import config_schema, rules_schema
from remediator.review.schema import tests_schema as schema_of_tests

CATALOG = load_catalog()
SCHEMAS = {"rules": rules_schema(CATALOG), "config": config_schema(), "tests": schema_of_tests()}
SHIPPED = sorted([*(ROOT / "rules").glob("*.yml"), *(ROOT / "deploy").glob("*.yml")])
BLOCKS = [block for page in pages() for block in blocks_of(page) if block.kind in SCHEMAS]


def faults(which: str, value: Any) -> list[str]:
    """Give what a schema has against a value."""
    return [error.message for error in Draft202012Validator(SCHEMAS[which]).iter_errors(value)]


def messages(errors: Iterable[ValidationError]) -> Iterator[str]:
    """Give what is said at any depth, since alternatives have faults of their own."""
    for error in errors:
        yield error.message
        yield from messages(error.context or ())


def rule(**keys: Any) -> dict[str, Any]:
    """Give a file with one rule, some of whose keys are changed; None takes one out."""
    sound = {
        "name": "a",
        "summary": "s",
        "match": 'alertname="A"',
        "target": "t",
        "steps": [{"uses": "log", "with": {"message": "m"}}],
    }
    return {"rules": [{key: value for key, value in {**sound, **keys}.items() if value is not None}]}


def step(uses: str, **parameters: Any) -> dict[str, Any]:
    """Give a file with one rule of one step."""
    return rule(steps=[{"uses": uses, "with": parameters}])


@pytest.mark.parametrize("which", SCHEMAS)
def test_they_are_json_schema_2020_12(which: str) -> None:
    """As `$schema` says."""
    Draft202012Validator.check_schema(SCHEMAS[which])
    assert SCHEMAS[which]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("which", SCHEMAS)
def test_every_key_has_a_description_and_every_reference_leads_somewhere(which: str) -> None:
    """Editors show it while one types."""
    schema = SCHEMAS[which]
    forms = {"": schema, **schema["$defs"]}
    described = {
        f"{name}.{key}": about for name, form in forms.items() for key, about in form.get("properties", {}).items()
    }
    assert [key for key, about in described.items() if not about.get("description")] == []
    assert len(described) > 30
    used = {reference.rpartition("/")[2] for reference in re.findall(r"#/\$defs/[\w.]+", str(schema))}
    assert used <= schema["$defs"].keys()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_name_their_schema_and_follow_it(path: Any) -> None:
    """In the first line, where YAML language servers look; the schema stands beside the file."""
    text = path.read_text()
    header = re.match(
        r"# yaml-language-server: \$schema=(?P<path>[./a-z]*(?P<which>rules|config|tests)\.schema\.json)\n", text
    )
    assert header is not None
    assert (path.parent / header["path"]).is_file()
    assert faults(header["which"], load_document(text, path.name).value) == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_the_documents_show_follows_it(block: Block) -> None:
    """Rules and configurations that the daemon takes."""
    assert faults(block.kind, load_document(block.text, str(block)).value) == []


@pytest.mark.parametrize("name", CATALOG)
def test_the_example_of_every_action_follows_it(name: str) -> None:
    """Templates and all."""
    assert faults("rules", rule(steps=describe(CATALOG[name])["steps"])) == []


TEMPLATES = {
    "argv": "{{ vars.argv }}",
    "ok": ["{{ vars.ok }}"],
    "idempotent": "{{ vars.again }}",
    "env": {"A": "{{ x }}"},
}


@pytest.mark.parametrize(
    "value",
    [
        step("exec.run", **TEMPLATES),
        step(
            "http.request",
            url="http://x",
            method="{{ vars.method }}",
            query={"a": "{{ x }}", "b": 1},
            json={"a": [None]},
        ),
        step("acme.reboot", anything=1),  # of a package that is not installed here
        rule(guard={"cooldown": 0, "limit": ["1 per 1h", "2 per 1d per target"]}, **{"for": "1h30m"}),
        rule(priority="{{ labels.priority }}", mode="off", reviewed="2026-11-01"),
        rule(match=["a=b", "c=d"], mode=[{"during": "night", "mode": "auto"}, {"mode": "approve"}]),
        rule(match=None, schedule={"cron": "0 3 * * *", "timezone": "Europe/Berlin"}),
        rule(steps=None, ladder=[{"steps": [{"uses": "wait", "with": {"for": "5s"}}]}]),
        {**rule(target=None, match=None), "defaults": {"target": "t", "match": "a=b"}},
        {**rule(), "x-anchors": [1, 2], "vars": {"any": {"thing": None}}},
    ],
)
def test_what_the_language_allows_is_allowed(value: dict[str, Any]) -> None:
    """A false alarm would teach people to look away."""
    assert faults("rules", value) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (rule(sumary="s"), "'sumary' was unexpected"),
        (rule(summary=None), "'summary' is a required property"),
        (rule(match=None), "is not valid under any of the given schemas"),
        (rule(name="Not_A_Name"), "does not match"),
        ({**rule(), "rulez": []}, "'rulez'"),
        (rule(guard={"only_if": None}), "None is not"),  # a key whose value was forgotten
        (rule(priority="P4"), "'P4'"),
        (rule(deadline="5 min"), "'5 min'"),
        (rule(deadline=5), "5 is not valid"),
        (step("exec.rum", argv=["a"]), "'exec.rum'"),
        (step("exec.run", argv=["a"], argw=1), "'argw' was unexpected"),
        (step("exec.run", argv=["a"], idempotent="maybe"), "'maybe'"),
        (step("exec.run", argv=["a"], env={"A B": "x"}), "'A B' does not match"),
        (step("http.request", url="x", method="FETCH"), "'FETCH'"),
        (step("http.get", url="x", auth={"bearer": {"secret": 1}}), "1 is not of type 'string'"),
        (rule(steps=[{"uses": "exec.run"}]), "'with' is a required property"),
        (rule(facts=[{"id": "a", "uses": "exec.run", "with": {"argv": ["a"]}}]), "'exec.run'"),
        (rule(on_failure=[{"uses": "http.request", "with": {"url": "x"}}]), "'http.request'"),
        (rule(verify={"checks": [{"uses": "exec.run", "with": {"argv": ["a"]}}]}), "'exec.run'"),
    ],
)
def test_what_is_mistyped_is_found(value: dict[str, Any], says: str) -> None:
    """Once, or as often as an author can make sense of."""
    errors = list(Draft202012Validator(SCHEMAS["rules"]).iter_errors(value))
    assert 1 <= len(errors) <= 2
    assert says in " ".join(messages(errors))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{listen: '127.0.0.1:9095', guard: {limit: off, max_running: 3}, webhook: {max_body: 8MiB}}", 0),
        ("{retention: {runs: 90d}, vars: {a: null}, secrets: {A: {env: A}}}", 0),
        ("{listn: x}", 1),
        ("{retention: {runs: ninety}}", 1),
        ("{prometheus: {}}", 1),
        ("{prometheus: null}", 1),
    ],
)
def test_the_configuration_is_checked_too(text: str, wrong: int) -> None:
    """With the same care."""
    assert len(faults("config", load_document(text, "remediator.yml").value)) == wrong


def test_a_step_offers_the_actions_that_may_stand_there() -> None:
    """With a sentence on each."""
    forms = SCHEMAS["rules"]["$defs"]
    offered = {
        name: forms[name]["properties"]["uses"]["anyOf"][0] for name in ("StepForm", "FactForm", "FollowingStep")
    }
    assert set(offered["StepForm"]["enum"]) == set(CATALOG)
    assert "exec.run" not in offered["FactForm"]["enum"] + offered["FollowingStep"]["enum"]
    assert all(len(each["enum"]) == len(each["enumDescriptions"]) for each in offered.values())
    lists = {
        key: forms["RuleForm"]["properties"][key]["items"]["$ref"] for key in ("steps", "facts", "undo", "on_failure")
    }
    assert {key: reference.rpartition("/")[2] for key, reference in lists.items()} == {
        "steps": "StepForm", "facts": "FactForm", "undo": "StepForm", "on_failure": "FollowingStep",
    }  # fmt: skip
