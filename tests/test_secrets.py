"""Secrets are read where they are, when they are needed, and stand in nothing that is recorded."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from remediator.actions.bounds import redact
from remediator.config import LoadedConfig, load_config
from remediator.errors import ConfigurationError
from remediator.secrets import MARK, Secrets

TEXT = "secrets: {F: {file: token}, E: {env: PW}}\n"
TOKEN = 's3cr"et/tä+ken'


def load(folder: Path, text: str = TEXT, **environ: str) -> LoadedConfig:
    """Load a configuration of this text."""
    (folder / "remediator.yml").write_text(text)
    return load_config(folder / "remediator.yml", environ)


def test_a_secret_is_read_when_it_is_needed(tmp_path: Path) -> None:
    """From a file less its last newline, or from the environment; what was rotated is there at once."""
    secrets = Secrets(load(tmp_path, PW="hunter2"))
    (tmp_path / "token").write_text("abc\n\n")
    assert secrets.read("F") == "abc\n"
    (tmp_path / "token").write_text("rotated")
    assert secrets.read("F") == "rotated"
    assert secrets.read("E") == "hunter2"


def test_a_secret_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    """An unknown name is a KeyError, a source that fails is for the operator to mend."""
    secrets = Secrets(load(tmp_path))
    with pytest.raises(KeyError):
        secrets.read("X")
    with pytest.raises(ConfigurationError, match="the secret F can't be read: token: No such file"):
        secrets.read("F")
    with pytest.raises(ConfigurationError, match="the variable PW is not set"):
        secrets.read("E")
    secrets.refresh()
    assert secrets.values == ()


def test_p9_what_was_rotated_a_moment_ago_stays_unsaid(tmp_path: Path) -> None:
    """The old value is in what others say for a while; so is that of a secret which the configuration has no more."""
    secrets = Secrets(load(tmp_path, PW="hunter2"))
    for value in ("first-value", "second-value"):
        (tmp_path / "token").write_text(value)
        secrets.refresh()
    secrets.adopt(load(tmp_path, "secrets: {E: {env: PW}}\n", PW="hunter2"))
    assert secrets.hide("first-value second-value hunter2") == f"{MARK} {MARK} {MARK}"


def test_a_value_that_is_short_is_left_in_texts(tmp_path: Path) -> None:
    """It would be taken out of words that are no secret."""
    assert Secrets(load(tmp_path, PW="web")).hide("web is down") == "web is down"


@pytest.mark.parametrize("before", ["", "x", "user:", "ab", "user"])
@pytest.mark.parametrize("after", ["", "y", "yz", "!!!"])
def test_p9_no_form_of_a_secret_passes(before: str, after: str) -> None:
    """As it is, in JSON, in a URL and in base64, wherever it began there: what is left of it gives nothing away."""
    whole = f"{before}{TOKEN}{after}"
    standard, urlsafe = (f(whole.encode()).decode() for f in (base64.b64encode, base64.urlsafe_b64encode))
    for form in (whole, json.dumps(whole), quote(whole), quote(whole, safe=""), quote(whole, safe="").lower()):
        assert redact(form, {TOKEN: "*"}) != form
        assert "s3cr" not in redact(form, {TOKEN: "*"})
    for form in (standard, urlsafe):
        left = redact(f"Basic {form}", {TOKEN: "*"})
        assert "*" in left
        assert len(left) <= len("Basic *") + len(base64.b64encode(f"{before}{after}".encode())) + 8
