"""A step's `with`: templates put in, gates passed, and the whole validated as its action's parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from remediator.actions.protocol import Gate, Grammar, Parameters, SecretReference
from remediator.document import nearest
from remediator.rules.pieces import shown
from remediator.rules.sandbox import PendingValue, as_text
from remediator.rules.templates import Scope, TemplateError, Text, UnsafeValue, has_template

Path: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = Any  # YAML's values, with a `_Leaf` where a template stands


@dataclass(frozen=True, slots=True)
class _Place:
    """What a parameter's type says of the texts in it."""

    gate: Gate | Grammar | None
    textual: bool  # takes texts and no numbers: one that a template gives is written out
    secret: bool  # takes `{secret: NAME}`


@dataclass(frozen=True, slots=True)
class _Leaf:
    text: Text
    place: _Place
    path: Path

    def render(self, scope: Scope, hosts: Sequence[str]) -> Any:
        """Give its value, with the parameter's name in whatever is raised."""
        name = _dotted(self.path)
        try:
            value = self.text.render(scope, hosts)
        except UnsafeValue as error:
            raise UnsafeValue(f"{name}: {error}") from None
        except TemplateError as error:
            raise TemplateError(f"{name}: {error}") from None
        if not self.text.trusted:
            if self.place.gate is None and not _plain_number(value):
                raise TemplateError(f"{name}: `{self.text.source}` gives {shown(value)}: {_ONLY_TYPED}")
            if self.place.secret and _holds_mapping(value):
                raise UnsafeValue(f"{name}: {shown(value)} is a mapping from outside, which could name a secret")
        return as_text(value) if self.place.textual and isinstance(value, (bool, int, float)) else value


_ONLY_TYPED = "this parameter takes numbers, true and false from a template, but no text from outside"


class ParameterTemplates:
    """A step's `with`, compiled against its action's model. It raises nothing: what is wrong is in `problems()`."""

    def __init__(self, values: Mapping[str, Any], model: type[Parameters]) -> None:
        self._model = model
        self._faults: list[tuple[str, str]] = []  # of the templates, found while compiling
        self._leaves: list[_Leaf] = []
        self._tree: dict[str, Tree] = {}
        known = _known(model)
        for name, value in ((str(key), value) for key, value in values.items()):
            # What the model doesn't know is left as it is: that there is no such parameter is all there is to say.
            self._tree[name] = self._compile(value, _place(known[name]), (name,)) if name in known else value
        self._literal: Parameters | None = None

    @property
    def names(self) -> frozenset[str]:
        """Give the top-level names that its templates use."""
        return frozenset[str]().union(*(leaf.text.names for leaf in self._leaves))

    @property
    def references(self) -> frozenset[str]:
        """Give what its templates refer to, as in `Text.references`."""
        return frozenset[str]().union(*(leaf.text.references for leaf in self._leaves))

    def render(self, scope: Scope, hosts: Sequence[str] = ()) -> Parameters:
        """Put the values in and validate the whole; `hosts` are the patterns of `http.allow`.

        Raises TemplateError, UnsafeValue, and PendingValue where a value is not known yet.
        """
        if self._literal is not None:
            return self._literal
        self._refuse_faulty()
        parameters = self._validated(_filled(self._tree, lambda leaf: leaf.render(scope, hosts)))
        if not self._leaves:
            self._literal = parameters
        return parameters

    def preview(self, scope: Scope, hosts: Sequence[str] = ()) -> Any:
        """Give the parameters as JSON values for a plan; what is not known yet stands as `<from NAME>`.

        Raises TemplateError and UnsafeValue.
        """
        waiting: list[Path] = []

        def known(leaf: _Leaf) -> Any:
            try:
                return leaf.render(scope, hosts)
            except PendingValue as pending:
                waiting.append(leaf.path)
                return f"<from {pending.name}>"

        self._refuse_faulty()
        values = _filled(self._tree, known)
        if not waiting:
            return self._validated(values).model_dump(mode="json", exclude_unset=True, by_alias=True)
        if wrong := _faults(self._model, values, waiting):
            raise _error(wrong)
        return values

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong as far as it shows without an alert: paths such as `argv[1]`, and sentences."""
        values = _filled(self._tree, lambda leaf: leaf.text.source)
        unsure = [leaf.path for leaf in self._leaves]
        texts = [leaf.path for leaf in self._leaves if not leaf.text.single]  # texts they are, whatever is put in
        of_model = _faults(self._model, values, unsure, texts)
        faulty = {path for path, _ in self._faults}
        return [*self._faults, *((path, message) for path, message in of_model if path not in faulty)]

    def misplaced(self, hosts: Sequence[str]) -> list[tuple[str, str]]:
        """Give the templates whose values no gate lets through, whatever they are: as `problems` does."""
        told = ((_dotted(leaf.path), leaf.text.misplaced(hosts)) for leaf in self._leaves)
        return [(path, why) for path, why in told if why is not None]

    def _refuse_faulty(self) -> None:
        if self._faults:
            raise _error(self._faults)

    def _validated(self, values: dict[str, Any]) -> Parameters:
        try:
            return _validate(self._model, values)
        except (TypeError, ValueError):
            raise _error(_faults(self._model, values, [])) from None

    def _compile(self, value: Any, place: _Place, path: Path) -> Tree:
        if isinstance(value, str):
            return self._compile_text(value, place, path)
        if isinstance(value, Mapping):
            for key in value:
                self._check_key(str(key), path)
            if set(value) == {"secret"} and place.secret:
                if has_template(str(value["secret"])):
                    self._faults.append((_dotted(path), "the name of a secret stands as it is, never as a template"))
                return dict(value)
            return {str(key): self._compile(item, place, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._compile(item, place, (*path, number)) for number, item in enumerate(value)]
        return value

    def _compile_text(self, source: str, place: _Place, path: Path) -> Tree:
        if not has_template(source):
            return source
        try:
            text = Text(source, place.gate or Gate.JSON)
        except TemplateError as error:
            self._faults.append((_dotted(path), str(error)))
            return source
        if place.gate is None and not text.trusted and not text.single:
            self._faults.append((_dotted(path), f"{_ONLY_TYPED}: write one single {{{{ … }}}} that gives such a value"))
            return source
        leaf = _Leaf(text, place, path)
        self._leaves.append(leaf)
        return leaf

    def _check_key(self, key: str, path: Path) -> None:
        if has_template(key):
            self._faults.append((_dotted((*path, key)), "a name stands as it is, never as a template"))


def _error(faults: Sequence[tuple[str, str]]) -> TemplateError:
    return TemplateError("; ".join(f"{path}: {message}" if path else message for path, message in faults))


def _filled(tree: Tree, fill: Callable[[_Leaf], Any]) -> Any:
    if isinstance(tree, _Leaf):
        return fill(tree)
    if isinstance(tree, dict):
        return {key: _filled(item, fill) for key, item in tree.items()}
    return [_filled(item, fill) for item in tree] if isinstance(tree, list) else tree


def _plain_number(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_plain_number, value))
    return value is None or isinstance(value, (bool, int, float))


def _holds_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


# --- what the model says ---


def _known(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Give the fields by the names that a rule may use, the alias first where there is one."""
    fields: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.validation_alias, str):
            fields[field.validation_alias] = field
        fields.setdefault(name, field)
    return fields


def _place(field: FieldInfo) -> _Place:
    gates = {mark for mark in field.metadata if isinstance(mark, Gate | Grammar)}
    types: set[Any] = set()
    for part in _parts(field.annotation):
        if isinstance(part, Gate | Grammar):
            gates.add(part)
        elif isinstance(part, type) or part is Any:
            types.add(part)
    if len(gates) > 1:
        raise TypeError(f"a parameter has one gate, and this one has {sorted(map(str, gates))}")
    textual = str in types and not types & {int, float, bool, object, Any}
    return _Place(next(iter(gates), None), textual=textual, secret=SecretReference in types)


def _parts(annotation: Any) -> Iterator[Any]:
    """Give a type and all that it is made of: members of unions, items, what Annotated adds, fields of models."""
    yield annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not SecretReference:
        for field in annotation.model_fields.values():
            yield from field.metadata
            yield from _parts(field.annotation)
    for part in get_args(annotation):
        yield from _parts(part)


def _validate(model: type[Parameters], values: dict[str, Any]) -> Parameters:
    # As JSON, since strictness there takes YAML's lists for tuples, its mappings for models and its texts for enums.
    return model.model_validate_json(json.dumps(values, ensure_ascii=False, allow_nan=False))


def _faults(
    model: type[Parameters], values: dict[str, Any], unsure: Sequence[Path], texts: Sequence[Path] = ()
) -> list[tuple[str, str]]:
    """Give what the model says against these values, but for what lies at the paths that are not known yet.

    Of some of those it is known that a text will stand there: where none may, that is said all the same.
    """
    try:
        _validate(model, values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    except (TypeError, ValueError) as error:
        return [("", f"it has a value that is not JSON: {error}")]
    else:
        return []
    found: dict[str, list[str]] = {}
    placed = [(_real_path(detail, values), detail) for detail in details]
    may_be_text = {path for path, detail in placed if detail["type"] not in _NO_TEXT}
    for path, detail in placed:
        if not _depends(path, detail, unsure) or (path in texts and path not in may_be_text):
            found.setdefault(_dotted(path), []).append(_sentence(model, path, detail))
    return [(path, " or ".join(dict.fromkeys(messages))) for path, messages in found.items()]


def _real_path(detail: ErrorDetails, values: Any) -> Path:
    """Leave out of pydantic's location what names a member of a union, and is no step into the values."""
    path: list[str | int] = []
    for part in detail["loc"]:
        inside = (isinstance(values, dict) and part in values) or (
            isinstance(values, list) and isinstance(part, int) and part < len(values)
        )
        if inside:
            values = values[part]
            path.append(part)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _depends(path: Path, detail: ErrorDetails, unsure: Sequence[Path]) -> bool:
    """Tell whether a fault may vanish once the values at these paths are known."""
    if detail["loc"][-1:] == ("[key]",):
        return False
    if any(path[: len(leaf)] == leaf for leaf in unsure):
        return True
    above = any(leaf[: len(path)] == path for leaf in unsure)
    return above and detail["type"] in {"value_error", "assertion_error"}


# What pydantic says of a text where something else has to stand, whatever the text is.
_NO_TEXT = frozenset({"list_type", "tuple_type", "set_type", "dict_type", "model_type"})

# What pydantic calls the kinds of JSON, in the words of people who write YAML.
_PLAIN = {
    "a valid array": "a list",
    "an object": "a mapping",
    "a valid dictionary": "a mapping",
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}


def _sentence(model: type[Parameters], path: Path, detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        known = _known(model) if len(path) == 1 else {}
        listed = f"; there is {', '.join(_offered(model))}" if known and not nearest(str(path[-1]), known) else ""
        return f"there is no parameter {path[-1]!r}{nearest(str(path[-1]), known)}{listed}"
    if detail["type"] == "missing":
        return "it is required, and missing"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "it should be", 1)
    for theirs, plain in _PLAIN.items():
        message = message.replace(theirs, plain)
    return message if detail["type"] == "value_error" else f"{message}, and is {shown(detail['input'])}"


def _offered(model: type[BaseModel]) -> list[str]:
    return [
        field.validation_alias if isinstance(field.validation_alias, str) else name
        for name, field in model.model_fields.items()
    ]
