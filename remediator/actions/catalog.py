"""The catalog: every action that is installed, built in or plugged in, by its name."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from remediator.actions.protocol import Action, Effect, Idempotent
from remediator.errors import ConfigurationError

GROUP = "remediator.actions"


@dataclass(frozen=True, slots=True, eq=False)
class Catalog(Mapping[str, Action[Any]]):
    """All actions, by name, in the order of their names.

    Our own come in when the first of their group is asked for: a daemon has no use for the platforms that no rule names.
    """

    actions: dict[str, Action[Any]] = field(default_factory=dict)  # that have come in
    later: dict[str, EntryPoint] = field(default_factory=dict)  # by group: ours that have not

    def __getitem__(self, name: str) -> Action[Any]:
        self._bring_in(_group_of(name))
        return self.actions[name]

    def __iter__(self) -> Iterator[str]:
        for group in list(self.later):
            self._bring_in(group)
        return iter(sorted(self.actions))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def nearest(self, name: str) -> str | None:
        """Give the known name most like one that isn't known, None if none is much like it."""
        return next(iter(difflib.get_close_matches(name, self, n=1)), None)

    def _bring_in(self, group: str) -> None:
        entry = self.later.pop(group, None)
        if entry is not None:
            self.actions.update({action.name: action for action in _load(entry)})


def _group_of(name: str) -> str:
    """Give the entry point under which our own action of this name stands."""
    group, dot, _ = name.partition(".")
    return group if dot else "core"


def load_catalog() -> Catalog:
    """Find every action that an installed package names under the entry-point group `remediator.actions`.

    Plug-ins are loaded at once. Raises ConfigurationError, naming the package, when one can't be imported, offers something
    else than actions, or takes a name that is taken.
    """
    entries = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    catalog = Catalog(later={entry.name: entry for entry in entries if _is_ours(entry)})
    givers: dict[str, EntryPoint] = {}
    for entry in entries:
        for action in () if _is_ours(entry) else _load(entry):
            if action.name in catalog:
                other = _giver(givers[action.name]) if action.name in givers else "remediator itself"
                raise ConfigurationError(
                    f"two actions are called {action.name}: one from {other}, one from {_giver(entry)}; "
                    f"remove one of the two packages"
                )
            catalog.actions[action.name] = action
            givers[action.name] = entry
    return catalog


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.startswith("remediator.actions.")


def _giver(entry: EntryPoint) -> str:
    return f"{entry.dist.name if entry.dist else 'an unknown package'} ({entry.value})"


def _load(entry: EntryPoint) -> tuple[Action[Any], ...]:
    try:
        actions = entry.load()
    except Exception as error:  # a plug-in's module may raise anything when it is imported
        raise ConfigurationError(
            f"the actions of package {_giver(entry)} can't be loaded: {type(error).__name__}: {error}; "
            f"mend the package or remove it"
        ) from error
    if not isinstance(actions, tuple) or not all(isinstance(action, Action) for action in actions):
        raise ConfigurationError(
            f"the entry point {entry.name} of package {_giver(entry)} is not a tuple of actions; "
            f"mend the package or remove it"
        )
    return actions


def describe(action: Action[Any]) -> dict[str, Any]:
    """Give an action's documentation as JSON values: what `remediator actions` shows.

    Keys: `name`, `effect`, `idempotent`, `summary`, `parameters` (JSON Schema), `example` (YAML text), `steps` (the
    example, parsed: a list of steps as in a rule).
    """
    import yaml  # noqa: PLC0415 - the daemon loads the catalog but never describes it

    documentation = inspect.getdoc(type(action)) or ""
    example = _example(documentation)
    steps = yaml.safe_load(example) or []
    return {
        "name": action.name,
        "effect": action.effect.value,
        "idempotent": _idempotent(action, steps),
        "summary": documentation.partition("\n")[0],
        "parameters": action.parameters.model_json_schema(),
        "example": example,
        "steps": steps,
    }


def _example(documentation: str) -> str:
    """Give the indented block after the line `Example:`, moved to the left margin; empty where there is none."""
    lines = documentation.splitlines()
    if "Example:" not in lines:
        return ""
    block: list[str] = []
    for line in lines[lines.index("Example:") + 1 :]:
        if line and not line[0].isspace():
            break
        block.append(line)
    return textwrap.dedent("\n".join(block)).strip("\n") + "\n"


def _idempotent(action: Action[Any], steps: list[dict[str, Any]]) -> Idempotent:
    if action.effect is Effect.READ:
        return "yes"
    if "idempotent" in action.parameters.model_fields:
        return "as the parameters say"
    given = next((step.get("with") or {} for step in steps if step.get("uses") == action.name), {})
    # Not validated: an example's values are templates. An action without that parameter answers for its kind.
    return "yes" if action.idempotent(action.parameters.model_construct(**given)) else "no"
