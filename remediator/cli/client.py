"""Finds the running daemon and asks it. Plain urllib: a command must start at once."""

from __future__ import annotations

import getpass
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from remediator.config import LoadedConfig
from remediator.errors import RemediatorError


class Unreachable(RemediatorError):
    """No daemon answered."""


class Refused(RemediatorError):
    """The daemon answered no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Client:
    """The API of one daemon."""

    url: str
    token: str | None
    hint: str | None = None  # why no token was found

    @staticmethod
    def of(loaded: LoadedConfig, url: str | None, token: str | None) -> Client:
        """Find the daemon by `--url`, REMEDIATOR_URL or `listen`, and the token likewise or in the state folder."""
        environ = loaded.environ
        address = loaded.config.address
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
        listening = f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"
        found = token or environ.get("REMEDIATOR_TOKEN")
        hint = None
        if found is None:
            file = loaded.state_folder / "token"
            try:
                found = file.read_text().strip()
            except OSError as error:
                hint = f"{file}: {error.strerror}"
        return Client((url or environ.get("REMEDIATOR_URL") or listening).rstrip("/"), found, hint)

    def ask(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None, *, text: bool = False
    ) -> Any:
        """Ask once; the answer is JSON, or `text`. Raises Unreachable, and Refused with the daemon's own words."""
        wanted = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{self.url}/api/v1{path}" + (f"?{urllib.parse.urlencode(wanted)}" if wanted else "")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(target, data=data, method=method)  # noqa: S310 - the operator names the URL
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        # No proxy: the daemon is on this machine, or where the operator says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return response.read().decode() if text else json.load(response)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"no daemon answers at {self.url} ({reason}): is `remediator serve` running? "
                "Name another with --url or REMEDIATOR_URL"
            ) from None

    def _refused(self, error: urllib.error.HTTPError) -> Refused:
        try:
            told = json.load(error)["error"]
            code, message = str(told["code"]), str(told["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "unexpected", f"{self.url} answered {error.code}: is that a Remediator?"
        if error.code == 401 and self.hint:
            message += f" (no token was found: {self.hint})"
        return Refused(error.code, code, message)

    def runs(self, limit: int | None, **query: Any) -> Iterator[dict[str, Any]]:
        """List runs, following pages."""
        before, left = None, limit
        while left is None or left > 0:
            page = self.ask("GET", "/runs", query={**query, "before": before, "limit": min(left or 1000, 1000)})
            yield from page["runs"]
            left = None if left is None else left - len(page["runs"])
            before = page["next"]
            if before is None:
                return

    def one(self, run: str) -> str:
        """Complete the beginning of a run's id; raises Refused where it is not the beginning of just one."""
        if len(run) == 26:
            return run
        listed = (
            self.runs(None) if run else ()
        )  # in a script, an empty variable must not mean the only run that there is
        found = [each["id"] for each in listed if each["id"].startswith(run) or each["id"].endswith(run)]
        if len(found) != 1:
            raise Refused(404, "not_found", f"{len(found)} runs have an id that begins or ends with {run!r}")
        return str(found[0])


def author() -> str:
    """Name the person at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
