"""The app for Fly.io: its keys are those of flyctl, and it and the daemon's configuration speak of the same places.

flyctl itself is not to be had where these tests run. Source of the keys: "App configuration (fly.toml)" of Fly.io's reference.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from remediator.app import DRAIN_SECONDS
from remediator.config import LoadedConfig

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "fly.toml"
APP = tomllib.loads(FILE.read_text(encoding="utf-8"))
CHECK = {
    "type",
    "port",
    "method",
    "path",
    "protocol",
    "interval",
    "timeout",
    "grace_period",
    "headers",
    "tls_skip_verify",
}
KNOWN = {
    "build": {"dockerfile", "ignorefile", "image", "build-target", "args"},
    "files": {"guest_path", "local_path", "secret_name", "raw_value", "processes"},
    "mounts": {"source", "destination", "initial_size", "snapshot_retention", "processes"},
    "metrics": {"port", "path", "https", "processes"},
    "restart": {"policy", "retries", "processes"},
    "vm": {"size", "memory", "cpus", "cpu_kind", "processes"},
}
LISTS = {"files", "mounts", "metrics", "restart", "vm"}
PLAIN = {"app", "primary_region", "kill_signal", "kill_timeout"}


@pytest.fixture
def loaded(take) -> LoadedConfig:
    """The machine's configuration."""
    (file,) = APP["files"]
    return take(ROOT / file["local_path"])


def test_flyctl_knows_every_key() -> None:
    """And what is a list there is one here."""
    assert APP.keys() == PLAIN | KNOWN.keys() | {"env", "checks"}
    for name, known in KNOWN.items():
        assert isinstance(APP[name], list) is (name in LISTS)
        for table in APP[name] if name in LISTS else [APP[name]]:
            assert table.keys() <= known, name
    assert all(check.keys() <= CHECK for check in APP["checks"].values())


def test_nothing_of_it_is_public() -> None:
    """Fly.io's proxy leads to services alone."""
    assert not {"http_service", "services"} & APP.keys()


def test_the_image_is_built_from_the_file_beside_it() -> None:
    """flyctl looks for it from where the app's file is."""
    assert (FILE.parent / APP["build"]["dockerfile"]).is_file()


def test_the_daemon_finds_its_configuration_and_its_volume(loaded: LoadedConfig) -> None:
    """State and store are on the volume; the token is a secret, which Fly.io gives as a variable."""
    (file,) = APP["files"]
    (mount,) = APP["mounts"]
    assert APP["env"] == {"REMEDIATOR_CONFIG": file["guest_path"]}
    assert loaded.store_path.parent == loaded.state_folder == Path(mount["destination"])
    assert {name: secret.env for name, secret in loaded.config.secrets.items()} == {"WEBHOOK_TOKEN": "WEBHOOK_TOKEN"}


def test_it_is_asked_where_it_listens(loaded: LoadedConfig) -> None:
    """By the check and by the scrape; to others it is known by its private name."""
    port = loaded.config.address.port
    (check,), (metrics,) = APP["checks"].values(), APP["metrics"]
    assert (check["type"], check["port"], check["path"]) == ("http", port, "/readyz")
    assert (metrics["port"], metrics["path"]) == (port, "/metrics")
    assert loaded.config.address.host == ""  # all addresses: the private network has IPv6
    link = urlsplit(str(loaded.config.public_url))
    assert (link.hostname, link.port) == (f"{APP['app']}.internal", port)


def test_steps_at_work_are_given_their_time() -> None:
    """Before Fly.io kills what is left; it waits for five minutes at most."""
    assert DRAIN_SECONDS < float(APP["kill_timeout"].removesuffix("s")) <= 300
    assert APP["kill_signal"] == "SIGTERM"
