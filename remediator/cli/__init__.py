"""The command `remediator`: what people type. Each command says what it does, asks the engine or the daemon, and prints."""

from __future__ import annotations

import importlib

import click

# Which module has a command: only the one that is asked for is imported, so that each starts at once.
_COMMANDS = {
    "serve": "daemon",
    "migrate": "daemon",
    "audit": "audit",
    "check": "rules",
    "test": "test",
    "explain": "rules",
    "schema": "rules",
    "actions": "rules",
    "runs": "runs",
    "show": "runs",
    "cancel": "runs",
    "resolve": "runs",
    "approve": "approvals",
    "reject": "approvals",
    "run": "by_hand",
    "drill": "by_hand",
    "pause": "controls",
    "resume": "controls",
    "mode": "controls",
    "controls": "controls",
    "replicas": "replicas",
    "token": "people",
    "report": "report",
    "postmortem": "report",
}


class _Lazy(click.Group):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(importlib.import_module(f"remediator.cli.{module}"), cmd_name)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="remediator")
def main() -> None:
    """Alertmanager webhooks in; guarded, verified and recorded remediation out."""
