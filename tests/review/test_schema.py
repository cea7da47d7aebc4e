"""The schemas for editors: what the daemon takes they take, and what people mistype they find."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from docs.blocks import Block, blocks_of
from docs.generate import ROOT, pages
from jsonschema import Draft202012Validator, ValidationError

from remediator.actions.catalog import describe, load_catalog
from remediator.config import load_config
from remediator.document import load_document
from remediator.errors import ConfigurationError
from remediator.review.schema import config_schema, rules_schema
from remediator.review.schema import tests_schema as schema_of_tests
from remediator.rules.load import load_rules

CATALOG = load_catalog()
SCHEMAS = {"rules": rules_schema(CATALOG), "config": config_schema(), "tests": schema_of_tests()}
SHIPPED = sorted(
    [*(ROOT / "rules").rglob("*.yml"), *({*(ROOT / "deploy").glob("*.yml")} - {ROOT / "deploy" / "compose.yml"})]
)
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
        (rule(deadline=5), "5 is not of type"),
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


VERIFY = {"checks": [{"uses": "http.get", "with": {"url": "http://web"}}]}
LOG = [{"uses": "log", "with": {"message": "m"}}]
BY_CLOCK: dict[str, Any] = {"match": None, "schedule": "0 3 * * *"}


def rung(verify: Any) -> dict[str, Any]:
    """Give the keys of a rule with a ladder whose rung has this verification."""
    return {"steps": None, "ladder": [{"steps": LOG, "verify": verify}]}


# Keys that a rule takes together, beside what it doesn't.
TOGETHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (BY_CLOCK, {"schedule": "0 3 * * *"}),
    (BY_CLOCK, {"match": None}),
    ({}, {"steps": None}),
    (rung(VERIFY), {"ladder": [{"steps": LOG}]}),
    (BY_CLOCK | {"for": "0s"}, BY_CLOCK | {"for": "5m"}),
    (BY_CLOCK | {"guard": {"patience": "1m"}}, BY_CLOCK | {"guard": {"episodes": {"at_most": 3, "per": "1h"}}}),
    ({"when_resolved": "finish"}, BY_CLOCK | {"when_resolved": "finish"}),
    (BY_CLOCK | {"verify": VERIFY | {"resolved": False}}, BY_CLOCK | {"verify": VERIFY | {"resolved": True}}),
    (BY_CLOCK | rung(VERIFY), BY_CLOCK | rung({"resolved": True})),
    (
        BY_CLOCK | {"revert": {"after": "1h", "resolved": False, "steps": LOG}},
        BY_CLOCK | {"revert": {"after": "1h", "resolved": True, "steps": LOG}},
    ),
    (BY_CLOCK | {"schedule": {"cron": "@daily"}}, BY_CLOCK | {"schedule": {"timezone": "UTC"}}),
    ({"verify": VERIFY}, {"verify": {}}),
    ({"verify": {"resolved": True, "within": "10m"}}, {"verify": {"resolved": False, "within": "10m"}}),
    ({"verify": {"resolved": True, "checks": []}}, {"verify": {"checks": []}}),
    (rung({"resolved": True}), rung({"within": "5m"})),
    ({"revert": {"resolved": True, "steps": LOG}}, {"revert": {"steps": LOG}}),
    ({"revert": {"after": "1h", "steps": LOG}}, {"revert": {"after": "1h"}}),
    ({"guard": {"blast_radius": {"targets": 3, "per": "1h"}}}, {"guard": {"blast_radius": {"per": "1h"}}}),
    (
        {"guard": {"blast_radius": {"fraction": 0.5, "of": "[1]", "per": "1h"}}},
        {"guard": {"blast_radius": {"fraction": 0.5, "per": "1h"}}},
    ),
    (
        {"guard": {"blast_radius": {"fraction": 1, "of": "[1]", "per": "1h"}}},
        {"guard": {"blast_radius": {"targets": 3, "of": "[1]", "per": "1h"}}},
    ),
    ({"guard": {"limit": "1 per 1h"}}, {"guard": {"limit": "0 per 1h"}}),
    ({"guard": {"limit": ["007 per 1h30m  per target"]}}, {"guard": {"limit": ["1 per 0s"]}}),
    ({"guard": {"limit": "1  per  90s"}}, {"guard": {"limit": "1 per 30m1h"}}),
    ({"guard": {"episodes": {"at_least": 2, "per": "1h"}}}, {"guard": {"episodes": {"per": "1h"}}}),
    (
        {"guard": {"breaker": {"failures": 3, "per": "1h", "reset": "manual"}}},
        {"guard": {"breaker": {"failures": 3, "per": "1h"}}},
    ),
    ({"for": "1h30m"}, {"for": "30m1h"}),
    ({"for": "1y2w3d4h5m6s7ms"}, {"for": "1h1h"}),
    ({"for": "0"}, {"for": ""}),
    ({"guard": {"cooldown": "0s"}}, {"guard": {"cooldown": "s"}}),
    ({"deadline": "10s"}, {"deadline": "0s"}),
    ({"deadline": "0h1s"}, {"deadline": 0}),
    ({"deadline": "05m"}, {"deadline": "0"}),
    ({"reviewed": "2026-12-31"}, {"reviewed": "2026-13-01"}),
    ({"approval": {"approvers": ["ann"]}}, {"approval": {"approvers": []}}),
]


def loads(folder: Path, file: dict[str, Any]) -> bool:
    """Tell whether the loader takes a file of rules."""
    (folder / "rules.yml").write_text(json.dumps(file))
    return load_rules([folder / "rules.yml"], CATALOG).ok


@pytest.mark.parametrize(("taken", "refused"), TOGETHER)
def test_what_the_loader_makes_of_keys_together_an_editor_shows(
    tmp_path: Path, taken: dict[str, Any], refused: dict[str, Any]
) -> None:
    """Both ways: never stricter, and not blind."""
    for keys, fine in (taken, True), (refused, False):
        assert (loads(tmp_path, rule(**keys)), faults("rules", rule(**keys)) == []) == (fine, fine), keys


@pytest.mark.parametrize(("taken", "refused"), TOGETHER)
def test_defaults_that_have_nothing_to_do_with_it_change_nothing(
    tmp_path: Path, taken: dict[str, Any], refused: dict[str, Any]
) -> None:
    """A file with an owner for all its rules is looked at with the same care."""
    for keys, fine in (taken, True), (refused, False):
        file = {**rule(**keys), "defaults": {"owner": "sre", "guard": {"patience": "1m"}}}
        assert (loads(tmp_path, file), faults("rules", file) == []) == (fine, fine), keys


@pytest.mark.parametrize(
    ("defaults", "keys"),
    [
        ({"summary": "s", "target": "t"}, {"summary": None, "target": None}),
        ({"schedule": "@daily"}, {"match": None}),
        ({"schedule": {"cron": "@daily"}}, {"match": None, "schedule": {"timezone": "UTC"}}),
        ({"steps": LOG}, {"steps": None}),
        ({"verify": VERIFY}, {"verify": {"within": "10m"}}),
        ({"revert": {"after": "1h"}}, {"revert": {"steps": LOG}}),
        ({"guard": {"blast_radius": {"of": "[1]", "per": "1h"}}}, {"guard": {"blast_radius": {"fraction": 0.5}}}),
        ({"guard": {"breaker": {"per": "1h", "reset": "1h"}}}, {"guard": {"breaker": {"failures": 3}}}),
        ({"guard": {"episodes": {"per": "1h"}}}, {"guard": {"episodes": {"at_most": 3}}}),
    ],
)
def test_what_defaults_complete_is_no_fault(tmp_path: Path, defaults: dict[str, Any], keys: dict[str, Any]) -> None:
    """They are merged key by key, so that neither part need be whole."""
    file = {**rule(**keys), "defaults": defaults}
    assert (loads(tmp_path, file), faults("rules", file)) == (True, [])


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("guard: {blast_radius: {targets: 3, per: 1h}}", True),
        ("guard: {blast_radius: {per: 1h}}", False),
        ("guard: {blast_radius: {fraction: 0.5, per: 1h}}", False),
        ("guard: {blast_radius: {targets: 3}}", False),
        ("guard: {limit: 0 per 1h}", False),
        ("guard: {limit: []}", False),
        ("guard: {storm: {per: 0s}}", False),
        ("guard: {storm: {hold: 0s}}", True),
        ("secrets: {A: {env: A}}", True),
        ("secrets: {A: {env: A, file: a}}", False),
        ("secrets: {A: {}}", False),
        ("retention: {runs: 1h7d}", False),
    ],
)
def test_what_is_made_of_the_configuration_an_editor_shows(tmp_path: Path, text: str, fine: bool) -> None:
    """Both ways here too."""
    (tmp_path / "remediator.yml").write_text(text)
    assert (faults("config", load_document(text, "remediator.yml").value) == []) is fine
    with nullcontext() if fine else pytest.raises(ConfigurationError):
        load_config(tmp_path / "remediator.yml", {})


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
