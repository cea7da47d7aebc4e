"""The exceptions of the project, sorted by who has to do something about them.

    RemediatorError
    ├── ConfigurationError   the operator: mend the file or the flag that the message names
    │   └── InvalidRules     the author of the rules: carries every problem found, each with its place
    ├── MalformedBody        the sender: this body can't be taken, sending it again won't help (400)
    │   └── TooManyAlerts    the sender: more than `webhook.max_alerts` in one body (413)
    ├── StoreError           nobody yet: the store can't promise anything at the moment (503, nothing starts)
    │   ├── StoreForeign     the operator: this file is not ours, is damaged, or belongs to a newer version
    │   ├── StoreLocked      the operator: another daemon has the store
    │   └── StaleLease       nobody: another worker has the run by now, and this one must drop it
    └── IllegalTransition    the programmer: a run can't go from there to here

What a step came to is never an exception: see `remediator.actions.protocol.Outcome`.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class RemediatorError(Exception):
    """Base of all exceptions that Remediator raises on purpose."""


class Problem(msgspec.Struct, frozen=True):
    """One fault found in a file that a person wrote, in words that help to mend it."""

    file: str
    line: int  # counted from 1; 0 where the whole file is meant
    column: int  # counted from 1
    rule: str | None
    key: str | None  # dotted path inside the rule or the configuration, e.g. `steps[0].with.argv`
    severity: Literal["error", "warning"]
    code: str
    message: str

    def __str__(self) -> str:
        """Give the form that compilers use and editors can jump to."""
        about = f" rule {self.rule}:" if self.rule else ""
        key = f" {self.key}:" if self.key else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity}:{about}{key} {self.message} [{self.code}]"


class ConfigurationError(RemediatorError):
    """The configuration can't be used as it is."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InvalidRules(ConfigurationError):
    """The rule files have errors; `problems` holds all of them."""


class MalformedBody(RemediatorError):
    """A webhook body that can't be taken at all."""


class TooManyAlerts(MalformedBody):
    """A webhook body with more alerts than are taken at once."""


class StoreError(RemediatorError):
    """The store can't be read or written at the moment."""


class StoreForeign(StoreError):
    """The store is not one of ours, is damaged, or has a schema that this version can't use."""


class StoreLocked(StoreError):
    """Another daemon holds this store."""


class StaleLease(StoreError):
    """The lease on a run has passed to another worker; nothing was written."""


class IllegalTransition(RemediatorError):
    """A run was to take a transition that does not exist."""
