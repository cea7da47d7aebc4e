"""Silences: which there are, one of ours for a bounded span, and the end of ours. Nobody else's is ever touched.

A silence is ours by who made it (`createdBy`), and of a run by the mark at the end of its comment.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Literal

import msgspec
from pydantic import Field, model_validator

from remediator.actions.alertmanager.matchers import (
    Match,
    Matcher,
    NamingMatch,
    filters_of,
    parts_of,
    texts_of,
)
from remediator.actions.alertmanager.server import listed, read, server
from remediator.actions.api import Platform, ask, path
from remediator.actions.bounds import visible
from remediator.actions.protocol import (
    Action,
    Context,
    Duration,
    Effect,
    Gate,
    Grammar,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)
from remediator.model.time import Seconds, format_duration, format_rfc3339

OURS = "remediator"  # who made them
LONGEST: Seconds = 24 * 3600.0
_SHORTEST: Seconds = 60.0
_MARK = re.compile(r" \[remediator run ([^\] ]*) for ([0-9.]+) s\]\Z")
_ID = Grammar("the id of a silence, a UUID", "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
State = Literal["active", "pending", "expired"]


class _Status(msgspec.Struct, frozen=True):
    state: str


class _Silence(msgspec.Struct, frozen=True):
    """The API's `gettableSilence`."""

    id: str
    status: _Status
    matchers: list[Matcher]
    startsAt: str  # noqa: N815 - the API's names
    endsAt: str  # noqa: N815
    createdBy: str  # noqa: N815
    comment: str

    @property
    def ours(self) -> bool:
        """Tell whether the daemon made it."""
        return self.createdBy == OURS

    def mutes(self, matchers: tuple[Matcher, ...]) -> bool:
        """Tell whether it is one of ours with just these matchers, and has not ended."""
        return self.ours and self.status.state != "expired" and set(self.matchers) == set(matchers)


class SilencesParameters(Parameters):
    """Which silences to ask for."""

    match: Match | None = Field(
        default=None,
        description="Only those that are made for what matches this: compared with the values that a silence's own "
        "matchers hold. Default: all.",
        examples=['alertname="HighErrorRate"'],
    )
    states: list[State] = Field(
        default=["active", "pending"], min_length=1, description="Only those that are in one of these states."
    )
    ours: bool = Field(default=False, description="Only those that this daemon made, in whatever run.")


class SilenceParameters(Parameters):
    """What to silence, and for how long."""

    match: NamingMatch = Field(
        description="Matchers, one text or a list of texts that must all hold, values in double quotes. One at least has "
        'to name its values: `app="web"`, `app=~"web|shop"`.',
        examples=['{alertname="HighErrorRate", app="web"}'],
    )
    for_: Annotated[
        Duration,
        Field(ge=_SHORTEST, le=LONGEST, alias="for", description="For how long from now: between 1m and 1d."),
    ]
    comment: Annotated[str, Gate.DISPLAY] = Field(
        min_length=1, description="Why, for whoever looks at the silences. The run's id is put behind it."
    )


class ExpireParameters(Parameters):
    """Which of our silences to end."""

    id: Annotated[str, _ID] | None = Field(
        default=None, description="The id of one, as `alertmanager.silence` gave it."
    )
    match: NamingMatch | None = Field(
        default=None, description="The matchers of those to end: the very same that they were made with."
    )

    @model_validator(mode="after")
    def _one_way(self) -> ExpireParameters:
        if (self.id is None) == (self.match is None):
            raise ValueError("give one of `id` and `match`")
        return self


class AlertmanagerSilences(Action[SilencesParameters]):
    """Ask Alertmanager which silences there are.

    `silences` lists `id`, `state` (`active`, `pending`, `expired`), `matchers` as texts, `starts_at`, `ends_at`,
    `created_by`, `comment`, `ours` (whether this daemon made it) and `run` (the run that did, else null); `count` is
    their number. Where that is more than a result may hold (64 KiB) only `id`, `state`, `matchers` and `ours` are given;
    where that is still too much the step fails: the list is never cut.

    Example:
        - id: silences
          uses: alertmanager.silences
          with: {match: 'app="{{ labels.app }}"'}
          expect: result.count == 0
    """

    name = "alertmanager.silences"
    effect = Effect.READ
    parameters = SilencesParameters
    section = "alertmanager"

    def plan(self, params: SilencesParameters) -> str:
        """Say which."""
        which = f" for {', '.join(texts_of(params.match))}" if params.match is not None else ""
        whose = "our " if params.ours else ""
        return visible(f"ask Alertmanager for {whose}{', '.join(params.states)} silences{which}", longest=2000)

    async def run(self, params: SilencesParameters, context: Context) -> Outcome:
        """Ask it."""
        platform = server(context)
        if isinstance(platform, Outcome):
            return platform
        found = await _silences(platform, context, params.match)
        if isinstance(found, Outcome):
            return found
        wanted = [each for each in found if each.status.state in params.states and (each.ours or not params.ours)]
        return listed("silences", wanted, _whole, _short)


class AlertmanagerSilence(Action[SilenceParameters]):
    """Silence alerts in Alertmanager for a bounded span, marked as made by this daemon, in this run.

    One that this run has made before, with the same matchers for the same span, and that still stands, is kept, and no
    second is made: so it may be retried, and done again after a crash. (Where an Alertmanager of a cluster has not heard
    of it yet a second may come about; it silences the same alerts, and `expire_silence` ends both.) The result has
    `id`, `ends_at` and `made`, which is false where it stood already. Its span counts from this machine's clock.

    Example:
        - id: hush
          uses: alertmanager.silence
          with:
            match: '{alertname="{{ labels.alertname }}", app="{{ labels.app }}"}'
            for: 30m
            comment: '{{ rule.name }} restarts {{ labels.app }}'
    """

    name = "alertmanager.silence"
    effect = Effect.WRITE
    parameters = SilenceParameters
    section = "alertmanager"

    def idempotent(self, params: SilenceParameters) -> bool:
        """It is: see above."""
        return True

    def plan(self, params: SilenceParameters) -> str:
        """Quote the matchers and name the span."""
        matchers = ", ".join(map(str, parts_of(params.match)))
        return visible(f"silence the alerts that match {matchers} for {format_duration(params.for_)}", longest=2000)

    async def run(self, params: SilenceParameters, context: Context) -> Outcome:
        """Look whether it stands already, and make it where it doesn't."""
        platform = server(context)
        if isinstance(platform, Outcome):
            return platform
        matchers = parts_of(params.match)
        found = await _silences(platform, context)
        if isinstance(found, Outcome):
            return found
        mark = _mark(context.run, params.for_)
        standing = next((each for each in found if each.mutes(matchers) and each.comment.endswith(mark)), None)
        if standing is not None:
            return Outcome(Result.OK, {"id": standing.id, "ends_at": standing.endsAt, "made": False})
        return await _make(platform, matchers, params, context)


class AlertmanagerExpireSilence(Action[ExpireParameters]):
    """End silences that this daemon made, in this run or another.

    By `id`, or all of ours with the very same matchers. Somebody else's is refused by `id`, and passed over by `match`.
    `expired` lists the ids of those it ended, and `count` is their number: 0 where there were none, or they had ended.

    Example:
        - uses: alertmanager.expire_silence
          with: {match: '{alertname="{{ labels.alertname }}", app="{{ labels.app }}"}'}
    """

    name = "alertmanager.expire_silence"
    effect = Effect.WRITE
    parameters = ExpireParameters
    section = "alertmanager"

    def idempotent(self, params: ExpireParameters) -> bool:
        """Once ended, a silence stays so."""
        return True

    def plan(self, params: ExpireParameters) -> str:
        """Say which."""
        if params.match is None:
            return f"end our silence {params.id}"
        return visible(f"end our silences for {', '.join(map(str, parts_of(params.match)))}", longest=2000)

    async def run(self, params: ExpireParameters, context: Context) -> Outcome:
        """Find them, and end each."""
        platform = server(context)
        if isinstance(platform, Outcome):
            return platform
        ids = await (
            _by_match(platform, params.match, context) if params.match else _by_id(platform, params.id, context)
        )
        if isinstance(ids, Outcome):
            return ids
        expired: list[JsonValue] = []
        for number in ids:
            answer = await ask(platform, "DELETE", f"/api/v2{path('silence', number)}", context)
            if isinstance(answer, Outcome):
                return _half_done(answer, expired, [each for each in ids if each not in expired])
            expired.append(number)
        return Outcome(Result.OK, {"expired": expired, "count": len(expired)})


async def _silences(
    platform: Platform, context: Context, match: str | list[str] | None = None
) -> list[_Silence] | Outcome:
    filters = [] if match is None else filters_of(match)
    return await read(platform, "/api/v2/silences", context, list[_Silence], filters)


async def _make(
    platform: Platform, matchers: tuple[Matcher, ...], params: SilenceParameters, context: Context
) -> Outcome:
    began = _now()
    ends = format_rfc3339(began + params.for_)
    wanted = {
        "matchers": msgspec.to_builtins(matchers),
        "startsAt": format_rfc3339(began),
        "endsAt": ends,
        "createdBy": OURS,
        "comment": f"{visible(params.comment, longest=1000)}{_mark(context.run, params.for_)}",
    }
    answer = await ask(platform, "POST", "/api/v2/silences", context, json=wanted)
    if isinstance(answer, Outcome):
        return answer
    number = answer.get("silenceID") if isinstance(answer, dict) else None
    if not isinstance(number, str) or not number:
        words = "Alertmanager took the silence and did not name it: look among its silences whether it is there"
        return Outcome(Result.ERROR, error=words)
    return Outcome(Result.OK, {"id": number, "ends_at": ends, "made": True})


async def _by_match(platform: Platform, match: str | list[str], context: Context) -> list[str] | Outcome:
    matchers = parts_of(match)
    found = await _silences(platform, context)
    return found if isinstance(found, Outcome) else [each.id for each in found if each.mutes(matchers)]


async def _by_id(platform: Platform, number: str | None, context: Context) -> list[str] | Outcome:
    found = await read(platform, f"/api/v2{path('silence', number or '')}", context, _Silence)
    if isinstance(found, Outcome):
        return found
    if not found.ours:
        words = f"the silence {found.id} was made by {found.createdBy}, and only our own are ended: end it by hand"
        return Outcome(Result.REFUSED, error=visible(words, longest=300))
    return [] if found.status.state == "expired" else [found.id]


def _half_done(outcome: Outcome, done: list[JsonValue], left: list[str]) -> Outcome:
    """Add to why one could not be ended which have been; nothing to add where it was the first."""
    if not done:
        return outcome
    words = f"ended {', '.join(map(str, done))}, but not {', '.join(left)}: {outcome.error}"
    return Outcome(Result.ERROR, {"expired": done, "count": len(done)}, visible(words, longest=500))


def _now() -> float:
    return time.time()


def _mark(run: str, span: Seconds) -> str:
    return f" [remediator run {run} for {span:g} s]"


def _run_of(silence: _Silence) -> str | None:
    found = _MARK.search(silence.comment) if silence.ours else None
    return found[1] if found else None


def _short(silence: _Silence) -> dict[str, JsonValue]:
    return {
        "id": silence.id,
        "state": silence.status.state,
        "matchers": [str(matcher) for matcher in silence.matchers],
        "ours": silence.ours,
    }


def _whole(silence: _Silence) -> dict[str, JsonValue]:
    return {
        **_short(silence),
        "starts_at": silence.startsAt,
        "ends_at": silence.endsAt,
        "created_by": silence.createdBy,
        "comment": silence.comment,
        "run": _run_of(silence),
    }
