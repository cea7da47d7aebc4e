"""Forms: pydantic models of what people write in YAML, and their errors in plain words, each with its place."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from remediator.document import Fault, Path, nearest
from remediator.model.time import Seconds, format_duration, parse_duration

MAX_LISTED = 12  # known keys that a message about an unknown one names


def wrong_type(noun: str) -> PydanticCustomError:
    """Give what a validator raises for a value that is no `noun` (`a duration such as 5m`) by its very type."""
    return PydanticCustomError("wrong_type", "{noun}", {"noun": noun})


def _seconds(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if value == 0 and type(value) is int:
        return 0.0  # as Prometheus takes it
    raise wrong_type("a duration such as 5m")


_UNITS = "".join(f"([0-9]+{unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))  # in this order
DURATION_PATTERN = f"^(0|(?=[0-9]){_UNITS})$"
SPAN_PATTERN = f"^(?=.*[1-9]){_UNITS}$"  # more than zero

Duration: TypeAlias = Annotated[
    Seconds,
    BeforeValidator(_seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),  # gives a schema its defaults as people write
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]


@dataclass(frozen=True, slots=True)
class LimitSpan:
    """At most `count` runs in any `per` seconds, in all or for each target."""

    count: int
    per: Seconds
    by_target: bool


_LIMIT = re.compile(r"([0-9]{1,9}) +per +(\S+)( +per +target)?", re.ASCII)


def parse_limit(text: str) -> LimitSpan:
    """Read `30 per 1h` or `2 per 6h per target`. Raises ValueError with a sentence for the author."""
    read = _LIMIT.fullmatch(text)
    if read is None:
        raise ValueError(f"{text!r} is not a limit: write it as in `2 per 6h` or `1 per 30m per target`")
    span = LimitSpan(int(read[1]), parse_duration(read[2]), read[3] is not None)
    if span.count < 1 or span.per <= 0:
        raise ValueError(f"{text!r} would never let anything run: count and span must be more than zero")
    return span


def _limit(text: str) -> str:
    parse_limit(text)
    return text


LimitText: TypeAlias = Annotated[
    str,
    AfterValidator(_limit),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?!0+ )[0-9]{{1,9}} +per +(?=[0-9a-z]*[1-9]){_UNITS}( +per +target)?$"}
    ),
]


class Form(BaseModel):
    """Base of what people write: unknown keys refused, no guessing of types, and no key without a value.

    A key whose value was forgotten (`only_if:`) would else count as one left out, and a guard would be gone unnoticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _has_value(cls, value: object) -> object:
        if value is None:
            raise wrong_type("a value")
        return value

    @classmethod
    def known_keys(cls) -> list[str]:
        """Give the keys as they are written."""
        return [described.alias or name for name, described in cls.model_fields.items()]


def schema_of(model: type[Form]) -> dict[str, Any]:
    """Give the JSON Schema of a form, for editors."""
    schema = model.model_json_schema(by_alias=True, mode="serialization")  # writes defaults as people do: 5h, not 18000
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "a word",
    "wrong_type": "",
}


def faults_of(error: ValidationError, model: type[Form], data: object) -> list[Fault]:
    """Turn what pydantic says of `data` into faults, one for each place: unions speak once, in the author's words."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_written_path(data, detail), []).append(detail)
    faults = []
    around = {path[:length] for path in by_path for length in range(len(path))}
    for path, details in by_path.items():
        # Where one branch of a union looked into the value, it says nothing that the others don't take its type.
        if not (path in around and all(detail["type"] in _NOUNS for detail in details)):
            faults.append(_fault(path, details, model))
    return faults


def _written_path(data: Any, detail: ErrorDetails) -> Path:
    """Leave out of pydantic's location the branches of unions, which no author wrote."""
    path: list[str | int] = []
    for step in detail["loc"]:
        if step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int):
            path.append(step)
            data = data[step]
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else tuple(path)


def _fault(path: Path, details: list[ErrorDetails], model: type[Form]) -> Fault:
    first = next((detail for detail in details if detail["type"] not in _NOUNS), details[0])
    match first["type"]:
        case "missing":
            return Fault(path, "missing-key", f"the key `{path[-1]}` is missing")
        case "extra_forbidden":
            return unknown_key(path, _known_keys(model, path[:-1]))
        case "value_error":
            return Fault(path, "bad-value", str(first["ctx"]["error"]))
        case "too_short":
            return Fault(path, "bad-value", "this list is empty, and has to have something in it")
        case kind if kind not in _NOUNS:
            return Fault(path, "bad-value", first["msg"].replace("Input should", "the value should"))
    branches = _branches_at(model, path)
    expected = " or ".join(dict.fromkeys(_noun(detail, branches) for detail in details))
    words = [word for branch in branches if get_origin(branch) is Literal for word in get_args(branch)]
    if isinstance(first["input"], str) and words:
        near = nearest(first["input"], words)
        return Fault(path, "bad-value", f"expected {expected}, found `{first['input'][:40]}`{near}")
    texts = any(detail["type"] == "string_type" for detail in details)
    quotes = "; a text that begins with `{` needs quotes" if texts and isinstance(first["input"], dict) else ""
    return Fault(path, "wrong-type", f"expected {expected}, found {found(first['input'])}{quotes}")


def _noun(detail: ErrorDetails, branches: list[Any]) -> str:
    match detail["type"]:
        case "wrong_type":
            return detail["msg"]
        case "literal_error":
            return str(detail["ctx"]["expected"]).replace("'", "`")
        case "list_type":
            items = [get_args(branch)[0] for branch in branches if get_origin(branch) is list]
            titles = [item.model_config.get("title") for item in items if _is_model(item)]
            return f"a list of {titles[0]}s" if titles else "a list"
        case kind:
            return _NOUNS[kind]


def unknown_key(path: Path, known: Iterable[str]) -> Fault:
    """Say that a key is not known where it stands, and which one may be meant."""
    known = sorted(known)
    near = nearest(str(path[-1]), known)
    listed = f" (known: {', '.join(known)})" if not near and 0 < len(known) <= MAX_LISTED else ""
    return Fault(path, "unknown-key", f"the key `{path[-1]}` is not known here{near}{listed}", at_key=True)


def found(value: object) -> str:
    """Say in a word or two what kind of value stands in a file, without repeating it: it may be a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "nothing")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Form)


def _branches(annotation: Any) -> Iterator[Any]:
    """Give the types that a value may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _branches_at(model: type[Form], path: Path) -> list[Any]:
    branches: list[Any] = [model]
    for step in path:
        branches = [below for branch in branches for below in _below(branch, step)]
    return branches


def _below(branch: Any, step: str | int) -> Iterator[Any]:
    if get_origin(branch) in {list, dict}:
        yield from _branches(get_args(branch)[-1])
    elif _is_model(branch):
        for name, described in branch.model_fields.items():
            if step == (described.alias or name):
                yield from _branches(described.annotation)


def _known_keys(model: type[Form], path: Path) -> Iterator[str]:
    for branch in _branches_at(model, path):
        if _is_model(branch):
            yield from branch.known_keys()
