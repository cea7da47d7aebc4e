"""What every command shares: its options, how a failure becomes an exit status, and the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from remediator.actions.bounds import visible
from remediator.cli.client import Client, Refused, Unreachable
from remediator.config import LoadedConfig, load_config
from remediator.errors import ConfigurationError, RemediatorError, StoreForeign, StoreLocked

FAULT, USAGE, UNREACHABLE = 1, 2, 3


class Asked:
    """What the person asked for, beside the command's own arguments."""

    def __init__(self, config: Path | None, output: str, url: str | None, token: str | None) -> None:
        self.config_path = config
        self.json = output == "json"
        self.url = url
        self.token = token
        self._loaded: LoadedConfig | None = None

    @property
    def config(self) -> LoadedConfig:
        """Load the configuration at first use. Raises ConfigurationError."""
        if self._loaded is None:
            self._loaded = load_config(self.config_path, os.environ)
        return self._loaded

    @property
    def client(self) -> Client:
        """Give the way to the daemon."""
        return Client.of(self.config, self.url, self.token)

    def say(self, words: str, status: int = 0) -> int:
        """Say something beside what was asked for, on standard error, and give the exit status that goes with it."""
        click.echo(f"remediator: {visible(words)}", err=True)
        return status


_OPTIONS = (
    click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="For people or programs."),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="The configuration (default: REMEDIATOR_CONFIG, or ./remediator.yml).",
    ),
)
_DAEMON_OPTIONS = (
    click.option("--token", help="The daemon's token (default: REMEDIATOR_TOKEN, or its token file)."),
    click.option("--url", help="Where the daemon is (default: REMEDIATOR_URL, or `listen`)."),
)


def command(name: str, *, daemon: bool = False) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a command: `--config` and `-o`, and, where it speaks to the daemon, `--url` and `--token`.

    The function gets an `Asked` first and gives its exit status (None: 0).
    """

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @wraps(function)
        def run(config: Path | None, output: str, url: str | None = None, token: str | None = None, **own: Any) -> None:
            sys.exit(_status(lambda: function(Asked(config, output, url, token), **own)))

        wrapped: Any = run
        for option in (*(_DAEMON_OPTIONS if daemon else ()), *_OPTIONS):
            wrapped = option(wrapped)
        return click.command(name)(wrapped)

    return decorate


def _status(work: Callable[[], int | None]) -> int:
    try:
        return work() or 0
    except Unreachable as error:
        return _say(error, UNREACHABLE)
    except Refused as error:
        return _say(error, FAULT if error.status < 500 and error.status != 401 else UNREACHABLE)
    except (ConfigurationError, StoreLocked, StoreForeign) as error:
        return _say(error, USAGE)
    except RemediatorError as error:
        return _say(error, FAULT)


def _say(error: Exception, status: int) -> int:
    click.echo(f"remediator: {error}", err=True)
    return status
