"""Rules as their authors write them, and what loading makes of them."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Any

from remediator.rules.load import Loaded
from remediator.rules.rule import Rule

Load = Callable[..., Loaded]

WRITE = "[{uses: test.write, with: {says: '{{ rule.name }} {{ target }}'}}]"
CHECK = "{within: 1m, every: 10s, checks: [{uses: test.check, expect: result.up}]}"


def rule(*more: str, **keys: str | None) -> str:
    """Write one rule: `more` are lines of YAML, `keys` those that every rule has (None leaves one out)."""
    said: dict[str, str | None] = {
        "name": "mend", "summary": "Mends.", "match": """'{alertname="Down"}'""", "target": "'app/{{ labels.app }}'",
        "steps": WRITE, **keys,
    }  # fmt: skip
    lines = [f"{key}: {value}" for key, value in said.items() if value is not None]
    return "  - " + indent("\n".join([*lines, *more]), "    ").lstrip() + "\n"


def file(*rules: str, **sections: str) -> str:
    """Write a rule file."""
    return "".join(f"{key}: {value}\n" for key, value in sections.items()) + "rules:\n" + "".join(rules)


def only(loaded: Loaded) -> Rule:
    """Give the only rule of a file without fault."""
    assert loaded.problems == ()
    (found,) = loaded.rules.rules
    return found


def faults(loaded: Loaded) -> list[tuple[str | None, str]]:
    """Give key and code of everything that is wrong."""
    return [(problem.key, problem.code) for problem in loaded.problems]


def says(stage: Any, action: str = "test.write") -> list[str]:
    """Give what one action was told, in order."""
    return [said for name, said in stage.calls if name == action]
