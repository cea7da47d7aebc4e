"""The command about the daemons over one store: replicas."""

from __future__ import annotations

from remediator.cli import output
from remediator.cli.command import FAULT, Asked, command


@command("replicas", daemon=True)
def replicas(asked: Asked) -> int:
    """List the daemons over this store, and whether all decide by the same rules, and by those in their files."""
    found = asked.client.ask("GET", "/replicas")["replicas"]
    differ = any(not each["same_rules"] for each in found)
    refusing = [each for each in found if each["refused"]]
    if asked.json:
        output.document(found)
    else:
        columns = ("host", "worker", "version", "started_at", "rules", "seen_at")
        rows = [[each[column] for column in columns] for each in found]
        output.table(("HOST", "WORKER", "VERSION", "STARTED", "RULES", "SEEN"), rows)
        if differ:
            output.line("their rules differ: give all of them the same files")
        for each in refusing:
            output.line(
                f"{each['host']} goes on by the last good set, what its files say now is refused: {each['refused']}"
            )
    return FAULT if differ or refusing else 0
