"""The checks that a value from outside passes before it may stand in a parameter (promise P10).

A finished text is a row of pieces: what the author wrote, and the values put between. A gate looks at each value where
it stands, and never lets it change what the author's part means: the argument it is in, the host a URL leads to, the
string in a query. What the author wrote is never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from remediator.actions.bounds import visible
from remediator.actions.protocol import Gate, Grammar
from remediator.rules.pieces import Piece, joined, unsafe
from remediator.rules.query_gate import PLACES, matchers, promql
from remediator.rules.url_gate import UrlGate, host

_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"  # C0, DEL, C1, and what else ends a line
_CONTROL = re.compile(f"[{_CONTROLS}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def finish(gate: Gate | Grammar, pieces: Sequence[Piece], hosts: Sequence[str] = ()) -> str:
    """Put a text together from its pieces, each value from outside through the gate.

    `hosts` are the patterns of `http.allow`; they matter for URLs and hosts only. Raises UnsafeValue.
    """
    for piece in pieces:
        if _SURROGATE.search(piece.text):
            raise unsafe(piece.text, _place(gate), "half of a surrogate pair is not text")
    if not any(piece.outside for piece in pieces):
        return "".join(piece.text for piece in pieces)
    if isinstance(gate, Grammar):
        return _named(gate, pieces)
    if gate is Gate.URL:
        return UrlGate(hosts).finish(pieces)
    if gate is Gate.HOST:
        return host(pieces, hosts)
    return _FINISHERS[gate](pieces)


def admit(gate: Gate | Grammar, value: Any, hosts: Sequence[str] = ()) -> Any:
    """Let a value from outside that keeps its type through a gate, with all that it holds.

    `value` is made of JSON's types. Numbers are checked as the text they would become. `hosts` is as for `finish`. Raises
    UnsafeValue.
    """
    if isinstance(value, str):
        return finish(gate, [Piece(value, outside=True)], hosts)
    if isinstance(value, Mapping):
        if gate not in {Gate.JSON, Gate.DISPLAY}:
            raise unsafe(value, _place(gate), "a mapping's names never come from outside")
        return {admit(gate, key, hosts): admit(gate, item, hosts) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [admit(gate, item, hosts) for item in value]
    if value is not None and gate not in {Gate.JSON, Gate.DISPLAY}:
        finish(gate, [Piece(str(value), outside=True)], hosts)
    return value


def _place(gate: Gate | Grammar) -> str:
    return f"the place of {gate}" if isinstance(gate, Grammar) else _PLACES[gate]


# --- gates that look at the value, and hardly at its place ---


def _argument(pieces: Sequence[Piece]) -> str:
    done = ""
    for piece in pieces:
        if piece.outside:
            _refuse_controls(piece.text, "an argument")
            if not done and piece.text.startswith("-"):
                raise unsafe(piece.text, "the beginning of an argument", "the program would read it as an option")
        done += piece.text
    return done


def _named(grammar: Grammar, pieces: Sequence[Piece]) -> str:
    for piece in pieces:
        if piece.outside and not grammar.takes(piece.text):
            raise unsafe(piece.text, _place(grammar), "it would be more than one value in it")
    done = joined(pieces)
    if not grammar.fits(done):
        raise unsafe(done, _place(grammar), "it is none")
    return done


def _header(pieces: Sequence[Piece]) -> str:
    for piece in pieces:
        if piece.outside:
            _refuse_controls(piece.text, "a header")
    return joined(pieces)


def _child_text(pieces: Sequence[Piece]) -> str:
    _refuse_nul(pieces, Gate.CHILD_TEXT)
    return joined(pieces)


def _directory(pieces: Sequence[Piece]) -> str:
    _refuse_nul(pieces, Gate.DIRECTORY)
    done = joined(pieces)
    if ".." in done.split("/"):
        raise unsafe(done, "a directory", "it would lead upwards (..)")
    return done


def _display(pieces: Sequence[Piece]) -> str:
    return "".join(visible(piece.text) if piece.outside else piece.text for piece in pieces)


def _json(pieces: Sequence[Piece]) -> str:
    if len(pieces) == 1:
        return pieces[0].text  # a JSON string by itself: the encoder escapes what it holds
    _refuse_nul(pieces, Gate.JSON)
    skeleton = "".join("0" if piece.outside else piece.text for piece in pieces)
    if any(_is_document(text) for text in (skeleton, *skeleton.splitlines())):
        value = next(piece.text for piece in pieces if piece.outside)
        raise unsafe(value, "a JSON text", "text is never spliced into JSON; write a mapping or list in YAML instead")
    return joined(pieces)


def _is_document(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_controls(text: str, place: str) -> None:
    if _CONTROL.search(text):
        raise unsafe(text, place, "it holds a control character or a line break")


def _refuse_nul(pieces: Sequence[Piece], gate: Gate) -> None:
    for piece in pieces:
        if piece.outside and "\0" in piece.text:
            raise unsafe(piece.text, _PLACES[gate], "it holds NUL")


_PLACES: Mapping[Gate, str] = {
    Gate.ARGUMENT: "an argument",
    Gate.CHILD_TEXT: "a child's environment or standard input",
    Gate.DIRECTORY: "a directory",
    Gate.HOST: "a host",
    Gate.URL: "a URL",
    Gate.HEADER: "a header",
    **PLACES,
    Gate.JSON: "a JSON value or a body of text",
    Gate.DISPLAY: "a text for people",
}
_FINISHERS: Mapping[Gate, Callable[[Sequence[Piece]], str]] = {
    Gate.ARGUMENT: _argument,
    Gate.CHILD_TEXT: _child_text,
    Gate.DIRECTORY: _directory,
    Gate.HEADER: _header,
    Gate.PROMQL: promql,
    Gate.MATCHERS: matchers,
    Gate.JSON: _json,
    Gate.DISPLAY: _display,
}
