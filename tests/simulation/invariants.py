"""The promises, checked on every commit and on every call of an action, by what an outsider knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from simulation.acting import Act
from simulation.guarding import Guarding
from simulation.history import Alerts, Asked, Began, Controls, Known, Laid
from simulation.rulebook import Book

from remediator.actions.protocol import Effect, Outcome, Result
from remediator.model.alert import Notification
from remediator.model.control import Control
from remediator.model.run import LEGAL, Mode, Run, State
from remediator.store.chain import read_line

_SWITCH = 2.0  # seconds: the kill switch stops new steps within that
_run_decoder = msgspec.json.Decoder(Run)
_control_decoder = msgspec.json.Decoder(Control)


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    promise: str
    words: str

    def __str__(self) -> str:
        """Name it."""
        return f"{self.promise}: {self.words}"


class Watch:
    """Sees every commit and every call, and knows nothing else."""

    def __init__(self, book: Book, connection: Any, clock: Callable[[], float], note: Callable[..., None]) -> None:
        self.violations: list[Violation] = []
        self.runs: dict[str, Known] = {}
        self.notifications: dict[str, Notification] = {}  # that were sent
        self.kept: dict[str, int] = {}  # how many alerts of each are durable
        self.asked: Callable[[Known], None] = lambda run: None
        self._book = book
        self._connection = connection
        self._clock = clock
        self._note = note
        self._seq = 0
        self._doubtful: dict[str, None] = {}  # runs whose writer was not told of a commit
        self.controls = Controls()
        self.alerts = Alerts(book.standing.storm)
        self._guarding = Guarding(book.standing, self.runs, self.alerts, self.controls)
        self._started: dict[tuple[str, str, int, int], float] = {}
        self._handlers: dict[str, Callable[[Any, str | None, float], None]] = {
            "run.proposed": self._proposed, "run.moved": self._moved, "run.admitted": self._admitted,
            "approval.asked": self._asked, "run.climbed": self._climbed, "step.started": self._step_started,
            "control.laid": self._laid, "control.lifted": self._lifted, "notification.received": self._received,
            "alerts.lost": self._lost,
        }  # fmt: skip

    def broken(self, promise: str, words: str) -> None:
        """Note that a promise was broken."""
        self.violations.append(Violation(promise, words))
        self._note("VIOLATION", f"{promise}: {words}")

    # -- commits --

    def committed(self, *, told: bool) -> None:
        """See what a commit has made durable; `told` says whether its writer will learn that."""
        rows = self._connection.execute(
            "SELECT seq, line FROM events WHERE seq > ? ORDER BY seq", (self._seq,)
        ).fetchall()
        if not rows and not self._doubtful:
            return
        now = self._clock()
        lines = [read_line(line) for _, line in rows]
        self._seq += len(rows)
        moved: dict[str | None, str] = {}
        for _, kind, run, data in lines:
            if kind == "run.moved":
                moved.setdefault(run, data.get("from", data["to"]))
        if self._doubtful:
            self._resolve_doubts(moved)
        if not told:
            self._doubtful |= {run: None for _, _, run, _ in lines if run in self.runs}
            for run in self._doubtful:
                self.runs[run].before.append(self.runs[run].snapshot())
        self._firing: list[str] = []
        for at, kind, run, data in lines:
            if abs(now - at) > 1e-6 and kind not in {"notification.received", "step.ended"}:
                self.broken("P17", f"{kind} says that it was {now - at:.3f} s before it was")
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(data, run, now)
        self._all_decided()

    def _resolve_doubts(self, moved: Mapping[str | None, str]) -> None:
        """Go back to what a run was before commits of which their writer was not told, where it has decided anew."""
        for run in list(self._doubtful):
            known = self.runs[run]
            (row,) = self._connection.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
            if known.state == moved.get(run, row) and run not in moved:
                continue
            while known.before and known.state != moved.get(run, row):
                known.restore(known.before.pop())
            if run in moved:
                known.before.clear()
                del self._doubtful[run]

    def _proposed(self, data: Any, run: str | None, now: float) -> None:
        rule = self._book.by_hash[data["rule_hash"]]
        origin = "notice" if rule.name == "notices" else "revert" if "reverts" in data else data.get("origin", "alert")
        name = f"run{len(self.runs) + 1}"
        drill, labels = data.get("drill", False), data.get("labels", {})
        known = Known(str(run), name, rule, origin, drill, data["mode"], labels, data["target"])
        if origin == "revert":
            known.drill, known.rung = self.runs[data["reverts"]].drill, self.runs[data["reverts"]].rung
        self.runs[known.id] = known
        self._note(name, f"proposed by {origin}: {rule.name} on {known.target}, {known.mode}")

    def _moved(self, data: Any, run: str | None, now: float) -> None:
        known = self.runs[str(run)]
        to, before = State(data["to"]), data.get("from")
        known.target = data["target"] or known.target
        self._note(known.name, f"{before or 'rests,'} → {to} {data['reason'] or ''}: {data['because'] or ''}")
        if before is None:
            return
        if known.state != before or to not in LEGAL[State(before)]:
            self.broken("P2", f"{known.name} went from {before} to {to}, and it was {known.state}")
        was, known.state = known.state, to
        known.ended = None if to.open else now
        if to in {State.FAILED, State.UNKNOWN} and known.failed is None and known.counted:
            self._guarding.failed(known, now)
        elif to is State.SUCCEEDED:
            known.failed = None
        if to is State.RUNNING:
            self._runs(known, was, now)

    def _runs(self, known: Known, was: State, now: float) -> None:
        if known.origin == "revert":
            known.lock = self._lock(known)
            for why in self._guarding.lock_broken(known):
                self.broken("P5", f"{known.name}, a revert: {why}")
        elif was is State.WAITING and known.counted and known.admitted != now:
            self.broken("P4", f"{known.name} began without being admitted")
        elif was is State.AWAITING_APPROVAL:
            self._leave(known)

    def _lock(self, known: Known) -> str | None:
        if not known.rule.writes and known.origin != "revert":
            return None
        lock = known.rule.guards.lock
        return "the-lock" if lock is not None and lock.source == "the-lock" else known.target

    def _admitted(self, data: Any, run: str | None, now: float) -> None:
        known = self.runs[str(run)]
        known.admitted, known.mode, known.target, known.rung = now, data["mode"], data["target"], data["rung"]
        known.lock = data["lock"]
        self._note(known.name, f"admitted: {known.mode} on {known.target}, rung {known.rung}, lock {known.lock}")
        if known.lock != self._lock(known):
            self.broken("P5", f"{known.name} took the lock {known.lock} in the place of {self._lock(known)}")
        for promise, why in self._guarding.against(known, now):
            self.broken(promise, f"{known.name} ({known.rule.name} on {known.target}): {why}")
        if known.mode == "approve":
            known.needs_leave.add(known.rung)
            self._leave(known)
            if known.asked is not None and known.asked.plan_hash != data["plan_hash"]:
                self.broken("P12", f"{known.name} was admitted with another plan than was approved")

    # -- leave --

    def _asked(self, data: Any, run: str | None, now: float) -> None:
        known = self.runs[str(run)]
        (body,) = self._connection.execute("SELECT body FROM runs WHERE id = ?", (run,)).fetchone()
        plan = _run_decoder.decode(body).plan
        known.asked = Asked(now, data["until"], data["plan_hash"], data["rung"], plan)
        known.approvals = {}
        self._note(known.name, f"asks for {data['plan_hash'][:6]} of rung {data['rung']}")
        self.asked(known)

    def _leave(self, known: Known) -> None:
        """Look whether enough people have approved what was asked about last."""
        asked, approval = known.asked, known.rule.rungs[known.rung].approval
        if asked is None or asked.rung != known.rung:
            self.broken("P12", f"{known.name} goes on with rung {known.rung}, of which nobody was asked")
            return
        if known.leave.get(known.rung) is asked:
            self.broken("P12", f"{known.name}: an approval was used twice")
        people = [
            person for person, each in known.approvals.items()
            if each.plan_hash == asked.plan_hash and each.laid_at < asked.until + self._paused(asked.at)
            and (not approval.approvers or person in approval.approvers)
        ]  # fmt: skip
        if len(people) < approval.quorum:
            self.broken("P12", f"{known.name} goes on, approved by {people} of {approval.quorum}")
        known.leave[known.rung] = asked

    def _paused(self, since: float) -> float:
        """Give the longest that pauses may have put off the end of a question."""
        now = self._clock()
        ends = ((each, min(each.lifted or now, each.control.until or now)) for each in self.controls.of("pause"))
        return sum(max(0.0, end - max(each.at, since)) for each, end in ends)

    def _climbed(self, data: Any, run: str | None, now: float) -> None:
        known = self.runs[str(run)]
        known.rung = data["rung"]
        self._guarding.now = now
        mode = self._guarding.mode(known.rule, known.rung, known.target)
        self._note(known.name, f"climbs to rung {known.rung}, {mode}")
        if mode == "approve":
            known.needs_leave.add(known.rung)
        elif mode != "auto":
            self.broken("P7", f"{known.name} climbs in mode {mode}")

    # -- controls and alerts --

    def _laid(self, data: Any, run: str | None, now: float) -> None:
        (body,) = self._connection.execute("SELECT body FROM controls WHERE id = ?", (data["control"],)).fetchone()
        control = _control_decoder.decode(body)
        self.controls.by_id[control.id] = Laid(control, now)
        whom = self.runs[str(run)].name if run in self.runs else f"{control.rule or '*'} {control.target or '*'}"
        self._note(
            "control", f"{control.author} lays {control.kind} {control.mode or ''} on {whom}, till {control.until}"
        )
        if control.kind == "approve":
            self.runs[str(run)].approvals.setdefault(control.author, control)

    def _lifted(self, data: Any, run: str | None, now: float) -> None:
        laid = self.controls.by_id[data["control"]]
        laid.lifted = now
        self._note("control", f"{data['author']} lifts {data['kind']} on {laid.control.rule or '*'}")
        if data["kind"] == "storm":
            self.alerts.lift_storm(now)
        elif data["kind"] == "breaker":
            self._guarding.closed(laid.control.rule, laid.control.book, now)

    def _received(self, data: Any, run: str | None, now: float) -> None:
        notification = self.notifications[data["notification"]]
        done = self.kept.get(notification.id, 0)
        self.kept[notification.id] = done + data["alerts"]
        if done == 0:
            self.alerts.watch(notification, now)
        firing = self.alerts.take(notification.alerts[done : done + data["alerts"]], notification.received_at, now)
        self._note("notification", f"{notification.receiver}: {data['alerts']} alerts kept, {data['opened']} opened")
        self._firing += firing

    def _all_decided(self) -> None:
        """Each alert that fires has been taken up by each rule that is for it, if none is off."""
        firing = [each for each in self._firing if self.alerts.fires(each)]
        if any(each.control.mode == "off" and each.lifted is None for each in self.controls.of("mode")):
            return
        for fingerprint in firing:
            labels = self.alerts.labels(fingerprint)
            rows = self._connection.execute(
                "SELECT rule FROM decisions JOIN episodes ON id = episode WHERE fingerprint = ? AND ended_at IS NULL",
                (fingerprint,),
            )  # fmt: skip
            taken = {rule for (rule,) in rows}
            for rule in self._book.rules.rules:
                if rule.match and all(each.matches(labels) for each in rule.match) and rule.name not in taken:
                    self.broken("P1", f"{rule.name} has not taken up {dict(labels)}")

    def _lost(self, data: Any, run: str | None, now: float) -> None:
        self.alerts.lose(data["fingerprints"], now)

    def acknowledged(self, notification: Notification) -> None:
        """See that a sender was told that its notification is kept."""
        if self.kept.get(notification.id, 0) < len(notification.alerts):
            self.broken("P1", f"{notification.receiver} was acknowledged, and is not all kept")

    # -- calls --

    def _step_started(self, data: Any, run: str | None, now: float) -> None:
        key = (str(run), data["phase"], data["position"], data["item"])
        self._started[key] = now

    def begins(self, process: Any, effect: Effect, again: bool, params: Act, run: str) -> Began:
        """See an action begin."""
        now, known = self._clock(), self.runs[run]
        rung, phase, position = params.at.split("/")
        self._note(known.name, f"{process.name} begins {effect} {params.at} {params.item or ''} {params.what}")
        began = Began(now, process.number, [])
        item = max(0, params.item - 1)
        late = self._durable(process, known, (phase, int(position), item))
        if not known.state.open and not late:
            self.broken("P2", f"{known.name} has ended, and {params.at} begins")
        if known.origin != "notice" and not late:
            self._switched_off(known, params, now)
        if effect is not Effect.READ:
            self._may_act(known, effect, (int(rung), phase), params)
        key = (params.at, item)
        before = known.begins.setdefault(key, [])
        if not again and any(each.answer != [Result.NOT_SENT] for each in before):
            self.broken("P2", f"{known.name} begins {params.at} twice, and it must not be repeated")
        before.append(began)
        if phase == "steps" and known.began is None and known.admitted is not None:
            known.began = now
        return began

    def _durable(self, process: Any, known: Known, place: tuple[str, int, int]) -> bool:
        """See that the step was durable as started before; tells whether its process was stopped since then."""
        row = self._connection.execute(
            "SELECT body FROM steps WHERE run = ? AND phase = ? AND position = ? AND item = ? ORDER BY rung DESC LIMIT 1",
            (known.id, *place),
        ).fetchone()  # fmt: skip
        step = None if row is None else msgspec.json.decode(row[0])
        if step is None or (known.id, *place) not in self._started:
            self.broken("P8", f"{known.name} begins {place}, of which there is no record")
            return False
        late = process.frozen_since(step["started_at"])
        if late and self._clock() - step["started_at"] >= self._book.standing.lease:
            self.broken("P3", f"{known.name} begins {place} by a process that was frozen past its lease")
        if step["state"] != "started" and not late:
            self.broken("P8", f"{known.name} begins {place}, and its record says {step['state']}")
        return bool(late)

    def _switched_off(self, known: Known, params: Act, now: float) -> None:
        target = None if "/facts/" in params.at else known.target
        for each in self.controls.of("pause"):
            if each.holds(now) and now - each.at > _SWITCH and each.control.covers(known.rule.name, target):
                self.broken("P7", f"{known.name} begins {params.at} {now - each.at:.3f} s after a pause")

    def _may_act(self, known: Known, effect: Effect, place: tuple[int, str], params: Act) -> None:
        rung, phase = place
        if known.book == "dry" and known.origin != "notice":
            self.broken("P13", f"{known.name} is a dry run, and begins {params.at}")
        if phase == "steps" and known.admitted is None and known.counted:
            self.broken("P4", f"{known.name} begins {params.at} without being admitted")
        if phase == "steps" and effect is Effect.WRITE and rung in known.needs_leave:
            leave = known.leave.get(rung)
            given = params.model_dump(mode="json", exclude_unset=True, by_alias=True)
            if leave is None or not any(each.parameters == given for each in leave.plan):
                self.broken("P12", f"{known.name} begins {params.at} {params.what}, which nobody has approved")

    def mode(self, known: Known) -> Mode:
        """Give the mode in force for a run now."""
        self._guarding.now = self._clock()
        return self._guarding.mode(known.rule, known.rung, known.target)

    def ends(self, known: Known, began: Began, params: Act, outcome: Outcome) -> None:
        """See an action end."""
        began.answer.append(outcome.kind)
        self._note(known.name, f"ends {params.at}: {outcome.kind}")
        # What a process that was frozen hears at last is no answer to what has been asked anew since.
        if "/facts/" in params.at and any(each[-1] is began for each in known.begins.values()):
            known.facts = outcome.result if outcome.kind is Result.OK else None
            known.facts_at = self._clock()
            known.answers.append((known.facts_at, known.facts))
