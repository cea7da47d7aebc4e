"""Promise P10: a value from outside arrives as itself, or is refused, and never changes what the author wrote."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from yarl import URL

from remediator.actions.bounds import visible
from remediator.actions.protocol import Gate
from remediator.rules.gates import admit, finish
from remediator.rules.matchers import parse_matchers
from remediator.rules.pieces import Piece, UnsafeValue, shown

_NASTY = "-./\\\"'`{}%@:?#&=<>$();|*+[]^ \n\r\t\0\x1b\x7f\x85\u2028\u202e\ufffd"
HOSTILE = st.text(st.characters() | st.sampled_from(_NASTY))
HOSTS = ("*.fly.dev",)


def put(gate: Gate, text: str, *values: str, hosts: tuple[str, ...] = HOSTS) -> str:
    """Put values from outside where the text has `@@`."""
    pieces = [Piece(part, outside=False) for part in text.split("@@")]
    for number, value in enumerate(values):
        pieces.insert(2 * number + 1, Piece(value, outside=True))
    return finish(gate, pieces, hosts)


@pytest.mark.parametrize("gate", list(Gate))
def test_half_of_a_surrogate_pair_is_refused_everywhere(gate: Gate) -> None:
    """It is no text, and nothing could be encoded with it."""
    with pytest.raises(UnsafeValue, match="surrogate"):
        put(gate, 'https://h/"@@"', "a\ud800")
    with pytest.raises(UnsafeValue, match="surrogate"):
        admit(gate, ["a\ud800"])


@pytest.mark.parametrize("value", ["-rf", "--flag", "-"])
def test_a_value_that_begins_an_argument_is_no_option(value: str) -> None:
    """Also behind values that are empty."""
    for text, values in (("@@", (value,)), ("@@@@", ("", value)), ("@@x", (value,))):
        with pytest.raises(UnsafeValue, match="option"):
            put(Gate.ARGUMENT, text, *values)


def test_a_dash_further_on_and_the_shells_characters_stay_as_they_are() -> None:
    """There is no shell: what looks like one's syntax is plain text."""
    assert put(Gate.ARGUMENT, "--app=@@", "-x") == "--app=-x"
    assert put(Gate.ARGUMENT, "@@", "; rm -rf / $(x) `y`") == "; rm -rf / $(x) `y`"


@pytest.mark.parametrize("gate", [Gate.ARGUMENT, Gate.HEADER])
@pytest.mark.parametrize("value", ["a\nb", "a\r\nX: y", "a\0", "\x1b[2J", "a\x7f", "a\x85", "a\u2028b"])
def test_control_characters_are_refused_in_arguments_and_headers(gate: Gate, value: str) -> None:
    """The message shows them, and does not send them to the reader's terminal."""
    with pytest.raises(UnsafeValue, match="control character") as caught:
        put(gate, "x@@", value)
    assert visible(str(caught.value)) == str(caught.value)


@given(HOSTILE, HOSTILE)
def test_p10_an_argument_from_outside_never_begins_with_a_dash(first: str, second: str) -> None:
    """Any label stays inside its one argument, unchanged, or is refused."""
    try:
        text = put(Gate.ARGUMENT, "@@@@", first, second)
    except UnsafeValue:
        return
    assert text == first + second
    assert not text.startswith("-")
    assert "\0" not in text


@pytest.mark.parametrize("gate", [Gate.CHILD_TEXT, Gate.DIRECTORY])
def test_nul_is_refused_in_what_a_child_gets(gate: Gate) -> None:
    """Lines are fine in its environment and input; NUL would end them."""
    assert put(Gate.CHILD_TEXT, "a@@", "b\nc") == "ab\nc"
    with pytest.raises(UnsafeValue, match="NUL"):
        put(gate, "a@@", "\0")


@pytest.mark.parametrize(
    ("text", "value"), [("/srv/@@", ".."), ("/srv/@@/x", "a/../.."), ("/srv/.@@", "."), ("/s/.@@.", "")]
)
def test_a_directory_never_leads_upwards(text: str, value: str) -> None:
    """The finished path counts, not the value alone."""
    with pytest.raises(UnsafeValue, match="upwards"):
        put(Gate.DIRECTORY, text, value)
    assert put(Gate.DIRECTORY, "/srv/@@", "..a") == "/srv/..a"


# --- URLs ---


def test_values_in_a_url_are_encoded_where_they_stand() -> None:
    """Path, query and fragment take any text."""
    url = put(Gate.URL, "https://h/a/@@?q=@@#@@", "b/c d", "x&y=?", "#é")
    assert url == "https://h/a/b%2Fc%20d?q=x%26y%3D%3F#%23%C3%A9"


@pytest.mark.parametrize("value", ["..", ".", "../x", "a/../b", "..\\x", ""])
def test_a_path_segment_never_leads_elsewhere(value: str) -> None:
    """Neither dots nor nothing at all: an empty name would address everything."""
    with pytest.raises(UnsafeValue, match="path of a URL"):
        put(Gate.URL, "https://h/apps/@@/restart", value)
    with pytest.raises(UnsafeValue, match="path of a URL"):
        put(Gate.URL, "https://h/apps/@@", value)


def test_dots_made_of_the_authors_and_the_values_are_seen() -> None:
    """Also where the author wrote his in percent."""
    for text in ("https://h/.@@/x", "https://h/%2e@@/x"):
        with pytest.raises(UnsafeValue, match="another path"):
            put(Gate.URL, text, ".")


@pytest.mark.parametrize(
    ("text", "values", "says"),
    [
        ("@@", ("https://evil.com",), "scheme"),
        ("@@://h/", ("file",), "scheme"),
        ("https:@@", ("//evil.com",), "scheme"),
        ("https://h:@@/", ("80",), "port"),
        ("https://h@@/", (":80",), "host"),
        ("https://@@@x.fly.dev/", ("evil",), "credentials"),
        ("https://u:@@@x.fly.dev/", ("secret",), "credentials"),
        ("https://@@.fly.dev/", ("evil.com/",), "host"),
        ("https://@@.fly.dev/", ("evil.com#",), "host"),
        ("https://@@.fly.dev/", ("a@evil.com",), "host"),
        ("https://@@.fly.dev/", ("",), "host"),
        ("https://@@.fly.dev/", ("-a",), "host"),
        ("https://@@.fly.dev", ("é",), "host"),
        ("https://@@", ("evil.com",), "http.allow"),
        ("https://x.fly.dev@@", (".evil.com",), "http.allow"),
        ("https://h/%@@", ("2F",), "percent"),
        ("https://h/%2@@", ("F",), "percent"),
    ],
)
def test_what_a_url_leads_to_is_the_authors(text: str, values: tuple[str, ...], says: str) -> None:
    """Scheme, port and credentials never come from outside; a host only where `http.allow` covers it."""
    with pytest.raises(UnsafeValue) as caught:
        put(Gate.URL, text, *values)
    assert says in str(caught.value)


def test_a_host_that_a_pattern_covers_may_come_from_outside() -> None:
    """A part of it, or the whole."""
    assert put(Gate.URL, "https://@@.fly.dev:8080/", "web") == "https://web.fly.dev:8080/"
    assert put(Gate.URL, "https://@@/", "Web.fly.dev") == "https://Web.fly.dev/"
    with pytest.raises(UnsafeValue, match=re.escape("http.allow")):
        put(Gate.URL, "https://@@.fly.dev/", "web", hosts=())


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_p10_a_label_never_changes_where_a_url_leads(host: str, path: str, query: str, fragment: str) -> None:
    """A client sees the author's scheme, port and host, and each value whole in its own place."""
    for values in ((host, path, query, fragment), ("web", path, query, fragment), ("web", "x", query, fragment)):
        try:
            url = URL(put(Gate.URL, "https://@@.fly.dev:1/a/@@/z?q=@@#@@", *values))
        except UnsafeValue:
            continue
        assert (url.scheme, url.port, url.user) == ("https", 1, None)
        assert (url.host or "").endswith(".fly.dev")
        assert url.path == f"/a/{values[1]}/z"
        assert dict(url.query) == {"q": query}
        assert url.fragment == fragment


# --- queries ---


@given(HOSTILE, st.sampled_from("\"'"))
def test_p10_a_value_stays_inside_its_string_in_promql(value: str, quote: str) -> None:
    """The query's skeleton is unchanged, and the string means the value."""
    assume(not re.search("[\ud800-\udfff]", value))
    query = put(Gate.PROMQL, f"up{{app={quote}@@{quote}}} > 1", value)
    found = re.fullmatch(rf"up\{{app=({quote}(?:[^{quote}\\\n]|\\.)*{quote})\}} > 1", query)
    assert found
    assert ast.literal_eval(found[1]) == value


@given(HOSTILE)
def test_p10_a_value_in_a_pattern_matches_itself_alone(value: str) -> None:
    """Behind `=~` a value is quoted as a regular expression too."""
    assume(not re.search("[\ud800-\udfff]", value))
    (matcher,) = parse_matchers(put(Gate.MATCHERS, '{app=~"x@@|y+"}', value))
    assert matcher.matches({"app": "x" + value})
    assert not matcher.matches({"app": "x" + value + "z"})
    assert matcher.matches({"app": "yy"})


@given(HOSTILE, HOSTILE)
def test_p10_values_in_matchers_are_read_back_as_themselves(first: str, second: str) -> None:
    """Alertmanager's parsers read both matchers, and each value whole."""
    assume(not re.search("[\ud800-\udfff]", first + second))
    read = parse_matchers(put(Gate.MATCHERS, '{a="@@", b!="x@@"}', first, second))
    assert [matcher.value for matcher in read] == [first, "x" + second]


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (Gate.PROMQL, "up{app=@@}"),
        (Gate.PROMQL, "@@"),
        (Gate.PROMQL, 'up{a="b"} > @@'),
        (Gate.PROMQL, '# "@@"'),
        (Gate.PROMQL, "# it's\n@@"),
        (Gate.MATCHERS, "{app=@@}"),
        (Gate.MATCHERS, "{app='@@'}"),
        (Gate.MATCHERS, "@@"),
        (Gate.MATCHERS, 'a=\\"@@'),
    ],
)
def test_outside_a_quoted_string_no_value_stands(gate: Gate, text: str) -> None:
    """It could be anything there: another matcher, a function, the end of a comment."""
    with pytest.raises(UnsafeValue, match="quoted string"):
        put(gate, text, "x")


@pytest.mark.parametrize(
    "text", [r'up{a="\@@"}', r'up{a="\x4@@"}', r'up{a=~"\\@@"}', r'up{a=~"\\Q@@"}', r'up{a=~"\\p{@@"}']
)
def test_a_value_never_completes_the_authors_backslash(text: str) -> None:
    """Neither one of the string, nor one of the regular expression in it."""
    with pytest.raises(UnsafeValue, match="complete"):
        put(Gate.PROMQL, text, "d1")


def test_a_string_in_backticks_takes_what_has_no_backtick() -> None:
    """Nothing is escaped in one."""
    assert put(Gate.PROMQL, "up{a=`@@`}", 'x\\"y') == 'up{a=`x\\"y`}'
    assert put(Gate.PROMQL, "up{a=~`@@`}", "a.b") == "up{a=~`a\\.b`}"
    with pytest.raises(UnsafeValue, match="backtick"):
        put(Gate.PROMQL, "up{a=`@@`}", "x`} or vector(1)")


# --- JSON and people ---


def test_json_keeps_types_and_all_texts() -> None:
    """Mappings, numbers and any characters are data there."""
    value = {"a": [1, 2.5, None, True], "b": "\0\n\x1b"}
    assert admit(Gate.JSON, value) == value


@pytest.mark.parametrize("text", ['{"a": "@@"}', '{"a": @@}', '["@@"]', 'data\n{"a": "@@"}'])
def test_text_is_never_spliced_into_json(text: str) -> None:
    """A quote in the value would end the author's string."""
    with pytest.raises(UnsafeValue, match="spliced"):
        put(Gate.JSON, text, '1", "admin": "1')


def test_a_body_of_text_takes_values() -> None:
    """Brackets alone don't make it JSON; NUL is refused."""
    assert put(Gate.JSON, "[web] @@ is down", "db") == "[web] db is down"
    with pytest.raises(UnsafeValue, match="NUL"):
        put(Gate.JSON, "x@@", "\0")


@given(HOSTILE)
def test_p10_what_people_read_has_no_control_characters(value: str) -> None:
    """Control, escape and bidirectional characters are made visible, and the rest is as it was."""
    assume(not re.search("[\ud800-\udfff]", value))
    text = put(Gate.DISPLAY, "@@", value)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    if text != value:
        assert re.search(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\[nrt]", text)


def test_an_escape_sequence_is_shown_as_text() -> None:
    """Mappings too, with their names."""
    assert admit(Gate.DISPLAY, {"\x1b[2J": ["\u202e", 3]}) == {"\\x1b[2J": ["\\u202e", 3]}


@pytest.mark.parametrize("gate", [gate for gate in Gate if gate not in {Gate.JSON, Gate.DISPLAY}])
def test_a_mapping_from_outside_is_refused_where_names_matter(gate: Gate) -> None:
    """Names of variables and headers never come from outside."""
    with pytest.raises(UnsafeValue, match="names never come from outside"):
        admit(gate, {"LD_PRELOAD": "x"})


def test_a_number_is_checked_as_the_text_that_it_becomes() -> None:
    """-9 is an option to a program as much as the text is."""
    assert admit(Gate.ARGUMENT, [1, 2]) == [1, 2]
    with pytest.raises(UnsafeValue, match="option"):
        admit(Gate.ARGUMENT, -9)


def test_what_the_author_wrote_is_never_touched() -> None:
    """His vars count as his own words."""
    for gate in Gate:
        assert finish(gate, [Piece("--all ..", outside=False), Piece("\n", outside=False)]) == "--all ..\n"


def test_a_long_value_is_shown_shortened() -> None:
    """An error message stays readable."""
    assert shown("x" * 500) == "'" + "x" * 60 + "…'"
