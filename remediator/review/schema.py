"""JSON Schemas for editors (draft 2020-12): rule files with every action's parameters, and the configuration.

What pydantic gives is made fit for people who type: nothing may be null, a duration may be the number 0, every key has a
description, and a step offers the actions that may stand at its place, each with its own parameters. Literal values are
checked; a template may stand for any.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from remediator.actions.catalog import Catalog, describe
from remediator.actions.protocol import Action, Effect
from remediator.config import config_schema as config_forms
from remediator.forms.form import DURATION_PATTERN
from remediator.review.contradictions import Schema, complete_configuration, complete_rules
from remediator.review.ruletest.form import tests_schema as test_forms
from remediator.rules.form import PRIORITIES
from remediator.rules.form import rules_schema as rule_forms

_DEFS = "#/$defs/"
_TEMPLATE = {"$ref": f"{_DEFS}template"}
_ANY_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%", "description": "A template, as in `{{ labels.app }}`."}

_STEP, _FACT, _READING, _FOLLOWING = "StepForm", "FactForm", "ReadingStep", "FollowingStep"
_EFFECTS: Mapping[str, frozenset[Effect]] = {  # of the actions that a kind of step may use
    _STEP: frozenset(Effect),
    _FACT: frozenset({Effect.READ}),
    _READING: frozenset({Effect.READ}),
    _FOLLOWING: frozenset({Effect.READ, Effect.NOTIFY}),
}
_STEPS_AT: Mapping[tuple[str, str], str] = {  # where not every step may stand: form, key, and the kind that may
    ("VerifyForm", "checks"): _READING,
    ("RuleForm", "on_success"): _FOLLOWING,
    ("RuleForm", "on_failure"): _FOLLOWING,
    ("RuleForm", "on_blocked"): _FOLLOWING,
}
_UNDESCRIBED = {  # keys that have no description where they are defined
    "per": "The span.",
    "mode": "The mode that holds.",
    "steps": "What is done.",
    "cron": "Five fields: minute, hour, day of month, month, day of week.",
    "timezone": "Whose clock, as in `Europe/Berlin`.",
    "secret": "A name under `secrets` in the configuration.",
    "secrets": "Secrets by their names.",
}


def rules_schema(catalog: Catalog) -> Schema:
    """Give the JSON Schema of a rule file; the catalog says what `uses` and `with` may be."""
    schema = _fit(rule_forms())
    forms = schema["$defs"]
    forms["template"] = _ANY_TEMPLATE
    forms |= {kind: copy.deepcopy(forms[_STEP]) for kind in (_READING, _FOLLOWING)}
    for (form, key), kind in _STEPS_AT.items():
        forms[form]["properties"][key]["items"] = {"$ref": _DEFS + kind}
    for kind, effects in _EFFECTS.items():
        _offer(forms[kind], [action for action in catalog.values() if action.effect in effects], catalog)
    for action in catalog.values():
        forms |= _parameters(action)
    forms["RuleForm"]["properties"]["priority"] = _priority(forms["RuleForm"]["properties"]["priority"])
    complete_rules(schema)
    return _described(schema)


def config_schema() -> Schema:
    """Give the JSON Schema of `remediator.yml`."""
    schema = _fit(config_forms())
    complete_configuration(schema)
    return _described(schema)


def tests_schema() -> Schema:
    """Give the schema of a file of rule tests."""
    return _described(_fit(test_forms()))


def _priority(written: Schema) -> Schema:
    """Let it be one of the words, or a template."""
    described = {key: value for key, value in written.items() if key != "type"}
    return {**described, "anyOf": [{"enum": list(PRIORITIES)}, _TEMPLATE]}


# --- steps and their actions ---


def _offer(step: Schema, actions: Iterable[Action[Any]], catalog: Catalog) -> None:
    """Offer actions under `uses`, and let the one that is chosen say what may stand under `with`."""
    known = {action.name: describe(action)["summary"] for action in actions}
    groups = "|".join(sorted({re.escape(name.partition(".")[0]) for name in catalog}))
    step["properties"]["uses"] = {
        "description": step["properties"]["uses"]["description"],
        "anyOf": [
            {"enum": list(known), "enumDescriptions": list(known.values())},
            # Of another package, which may not be installed where the file is edited.
            {"type": "string", "pattern": rf"^(?!(?:{groups})(?:\.|$))[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+$"},
        ],
    }
    step["allOf"] = [
        {
            "if": {"properties": {"uses": {"const": name}}, "required": ["uses"]},
            "then": {
                "properties": {"with": {"$ref": _DEFS + name}},
                **({"required": ["with"]} if catalog[name].parameters.model_json_schema().get("required") else {}),
            },
        }
        for name in known
    ]


def _parameters(action: Action[Any]) -> dict[str, Schema]:
    """Give the schemas of an action's parameters, by the names under which they stand in `$defs`."""
    schema = action.parameters.model_json_schema(ref_template=f"{_DEFS}{action.name}.{{model}}")
    nested = {f"{action.name}.{name}": below for name, below in schema.pop("$defs", {}).items()}
    return {name: _templated(_fit(below)) for name, below in {action.name: schema, **nested}.items()}


def _templated(schema: Schema) -> Schema:
    """Let a template stand for any value in a mapping or a list; the name of a secret is none."""
    if schema.get("properties", {}).keys() == {"secret"}:
        return schema
    return _values(schema, lambda value: _or_template(_templated(value)))


def _or_template(schema: Schema) -> Schema:
    if not schema.keys() & {"type", "enum", "const", "anyOf", "$ref"} or schema.get("$ref", "").endswith(
        ".SecretReference"
    ):
        return schema
    branches = schema.get("anyOf", [schema])
    if any(_takes_any_text(branch) for branch in branches):
        return schema
    said = {key: value for key, value in schema.items() if key in ("description", "examples")}
    if "anyOf" not in schema:
        branches = [{key: value for key, value in schema.items() if key not in said}]
    return {**said, "anyOf": [*branches, _TEMPLATE]}


def _takes_any_text(schema: Schema) -> bool:
    bounds = schema.keys() & {"enum", "const", "format", "maxLength"}
    return schema.get("type") == "string" and not bounds and bool(re.search(schema.get("pattern", ""), "{{ x }}"))


# --- what pydantic gives, made fit ---


def _fit(schema: Schema) -> Schema:
    """Take out what no author may write or wants to read, all the way down."""
    fit = _values(schema, _fit, branches=True)
    fit.pop("title", None)
    default = fit.pop("default", None)
    if default not in (None, [], {}):  # in words: an editor would write it into every new mapping
        word = default if isinstance(default, str) else json.dumps(default)
        fit["description"] = f"{fit.get('description', '')} Default: `{word}`.".lstrip()
    if "patternProperties" in fit:
        fit.setdefault("additionalProperties", False)
    branches = [branch for branch in fit.pop("anyOf", ()) if branch != {"type": "null"}]
    if fit.get("pattern") == DURATION_PATTERN:
        branches = [{key: fit.pop(key) for key in ("type", "pattern")}, {"const": 0}]
    if len(branches) == 1:
        return {**branches[0], **fit}
    flat = [each for branch in branches for each in (branch["anyOf"] if branch.keys() == {"anyOf"} else [branch])]
    return {**fit, "anyOf": flat} if flat else fit


def _values(schema: Schema, change: Callable[[Schema], Schema], *, branches: bool = False) -> Schema:
    """Change the schemas of what stands inside; with `branches`, those of the alternatives and of `$defs` too."""
    changed = dict(schema)
    for key in ("properties", "patternProperties", *(["$defs"] if branches else [])):
        if key in schema:
            changed[key] = {name: change(below) for name, below in schema[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            changed[key] = change(schema[key])
    if "anyOf" in schema:
        changed["anyOf"] = [change(below) if branches else _values(below, change) for below in schema["anyOf"]]
    return changed


def _described(schema: Schema) -> Schema:
    """Give every form a title, by which editors call it, and every key a description: its own, or that of its form."""
    for name, form in schema["$defs"].items():
        form["title"] = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Form")).lower()
    for form in (schema, *schema["$defs"].values()):
        for key, about in form.get("properties", {}).items():
            behind = schema["$defs"].get(about.get("$ref", "").removeprefix(_DEFS), {})
            if "description" not in about:
                about["description"] = behind.get("description") or _UNDESCRIBED.get(key, "")
    return schema
