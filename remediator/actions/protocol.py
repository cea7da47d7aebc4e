"""What an action is: parameters, an effect, a plan in words, and a run that comes to an Outcome.

To write one, subclass `Action`, put an instance into a module's `ACTIONS` tuple, and name that tuple under the entry-point
group `remediator.actions` of your package. Its docstring's first line is its summary; a YAML block in the docstring
(indented, after a line `Example:`) is its example, and is loaded by a test.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from remediator.model.time import Seconds, parse_duration


class Effect(StrEnum):
    """What an action does to the world. Dry-run carries out reads only."""

    READ = "read"
    NOTIFY = "notify"
    WRITE = "write"


class Gate(StrEnum):
    """The check that a value from outside must pass to land in a parameter (rule language, "Templates").

    A parameter names its gate in its type: `Annotated[str, Gate.ARGUMENT]`. One without a gate takes literals and
    typed values only (numbers, booleans), never interpolated text.
    """

    ARGUMENT = "argument"  # of a child: one argument, no leading `-` where it begins it, no control characters
    CHILD_TEXT = "child_text"  # environment values and standard input: no NUL
    DIRECTORY = "directory"  # a working directory: no NUL, no `..`
    HOST = "host"  # one host name; from outside only as `http.allow` says
    URL = "url"  # percent-encoded; scheme, port and credentials never from outside; host only as `http.allow` says
    HEADER = "header"  # no CR, LF, NUL
    PROMQL = "promql"  # inside a quoted string only, escaped
    MATCHERS = "matchers"  # as PROMQL, in Alertmanager's matcher syntax
    JSON = "json"  # a JSON value; text is never spliced into JSON text, and a body of text takes values without NUL
    DISPLAY = "display"  # for a reader's eyes: control and escape characters are made visible


@dataclass(frozen=True, slots=True)
class Grammar:
    """The gate of a parameter that has a grammar of its own: a platform's name for an app, a pod, a selector.

    It stands where a `Gate` does, `Annotated[str, Grammar("an app of Fly.io", "[a-z0-9-]{1,63}")]`, and is asked of what
    the author wrote, too. Patterns are RE2 and match the whole.
    """

    noun: str  # what it is, for messages: "an app of Fly.io"
    pattern: str  # of the finished text
    value: str | None = None  # of each value from outside by itself, where the finished text may hold more than one

    def fits(self, text: str) -> bool:
        """Tell whether a finished text is one."""
        return re2.fullmatch(self.pattern, text) is not None

    def takes(self, value: str) -> bool:
        """Tell whether a value from outside may be part of one."""
        return self.value is None or re2.fullmatch(self.value, value) is not None

    def __str__(self) -> str:
        """Give what it is."""
        return self.noun

    def _check(self, text: str) -> str:
        if not self.fits(text):
            raise ValueError(f"it should be {self.noun}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


class Result(StrEnum):
    """What a step came to, sorted by what may be done next."""

    OK = "ok"
    REFUSED = "refused"  # it was carried out, and the answer is no: an exit status, an HTTP status outside `ok`
    ERROR = "error"  # it could not be carried out or read to its end: it may or may not have had its effect
    NOT_SENT = "not_sent"  # provably nothing was done: it was not sent, or turned away unread; trying again is safe


JsonValue: TypeAlias = Any
MAX_RESULT_BYTES = 64 * 1024


class Outcome(msgspec.Struct, frozen=True):
    """What one use of an action came to: a value, never an exception that escapes."""

    kind: Result
    result: JsonValue = None  # bounded JSON; what rules see as `result`
    error: str | None = None  # one sentence for the operator: what happened, to what, why, what to do next
    retry_after: Seconds | None = None  # how long the other end asks to be left alone

    @property
    def ok(self) -> bool:
        """Tell whether the step did what was asked of it."""
        return self.kind is Result.OK


class SecretReference(BaseModel):
    """`{secret: NAME}`, the only form in which a secret stands in a rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: str


class Parameters(BaseModel):
    """Base of every action's parameters: frozen, unknown names refused, no guessing of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, defer_build=True)


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration: TypeAlias = Annotated[
    Seconds, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["90s", "1h30m"]})
]


class Resources:
    """Connections that actions keep open between uses, each made when first wanted and closed with the daemon."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Any, Callable[[Any], Any]]] = {}

    def get(self, name: str, make: Callable[[], Any], close: Callable[[Any], Any]) -> Any:
        """Give the resource of this name, made by `make` at the first call; `close` may be a coroutine function."""
        if name not in self._open:
            self._open[name] = (make(), close)
        return self._open[name][0]

    async def close(self) -> None:
        """Close everything, in reverse order of making."""
        while self._open:
            _, (resource, close) = self._open.popitem()
            closing = close(resource)
            if asyncio.iscoroutine(closing):
                await closing


@dataclass(frozen=True, slots=True)
class Context:
    """What the daemon lends an action for one use."""

    deadline: float  # on `asyncio`'s loop clock: the action must have ended by then
    settings: Mapping[str, Any]  # the sections of the configuration, by name: `exec`, `http`, `prometheus`, …
    secret: Callable[[str], str]  # reads a named secret; raises KeyError when it isn't configured
    run: str = ""  # the run's id, for a child's environment and a request's header
    resources: Resources = field(default_factory=Resources)

    def remaining(self) -> Seconds:
        """Give the seconds left until the deadline, never below zero."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


P = TypeVar("P", bound=Parameters)


class Action(ABC, Generic[P]):
    """One thing that a step can do."""

    name: ClassVar[str]  # `group.verb`, as rules write it
    effect: ClassVar[Effect]
    parameters: ClassVar[type[Parameters]]
    says_no: ClassVar[bool] = (
        False  # a read whose REFUSED is what it found out (an exit status), not a failure to find out
    )
    section: ClassVar[str | None] = None  # the configuration section without which it can't work

    def idempotent(self, params: P) -> bool:
        """Tell whether doing it twice is the same as doing it once. Reads are; others must say so."""
        return self.effect is Effect.READ

    def channel(self, params: P) -> str:
        """Name the way by which a notification goes: while an earlier one can't be sent by it, later ones wait their turn."""
        return self.name.partition(".")[0]

    def timer(self, params: P) -> Seconds | None:
        """Give a span if this action only lets time pass: the engine then waits, and no worker is held."""
        return None

    def check(self, params: P, settings: Mapping[str, Any]) -> str | None:
        """Say what in the configuration forbids these parameters, if anything does (a program not in `exec.allow`)."""
        return None

    @abstractmethod
    def plan(self, params: P) -> str:
        """Say in one line of words what `run` would do."""

    @abstractmethod
    async def run(self, params: P, context: Context) -> Outcome:
        """Do it, within `context.deadline`, and say what came of it.

        Raises nothing but `asyncio.CancelledError`, upon which whatever was begun has been ended.
        """


Idempotent: TypeAlias = Literal["yes", "no", "as the parameters say"]
