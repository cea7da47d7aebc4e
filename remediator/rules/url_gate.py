"""The gate of URLs and hosts: only what the author wrote moves a URL from one part to the next (promise P10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote

from remediator.rules.pieces import Piece, joined, unsafe

_HOST_TEXT = re.compile(r"[A-Za-z0-9.-]+")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_BROKEN_ESCAPE = re.compile(r"%[0-9A-Fa-f]?\Z")


class UrlGate:
    """A URL under construction. Only what the author wrote moves it from one part to the next."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._part = "scheme"
        self._done = ""
        self._authority: list[Piece] = []
        self._segment = ""  # of the path, as it stands so far
        self._segment_values: list[str] = []
        self._segment_written = False  # whether the author wrote any of it

    def finish(self, pieces: Sequence[Piece]) -> str:
        """Put the pieces together. Raises UnsafeValue."""
        for piece in pieces:
            if piece.outside:
                self._value(piece.text)
            else:
                for character in piece.text:
                    self._character(character)
        self._end_part()
        return self._done

    def _character(self, character: str) -> None:
        if self._part == "scheme":
            if (self._done + character).endswith("://"):
                self._part = "authority"
        elif self._part == "authority":
            if character in "/?#":
                self._end_part()
                self._part = {"/": "path", "?": "query", "#": "fragment"}[character]
            else:
                self._authority.append(Piece(character, outside=False))
        elif character == "#" or (character == "?" and self._part == "path"):
            self._end_part()
            self._part = "fragment" if character == "#" else "query"
        elif self._part == "path":
            if character == "/":
                self._end_part()
            else:
                self._segment += character
                self._segment_written = True
        self._done += character

    def _value(self, value: str) -> None:
        if self._part == "scheme":
            raise unsafe(value, "the scheme or host of a URL", "the author writes these; a value may come after them")
        if self._part == "authority":
            if not _HOST_TEXT.fullmatch(value):
                raise unsafe(value, "the host of a URL", "a host has letters, digits, '-' and '.' only")
            self._authority.append(Piece(value, outside=True))
            self._done += value
            return
        if _BROKEN_ESCAPE.search(self._done):
            raise unsafe(value, "a URL", "it would complete the author's percent sign")
        encoded = quote(value, safe="")
        if self._part == "path":
            self._segment += encoded
            self._segment_values.append(value)
        self._done += encoded

    def _end_part(self) -> None:
        if self._part == "authority":
            self._check_authority()
        elif self._part == "path":
            self._check_segment()

    def _check_segment(self) -> None:
        if self._segment_values:
            value = "".join(self._segment_values)
            if {".", ".."} & set(re.split(r"[/\\]", unquote(self._segment))):  # servers differ in when they decode
                raise unsafe(value, "the path of a URL", "it would lead to another path")
            if not self._segment and not self._segment_written:
                raise unsafe(value, "the path of a URL", "an empty name addresses everything there")
        self._segment, self._segment_values, self._segment_written = "", [], False

    def _check_authority(self) -> None:
        values = [piece.text for piece in self._authority if piece.outside]
        if not values:
            return
        written = "".join("\0" if piece.outside else piece.text for piece in self._authority)
        credentials, _, place = written.rpartition("@")
        _, colon, port = place.partition(":")
        if "\0" in credentials:
            raise unsafe(values[0], "the credentials of a URL", "these never come from outside")
        if colon and "\0" in port:
            raise unsafe(values[0], "the port of a URL", "it never comes from outside")
        whole = joined(self._authority).rpartition("@")[2]
        _check_host(whole.partition(":")[0], "the host of a URL", self._hosts)


def _check_host(host: str, place: str, hosts: Sequence[str]) -> None:
    host = host.lower()
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise unsafe(host, place, "it is not a host name")
    if not any(fnmatchcase(host, pattern.lower()) for pattern in hosts):
        raise unsafe(host, place, "no pattern of `http.allow` in the configuration covers it")


def host(pieces: Sequence[Piece], hosts: Sequence[str]) -> str:
    """Put one host together; `hosts` are the patterns of `http.allow`. Raises UnsafeValue."""
    done = joined(pieces)
    _check_host(done, "a host", hosts)
    return done
