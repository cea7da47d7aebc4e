"""What an outsider knows: the runs as the history tells of them, the alerts as they were delivered, what people laid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from remediator.model.alert import Alert, AlertStatus, Notification
from remediator.model.control import Control
from remediator.model.run import State
from remediator.rules.rule import Rule
from remediator.rules.standing import Storm


@dataclass(frozen=True)
class Asked:
    """A person was asked for one plan."""

    at: float
    until: float
    plan_hash: str
    rung: int
    plan: Any  # as it was shown


@dataclass(frozen=True)
class Began:
    """An action was called."""

    at: float
    process: int
    answer: list[str]  # what it came to, once it has


@dataclass
class Known:
    """One run."""

    id: str
    name: str  # in the trace, where ids would differ from one time to the next
    rule: Rule
    origin: str
    drill: bool
    mode: str
    labels: Mapping[str, str]
    target: str | None = None
    state: State = State.WAITING
    rung: int = 0
    admitted: float | None = None
    lock: str | None = None
    began: float | None = None  # the first of its steps
    ended: float | None = None
    failed: float | None = None
    asked: Asked | None = None
    approvals: dict[str, Control] = field(default_factory=dict)  # since it was asked, by person
    needs_leave: set[int] = field(default_factory=set)  # rungs on which it may write only what a person has seen
    leave: dict[int, Asked] = field(default_factory=dict)  # by rung: what was let go on
    facts: Mapping[str, Any] | None = None  # as they were last answered
    facts_at: float = 0.0
    answers: list[tuple[float, Mapping[str, Any] | None]] = field(default_factory=list)  # all of them
    begins: dict[tuple[str, int], list[Began]] = field(default_factory=dict)
    before: list[Mapping[str, Any]] = field(
        default_factory=list
    )  # as it was before commits of which no writer was told

    def snapshot(self) -> Mapping[str, Any]:
        """Give what its writer decides."""
        decided = ("state", "admitted", "ended", "failed", "asked", "rung", "mode", "target", "lock")
        return {**{name: getattr(self, name) for name in decided}, "leave": dict(self.leave)}

    def restore(self, before: Mapping[str, Any]) -> None:
        """Go back to what it was."""
        for name, value in before.items():
            setattr(self, name, value)

    @property
    def book(self) -> str:
        """Give whose books it counts in."""
        return "drill" if self.drill else "dry" if self.mode == "dry-run" else "live"

    @property
    def counted(self) -> bool:
        """Tell whether guards count it at all."""
        return self.origin not in {"revert", "notice"}

    @property
    def holding(self) -> bool:
        """Tell whether it has begun and not closed."""
        begun = self.admitted is not None or (self.origin == "revert" and self.state is not State.WAITING)
        return begun and self.state.open


@dataclass
class _Heard:
    firing: bool
    starts_at: float
    ended_at: float = 0.0
    lost: bool = False
    episode: Episode | None = None  # the newest


@dataclass
class Episode:
    """An alert began."""

    at: float
    labels: Mapping[str, str]
    blip: bool = False  # it was over at the very instant at which it was heard of: who looks then need not see it


class Alerts:
    """The alerts as an outsider reckons them from what was delivered, and the storms among them."""

    def __init__(self, storm: Storm | None) -> None:
        self._storm = storm
        self._heard: dict[str, _Heard] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._began: dict[str, float] = {}  # by fingerprint: when its newest episode was first heard of
        self.episodes: list[Episode] = []
        self._seen_until = -1.0  # a person has seen what began till then
        self.storm_until = -1.0

    def take(self, alerts: tuple[Alert, ...], received_at: float, now: float) -> list[str]:
        """Take what one notification says, and give the fingerprints that fire by it."""
        firing = []
        for alert in alerts:
            known = self._heard.get(alert.fingerprint)
            self._labels[alert.fingerprint] = alert.labels
            if alert.status is AlertStatus.FIRING:
                if self._opens(alert):
                    self.episodes.append(Episode(now, alert.labels))
                    starts_at = min(alert.starts_at, received_at)
                    self._heard[alert.fingerprint] = known = _Heard(True, starts_at, episode=self.episodes[-1])
                    self._began[alert.fingerprint] = now
                if known is not None and known.firing:
                    firing.append(alert.fingerprint)
                continue
            ends = min(received_at, alert.ends_at if alert.ends_at is not None else received_at)
            if known is None:
                self._heard[alert.fingerprint] = _Heard(False, ends, ends)
            elif known.firing and ends >= known.starts_at:
                known.firing, known.ended_at = False, ends
                if known.episode is not None:
                    known.episode.blip = known.episode.at == now
            elif not known.firing and (known.lost or ends > known.ended_at):
                known.ended_at, known.lost = ends, False
        return [each for each in firing if self._heard[each].firing]

    def _opens(self, alert: Alert) -> bool:
        known = self._heard.get(alert.fingerprint)
        return known is None or (not known.firing and (known.lost or alert.starts_at > known.ended_at))

    def watch(self, notification: Notification, now: float) -> None:
        """Count a body whole, before anything of it is decided."""
        if self._storm is None:
            return
        began = dict(self._began)
        for alert in notification.alerts:
            if alert.status is AlertStatus.FIRING and self._opens(alert):
                began[alert.fingerprint] = now
        since = max(now - self._storm.per, self._seen_until)
        newest = sorted((at for at in began.values() if at > since), reverse=True)
        if len(newest) > self._storm.alerts:
            until = newest[self._storm.alerts] + self._storm.per + self._storm.hold
            self.storm_until = max(self.storm_until, until)

    def lose(self, fingerprints: list[str], now: float) -> None:
        """Close what nothing was heard of."""
        for each in fingerprints:
            self._heard[each].firing, self._heard[each].lost, self._heard[each].ended_at = False, True, now

    def lift_storm(self, now: float) -> None:
        """Let a person have seen it."""
        self._seen_until, self.storm_until = now, -1.0

    def labels(self, fingerprint: str) -> Mapping[str, str]:
        """Give an alert's labels."""
        return self._labels[fingerprint]

    def fires(self, fingerprint: str) -> bool:
        """Tell whether one fires."""
        return self._heard[fingerprint].firing

    def firing(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an alert fires that has these labels among its own."""
        return any(each.firing and labels.items() <= self._labels[key].items() for key, each in self._heard.items())


@dataclass
class _Breaker:
    until: float = -1.0
    closed: float = -1.0


class Breakers:
    """What too many failures have stopped, by rule (None: all) and books."""

    def __init__(self) -> None:
        self._of: dict[tuple[str | None, str], _Breaker] = {}

    def of(self, rule: str | None, book: str) -> _Breaker:
        """Give one."""
        return self._of.setdefault((rule, book), _Breaker())


@dataclass
class Laid:
    """Something laid, and when that became durable."""

    control: Control
    at: float
    lifted: float | None = None

    def holds(self, now: float) -> bool:
        """Tell whether it is in force."""
        return self.lifted is None and (self.control.until is None or now < self.control.until)


class Controls:
    """What was laid, by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Laid] = {}

    def of(self, kind: str) -> Iterator[Laid]:
        """Give all of a kind that were laid."""
        return (each for each in self.by_id.values() if each.control.kind == kind)
