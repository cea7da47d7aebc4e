"""YAML is read as version 1.2, every value has its place, and nothing that a text holds can make it raise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, ValidationError

from remediator.document import Document, Place, dotted, load_document, read_document
from remediator.forms import Duration, Form, faults_of, schema_of


def problems(text: str) -> list[str]:
    """Give the problems of a text as an operator sees them."""
    return [str(problem) for problem in load_document(text, "f.yml").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("off", "off"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("22:00", "22:00"),
        ("2026-11-01", "2026-11-01"),
        ("1_000", "1_000"),
        ("0123", 123),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("~", None),
        ("", None),
        ("null", None),
        ('"true"', "true"),
        ("!!str 12", "12"),
    ],
)
def test_plain_words_mean_what_the_core_schema_says(text: str, value: object) -> None:
    """The words that YAML 1.1 turned into booleans, numbers and dates stay text."""
    document = load_document(f"key: {text}\n", "f.yml")
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)
    assert document.problems == ()


def test_every_value_and_key_has_its_place() -> None:
    """Lines and columns count from 1, and point at what was written."""
    document = load_document("rules:\n  - name: a\n    with: {app: web, 'n': [1, 2]}\n", "f.yml")
    assert document.place(("rules", 0, "name")) == Place(2, 11)
    assert document.place(("rules", 0, "name"), key=True) == Place(2, 5)
    assert document.place(("rules", 0, "with", "n", 1)) == Place(3, 31)


def test_a_path_that_is_not_there_leads_to_what_is_around_it() -> None:
    """A missing key is reported where its mapping begins."""
    document = load_document("rules:\n  - name: a\n", "f.yml")
    assert document.place(("rules", 0, "steps", 3, "uses")) == Place(2, 5)
    assert document.place(("rules", 0, "target"), key=True) == Place(2, 5)
    assert load_document("", "f.yml").place(("rules",)) == Place(1, 1)


def test_an_anchor_s_value_stands_where_it_was_written() -> None:
    """A fault in a shared value is mended at the anchor, so that is its place."""
    document = load_document("x-a: &a {k: 1}\nb: *a\n", "f.yml")
    assert document.value["b"] == {"k": 1}
    assert document.place(("b", "k")) == Place(1, 13)


def test_merge_keys_fill_in_what_is_not_given() -> None:
    """The mapping's own keys win, then the first of the merged ones."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 0\n"
    document = load_document(text, "f.yml")
    assert document.value["c"] == {"x": 0, "y": 1, "z": 2}
    assert document.place(("c", "z")) == Place(2, 17)
    assert document.problems == ()


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "the key `a` stands here twice, first in line 1"),
        ("a:\n  1: x\n", 2, 3, "a key is text"),
        ("[a]: x\n", 1, 1, "a list or a mapping can't be one"),
        ("a: {{ labels.b }}\n", 1, 5, "begins with `{{` needs quotes"),
        ("k: &k x\n*k : y\n", 2, 1, "an alias can't be one"),
        ("a: *b\n", 1, 4, "no anchor `&b`"),
        ("a: &a [*a]\n", 1, 8, "inside its own anchor"),
        ("<<: 1\n", 1, 5, "`<<` takes a mapping"),
        ("a: x\x01\n", 1, 5, "U+0001"),
        ("a: x\ud800\n", 1, 5, "U+D800"),
        ('b: 1\na: "x\\0"\n', 2, 4, "NUL"),
        ('a: "\\ud83d\\ude00"\n', 1, 7, "invalid Unicode character escape"),
        ("a:\n\t- b\n", 2, 1, "a tab can't indent"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document"),
        ("a: !!python/object:os.system x\n", 1, 4, "is not known here"),
        ("a: b: c\n", 1, 5, "mapping values are not allowed"),
        ("a: summary: c\n", 1, 11, "a text with `: ` in it needs quotes"),
        ('a: {b=~"c", d=~[e]}\n', 1, 16, "a text that begins with `{` needs quotes"),
        ("a:\n  - b: 1\n   c: 2\n", 3, 4, "indent it like its neighbours"),
        ("a: 'b'c'\n", 1, 7, "see where quotes end"),
        ('a: "\\d"\n', 1, 5, "in single quotes"),
        ("a: */5 * * * *\n", 1, 5, "a text that begins with `*` or `&` needs quotes"),
        ("a:\n  b: 1\n  for:1m\n  c: 2\n", 4, 3, "a key ends with a colon and a space"),
        ("a: {b:[c]}\n", 1, 6, "put a space behind the colon"),
        ("a: @b\n", 1, 4, "begins with this character needs quotes"),
        ("rules:\n  - name: [a\n", 3, 1, "begun in line 2"),
        ("a: " + "9" * 5000, 1, 4, "too many digits"),
        ("[" * 100_000, 1, 101, "nested more than 100 levels"),
    ],
)
def test_a_fault_in_the_yaml_is_a_problem_with_its_place(text: str, line: int, column: int, says: str) -> None:
    """Every kind of fault names line and column and says what is wrong."""
    found = load_document(text, "f.yml").problems
    assert [(problem.line, problem.column) for problem in found] == [(line, column)]
    assert says in found[0].message


def test_faults_that_do_not_end_the_reading_come_together() -> None:
    """One go shows them all."""
    assert len(problems("a: 1\na: 2\n3: x\nb: !foo y\n")) == 3


@pytest.mark.fault("YAML alias bomb")
def test_an_alias_bomb_is_refused() -> None:
    """Aliases that would expand to a billion values are counted, not expanded (faults: YAML alias bomb)."""
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    document = load_document("\n".join(lines), "f.yml")
    assert document.value is None
    assert "expand to more than 50000 values" in document.problems[0].message
    assert document.problems[0].line == 5


@pytest.mark.fault("YAML alias bomb")
def test_aliases_can_not_build_what_is_too_deep_to_walk() -> None:
    """Nesting counts through aliases, so that whoever walks a document may recurse."""
    lines = ["a0: &a0 " + "[" * 60 + "]" * 60, "a1: " + "[" * 60 + "*a0" + "]" * 60]
    assert "nested more than 100 levels" in problems("\n".join(lines))[0]


def test_many_plain_values_are_no_bomb() -> None:
    """The bound is on what aliases add, not on the length of a file."""
    document = load_document("\n".join(f"- {{n: {number}}}" for number in range(30_000)), "f.yml")
    assert len(document.value) == 30_000


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """Editors on Windows put one there."""
    assert load_document("\ufeffa: 1\n", "f.yml").value == {"a": 1}


def test_a_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    """So is one that isn't there: reading never raises."""
    (tmp_path / "f.yml").write_bytes(b"a: \xff\n")
    assert "not UTF-8: byte 3" in read_document(tmp_path / "f.yml", "f.yml").problems[0].message
    assert "No such file" in read_document(tmp_path / "g.yml", "g.yml").problems[0].message


YAML_LIKE = st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@` \n\t#?,~<.0x1e_\\\r\x85\u2028\ufeff\0\ud800é"), max_size=60)


@given(st.one_of(YAML_LIKE, st.text(max_size=60)))
def test_any_text_gives_values_or_problems(text: str) -> None:
    """No text raises, and a text whose values are missing says why."""
    document = load_document(text, "f.yml")
    for problem in document.problems:
        assert problem.line >= 1
        assert problem.column >= 1
    assert isinstance(document, Document)


# --- pydantic's errors ---


class Wheel(Form):
    """For the tests below."""

    model_config = ConfigDict(title="wheel")

    size: int = Field(ge=1)
    tyre: str | None = None


class Car(Form):
    """For the tests below."""

    name: str
    wheels: list[Wheel] = Field(default_factory=list)
    colour: Literal["red", "green"] = "red"
    match: str | list[str] = "all"
    pause: Duration = 5400.0
    tags: dict[str, str] = Field(default_factory=dict)
    engine: Wheel | None = None
    electric: bool = False


def told(data: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Give code and message of each fault, by its key."""
    with pytest.raises(ValidationError) as caught:
        Car.model_validate(data)
    return {dotted(fault.path): (fault.code, fault.message) for fault in faults_of(caught.value, Car, data)}


@pytest.mark.parametrize(
    ("data", "key", "code", "message"),
    [
        ({"wheels": "four"}, "wheels", "wrong-type", "expected a list of wheels, found text"),
        ({"wheels": [3]}, "wheels[0]", "wrong-type", "expected a mapping, found a number"),
        ({"wheels": [{}]}, "wheels[0].size", "missing-key", "the key `size` is missing"),
        ({"wheels": [{"size": 0}]}, "wheels[0].size", "bad-value", "the value should be greater than or equal to 1"),
        ({"wheels": [{"size": "3"}]}, "wheels[0].size", "wrong-type", "expected a whole number, found text"),
        ({"engine": {"size": 1, "tire": "x"}}, "engine.tire", "unknown-key", "did you mean `tyre`?"),
        ({"engine": {"size": 1, "q": "x"}}, "engine.q", "unknown-key", "(known: size, tyre)"),
        ({"colour": "gren"}, "colour", "bad-value", "expected `red` or `green`, found `gren`; did you mean `green`?"),
        ({"colour": 3}, "colour", "wrong-type", "expected `red` or `green`, found a number"),
        ({"match": 3}, "match", "wrong-type", "expected text or a list, found a number"),
        ({"match": ["a", 3]}, "match[1]", "wrong-type", "expected text, found a number"),
        ({"pause": "5 min"}, "pause", "bad-value", "'5 min' is not a duration: write it as in 90s, 5m, 1h30m or 7d"),
        ({"pause": 300}, "pause", "wrong-type", "expected a duration such as 5m, found a number"),
        ({"tags": {"a": True}}, "tags.a", "wrong-type", "expected text, found true"),
        ({"electric": "yes"}, "electric", "wrong-type", "expected true or false, found text"),
        ({"engine": None}, "engine", "wrong-type", "expected a value, found nothing"),
    ],
)
def test_a_fault_of_shape_is_one_plain_sentence(data: dict[str, Any], key: str, code: str, message: str) -> None:
    """Unions don't speak once for each branch, and the author's words are used."""
    faults = told({"name": "a", **data})
    assert list(faults) == [key]
    assert faults[key][0] == code
    assert message in faults[key][1]


def test_all_faults_of_shape_come_together() -> None:
    """The first is not the only one."""
    assert set(told({"wheels": 1, "pause": 2, "nam": "x"})) == {"name", "wheels", "pause", "nam"}


def test_a_wrong_type_does_not_repeat_the_value() -> None:
    """It may be a secret that was put in place of its name."""
    assert "hunter2" not in told({"name": "a", "engine": "hunter2"})["engine"][1]


def test_a_schema_writes_defaults_as_people_do() -> None:
    """An editor offers 1h30m, not 5400.0."""
    properties = schema_of(Car)["properties"]
    assert properties["pause"]["default"] == "1h30m"
    assert properties["pause"]["type"] == "string"
