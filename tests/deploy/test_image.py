"""The image: hadolint finds nothing wrong with its Dockerfile, it is made of what was tested, and it tells how it fares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from remediator.config import Config

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
TEXT = FILE.read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions(name: str) -> list[str]:
    """Give what stands behind each instruction of a name."""
    return re.findall(rf"^{name} (.+)$", TEXT, re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Give the version of each package of a lock."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))


def test_hadolint_finds_nothing_wrong() -> None:
    """Its style rules and those of the shell count."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), FILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_is_all_that_the_build_sees() -> None:
    """No file that it needs is kept from it, and no other is sent along."""
    copied = {name for line in instructions("COPY") if not line.startswith("--from") for name in line.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_both_stages_have_one_python_that_the_project_takes() -> None:
    """An environment does not work with another Python than it was made with."""
    (base,) = {line.split()[0] for line in instructions("FROM")}
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-bookworm", base)
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert version is not None
    assert least is not None
    assert tuple(map(int, version.groups())) >= tuple(map(int, least.groups()))


@pytest.mark.parametrize("lock", ["requirements-image.lock", "requirements-build.lock"])
def test_it_has_the_versions_that_were_tested(lock: str) -> None:
    """Where it hasn't: `make lock`."""
    assert pins(lock).items() <= pins("requirements-dev.lock").items()


def test_it_has_what_every_platform_needs() -> None:
    """Without a library `kubernetes.*` and others only say that it is missing."""
    wanted = [*PROJECT["dependencies"], *(each for some in PROJECT["optional-dependencies"].values() for each in some)]
    names = {match[0] for each in wanted if (match := re.match(r"[\w-]+", each))}
    assert names <= pins("requirements-image.lock").keys()


def test_it_listens_where_the_daemon_does() -> None:
    """Its port is the configuration's default."""
    assert instructions("EXPOSE") == [str(Config().address.port)]


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[int, list[str]]]:
    """Serve a status on a port, and note what is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@pytest.mark.parametrize(("answering", "ends"), [(200, 0), (503, 1)], indirect=["answering"])
def test_its_health_is_the_daemons(answering: tuple[int, list[str]], ends: int) -> None:
    """It asks by HTTP, with Python alone."""
    port, asked = answering
    (line,) = instructions("HEALTHCHECK")
    command = json.loads(line.partition(" CMD ")[2])
    assert command[0] == "python"
    assert str(Config().address.port) in command[2]
    here = [sys.executable, command[1], command[2].replace(str(Config().address.port), str(port))]
    assert (subprocess.run(here, check=False, timeout=30).returncode, asked) == (ends, ["/healthz"])
