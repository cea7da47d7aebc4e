"""Text and values from outside: made fit to keep, to show, and to bound."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

import msgspec

from remediator.actions.protocol import MAX_RESULT_BYTES, JsonValue

_DEEPEST = 64  # levels of nesting in JSON from outside: the encoders of the store recurse
# C0, DEL, C1, what else ends a line, bidirectional controls, and halves of surrogate pairs.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LEAST_BASE64 = 6  # characters: the inside of a shorter one is found in words that are no secret
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(data: bytes | bytearray) -> str:
    """Read bytes from outside as UTF-8; what is not, and NUL, which PostgreSQL can't hold, becomes U+FFFD."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def visible(text: str, longest: int | None = None) -> str:
    r"""Write control, line-ending and bidirectional characters as `\xNN` or `\uNNNN`, and cut to a length if one is given."""
    shown = _UNSEEN.sub(_written, text[:longest])
    return shown + "…" if longest is not None and len(text) > longest else shown


@lru_cache(maxsize=512)
def _forms_of(secret: str) -> tuple[str, ...]:
    """Give how a secret may be echoed: as it is, inside JSON, in a URL, and in base64, wherever in a text it began there.

    The longest come first, so that none is taken out of the middle of another.
    """
    data = secret.encode(errors="surrogatepass")
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {quote(data, safe=""), quote(data), quote_plus(data)}
    forms |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in forms}
    forms |= {form for form in _in_base64(data) if len(form) >= _LEAST_BASE64}
    return tuple(sorted(filter(None, forms), key=lambda form: (-len(form), form)))


def _in_base64(data: bytes) -> Iterator[str]:
    for before in range(3):  # bytes before it in its group of three; what its neighbours have a share in is left out
        encoded = base64.b64encode(b"\0" * before + data).decode()
        begin, end = (before * 8 + 5) // 6, ((before + len(data)) * 8) // 6
        yield encoded[begin:end]
        yield encoded[begin:end].replace("+", "-").replace("/", "_")


def redact(text: str, secrets: Mapping[str, str], *, cut: bool = False) -> str:
    """Put its mark in the place of each secret, where somebody has echoed it: as it is, in JSON, a URL or base64.

    Of a text that was `cut`, an end that may be the beginning of a secret goes too.
    """
    for secret, mark in secrets.items():
        for form in _forms_of(secret):
            text = text.replace(form, mark)
        begun = (length for length in range(len(secret) - 1, 0, -1) if cut and text.endswith(secret[:length]))
        text = text[: len(text) - next(begun, 0)]
    return text


def parse_json(text: str) -> JsonValue:
    """Give the value that a text from outside is as JSON, None if it is not JSON or nests too deep."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    return value if _nests(value, _DEEPEST) else None


def _nests(value: JsonValue, levels: int) -> bool:
    """Tell whether a value nests no deeper than that many levels."""
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_nests(part, levels - 1) for part in parts)


def encoded_size(value: JsonValue) -> int:
    """Give the bytes that a value takes as JSON."""
    return len(msgspec.json.encode(value))


def bounded(result: dict[str, JsonValue], *texts: str) -> dict[str, JsonValue]:
    """Cut a result to MAX_RESULT_BYTES of JSON and mark it `truncated`.

    The values named by `texts` are shortened, each to its share, so that `json` stays whole; where that alone leaves no
    room, `json` becomes None: half a document would be read as a whole one.
    """
    if encoded_size(result) <= MAX_RESULT_BYTES:
        return result
    result = {**result, "truncated": True}
    for without in ({}, {"json": None}):
        frame = {**result, **without}
        room = MAX_RESULT_BYTES - encoded_size({**frame, **dict.fromkeys(texts, "")})
        if room >= 1024 * len(texts):
            break
    shares = dict[str, JsonValue]()
    for left, name in zip(range(len(texts), 0, -1), sorted(texts, key=lambda text: len(result[text])), strict=True):
        shares[name] = _shorten(result[name], room // left)
        room -= encoded_size(shares[name]) - len('""')
    return {**frame, **shares}


def _shorten(text: str, most: int) -> str:
    """Cut the middle out of a text until it takes at most so many bytes as JSON."""
    short, kept = text, len(text)
    while (size := encoded_size(short) - len('""')) > most:
        kept = min(kept - 1, kept * most // size - 32)  # room for the mark below
        if kept <= 0:
            return ""
        short = f"{text[: kept - kept // 2]}\n[… {len(text) - kept} characters cut …]\n{text[len(text) - kept // 2 :]}"
    return short
