"""The report: what each section tells, that it stays one page, and what it never lets out."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from samples import NOW, run

from remediator.actions.catalog import load_catalog
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Mode, Origin, Priority, Reason, Run, State
from remediator.review.report import Need, Report, Verdict
from remediator.review.summing import Material, report_of, verdict_of
from remediator.review.wording import as_markdown, as_text, markdown
from remediator.rules.load import load_rules
from remediator.rules.rule import Rule

DAY = 86_400.0
UNTIL = NOW + DAY
DID = ("run systemctl restart nginx",)


class Night:
    """A night that a test makes up: runs, one after the other, each a minute after the one before."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.what: dict[str, tuple[str, ...]] = {}  # by run
        self._numbers = count(1)

    def has(
        self, state: State, reason: Reason | None = None, *, did: tuple[str, ...] | None = None, **changes: Any
    ) -> Run:
        """Add a run that ended in a state, or is in it, and did something if it has begun."""
        number = next(self._numbers)
        at = NOW + number * 60
        begun = state not in {State.BLOCKED, State.CANCELLED, State.WAITING, State.AWAITING_APPROVAL}
        values: dict[str, Any] = {
            "state": state, "reason": reason, "created_at": at, "started_at": at if begun else None,
            "ended_at": None if state.open else at + 30, "target": "host/a", "rule": "restart-web", "due_at": None,
        }  # fmt: skip
        self.runs.append(run(number, **{**values, **changes}))
        if did is not None or begun:
            self.what[self.runs[-1].id] = DID if did is None else did
        return self.runs[-1]

    def helped(self, **changes: Any) -> Run:
        """Add one that was verified."""
        return self.has(State.SUCCEEDED, **{"verify_since": NOW, **changes})

    def planned(self, **changes: Any) -> Run:
        """Add a dry run."""
        return self.has(State.PLANNED, **{"mode": Mode.DRY_RUN, **changes})

    def report(self, **material: Any) -> Report:
        """Make the report of it."""
        return report_of(Material(self.runs, **{"what": self.what, **material}), NOW, UNTIL)

    def text(self, **material: Any) -> str:
        """Make the report of it, as text."""
        return as_text(self.report(**material))


@pytest.fixture
def night() -> Night:
    """A quiet one."""
    return Night()


def rules(tmp_path: Path, *more: str, file: str = "rules.yml", head: str = "") -> tuple[Rule, ...]:
    """Load a rule for each `name: …`, with keys of its own."""
    text = f"{head}rules:\n" + "".join(
        f"  - {{summary: x, match: '{{a=\"b\"}}', target: x, steps: [{{uses: log, with: {{message: x}}}}], {each}}}\n"
        for each in more
    )
    (tmp_path / file).write_text(text)
    loaded = load_rules([tmp_path / file], load_catalog())
    assert loaded.ok, loaded.problems
    return loaded.rules.rules


def control(kind: ControlKind, reason: str, **changes: Any) -> Control:
    return Control(id="c1", kind=kind, laid_at=NOW, author="ann", reason=reason, **changes)


# -- sections --


def test_an_empty_night_says_so(night: Night) -> None:
    """And nothing else."""
    assert night.text() == (
        "Report from 2026-11-18T11:06Z to 2026-11-19T11:06Z\nNothing happened: no run ended, and none is open.\n"
    )


def test_the_headline_counts_what_a_reviewer_asks_for(night: Night) -> None:
    """Every run is in it once."""
    night.helped()
    night.has(State.SUCCEEDED)
    night.has(State.FAILED, Reason.VERIFY)
    night.planned(healed_at=UNTIL)
    night.planned()
    night.has(State.BLOCKED, Reason.COOLDOWN)
    night.has(State.CANCELLED, Reason.RESOLVED)
    night.has(State.WAITING, Reason.FOR)
    night.helped(origin=Origin.HAND)
    night.helped(drill=True)
    night.has(State.SUCCEEDED, origin=Origin.NOTICE)
    assert night.text().splitlines()[1] == (
        "10 runs: 3 acted (1 helped, 1 failed, 1 done, not verified), 2 would have acted (1 healed by itself), "
        "1 refused, 1 over before it began, 1 open, 1 by hand, 1 drill."
    )


def test_what_was_done_is_told_in_the_words_of_the_writing_steps(night: Night) -> None:
    """With whether it helped, and how long it took."""
    night.helped(ended_at=NOW + 102)
    assert "Acted\n  P2 restart-web on host/a, 2026-11-18T11:07Z: helped in 42s; run 0" in night.text()
    assert "      did: run systemctl restart nginx\n" in night.text()


def test_a_run_that_failed_before_it_wrote_says_that_nothing_was_written(night: Night) -> None:
    """And no more."""
    night.has(State.FAILED, Reason.STEP, did=(), because="step http.get: refused")
    assert "      nothing was written\n      because step http.get: refused\n" in night.text()
    assert "systemctl" not in night.text()


def test_failures_come_first_then_the_most_urgent_then_the_newest(night: Night) -> None:
    """As they are read."""
    night.helped(target="old")
    night.helped(target="new")
    night.helped(target="urgent", priority=Priority.P0)
    night.has(State.FAILED, Reason.VERIFY, target="broken", priority=Priority.P3)
    assert [each.target for each in night.report().acted.entries] == ["broken", "urgent", "new", "old"]


def test_what_would_have_been_done_says_whether_it_was_for_nothing(night: Night) -> None:
    """Healed by itself, after how long; or not."""
    for minutes in (2, 9):
        night.planned(created_at=NOW, healed_at=NOW + minutes * 60)
    night.planned(target="host/b")
    night.planned(target="host/c", origin=Origin.SCHEDULE)
    text = night.text()
    assert (
        "restart-web on host/a, 2 times, 2026-11-18T11:07Z to 2026-11-18T11:08Z: healed by itself after 2m to 9m"
        in text
    )
    assert "      would do: run systemctl restart nginx\n" in text
    assert "restart-web on host/b, 2026-11-18T11:09Z: has not healed by itself; run" in text
    assert "restart-web on host/c, 2026-11-18T11:10Z: planned; run" in text


def test_refusals_are_grouped_by_rule_and_guard_with_one_because(night: Night) -> None:
    """Over dry and live runs."""
    for number in range(3):
        night.has(State.BLOCKED, Reason.COOLDOWN, because=f"the last run ended {number}m ago")
    night.has(State.BLOCKED, Reason.COOLDOWN, because="the last run ended 3m ago", mode=Mode.DRY_RUN)
    night.has(State.BLOCKED, Reason.LIMIT, because="2 of 2 in 6h")
    night.has(State.FAILED, Reason.LADDER, started_at=None, because="no rung is left")
    text = night.text()
    assert "restart-web: blocked (cooldown) (1 dry), 4 times, 2026-11-18T11:07Z to 2026-11-18T11:10Z; run" in text
    assert "      the last on host/a, because the last run ended 3m ago\n" in text
    assert "restart-web: blocked (limit), 2026-11-18T11:11Z; run" in text
    assert "restart-web: failed (ladder), 2026-11-18T11:12Z; run" in text
    assert "Acted" not in text


def test_what_was_over_before_it_began_is_grouped(night: Night) -> None:
    """Most of it has healed by itself."""
    for seconds in (120, 540):
        over = {"created_at": NOW, "ended_at": NOW + seconds}
        night.has(State.CANCELLED, Reason.RESOLVED, because="its alerts resolved before it began", **over)
    night.has(State.CANCELLED, Reason.OPERATOR, because="ann: enough")
    text = night.text()
    assert (
        "Over before they began\n  restart-web: cancelled (resolved), 2 times, 2026-11-18T11:06Z to 2026-11-18T11:06Z, "
        "healed by themselves after 2m to 9m; run"
    ) in text
    assert "restart-web: cancelled (operator), 2026-11-18T11:09Z; run" in text


def test_a_revert_that_never_began_says_whose_change_stays(night: Night) -> None:
    """Beside runs of its rule that were over before they began, and in no group with them."""
    night.has(State.CANCELLED, Reason.OPERATOR, because="ann: not needed")
    night.has(State.CANCELLED, Reason.OPERATOR, because="ann: later", origin=Origin.REVERT, reverts="0042")
    text = night.text()
    assert "because what run 0042 did is not taken back: ann: later" in text
    assert text.count("restart-web: cancelled (operator), ") == 2


def test_what_was_cancelled_at_work_has_not_healed_by_itself(night: Night) -> None:
    """What it did before may have helped."""
    stopped = night.has(State.CANCELLED, Reason.RESOLVED, started_at=NOW + 60)
    assert stopped.healed_after is None
    assert "stopped midway (resolved) in 30s; run" in night.text()


def test_what_was_refused_and_healed_all_the_same_is_told(night: Night) -> None:
    """The guard was right; how many of them it is known of is said."""
    for number in range(3):
        night.has(State.BLOCKED, Reason.COOLDOWN, created_at=NOW + number)
    night.has(State.BLOCKED, Reason.LIMIT)
    first, second, _, other = night.runs
    text = night.text(resolved={first.id: NOW + 60, second.id: NOW + 301, other.id: other.created_at + 5})
    assert "restart-web: blocked (cooldown), 3 times, 2026-11-18T11:06Z to 2026-11-18T11:06Z, 2 of them healed" in text
    assert ", 2 of them healed by themselves after 1m to 5m; run" in text
    assert "restart-web: blocked (limit), 2026-11-18T11:10Z, healed by itself after 5s; run" in text


def test_runs_by_hand_and_drills_stand_apart(night: Night) -> None:
    """They say nothing about how the night went."""
    night.helped(origin=Origin.HAND, rule="by-hand")
    night.has(State.FAILED, Reason.VERIFY, drill=True, rule="drilled")
    report = night.report()
    assert report.acted.entries == ()
    assert [each.rule for each in report.by_hand.entries] == ["by-hand"]
    assert [each.rule for each in report.drills.entries] == ["drilled"]
    assert report.pressing.entries == ()
    assert report.rules.entries == ()


def test_what_waits_is_told_however_old_it_is(night: Night) -> None:
    """By rule and reason, since when."""
    night.has(State.WAITING, Reason.FOR, created_at=NOW - 10 * DAY, because="for 10m")
    night.has(State.WAITING, Reason.FOR, because="for 10m")
    night.has(State.VERIFYING)
    text = night.text()
    assert "Waiting, or at work\n  restart-web: waiting (for), 2 times, 2026-11-08T11:06Z to" in text
    assert "restart-web: verifying, 2026-11-18T11:09Z" in text


def test_numbers_are_told_by_rule(night: Night) -> None:
    """The busiest first, in columns."""
    night.helped(rule="calm")
    for _ in range(10):
        night.has(State.BLOCKED, Reason.COOLDOWN, rule="busy")
    lines = night.text().split("By rule\n")[1].splitlines()
    assert re.split(r"  +", lines[0].strip()) == [
        "Rule", "Runs", "Helped", "Done", "Failed", "Stopped", "Would have acted", "Healed", "Refused", "Not begun", "Open",
    ]  # fmt: skip
    assert lines[1].split() == ["busy", "10", "0", "0", "0", "0", "0", "0", "10", "0", "0"]
    assert lines[2].split() == ["calm", "1", "1", "0", "0", "0", "0", "0", "0", "0", "0"]


def test_reviews_that_are_due_are_told_with_their_owner(night: Night, tmp_path: Path) -> None:
    """By `reviewed` and `review_every`; rules that nobody ever reviewed are one line."""
    loaded = rules(
        tmp_path, "name: old, owner: sre, reviewed: 2026-01-01", "name: fresh, reviewed: 2026-11-01",
        "name: often, reviewed: 2026-11-01, review_every: 7d", "name: never", "name: neither",
    )  # fmt: skip
    text = night.text(rules=loaded)
    assert "Reviews due\n  old (sre): reviewed 2026-01-01, overdue by 232 days\n  often: reviewed 2026-11-01, " in text
    assert "Never reviewed\n  never, neither\n" in text
    assert "fresh" not in text


def test_files_that_nobody_has_drilled_for_a_quarter_are_one_line(night: Night, tmp_path: Path) -> None:
    """A drill of one of its rules counts for the file; what has nothing to drill is not named."""
    head = "vars: {host: real, drill: {host: spare}}\n"
    loaded = (
        *rules(tmp_path, "name: mend", "name: end", file="drilled.yml", head=head),
        *rules(tmp_path, "name: bend", file="not.yml", head=head),
        *rules(tmp_path, "name: plain"),
    )
    text = night.text(rules=loaded, drilled=frozenset({"end"}))
    assert "Not drilled for 90d\n  not.yml\n" in text


# -- what needs a person --


def test_what_needs_a_person_comes_first_and_the_most_pressing_before_the_rest(night: Night) -> None:
    """Unknown, asked, breakers, storms, pauses, lowered modes, held reverts, refused reloads, failures, lost notices."""
    night.has(State.FAILED, Reason.STEP, origin=Origin.NOTICE, rule="notices", target="unknown", because="503")
    night.has(State.FAILED, Reason.VERIFY, because="the checks did not hold")
    night.has(State.WAITING, Reason.PAUSED, origin=Origin.REVERT, because="paused by ann: deploy")
    night.has(State.AWAITING_APPROVAL, Reason.APPROVAL, because="1 of oncall may approve")
    night.has(State.UNKNOWN, Reason.INTERRUPTED, because="look at host/a, then resolve")
    laid = (
        control(ControlKind.MODE, "incident", mode=Mode.DRY_RUN, rule="restart-web"),
        control(ControlKind.PAUSE, "deploy", until=UNTIL, target="host/a"),
        control(ControlKind.STORM, "a storm: more than 200 alerts"),
        control(ControlKind.BREAKER, "5 runs of all rules ended failed"),
        control(ControlKind.BREAKER, "dry", book=Book.DRY),
        control(ControlKind.CANCEL, "one run's", run="r"),
    )
    report = night.report(controls=laid, refused={"web-1": "errors in the rules, 2 in all"})
    assert [each.need for each in report.pressing.entries] == list(Need)
    text = as_text(report)
    assert text.index("Needs a person now") < text.index("Acted")
    assert "unknown: restart-web on host/a (P2), since 2026-11-18T11:11Z, run 0" in text
    assert "      because look at host/a, then resolve\n" in text
    assert "breaker open: everything, since 2026-11-18T11:06Z\n      because ann: 5 runs of all rules" in text
    assert "paused: all rules on host/a, since" in text
    assert "because ann: deploy, until 2026-11-19T11:06:40.000Z\n" in text
    assert (
        "mode held down: restart-web, since 2026-11-18T11:06Z\n      because ann: incident, dry-run at most\n" in text
    )
    assert "reload refused: all rules on web-1\n      because errors in the rules, 2 in all\n" in text
    assert report.waiting.entries == ()


def test_a_failure_that_was_made_good_since_needs_nobody(night: Night) -> None:
    """Nor one that a person has settled; it stands under what was done."""
    night.has(State.FAILED, Reason.VERIFY)
    night.has(State.FAILED, Reason.VERIFY, target="host/b")
    night.has(State.FAILED, Reason.OPERATOR, target="host/c")
    night.helped()
    night.helped(target="host/b", rule="other")
    report = night.report()
    assert [each.target for each in report.pressing.entries] == ["host/b"]
    assert len(report.acted.entries) == 5


def test_a_revert_that_waits_for_its_time_needs_nobody(night: Night) -> None:
    """It waits."""
    night.has(State.WAITING, Reason.REVERT, origin=Origin.REVERT)
    report = night.report()
    assert report.pressing.entries == ()
    assert [each.reason for each in report.waiting.entries] == [Reason.REVERT]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"state": State.SUCCEEDED, "verify_since": NOW, "reason": Reason.INTERRUPTED}, Verdict.HELPED),
        ({"state": State.SUCCEEDED, "verify_since": NOW, "reason": Reason.OPERATOR}, Verdict.DONE),
        ({"state": State.CANCELLED}, Verdict.STOPPED),
        ({"state": State.CANCELLED, "started_at": None}, Verdict.NOT_BEGUN),
        ({"state": State.FAILED}, Verdict.FAILED),
        ({"state": State.FAILED, "started_at": None}, Verdict.REFUSED),
    ],
)
def test_only_verification_says_that_it_helped(changes: dict[str, Any], verdict: Verdict) -> None:
    """A person's word settles a run, and proves nothing."""
    assert verdict_of(run(1, **{"started_at": NOW, "ended_at": NOW + 1, **changes})) is verdict


# -- one page --


def test_a_night_of_ten_thousand_runs_is_one_page(night: Night) -> None:
    """What is alike is told once; what isn't is cut, with its count."""
    for number in range(2000):
        night.helped(target=f"host/{number}")
        night.planned()
        night.has(State.BLOCKED, Reason.COOLDOWN, rule=f"rule-{number % 30}", because="x" * 5000)
        night.has(State.FAILED, Reason.VERIFY, target=f"host/{number % 50}", because="y" * 5000, rule="failing")
        night.has(State.WAITING, Reason.PAUSED)
    report = night.report()
    assert (len(report.acted.entries), report.acted.more) == (20, 2030)
    assert (len(report.refused.entries), report.refused.more) == (20, 10)
    assert (len(report.pressing.entries), report.pressing.more) == (20, 30)
    assert [each.count for each in report.would_have_acted.entries] == [2000]
    text = as_text(report)
    assert "  and 2030 more\n" in text
    assert len(text.splitlines()) < 250
    assert len(msgspec.json.encode(report)) < 100_000


def test_a_report_that_has_not_seen_all_says_so(night: Night) -> None:
    """So that nobody counts on it."""
    assert "the oldest of them are not in it" in night.text(whole=False)


# -- what it never lets out --


def test_of_a_confidential_rule_there_is_rule_priority_state_and_id_alone(night: Night) -> None:
    """In every section, and in every form (P9's neighbour: the notices carry no more either)."""
    told = {
        "rule": "hidden",
        "target": "SECRET",
        "because": "SECRET",
        "did": ("SECRET",),
    }
    night.helped(origin=Origin.HAND, **told)
    for state in State:
        night.has(state, Reason.OPERATOR if not state.open else Reason.LIMIT, **told)
    night.has(State.FAILED, Reason.VERIFY, **told)
    night.planned(**told)
    night.has(State.FAILED, drill=True, **told)
    laid = (
        control(ControlKind.PAUSE, "SECRET", rule="hidden", target="SECRET"),
        control(ControlKind.BREAKER, "SECRET", rule="hidden"),
    )
    report = night.report(controls=laid, confidential=frozenset({"hidden"}))
    document = msgspec.json.encode(report).decode()
    for form in (as_text(report), as_markdown(report), document):
        assert "SECRET" not in form
        assert "limit" not in form
        assert "hidden" in form
    assert {each.need for each in report.pressing.entries} == {
        Need.UNKNOWN, Need.APPROVAL, Need.PAUSE, Need.BREAKER, Need.FAILED,
    }  # fmt: skip
    told_of = msgspec.to_builtins(report.confidential.entries[0])
    assert told_of.keys() == {"rule", "priority", "state", "count", "run"}
    assert all(each.since is None and each.because is None for each in report.pressing.entries)
    assert report.acted.entries == report.by_hand.entries == report.drills.entries == report.rules.entries == ()


EVIL = "\x1b[2J@here <!channel> <b>x</b> [a](http://evil.example) `c` |d| *e* #1 www.evil.example\n# head\n- item &lt;"


@pytest.mark.fault("CR/LF")
def test_no_value_steers_a_terminal(night: Night) -> None:
    """Control characters and line breaks are shown, not obeyed (P10)."""
    night.has(State.FAILED, Reason.STEP, target=EVIL, because=EVIL, did=(EVIL,))
    text = night.text()
    assert "\x1b" not in text
    assert "\\x1b[2J@here" in text
    assert not any(line.startswith(("#", "-")) for line in text.splitlines())


@pytest.mark.fault("CR/LF")
def test_no_value_is_markup_link_or_mention_in_markdown(night: Night) -> None:
    """Nor HTML, a table's cell, or a heading (P10)."""
    night.has(State.FAILED, Reason.STEP, target=EVIL, because=EVIL, did=(EVIL,))
    night.has(State.BLOCKED, Reason.COOLDOWN, target=EVIL, because=EVIL)
    text = as_markdown(night.report())
    for mark in ("@here", "<!", "<b>", "://", "www.", "\x1b", "\n# head", "\n- item"):
        assert mark not in text, mark
    for mark in "`*[]|":
        bare = re.findall(rf"(?<!\\){re.escape(mark)}", text.split("## By rule")[0])
        assert bare == [], mark


def test_markdown_keeps_what_a_value_says() -> None:
    """A reader sees the same words."""
    assert markdown("host_a:9100 (50 %)") == "host\\_a:9100 (50 %)"
    assert markdown("a@b #7 http://x") == "a@\u200bb \\#\u200b7 http:\u200b//x"


def test_markdown_has_headings_lists_and_a_table(night: Night) -> None:
    """For chats and tickets."""
    night.helped()
    lines = as_markdown(night.report()).splitlines()
    assert lines[0] == "# Report from 2026-11-18T11:06Z to 2026-11-19T11:06Z"
    assert "## Acted" in lines
    assert "- P2 restart-web on host/a, 2026-11-18T11:07Z: helped in 30s; run 00000000000000000000000001" in lines
    assert "  - did: run systemctl restart nginx" in lines
    assert "| restart-web | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |" in lines


# -- in the documents --


def test_the_report_in_operations_is_one_that_is_made(night: Night) -> None:
    """Somebody learns to read it there."""
    rollback = ("run /opt/shop/rollback web",)
    lost = (
        "step restart: exec.run was begun, and how it ended is not known: look at host/c, then `remediator resolve …`"
    )
    cooling = "the last run on host/a ended 2m ago, and cooldown is 5m"
    night.helped(target="host/a")
    night.helped(target="host/a", ended_at=NOW + 240)
    night.has(State.FAILED, Reason.VERIFY, target="host/b", because="false till 5m had passed: health")
    night.has(State.UNKNOWN, Reason.INTERRUPTED, target="host/c", because=lost)
    for minutes in (2, 3, 9):
        healed = {"created_at": NOW + 600, "healed_at": NOW + 600 + minutes * 60}
        night.planned(rule="rollback-release", target="app/web", did=rollback, priority=Priority.P1, **healed)
    night.planned(rule="rollback-release", target="app/shop", did=rollback, priority=Priority.P1)
    for _ in range(14):
        night.has(State.BLOCKED, Reason.COOLDOWN, target="host/a", because=cooling)
    for minutes in (1, 4, 2):
        over = {"created_at": NOW + 1380, "ended_at": NOW + 1380 + minutes * 60}
        night.has(
            State.CANCELLED, Reason.RESOLVED, target="host/d", because="its alerts resolved before it began", **over
        )
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"```text\n{night.text()}```\n" in page
