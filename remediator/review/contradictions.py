"""What the schemas for editors say of keys together: which must be there, and which exclude each other.

What a mapping lacks may come from `defaults`, which are merged under a rule key by key. So a rule's mappings must be whole
only where `defaults` have nothing at their place; what stands in a list is replaced by a merge, and is whole by itself.
Never stricter than the loader: an editor that cries wolf is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_RESOLVED: Schema = {"required": ["resolved"], "properties": {"resolved": {"const": True}}}
_NOT_RESOLVED: Schema = {"properties": {"resolved": {"const": False}}}


def _any(*keys: str) -> Schema:
    """Ask for one key at least."""
    if len(keys) == 1:
        return {"required": [*keys]}  # and an editor says which is missing
    return {"anyOf": [{"required": [key]} for key in keys]}


def _with(key: str, other: str) -> Schema:
    return {"if": {"required": [key]}, "then": {"required": [other]}}


_VERIFY: Schema = {"anyOf": [{"required": ["checks"], "properties": {"checks": {"minItems": 1}}}, _RESOLVED]}
_BLAST_RADIUS: Schema = {
    "required": ["per"],
    "allOf": [_any("targets", "fraction"), _with("fraction", "of"), _with("of", "fraction")],
}

# What a mapping of a rule must have, by the place of the mapping.
_WHOLE: tuple[tuple[tuple[str, ...], Schema], ...] = (
    (("verify",), _VERIFY),
    (("revert",), {"required": ["steps"], "anyOf": [{"required": ["after"]}, _RESOLVED]}),
    (("schedule",), {"required": ["cron"]}),
    (("guard", "blast_radius"), _BLAST_RADIUS),
    (("guard", "breaker"), {"required": ["failures", "per", "reset"]}),
    (("guard", "episodes"), {"required": ["per"], **_any("at_least", "at_most")}),
)
_NEEDED = (("summary",), ("target",), ("match", "schedule"), ("steps", "ladder"))  # of a rule: one of each
_MERGED = (
    "RevertForm",
    "ScheduleForm",
    "BlastRadiusForm",
    "BreakerForm",
    "EpisodesForm",
)  # forms that stand in no list

_WITH_SCHEDULE: Schema = {  # what speaks of an alert
    "properties": {
        "match": False,
        "for": {"not": {"type": "string", "pattern": "[1-9]"}},
        "when_resolved": False,
        "guard": {"properties": {"episodes": False}},
        "revert": _NOT_RESOLVED,
        "verify": _NOT_RESOLVED,
        "ladder": {"items": {"properties": {"verify": _NOT_RESOLVED}}},
    }
}


def complete_rules(schema: Schema) -> None:
    """Add it to the schema of a rule file."""
    forms = schema["$defs"]
    for form in ("RuleForm", *_MERGED):
        del forms[form]["required"]
    forms["RungForm"]["properties"]["verify"] |= _VERIFY
    description = schema["properties"]["defaults"]["description"]
    schema["properties"]["defaults"] = {"$ref": "#/$defs/RuleForm", "description": description}
    schema["properties"]["rules"]["items"] = {
        "$ref": "#/$defs/RuleForm",
        "required": ["name"],
        "allOf": [
            {"if": {"required": ["schedule"]}, "then": _WITH_SCHEDULE},
            {"if": {"required": ["ladder"]}, "then": {"properties": {"steps": False}}},
        ],
    }
    schema["allOf"] = [
        *(_unless(_any(*keys), _any(*keys)) for keys in _NEEDED),
        *(_unless(_there(at), _at(at, whole)) for at, whole in _WHOLE),
    ]


def complete_configuration(schema: Schema) -> None:
    """Add it to the schema of a configuration, which has no `defaults`."""
    schema["$defs"]["BlastRadiusForm"] |= _BLAST_RADIUS
    schema["$defs"]["SecretSource"]["oneOf"] = [{"required": ["file"]}, {"required": ["env"]}]


def _unless(inherited: Schema, rule: Schema) -> Schema:
    """Ask something of every rule where `defaults` don't fit `inherited`."""
    return {
        "if": {"not": {"required": ["defaults"], "properties": {"defaults": inherited}}},
        "then": {"properties": {"rules": {"items": rule}}},
    }


def _there(path: tuple[str, ...]) -> Schema:
    """Ask that something stands at a place."""
    first, *rest = path
    return {"required": [first], **({"properties": {first: _there(tuple(rest))}} if rest else {})}


def _at(path: tuple[str, ...], schema: Mapping[str, Any]) -> Schema:
    """Ask something of what stands at a place, if anything does."""
    found = dict(schema)
    for key in reversed(path):
        found = {"properties": {key: found}}
    return found
