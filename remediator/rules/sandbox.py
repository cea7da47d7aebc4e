"""What templates and expressions are evaluated in: Jinja2 with no globals, no attributes, and bounded operators and filters.

Scopes are made of JSON's types. Whatever asks what is undefined gets an error, and whatever asks what only a later step can
tell, a PendingValue.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from functools import cache, wraps
from ipaddress import ip_address, ip_network
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Undefined, pass_environment
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.tests import TESTS

from remediator.document import nearest
from remediator.rules.matchers import compile_regexp
from remediator.rules.pieces import shown

MAX_OUTPUT = 256 * 1024  # characters of a text, finished or on the way
MAX_BITS = 1024  # of an integer
_LONGEST_SLOW = 1000  # items of a list that can't be made a set
_SHOWN_NAMES = 10  # of a mapping, in an error message


class PendingValue(Exception):
    """A value was asked for that is not known yet; `name` says whose it is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the result of {name} is not known yet")
        self.name = name


class Pending:
    """Stands in a scope for a value that is not known yet. All that can be asked of it is whether it is defined."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Pending({self.name!r})"

    def _use(self, *_: object) -> NoReturn:
        raise PendingValue(self.name)

    __str__ = __iter__ = __len__ = __bool__ = __hash__ = __getitem__ = __contains__ = _use
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __pos__ = _use


def as_text(value: Any) -> str:
    """Write a value as it stands within a text: YAML's words for booleans, JSON for lists and mappings.

    Raises ValueError for null: what isn't there is never an empty text, nor the word for it.
    """
    ask(value)
    if isinstance(value, str):
        return str(value)
    if value is None:
        raise ValueError("it is null; give a text for this case, as in `x or 'none'`")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return _json(value)


# --- the environment ---

# fmt: off
_TEXT_METHODS = frozenset({
    "capitalize", "count", "endswith", "find", "isdigit", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
    "replace", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper",
})
# fmt: on
_LIST_METHODS = frozenset({"count", "index"})
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})


class _Method:
    """A method that templates may call."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner = owner
        self._name = name

    def __repr__(self) -> str:
        return f"the method `{self._name}` (call it: `{self._name}(…)`)"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._name == "replace":
            return _replace(self._owner, *args, **kwargs)
        result = getattr(self._owner, self._name)(*args, **kwargs)
        return list(result) if self._name in {"items", "keys", "values"} else result


class Sandbox(SandboxedEnvironment):
    """The environment of all templates and expressions."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read `a.b` as `a['b']`: values from outside have items, and nothing else that is theirs."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read an item, or a harmless method where there is no such item."""
        ask(obj, argument)
        known: list[str] = []
        methods: frozenset[str] = frozenset()
        if isinstance(obj, Mapping):
            if argument in obj:
                return obj[argument]
            methods, known = _MAPPING_METHODS, [str(key) for key in obj]
        elif isinstance(obj, (str, list, tuple)):
            if isinstance(argument, int) and -len(obj) <= argument < len(obj):
                return obj[argument]
            methods = _TEXT_METHODS if isinstance(obj, str) else _LIST_METHODS
        if isinstance(argument, str) and argument in methods:
            return _Method(obj, argument)
        there = f" (there is {', '.join(map(shown, sorted(known)[:_SHOWN_NAMES]))})" if known else ""
        return self.undefined(f"there is no {shown(argument)}{there}{nearest(str(argument), known)}")

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call one of the harmless methods, and nothing else."""
        ask(obj, *args, *kwargs.values())
        if not isinstance(obj, _Method):
            raise TypeError("only the plain methods of texts, lists and mappings can be called")
        return obj(*args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do arithmetic within bounds; `+` also joins two texts or two lists."""
        ask(left, right)
        joins = str if isinstance(left, str) else list
        if operator == "+" and isinstance(left, joins) and isinstance(right, joins):
            _bound(len(left) + len(right))
        elif not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise TypeError(f"{operator} works on numbers, and this is {shown(left)} {operator} {shown(right)}")
        elif isinstance(left, int) and isinstance(right, int) and operator in {"*", "**"}:
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise ValueError(f"{shown(left)} {operator} {shown(right)} is too large a number")
        return super().call_binop(context, operator, left, right)


def ask(*values: Any) -> None:
    """Raise for what can't be used: what is undefined, and what is not known yet."""
    for value in values:
        if isinstance(value, Pending):
            raise PendingValue(value.name)
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()


def _bound(length: int) -> None:
    if length > MAX_OUTPUT:
        raise ValueError(f"it makes {length} characters or items, and {MAX_OUTPUT} are allowed")


@cache
def sandbox() -> Sandbox:
    """Give the environment, made when it is first wanted."""
    environment = Sandbox(  # autoescape is for HTML; each place that a text can land in has its own gate
        undefined=StrictUndefined, keep_trailing_newline=True, optimized=False, autoescape=False
    )
    environment.globals.clear()
    environment.filters = {name: _guarded(_BUILT_IN[name]) for name in _JINJA_FILTERS}
    environment.filters |= {name: _guarded(_selector(_BUILT_IN[name])) for name in _JINJA_SELECTORS}
    environment.filters |= {name: _guarded(filter_) for name, filter_ in _FILTERS.items()}
    environment.filters |= {name: _guarded(_BUILT_IN["default"], lenient=True) for name in ("default", "d")}
    environment.tests = {name: _guarded(_BUILT_IN_TESTS[name]) for name in _JINJA_TESTS}
    environment.tests |= {"defined": _BUILT_IN_TESTS["defined"], "undefined": _BUILT_IN_TESTS["undefined"]}
    environment.tests |= {"matches": _guarded(_matches), "in_net": _guarded(_in_net), "in": _guarded(_in)}
    return environment


def _guarded(function: Callable[..., Any], *, lenient: bool = False) -> Callable[..., Any]:
    """Make a filter or test refuse what can't be used, and give a list where it would give an iterator."""

    @wraps(function)  # which keeps Jinja2's mark for what to pass first
    def guarded(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if not (lenient and isinstance(value, Undefined)):
                ask(value)
        result = function(*args, **kwargs)
        return list(result) if isinstance(result, Iterator) else result

    return guarded


# --- filters and tests ---

# Those of Jinja2 that take time and room in proportion to what they are given.
# fmt: off
_JINJA_FILTERS = (
    "abs", "capitalize", "count", "dictsort", "first", "items", "last", "length", "list", "lower", "max", "min", "reverse",
    "sort", "title", "trim", "truncate", "unique", "upper",
)
_JINJA_SELECTORS = ("reject", "rejectattr", "select", "selectattr")
_JINJA_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "divisibleby", "eq", "equalto", "even", "false", "float", "ge",
    "greaterthan", "gt", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd",
    "sequence", "string", "true", "upper",
)
# fmt: on
_BUILT_IN: Mapping[str, Any] = FILTERS
_BUILT_IN_TESTS: Mapping[str, Any] = TESTS


def _selector(function: Any) -> Any:
    """Make `select('in', list)` and its like look into a set: 20,000 alerts are not to be compared with 20,000."""

    @wraps(function)
    def select(*args: Any, **kwargs: Any) -> Any:
        if len(args) > 3 and args[-2] == "in" and isinstance(args[-1], (list, tuple)):
            if all(isinstance(item, (str, int, float)) for item in args[-1]):
                args = (*args[:-1], frozenset(args[-1]))
            elif len(args[-1]) > _LONGEST_SLOW:
                raise ValueError(f"'in' looks into {_LONGEST_SLOW} items at most, unless all are texts or numbers")
        return function(*args, **kwargs)

    return select


def _json(value: Any) -> str:
    def plain(other: Any) -> Any:
        ask(other)
        if isinstance(other, Mapping):
            return dict(other)
        raise TypeError("it is not made of texts, numbers, lists and mappings")

    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    text = as_text(text)
    _bound(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new, count)


@pass_environment
def _map(environment: Sandbox, values: Iterable[Any], *, attribute: str, default: Any = None) -> list[Any]:
    def read(value: Any) -> Any:
        for part in str(attribute).split("."):
            value = environment.getitem(value, int(part) if part.isdecimal() else part)
            if isinstance(value, Undefined) and default is not None:
                return default
        return value

    return [read(value) for value in values]


@pass_environment
def _join(environment: Sandbox, values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    texts = [as_text(value) for value in (_map(environment, values, attribute=attribute) if attribute else values)]
    _bound(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@pass_environment
def _sum(environment: Sandbox, values: Iterable[Any], attribute: str | None = None) -> Any:
    numbers = list(_map(environment, values, attribute=attribute) if attribute else values)
    ask(*numbers)
    if wrong := [number for number in numbers if not isinstance(number, (int, float))]:
        raise TypeError(f"{shown(wrong[0])} is not a number")
    return sum(numbers)


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _int(value: Any, default: Any = None) -> Any:
    """Unlike Jinja2's, it has no silent 0 for what isn't a number: a replica count must not become 0 by a typing error."""
    try:
        return int(_as_written(value))
    except (TypeError, ValueError):
        number = _float(value, default)
        return int(number) if isinstance(number, float) else number


def _as_written(value: Any) -> Any:
    """Refuse what Python alone takes for a number (`5_0`, other scripts' digits, spaces): a program would read another."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a number")
    return value


def _float(value: Any, default: Any = None) -> Any:
    try:
        number = float(_as_written(value))
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number):
        return number
    if default is None:
        raise ValueError(f"{shown(value)} is not a number")
    return default


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if method not in {"common", "ceil", "floor"} or not -12 <= precision <= 12:
        raise ValueError("round takes a precision from -12 to 12, and one of 'common', 'ceil', 'floor'")
    if method == "common":
        return round(float(value), precision)
    scaled = value * 10**precision
    return float((math.ceil(scaled) if method == "ceil" else math.floor(scaled)) / 10**precision)


def _host(instance: str) -> str:
    """Give an `instance` without its port."""
    if "/" in instance:
        raise ValueError(f"{shown(instance)} is not host:port")
    if instance.startswith("["):
        return instance[1:].partition("]")[0]
    return instance if instance.count(":") > 1 else instance.partition(":")[0]


@pass_environment
def _regex_search(environment: Sandbox, text: str, pattern: str) -> Any:
    compiled = compile_regexp(pattern)
    found = compiled.search(as_text(text).encode())
    part = found[1 if compiled.groups else 0] if found else None
    return environment.undefined(f"{pattern!r} is not in {shown(text)}") if part is None else part.decode()


_UNITS = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII
)


def _quantity(value: Any) -> Any:
    """Read a Kubernetes quantity (`apimachinery`, `resource.Quantity`) as a number, or write a number as one."""
    if isinstance(value, str):
        found = _QUANTITY.fullmatch(value)
        if found is None:
            raise ValueError(f"{shown(value)} is not a quantity: write it as in 500m, 2, 1.5Gi or 1e3")
        number = Decimal(found[1]) * (Decimal(10) ** int(found[2]) if found[2] else _UNITS[found[3] or ""])
        return int(number) if number == number.to_integral_value() else float(number)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{shown(value)} is neither a quantity nor a number")
    number = Decimal(str(value))
    if number != number.to_integral_value():
        for unit in "mun":  # rounded up at the nano, as Kubernetes does
            scaled = (number / _UNITS[unit]).to_integral_value(ROUND_CEILING)
            if scaled * _UNITS[unit] == number or unit == "n":
                return f"{scaled:f}{unit}"
    for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if number and number % _UNITS[unit] == 0:
            return f"{number / _UNITS[unit]:f}{unit}"
    return f"{number.to_integral_value():f}"


def _split(text: str, separator: str | None = None) -> list[str]:
    return text.split(separator)


def _matches(text: Any, pattern: str) -> bool:
    return compile_regexp(pattern).fullmatch(as_text(text).encode()) is not None


def _in_net(address: str, networks: str | list[str]) -> bool:
    nets = [networks] if isinstance(networks, str) else networks
    return any(ip_address(address) in ip_network(net, strict=False) for net in nets)


def _in(value: Any, container: Any) -> bool:
    if isinstance(container, frozenset) and not isinstance(value, (str, int, float)):
        return False  # what can't be hashed is none of the texts and numbers in it
    return value in container


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "float": _float,
    "host": _host,
    "int": _int,
    "join": _join,
    "json": _json,
    "map": _map,
    "quantity": _quantity,
    "regex_search": _regex_search,
    "replace": _replace,
    "round": _round,
    "split": _split,
    "string": as_text,
    "sum": _sum,
}
