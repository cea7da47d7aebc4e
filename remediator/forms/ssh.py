"""The section `ssh` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from remediator.forms.guards import Filled
from remediator.forms.section import Section


class Ssh(Section):
    """The machines that `ssh.*` may reach, and as whom."""

    hosts: list[Filled] = Field(
        min_length=1, description="Patterns of the hosts that may be reached, names or addresses: `*.example.com`."
    )
    user: Filled = Field(description="The user there.")
    key: Filled = Field(description="The private key's file, without a passphrase.")
    known_hosts: Filled = Field(description="The file with the hosts' keys; a host that is not in it is not spoken to.")
    port: int = Field(22, ge=1, le=65535, description="The port, where a step names none.")

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it."""
        return {**self.model_dump(), "key": str(base / self.key), "known_hosts": str(base / self.known_hosts)}
