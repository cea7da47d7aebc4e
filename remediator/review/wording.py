"""Wording: a report as plain text or as Markdown. Pure; both say the same sentences.

Values from outside are data for ever: as text they can't steer a terminal, as Markdown they are no markup, link or mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from remediator.actions.bounds import visible
from remediator.model.run import Origin
from remediator.model.time import Seconds, format_duration
from remediator.review.report import (
    DRILLED_WITHIN,
    Deed,
    Group,
    Listing,
    Missed,
    Need,
    Numbers,
    Pressing,
    Report,
    Review,
    Veiled,
    Verdict,
)

T = TypeVar("T")
Show: TypeAlias = Callable[[str], str]

_MARKUP = re.compile(r"[\\`*_{}\[\]|~#$]")
# Where a space that nobody sees breaks a mention, a reference, a link.
_JOINTS = re.compile(r"(?<=[@#])|(?<=:)(?=//)|(?<=\bwww)(?=\.)", re.IGNORECASE)
_UNSEEN_SPACE = "\u200b"

_NEEDS = {
    Need.UNKNOWN: "unknown", Need.APPROVAL: "waits for approval", Need.BREAKER: "breaker open", Need.STORM: "storm",
    Need.PAUSE: "paused", Need.MODE: "mode held down", Need.REVERT_HELD: "revert held", Need.FAILED: "failed",
    Need.RULES: "reload refused", Need.NOTICE: "a notice reached nobody",
}  # fmt: skip
_VERDICTS = {
    Verdict.HELPED: "helped", Verdict.DONE: "done, not verified", Verdict.FAILED: "failed",
    Verdict.STOPPED: "stopped midway", Verdict.HEALED: "healed by itself", Verdict.PLANNED: "has not healed by itself",
    Verdict.REFUSED: "refused", Verdict.NOT_BEGUN: "over before it began", Verdict.OPEN: "open",
}  # fmt: skip
_COLUMNS = (
    "Rule", "Runs", "Helped", "Done", "Failed", "Stopped", "Would have acted", "Healed", "Refused", "Not begun", "Open",
)  # fmt: skip


class _Entry(NamedTuple):
    """One line, and what stands below it. Details begin with a word of ours: what a value begins with is never markup."""

    line: str
    details: Sequence[str] = ()


class _Section(NamedTuple):
    title: str
    entries: Sequence[_Entry] = ()
    rows: Sequence[Sequence[str]] = ()  # a table under `_COLUMNS`


def as_text(report: Report) -> str:
    """Give a report as text for a terminal or a mail."""
    lines = [f"Report from {_at(report.since)} to {_at(report.until)}", *_head(report)]
    for title, entries, rows in _sections(report, visible):
        lines += ["", title]
        for line, details in entries:
            lines += [f"  {line}", *(f"      {detail}" for detail in details)]
        lines += _aligned([_COLUMNS, *rows]) if rows else []
    return "\n".join(lines) + "\n"


def as_markdown(report: Report) -> str:
    """Give a report as Markdown, for chats and tickets."""
    lines = [f"# Report from {_at(report.since)} to {_at(report.until)}", "", *_head(report)]
    for title, entries, rows in _sections(report, markdown):
        lines += ["", f"## {title}", ""]
        for line, details in entries:
            lines += [f"- {line}", *(f"  - {detail}" for detail in details)]
        if rows:
            lines += [f"| {' | '.join(row)} |" for row in (_COLUMNS, ["---"] * len(_COLUMNS), *rows)]
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    """Make a value from outside harmless in Markdown: no markup, HTML, link, mention or break of a table."""
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _JOINTS.sub(_UNSEEN_SPACE, _MARKUP.sub(r"\\\g<0>", text))


def _head(report: Report) -> list[str]:
    head = [_headline(report)]
    if not report.whole:
        head.append("There were more runs than a report looks at: the oldest of them are not in it.")
    return head


def _headline(report: Report) -> str:
    n = report.numbers
    parts = [
        (n.acted, f"acted ({_came_to(n)})"),
        (n.would_have_acted, f"would have acted ({n.healed} healed by {'itself' if n.healed == 1 else 'themselves'})"),
        (n.refused, "refused"),
        (n.not_begun, f"over before {'it' if n.not_begun == 1 else 'they'} began"),
        (n.open, "open"),
        (report.begun_by_hand, "by hand"),
        (report.drilled, "drill" if report.drilled == 1 else "drills"),
    ]
    told = ", ".join(f"{count} {words}" for count, words in parts if count)
    if not told:
        return "Nothing happened: no run ended, and none is open."
    runs = n.runs + report.begun_by_hand + report.drilled
    return f"{runs} run{'' if runs == 1 else 's'}: {told}."


def _came_to(numbers: Numbers) -> str:
    parts = [
        (numbers.helped, "helped"), (numbers.failed, "failed"), (numbers.done, "done, not verified"),
        (numbers.stopped, "stopped midway"),
    ]  # fmt: skip
    return ", ".join(f"{count} {words}" for count, words in parts if count)


def _sections(report: Report, show: Show) -> Iterator[_Section]:
    """Give the sections that have something to say."""
    words = _Words(show)
    found = [
        _Section("Needs a person now", _entries(report.pressing, words.pressing)),
        _Section("Acted", _entries(report.acted, words.deed)),
        _Section("Would have acted (dry-run)", _entries(report.would_have_acted, words.deed)),
        _Section("Refused", _entries(report.refused, words.group)),
        _Section("Over before they began", _entries(report.not_begun, words.group)),
        _Section("By hand", _entries(report.by_hand, words.deed)),
        _Section("Drills", _entries(report.drills, words.deed)),
        _Section("Waiting, or at work", _entries(report.waiting, words.group)),
        _Section("Confidential", _entries(report.confidential, words.veiled)),
        _Section("By rule", rows=words.by_rule(report)),
        _Section("Reviews due", _entries(report.reviews_due, words.review)),
        _Section("Never reviewed", words.names(report.never_reviewed)),
        _Section(f"Not drilled for {format_duration(DRILLED_WITHIN)}", words.names(report.undrilled)),
        _Section("Missed times of schedules", _entries(report.missed, words.missed)),
    ]
    yield from (section for section in found if section.entries or section.rows)


class _Words:
    """Sentences, with every value from outside made harmless for its reader."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def pressing(self, each: Pressing) -> _Entry:
        line = f"{_NEEDS[each.need]}: {self._subject(each.rule, each.target)}"
        line += f" ({each.priority})" if each.priority else ""
        line += f", {each.count} times" if each.count > 1 else ""
        line += f", since {_at(each.since)}" if each.since else ""
        return _Entry(line + (f", run {each.run}" if each.run else ""), self._because(each.because))

    def deed(self, each: Deed) -> _Entry:
        line = f"{each.priority} {self._subject(each.rule, each.target)}, {_when(each)}: {_verdict(each)}"
        details = []
        if each.what:
            begin = "would do" if each.dry else "tried" if each.verdict is Verdict.FAILED else "did"
            details.append(f"{begin}: {'; '.join(map(self._show, each.what))}")
        elif not each.dry and each.verdict in {Verdict.FAILED, Verdict.STOPPED}:
            details.append("nothing was written")
        return _Entry(f"{line}; run {each.run}", [*details, *self._because(each.because)])

    def group(self, each: Group) -> _Entry:
        reason = f" ({each.reason})" if each.reason else ""
        dry = f" ({each.dry} dry)" if each.dry else ""
        line = f"{self._show(each.rule)}: {each.state}{reason}{dry}, {_when(each)}{_healed(each)}; run {each.run}"
        on = [] if each.target is None else [f"on {self._show(each.target)}"]
        detail = ", ".join([*on, *self._because(each.because)])
        return _Entry(line, [f"{'the last ' if each.count > 1 and on else ''}{detail}"] if detail else [])

    def veiled(self, each: Veiled) -> _Entry:
        times = f", {each.count} times" if each.count > 1 else ""
        return _Entry(f"{each.priority} {self._show(each.rule)}: {each.state}{times}; run {each.run}")

    def review(self, each: Review) -> _Entry:
        owner = f" ({self._show(each.owner)})" if each.owner else ""
        return _Entry(
            f"{self._show(each.rule)}{owner}: reviewed {each.reviewed}, overdue by {each.overdue // 86_400:.0f} days"
        )

    def names(self, listing: Listing[str]) -> list[_Entry]:
        names = [*map(self._show, listing.entries), *([f"{listing.more} more"] if listing.more else [])]
        return [_Entry(", ".join(names))] if names else []

    def missed(self, each: Missed) -> _Entry:
        when = f"at {_at(each.last_at)}"
        if each.times > 1:
            when = f"{each.times} times, {_at(each.first_at)} to {_at(each.last_at)}"
        return _Entry(f"{self._show(each.rule)}: did not begin {when}", self._because(each.because))

    def by_rule(self, report: Report) -> list[list[str]]:
        rows = []
        for rule, n in ((each.rule, each.numbers) for each in report.rules.entries):
            counts = (
                n.runs, n.helped, n.done, n.failed, n.stopped, n.would_have_acted, n.healed, n.refused, n.not_begun,
                n.open,
            )  # fmt: skip
            rows.append([self._show(rule), *map(str, counts)])
        if report.rules.more:
            rows.append([f"and {report.rules.more} more", *[""] * (len(_COLUMNS) - 1)])
        return rows

    def _subject(self, rule: str | None, target: str | None) -> str:
        on = "" if target is None else f" on {self._show(target)}"
        return ("everything" if rule is None and target is None else self._show(rule or "all rules")) + on

    def _because(self, because: str | None) -> list[str]:
        return [] if because is None else [f"because {self._show(because)}"]


def _verdict(each: Deed) -> str:
    words = _VERDICTS[each.verdict]
    if each.verdict is Verdict.PLANNED and each.origin is not Origin.ALERT:
        words = "planned"  # no alert opened it that could heal
    reason = f" ({each.reason})" if each.reason else ""
    if each.shortest is None or each.longest is None:
        return words + reason
    spans = _spans(each.shortest, each.longest)
    return f"{words}{reason} {'after' if each.verdict is Verdict.HEALED else 'in'} {spans}"


def _healed(each: Group) -> str:
    if each.shortest is None or each.longest is None:
        return ""
    some = f"{each.healed} of them " if each.healed < each.count else ""
    return f", {some}healed by {'itself' if each.healed == 1 else 'themselves'} after {_spans(each.shortest, each.longest)}"


def _spans(shortest: Seconds, longest: Seconds) -> str:
    return " to ".join(dict.fromkeys(map(format_duration, (shortest, longest))))


def _when(each: Deed | Group) -> str:
    if each.count == 1:
        return _at(each.last_at)
    return f"{each.count} times, {_at(each.first_at)} to {_at(each.last_at)}"


def _at(instant: str) -> str:
    """Shorten an instant to the minute."""
    return f"{instant[:16]}Z"


def _entries(listing: Listing[T], make: Callable[[T], _Entry]) -> list[_Entry]:
    more = [_Entry(f"and {listing.more} more")] if listing.more else []
    return [*map(make, listing.entries), *more]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows
    ]
