"""A label is data for ever: through every parameter of every action, nothing but the literal value arrives, or it is refused.

Each text in each action's example and samples is put to the test in its place: with a harmless value that nobody has
(`zqxj`), and with a hostile one. Where the harmless one is taken, the hostile one is refused as `unsafe_value`, or what
arrives is the same but for the value.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
import re2
from platforms.stand import CATALOG, Stand, use

from remediator.actions.bounds import visible
from remediator.actions.protocol import Parameters, Resources
from remediator.rules.parameters import ParameterTemplates, _known, _place
from remediator.rules.pieces import UnsafeValue
from remediator.rules.templates import TemplateError

Start = Callable[[str], Awaitable[Stand]]
Path = tuple[str | int, ...]

HARMLESS = "zqxj"
HOSTILE = {
    "line end": "a\r\nX-Evil: 1", "ansi": "\x1b[2Ja", "bidi": "a\u202egpj.exe", "nul": "a\x00b", "mention": "<!channel> @here",
    "link": "<https://evil.example|x> [x](https://evil.example)", "markup": "*a* _b_ ~c~ `d`", "formula": "=cmd|' /C calc'!A0",
    "tag": "<script>alert(1)</script>", "shell": "; rm -rf / #", "option": "--flag=x", "short option": "-rf",
    "substitution": "$(touch x) `touch x` ${PATH}", "template": "{{ 7*7 }}{% raw %}", "up": "../../etc/passwd", "dots": "..",
    "encoded": "%2e%2e%2fadmin", "quote": "a' OR '1'='1'; DROP TABLE x; --", "double quote": 'a", "admin": true, "b": "',
    "promql": '"} or vector(1) #', "regexp": ".*|.+", "glob": "*", "selector": "a,tier=db", "query": "a?force=true&x=1#y",
    "credentials": "user:pass@evil.example:8080/", "graphql": '") { id } }', "tilde": "~root/.ssh", "backslash": "a\\",
    "space": "a b", "empty": "", "unicode": "päß🔥",
}  # fmt: skip


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Give every text of a `with`, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        if set(value) != {"secret"}:
            for key, below in value.items():
                yield from leaves(below, (*path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from leaves(below, (*path, number))


def with_label(written: Mapping[str, Any], path: Path, text: str) -> dict[str, Any]:
    """Put the label `x` in the place of one text, or of the labels in it."""
    changed: Any = copy.deepcopy(dict(written))
    at = changed
    for step in path[:-1]:
        at = at[step]
    templated = re.sub(r"\{\{.*?\}\}", "{{ labels.x }}", text)
    at[path[-1]] = templated if "{{" in text else "{{ labels.x }}"
    return changed


def render(place: Stand, name: str, written: Mapping[str, Any], value: str) -> Parameters:
    """Render with that value. Raises UnsafeValue and TemplateError."""
    templates = ParameterTemplates(written, CATALOG[name].parameters)
    if problems := templates.problems():
        raise TemplateError(str(problems))
    return templates.render(place.scope(x=value), place.hosts)


def forms(value: str) -> list[str]:
    """Give how a value stands where it is quoted for its place, the longest first."""
    found = {value, visible(value)}
    found |= {str(re2.escape(each)) for each in set(found)}
    for escape in (
        lambda each: each.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        lambda each: each.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace('"', '\\"'),
        lambda each: each.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"'),  # Alertmanager's matchers
        lambda each: each.replace("\\", "\\\\").replace("'", "\\'"),  # a string of PromQL in single quotes
        lambda each: json.dumps(each)[1:-1],
        lambda each: quote(each, safe=""),
        lambda each: each.replace("\x1b", "\\x1b").replace("\x00", "\\x00"),
    ):
        found |= {escape(each) for each in set(found)}
    return sorted(filter(None, found), key=len, reverse=True)


def without(value: Any, shapes: list[str]) -> Any:
    """Give what has arrived with a mark in the place of the value."""
    if isinstance(value, str):
        for shape in shapes:
            value = value.replace(shape, "⟦x⟧")
        return value
    if isinstance(value, Mapping):
        return {without(key, shapes): without(below, shapes) for key, below in value.items()}
    return [without(below, shapes) for below in value] if isinstance(value, list | tuple) else value


async def arrived(place: Stand, name: str, params: Parameters, resources: Resources) -> Any:
    """Use the action, and give what has arrived."""
    if place.reset is not None:
        place.reset()
    if place.fake is not None:
        place.fake.seen.clear()
    await use(place, name, params, resources, seconds=5.0)
    return place.arrivals()


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.fault("CR/LF")
async def test_p10_nothing_but_the_literal_value_arrives(name: str, stand: Start, resources: Resources) -> None:
    """In every text of every example and sample."""
    place = await stand(name)
    wrong = []
    for written in place.written(name):
        for path, text in leaves(written):
            changed = with_label(written, path, text)
            try:
                harmless = render(place, name, changed, HARMLESS)
            except (UnsafeValue, TemplateError):
                harmless = None
            expected = None
            for kind, value in HOSTILE.items():
                try:
                    hostile = render(place, name, changed, value)
                except UnsafeValue:
                    continue
                except TemplateError as error:
                    if harmless is not None and value:
                        wrong.append(f"{path} {kind}: not refused as unsafe_value: {error}")
                    continue
                if harmless is None:
                    wrong.append(f"{path} {kind}: taken, where a harmless value is not")
                    continue
                if expected is None:
                    expected = without(await arrived(place, name, harmless, resources), [HARMLESS])
                found = without(await arrived(place, name, hostile, resources), forms(value))
                if value and found != expected:
                    wrong.append(f"{path} {kind}: arrived {found}, not {expected}")
    assert wrong == []


@pytest.mark.parametrize("name", CATALOG)
async def test_p10_every_parameter_that_takes_text_is_put_to_the_test(name: str, stand: Start) -> None:
    """A parameter that stands in no example and no sample would be passed over."""
    place = await stand(name)
    known = _known(CATALOG[name].parameters)
    gated = {key for key, field in known.items() if _place(field).gate is not None}
    aliases = {key for key, field in known.items() if field.validation_alias not in {None, key}}
    tried = {key for written in place.written(name) for key in written}
    assert sorted(gated - aliases - tried) == []
