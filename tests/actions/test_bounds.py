"""What comes from outside is bounded and made harmless before it becomes a result or a sentence."""

from __future__ import annotations

import pytest

from remediator.actions.bounds import bounded, encoded_size, parse_json, redact, visible
from remediator.actions.protocol import MAX_RESULT_BYTES


def test_a_result_that_fits_is_left_as_it_is() -> None:
    """Nothing is touched below the bound."""
    result = {"stdout": "x", "json": None}
    assert bounded(result, "stdout") is result


@pytest.mark.parametrize("character", ["x", "é", "\x1b", '"', "\U0001f600"])
def test_texts_are_cut_in_the_middle_till_the_result_fits(character: str) -> None:
    """However long its characters are as JSON, the result fits and both texts keep their ends."""
    text = "begin" + character * 65_536 + "end"
    result = bounded({"stdout": text, "stderr": text, "json": None, "truncated": False}, "stdout", "stderr")
    assert MAX_RESULT_BYTES // 2 < encoded_size(result) <= MAX_RESULT_BYTES
    for name in ("stdout", "stderr"):
        assert result[name].startswith("begin")
        assert result[name].endswith("end")
        assert "characters cut" in result[name]
    assert result["truncated"] is True


def test_a_short_text_keeps_its_length_beside_a_long_one() -> None:
    """The room that one text doesn't need goes to the other."""
    result = bounded({"stdout": "x" * 100_000, "stderr": "y" * 1000, "json": None}, "stdout", "stderr")
    assert result["stderr"] == "y" * 1000
    assert len(result["stdout"]) > 60_000


def test_the_value_stays_whole_and_the_text_gives_way() -> None:
    """Rules read `json`: its source is cut first."""
    value = ["x" * 40_000]
    result = bounded({"body": str(value), "json": value}, "body")
    assert result["json"] == value
    assert encoded_size(result) <= MAX_RESULT_BYTES


def test_a_value_that_can_not_stay_whole_is_none() -> None:
    """Half a document is never given for a whole one."""
    value = ["x" * 70_000]
    result = bounded({"body": str(value), "json": value}, "body")
    assert (result["json"], result["truncated"]) == (None, True)
    assert encoded_size(result) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "1e999", "nul", '"\ud800"', "[" * 100_000, "[" * 100 + "]" * 100, "9" * 5000]
)
def test_what_is_not_json_or_too_deep_is_none(text: str) -> None:
    """No text from outside can make the parser raise, or give what can't be written again."""
    assert parse_json(text) is None


def test_json_is_read_as_its_value() -> None:
    """Any JSON value will do, and the last of two equal keys wins, as in Go."""
    assert parse_json('{"a": [1, {"b": null}], "a": 2.5}') == {"a": 2.5}
    assert parse_json("[" * 60 + "]" * 60) is not None


def test_control_and_direction_characters_are_made_visible() -> None:
    """A terminal that shows a sentence is sent no escape sequence, and no line of its own."""
    assert visible("a\x1b[31mb\u202ec\nd é") == "a\\x1b[31mb\\u202ec\\nd é"
    assert visible("x" * 400, longest=300) == "x" * 300 + "…"


def test_p9_a_secret_is_found_as_it_is_and_inside_json() -> None:
    """An echo is marked, quoted or not."""
    secrets = {'s"é/t': "[secret token]"}
    echo = 's"é/t {"a": "s\\"é/t", "b": "s\\"\\u00e9/t"}'
    assert redact(echo, secrets) == '[secret token] {"a": "[secret token]", "b": "[secret token]"}'


def test_p9_the_beginning_of_a_secret_at_a_cut_is_taken_off() -> None:
    """A bound that falls inside a secret does not let its first half through."""
    assert redact("token: hunt", {"hunter2": "[secret token]"}, cut=True) == "token: "
    assert redact("token: hunt", {"hunter2": "[secret token]"}) == "token: hunt"
