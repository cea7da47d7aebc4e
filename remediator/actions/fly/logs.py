"""`fly.logs`: the newest lines of an app's log.

Source: fly.io/docs, "Logs API options for programmatic access" (`GET /api/v1/apps/APP/logs`), and superfly/fly-go,
`resource_logs.go`.
"""

from __future__ import annotations

import msgspec
from pydantic import Field

from remediator.actions import api
from remediator.actions.bounds import encoded_size, visible
from remediator.actions.fly.names import AppParameters, MachineId, Region
from remediator.actions.fly.server import fit, fly_of
from remediator.actions.protocol import MAX_RESULT_BYTES, Action, Context, Effect, JsonValue, Outcome, Result

_LONGEST = 2000  # characters of one line that are kept
_ROOM = MAX_RESULT_BYTES - 200  # bytes for the lines, with room for what stands around them


class _Line(msgspec.Struct, frozen=True):
    timestamp: str
    message: str
    level: str | None = None
    instance: str | None = None
    region: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    attributes: _Line


class _Log(msgspec.Struct, frozen=True):
    data: list[_Entry]


class LogsParameters(AppParameters):
    """Whose lines, and how many."""

    lines: int = Field(default=100, ge=1, le=1000, description="How many of the newest lines are given.")
    machine: MachineId | None = Field(
        default=None, description="Only those of this machine.", examples=["148ed726c15789"]
    )
    region: Region | None = Field(default=None, description="Only those of this region.", examples=["fra"])


class FlyLogs(Action[LogsParameters]):
    """Get the newest lines of an app's log.

    `lines` lists `at`, `level`, `machine`, `region` and `message`, oldest first; `count` is their number. It is evidence, not
    a population: `truncated` tells that fewer lines are given than were asked for and may be there, or that one was cut. Fly.io
    gives the newest hundred of the last day in one answer, and more is not asked for; beyond 64 KiB the oldest go.

    Example:
        - id: logs
          uses: fly.logs
          with: {app: '{{ labels.app }}', lines: 200}
    """

    name = "fly.logs"
    effect = Effect.READ
    parameters = LogsParameters
    section = "fly"

    def plan(self, params: LogsParameters) -> str:
        """Name the app, and what narrows it down."""
        whose = f"the machine {params.machine} of " if params.machine else ""
        where = f" in {params.region}" if params.region else ""
        words = f"ask Fly.io for the newest {params.lines} lines of the log of {whose}the app {params.app}{where}"
        return visible(words, longest=2000)

    async def run(self, params: LogsParameters, context: Context) -> Outcome:
        """Ask for them."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        narrowed = (("instance", params.machine), ("region", params.region))
        query = tuple((name, value) for name, value in narrowed if value)
        where = api.path("api", "v1", "apps", params.app, "logs")
        value = await api.ask(fly.web_api, "GET", where, context, query=query)
        log = value if isinstance(value, Outcome) else fit(value, _Log, f"the log of {params.app}")
        if isinstance(log, Outcome):
            return log
        given = sorted((entry.attributes for entry in log.data), key=lambda line: line.timestamp)
        return Outcome(Result.OK, _newest(given, params.lines))


def _newest(given: list[_Line], wanted: int) -> dict[str, JsonValue]:
    """Give the newest lines that fit a result, oldest first."""
    kept: list[dict[str, JsonValue]] = []
    room = _ROOM
    for line in reversed(given[-wanted:]):
        shown = _shown(line)
        room -= encoded_size(shown) + 1
        if room < 0:
            break
        kept.append(shown)
    # A full answer of fewer lines than were wanted: there may be older ones. An empty log has none.
    cut = len(kept) < min(wanted, len(given)) or any(len(line.message) > _LONGEST for line in given[-wanted:])
    return {"lines": kept[::-1], "count": len(kept), "truncated": cut or 100 <= len(given) < wanted}


def _shown(line: _Line) -> dict[str, JsonValue]:
    message = line.message if len(line.message) <= _LONGEST else f"{line.message[:_LONGEST]}…"
    return {
        "at": line.timestamp, "level": line.level, "machine": line.instance, "region": line.region, "message": message,
    }  # fmt: skip
